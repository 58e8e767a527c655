"""What the engine answers on its socket: the table of verbs, and the one way through it.

Shapes (JSON; times RFC 3339 UTC, durations seconds, sizes bytes, ids decimal text):

=================  ================================================  ==============================
verb               parameters                                        answer
=================  ================================================  ==============================
status             --                                                {site, environment, config_version, started_at,
                                                                     live, ready, in_the_way, listeners: [...]}
channels.list      --                                                [{name, state, note, last_received,
                                                                     received_last_hour, unplanned, waiting, oldest,
                                                                     parked, parked_since, held, dead,
                                                                     destinations: [...]}]
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
                                                                     reason, first, last, held_behind,
                                                                     merged_since, messages}]
dlq.show           id, dest, phi, reason                             [{letter, id, channel, destination, state, since,
                                                                     stage, step, reason, code, refusals, in_doubt,
                                                                     config_version, possible_duplicate,
                                                                     merged_since, detail,
                                                                     attempts: [...]}]
dlq.replay         one of ids, letters, group, or filters (channel,  {dry_run, as, asked, going, older, unordered,
                   dest, since_us, until_us, type, all), limit;      gone, filtered, failed_again, identity, merged,
                   as, dry_run, allow_older, reason,                 config_version, letters, sample: [...]}
                   sender_was_refused (with ids or letters)
dlq.discard        the same selection; dry_run, reason               {dry_run, asked, discarded, gone, letters, sample}
parked.list        channel, fact, limit                              [{id, channel, type, fact, since, until, reason,
                                                                     step, config_version}], next to end first
parked.show        id, phi, reason                                   a list entry of messages and {waits: [{channel,
                                                                     fact, since, until, step, detail}]}
parked.release     ids, reason                                       {going, gone}
parked.expire      ids, reason                                       {going, gone}
patients.show      number, phi, reason                               [{identifier, retired, survivor, chain,
                                                                     merged_into_it, frozen, known}]
patients.list      frozen, phi, reason                               [{identifier, why, by, at}]
patients.resolve   number, reason                                    {resolved, was}
patients.merge     number, survivor, reason                          {merged}
patients.unmerge   number, dry_run, reason                           {dry_run, removed, by, at, messages: [...]}
config.reload      reason, dry_run, skip_tests                       {done, version, plan, refused, tests,
                                                                     in_flight}
config.history     --                                                [{version, digest, at, running}]
config.diff        old, new                                          {old, new, changes: [{path, before, after,
                                                                     place_before, place_after}]}
shadow             channel, since_us, until_us, limit, files         {compared, same, different, left_out, kinds,
                   (names and texts in turn), env            rules, messages: [{id, differences}]}
tally              channel, since_us, verify                         {at, since, even, faults, rows: [{channel,
                                                                     destination, total, planned, states: {state:
                                                                     count}, residue}]}; with verify also named:
                                                                     [{what, id, channel, destination, letter}]
clock.show         --                                                {wall, steady, believed, ahead_seconds,
                                                                     times_set}
clock.accept       reason, time_passed                               as clock.show
audit.verify       --                                                {ok, records, first_bad, problem}
keys.status        --                                                {kek_id, kek, keys: [{key_id, purpose, kek_id,
                                                                     created_at, age_seconds, seals, current}]}
doctor             check                                             [{level, check, text}]; level ok, warn, fail
metrics            --                                                {text}
=================  ================================================  ==============================

A preview (``dry_run``) returns ``letters``; given back as ``letters``, exactly these are replayed
or discarded, whatever came in between.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from ifengine.admin import (
    audits,
    channels,
    clocks,
    configuration,
    dead_letters,
    doctor,
    keys,
    messages,
    parked,
    patients,
    replays,
    shadow,
    tally,
)
from ifengine.admin.request import Caller, Params, RequestError, Role, usage
from ifengine.admin.runtime import Runtime

Handler = Callable[[Runtime, Params, Caller], Awaitable[object]]


class Verb(NamedTuple):
    """One thing the engine does on request, and what it takes to ask for it."""

    handler: Handler
    role: Role
    params: frozenset[str]


def _verb(handler: Handler, *params: str) -> Verb:
    return Verb(handler, Role.OPERATOR, frozenset(params))


VERBS: Mapping[str, Verb] = {
    "status": _verb(channels.status),
    "channels.list": _verb(channels.listing),
    "channels.pause": _verb(channels.pause, "name", "reason"),
    "channels.resume": _verb(channels.resume, "name"),
    "messages.list": _verb(messages.listing, *messages.LISTING),
    "messages.show": _verb(messages.show, "id", "dest", "phi", "reason"),
    "messages.trace": _verb(messages.trace, "id", "phi", "reason"),
    "dlq.list": _verb(dead_letters.listing, "channel", "dest", "state"),
    "dlq.show": _verb(dead_letters.show, "id", "dest", "phi", "reason"),
    "dlq.replay": _verb(replays.replay, *replays.REPLAY),
    "dlq.discard": _verb(replays.discard, *replays.DISCARD),
    "parked.list": _verb(parked.listing, *parked.LISTING),
    "parked.show": _verb(parked.show, "id", "phi", "reason"),
    "parked.release": _verb(parked.release, *parked.ACTING),
    "parked.expire": _verb(parked.expire, *parked.ACTING),
    "patients.show": _verb(patients.show, "number", "phi", "reason"),
    "patients.list": _verb(patients.listing, "frozen", "phi", "reason"),
    "patients.resolve": _verb(patients.resolve, "number", "reason"),
    "patients.merge": _verb(patients.add_merge, "number", "survivor", "reason"),
    "patients.unmerge": _verb(patients.unmerge, "number", "dry_run", "reason"),
    "config.reload": _verb(configuration.reload, *configuration.RELOAD),
    "config.history": _verb(configuration.history),
    "config.diff": _verb(configuration.diff, "old", "new"),
    "shadow": _verb(shadow.shadow, *shadow.SHADOW),
    "tally": _verb(tally.tally, *tally.TALLY),
    "clock.show": _verb(clocks.show),
    "clock.accept": _verb(clocks.accept, *clocks.ACCEPT),
    "audit.verify": _verb(audits.verify_chain),
    "keys.status": _verb(keys.status),
    "doctor": _verb(doctor.examine, "check"),
    "metrics": _verb(channels.metrics),
}

AuditVerified = Callable[[bool], None]


class Service:
    """Answers verbs for one running engine. Deny by default: a verb not in VERBS does not exist."""

    def __init__(self, runtime: Runtime, *, audit_verified: AuditVerified | None = None) -> None:
        """Take the engine; ``audit_verified`` is told the result of every verification."""
        self._runtime = runtime
        self._audit_verified = audit_verified

    async def answer(self, verb: str, values: Mapping[str, object], caller: Caller) -> object:
        """Return the answer of a verb, a value that JSON can carry.

        Raises:
            RequestError: unknown verb or parameter, wrong form, not allowed, not found.
            EngineError: the engine could not do it; the text is safe to show.
        """
        found = VERBS.get(verb)
        if found is None:
            raise usage("there is no such verb", f"verbs: {' '.join(VERBS)}")
        if found.role not in caller.roles:
            raise RequestError("refused", "this user may not do that")
        params = Params(values)
        if not params.names() <= found.params:
            allowed = " ".join(sorted(found.params)) or "none"
            raise usage(f"{verb}: unknown parameter", f"parameters: {allowed}")
        result = await found.handler(self._runtime, params, caller)
        if self._audit_verified is not None and verb == "audit.verify":
            self._audit_verified(isinstance(result, dict) and result.get("ok") is True)
        return result
