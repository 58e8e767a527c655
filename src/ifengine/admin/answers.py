"""What receivers made of a message after they stored it: application acknowledgments."""

from ifengine.admin.records import MessageRecord, destination_name
from ifengine.admin.runtime import Runtime
from ifengine.clock import rfc3339
from ifengine.store.base import Fate, OutboxRow, Reader

APPLICATION = "application_"  # begins the results of such attempts
ACCEPTED = "AA"


def answers_of(runtime: Runtime, reader: Reader, record: MessageRecord) -> list[dict[str, object]]:
    """Return what became of each delivery whose receiver is to say it; the newest stands last.

    ``state`` is waiting, accepted, refused or missing; ``at`` is empty while it waits.
    """
    asked = {
        f"{channel.name}.{destination.name}"
        for channel in runtime.site.channels
        for destination in channel.destinations
        if destination.application is not None
    }
    newest: dict[tuple[int, int], dict[str, object]] = {}
    for entry in entries_of(reader, record):
        rows = reader.attempts(entry.outbox, entry.seq)
        told = [row for row in rows if row.result.startswith(APPLICATION)]
        outcome = reader.outcome(entry.outbox, entry.seq)
        sent = outcome is not None and outcome.fate is Fate.SENT
        state, code, at_us = "waiting", "", 0
        if told:
            state, code = told[-1].result.removeprefix(APPLICATION), told[-1].code
            at_us = told[-1].at_us
        elif not sent or outcome is None or runtime.names.name(entry.destination) not in asked:
            continue
        elif outcome.code == ACCEPTED:
            state, code, at_us = "accepted", ACCEPTED, outcome.at_us
        newest[entry.destination, entry.part] = {
            "destination": destination_name(runtime.names, entry.channel, entry.destination),
            "state": state,
            "code": code,
            "at": rfc3339(at_us) if at_us else None,
        }
    return list(newest.values())


def entries_of(reader: Reader, record: MessageRecord) -> list[OutboxRow]:
    """Return the deliveries of a message, replays of the stored bytes included."""
    found: dict[tuple[int, int], OutboxRow] = {}
    for plan in record.plans:
        for planned in plan.fates:
            seq = planned.seq if planned.fate is Fate.QUEUED else 0
            while seq and (planned.outbox, seq) not in found:
                entry = reader.outbox_entry(planned.outbox, seq)
                if entry is None:
                    break
                found[planned.outbox, seq] = entry
                outcome = reader.outcome(planned.outbox, seq)
                seq = 0 if outcome is None else outcome.superseded_by
    return list(found.values())
