"""What the engine answers on its socket: the table of verbs, and the one way through it.

Shapes (JSON; times RFC 3339 UTC, durations seconds, sizes bytes, ids decimal text):

=================  ================================================  ==============================
verb               parameters                                        answer
=================  ================================================  ==============================
status             --                                                {site, environment, config_version, started_at,
                                                                     live, ready, in_the_way, listeners: [...]}
channels.list      --                                                [{name, state, note, last_received,
                                                                     received_last_hour, unplanned, waiting, oldest,
                                                                     parked, held, dead, destinations: [...]}]
channels.pause     name, reason                                      {name, state}
channels.resume    name                                              {name, state}
messages.list      channel, dest, state (text or list), since_us,    [{id, received_at, channel, type, control_id,
                   until_us, type, limit, before, control_id,        patient, state, reason, config_version,
                   patient                                           origin, destinations: [{name, state, attempts,
                                                                     reason, code, possible_duplicate}]}], newest first
messages.show      id, dest, phi, reason                             a list entry and {listener, size, readable,
                                                                     segments: [{segment, fields: [{path, value}]}],
                                                                     as_sent: [{destination, run, changed, readable,
                                                                     segments}]}; with phi also raw_base64
messages.trace     id, phi, reason                                   a list entry and {events: [{at, event, ...}]}
dlq.list           channel, dest, state (dead_letter, discarded)     [{group, count, channel, destination, state,
                                                                     reason, first, last, held_behind, messages}]
dlq.show           id, dest, phi, reason                             [{letter, id, channel, destination, state, since,
                                                                     stage, step, reason, code, refusals, in_doubt,
                                                                     config_version, possible_duplicate, detail,
                                                                     attempts: [...]}]
dlq.replay         one of ids, letters, group, or filters (channel,  {dry_run, as, asked, going, older, unordered,
                   dest, since_us, until_us, type, all), limit;      gone, filtered, failed_again, identity,
                   as, dry_run, allow_older, reason                  config_version, letters, sample: [...]}
dlq.discard        the same selection; dry_run, reason               {dry_run, asked, discarded, gone, letters, sample}
audit.verify       --                                                {ok, records, first_bad, problem}
keys.status        --                                                {kek_id, kek, keys: [{key_id, purpose, kek_id,
                                                                     created_at, age_seconds, seals, current}]}
doctor             check                                             [{level, check, text}]; level ok, warn, fail
metrics            --                                                {text}
=================  ================================================  ==============================

A preview (``dry_run``) returns ``letters``; given back as ``letters``, exactly these are replayed
or discarded, whatever came in between.
"""
