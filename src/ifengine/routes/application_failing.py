"""A delivery that was sent and refused after all: what the store has of it, and its new rows."""

from typing import NamedTuple

from ifengine.routes.lane_entry import Entry
from ifengine.routes.outbox_loading import split_keys
from ifengine.store.base import (
    ExceptionRow,
    ExceptionState,
    Fate,
    OutboxRow,
    PlannedFate,
    PlanRow,
    Reader,
)
from ifengine.store.sealing import BlobKind, KeyRing


class Refused(NamedTuple):
    """What the receiver said. ``detail`` is its text, to be sealed."""

    code: str
    reason: str
    detail: str

    def __repr__(self) -> str:
        return f"<Refused {self.code}>"


class Failed(NamedTuple):
    """A delivery that was sent."""

    row: OutboxRow
    received_us: int
    runs: int  # the highest run over the message


def find_failed(reader: Reader, outbox: int, seq: int) -> Failed | None:
    """Return a delivery that was sent; None where retention removed it."""
    row = reader.outbox_entry(outbox, seq)
    received = None if row is None else reader.inbox(row.inbox_id)
    if row is None or received is None:
        return None
    runs = max((plan.run for plan in reader.plans(row.inbox_id)), default=0)
    return Failed(row, received.received_us, runs)


def plan_of(again: OutboxRow, now_us: int) -> PlanRow:
    """Return the plan that puts the dead letter in the place of what was sent."""
    fate = PlannedFate(again.destination, Fate.QUEUED, again.outbox, again.seq, "")
    return PlanRow(again.inbox_id, again.run, again.channel, again.config_version, now_us, (fate,))


def exception_of(ring: KeyRing, again: OutboxRow, refused: Refused, now_us: int) -> ExceptionRow:
    """Return why it is a dead letter."""
    detail = b""
    if refused.detail:
        text = refused.detail.encode("utf-8", "surrogateescape")
        detail = ring.seal(BlobKind.DETAIL, again.outbox, again.seq, text)
    return ExceptionRow(
        again.outbox,
        again.seq,
        ExceptionState.DEAD_LETTER,
        1,
        0,
        0,
        now_us,
        "delivery",
        "",
        refused.reason,
        refused.code,
        detail,
        again.config_version,
        False,
    )


def entry_of(again: OutboxRow, received_us: int) -> Entry:
    """Return the dead letter as an outbox has it in memory."""
    return Entry(
        seq=again.seq,
        place=again.place,
        inbox_id=again.inbox_id,
        run=again.run,
        channel=again.channel,
        destination=again.destination,
        copy_id=again.copy_id,
        keys=split_keys(again),
        at_us=again.at_us,
        received_us=received_us,
        config_version=again.config_version,
    )
