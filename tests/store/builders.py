"""Rows for store tests, and a commit that waits."""

import threading
from collections.abc import Callable
from typing import Any

from ifengine.store.base import (
    AttemptRow,
    Batch,
    ExceptionRow,
    ExceptionState,
    Fate,
    InboxKind,
    NewAudit,
    NewInboxEntry,
    OutboxRow,
    OutcomeRow,
    ParkedRow,
    PlannedFate,
    PlanRow,
    StateRow,
    Store,
)

Finished = Callable[[BaseException | None], None]
SECOND = 1_000_000
WINDOW = 100 * SECOND


def commit(store: Store, batch: Batch, told: Finished | None = None) -> None:
    """Submit and wait; raises what ``finished`` was told. ``told`` hears it at that very moment."""
    _wait(lambda finished: store.submit(batch, finished), told)


def purge(store: Store, *inbox_ids: int) -> None:
    """Purge and wait."""
    _wait(lambda finished: store.purge(inbox_ids, finished))


def _wait(start: Any, told: Finished | None = None) -> None:
    done = threading.Event()
    errors: list[BaseException] = []

    def finished(error: BaseException | None) -> None:
        if told is not None:
            told(error)
        if error is not None:
            errors.append(error)
        done.set()

    start(finished)
    assert done.wait(30), "finished was never called"
    if errors:
        raise errors[0]


def entry(inbox_id: int, **fields: Any) -> NewInboxEntry:
    values: dict[str, Any] = {
        "received_us": inbox_id * SECOND,
        "listener": 1,
        "channel": 1,
        "kind": InboxKind.MESSAGE,
        "size": 4,
        "peer": "10.0.0.7:4711",
        "sealed": b"sealed %d" % inbox_id,
    }
    return NewInboxEntry(inbox_id, **(values | fields))


def guarded(inbox_id: int, key: bytes, digest: bytes, **fields: Any) -> NewInboxEntry:
    values: dict[str, Any] = {"guard_key": key, "digest": digest, "guard_window_us": WINDOW}
    return entry(inbox_id, **(values | fields))


def plan(inbox_id: int, *fates: PlannedFate, run: int = 0) -> PlanRow:
    return PlanRow(inbox_id, run, 1, 3, inbox_id * SECOND + 1, fates)


def queued(outbox: int, seq: int, destination: int = 5) -> PlannedFate:
    return PlannedFate(destination, Fate.QUEUED, outbox, seq, "")


def delivery(outbox: int, seq: int, inbox_id: int, **fields: Any) -> OutboxRow:
    row = OutboxRow(
        outbox=outbox,
        seq=seq,
        place=seq,
        inbox_id=inbox_id,
        run=0,
        channel=1,
        destination=5,
        copy_id=0,
        ordered=True,
        keys=b"8 bytes.",
        at_us=seq * SECOND,
        origin_seq=0,
        config_version=3,
    )
    return row._replace(**fields)


def trouble(
    outbox: int, seq: int, state: ExceptionState = ExceptionState.RETRYING, **fields: Any
) -> ExceptionRow:
    row = ExceptionRow(
        outbox=outbox,
        seq=seq,
        state=state,
        refusals=1,
        doubts=0,
        due_us=7,
        since_us=6,
        stage="delivery",
        step="",
        reason="refused",
        code="AE",
        detail=b"sealed detail",
        config_version=3,
        possible_duplicate=True,
    )
    return row._replace(**fields)


def attempt(outbox: int, seq: int, number: int) -> AttemptRow:
    return AttemptRow(outbox, seq, number, number * SECOND, "refused", "AE", 1200, b"")


def ended(outbox: int, seq: int, fate: Fate = Fate.SENT, **fields: Any) -> OutcomeRow:
    row = OutcomeRow(
        outbox=outbox,
        seq=seq,
        fate=fate,
        code="AA",
        attempts=1,
        at_us=seq * SECOND + 2,
        took_us=900,
        possible_duplicate=False,
        superseded_by=0,
        reason="",
    )
    return row._replace(**fields)


def act(number: int, inbox_id: int = 0) -> NewAudit:
    return NewAudit(number * SECOND, "anna", "viewed", "adt", inbox_id, "ok", b"sealed %d" % number)


def state(space: int, key: bytes, **fields: Any) -> StateRow:
    row = StateRow(space, key.ljust(16, b"."), 1, SECOND, 0, b"sealed " + key)
    return row._replace(**fields)


def parked(channel: int, inbox_id: int, **fields: Any) -> ParkedRow:
    row = ParkedRow(
        channel=channel,
        inbox_id=inbox_id,
        since_us=inbox_id * SECOND,
        until_us=inbox_id * SECOND + WINDOW,
        keys=b"sixteen bytes...",
        reason="waits for order(ORC-2)",
        step="wait_for",
        detail=b"sealed detail",
        config_version=3,
    )
    return row._replace(**fields)
