"""What became of a message, put together from the rows of the store. Runs in the reading thread."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.admin.runtime import Runtime
from ifengine.errors import SealError
from ifengine.hl7.header import Header, read_header
from ifengine.routes.config.models import Order
from ifengine.store.base import (
    ExceptionRow,
    ExceptionState,
    Fate,
    InboxKind,
    InboxRow,
    NameKind,
    OutboxRow,
    PlannedFate,
    PlanRow,
    Reader,
)
from ifengine.store.names import Names
from ifengine.store.sealing import BlobKind
from ifengine.store.tally import Unit, units

KEY_BYTES = 8
_LONGEST_LINEAGE = 10_000
_CODE = re.compile(rb"[A-Za-z0-9]{3}")
_EVENT = re.compile(rb"[A-Za-z0-9]{1,4}")
_EXCEPTION_FATE: Mapping[ExceptionState, Fate] = {
    ExceptionState.RETRYING: Fate.RETRYING,
    ExceptionState.IN_DOUBT: Fate.IN_DOUBT,
    ExceptionState.HELD: Fate.HELD,
    ExceptionState.DEAD_LETTER: Fate.DEAD_LETTER,
}
# which of several states an operator is told: what waits for a person, then what is on its way,
# then what did not arrive that should have, then what did, then what was never to
_TOLD = (
    Fate.DEAD_LETTER,
    Fate.HELD,
    Fate.IN_DOUBT,
    Fate.RETRYING,
    Fate.QUEUED,
    Fate.PARKED,
    Fate.RECEIVED,
    Fate.REJECTED,
    Fate.DISCARDED,
    Fate.EXPIRED,
    Fate.SENT,
    Fate.DROPPED,
    Fate.FILTERED,
    Fate.UNROUTED,
)
WEIGHTS: Mapping[Fate, int] = {fate: weight for weight, fate in enumerate(_TOLD)}
_KIND_FATE: Mapping[InboxKind, tuple[Fate, str]] = {
    InboxKind.DUPLICATE: (Fate.DROPPED, "duplicate"),
    InboxKind.ACKNOWLEDGMENT: (Fate.DROPPED, "acknowledgment"),
    InboxKind.UNROUTED: (Fate.UNROUTED, ""),
}


class HeldKeys:
    """Which deliveries wait behind one that waits for a person, found once per outbox.

    One instance serves one request: what it found is not looked up again.
    """

    def __init__(self, skips_dead: frozenset[int]) -> None:
        """Take the destinations whose dead letters hold nothing back (`order: skip_dead`)."""
        self._skips_dead = skips_dead
        self._by_outbox: dict[int, frozenset[int]] = {}

    def holds(self, reader: Reader, outbox: int, seq: int) -> bool:
        """Return whether a delivery that is BEHIND waits, in the end, for a person."""
        held = self._by_outbox.get(outbox)
        if held is None:
            held = self._by_outbox[outbox] = self._find(reader, outbox)
        return seq in held

    def _find(self, reader: Reader, outbox: int) -> frozenset[int]:
        rows: list[tuple[OutboxRow, ExceptionState]] = []
        for row in reader.exceptions(outbox):
            entry = reader.outbox_entry(outbox, row.seq)
            if entry is not None:
                rows.append((entry, row.state))
        rows.sort(key=lambda pair: (pair[0].place, pair[0].seq))
        stuck_keys: set[bytes] = set()
        all_stuck = any_stuck = False
        held: set[int] = set()
        for entry, state in rows:
            keys = order_keys(entry)
            if state is ExceptionState.BEHIND:
                stuck = (
                    all_stuck or (not keys and any_stuck) or not stuck_keys.isdisjoint(keys)
                ) and entry.ordered
                if stuck:
                    held.add(entry.seq)
            else:
                stuck = entry.ordered and self._stops(entry, state)
            if stuck:
                any_stuck = True
                all_stuck = all_stuck or not keys
                stuck_keys.update(keys)
        return frozenset(held)

    def _stops(self, entry: OutboxRow, state: ExceptionState) -> bool:
        if state is ExceptionState.DEAD_LETTER:
            return entry.destination not in self._skips_dead
        return state is ExceptionState.HELD


def order_keys(entry: OutboxRow) -> tuple[bytes, ...]:
    """Return the order keys of a delivery, 8 bytes each."""
    keys = entry.keys
    return tuple(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES))


class DeliveryState(NamedTuple):
    """How one delivery stands, replays of it included."""

    fate: Fate
    attempts: int
    reason: str
    code: str
    possible_duplicate: bool
    seq: int  # of the last replay
    exception: ExceptionRow | None


def delivery_state(
    reader: Reader, held: HeldKeys, outbox: int, seq: int, inbox_id: int
) -> DeliveryState:
    """Follow a delivery through its replays to where it stands now."""
    attempts, doubtful = 0, False
    for _ in range(_LONGEST_LINEAGE):
        outcome = reader.outcome(outbox, seq)
        if outcome is None:
            break
        attempts += outcome.attempts
        doubtful = doubtful or outcome.possible_duplicate
        if not outcome.superseded_by:
            return DeliveryState(
                outcome.fate, attempts, outcome.reason, outcome.code, doubtful, seq, None
            )
        later = reader.outbox_entry(outbox, outcome.superseded_by)
        if later is None or later.inbox_id != inbox_id:
            # its replay went to another outbox: this number is somebody else's here
            return DeliveryState(
                outcome.fate, attempts, outcome.reason, outcome.code, doubtful, seq, None
            )
        seq = outcome.superseded_by
    row = reader.exception(outbox, seq)
    if row is None:
        return DeliveryState(Fate.QUEUED, attempts, "", "", doubtful, seq, None)
    if row.state is ExceptionState.BEHIND:
        fate = Fate.HELD if held.holds(reader, outbox, seq) else Fate.QUEUED
    else:
        fate = _EXCEPTION_FATE[row.state]
    return DeliveryState(
        fate,
        attempts + row.refusals + row.doubts,
        row.reason,
        row.code,
        doubtful or row.possible_duplicate,
        seq,
        row,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRecord:
    """A message at one destination."""

    name: str
    planned: PlannedFate
    run: int
    state: DeliveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """A message and everything decided about it. Type and control id come from its header."""

    row: InboxRow
    channel: str
    fate: Fate
    reason: str
    type: str | None
    control_id: str | None = field(repr=False)
    plans: tuple[PlanRow, ...]
    destinations: tuple[DestinationRecord, ...]

    @property
    def config_version(self) -> int | None:
        """Return the configuration of the newest run, None before the first."""
        return self.plans[-1].config_version if self.plans else None


class Look:
    """Puts records together for one request."""

    def __init__(self, runtime: Runtime) -> None:
        self._names = runtime.names
        self._ring = runtime.ring
        self.held = HeldKeys(frozenset(_skipping_destinations(runtime)))

    def body(self, row: InboxRow) -> bytes | None:
        """Return the received bytes; None where none are kept or they do not open."""
        if not row.sealed:
            return None
        try:
            return self._ring.open(BlobKind.INBOX, row.inbox_id, 0, row.sealed)
        except SealError:
            return None

    def header(self, reader: Reader, row: InboxRow) -> Header | None:
        """Return the header of a message; a duplicate has that of the message it repeats."""
        if row.kind is InboxKind.DUPLICATE and not row.sealed and row.origin:
            origin = reader.inbox(row.origin)
            content = None if origin is None else self.body(origin)
        else:
            content = self.body(row)
        return None if content is None else read_header(content)

    def record(self, reader: Reader, row: InboxRow) -> MessageRecord:
        """Return a message with its destinations, the newest decision about each."""
        header = self.header(reader, row)
        plans = tuple(reader.plans(row.inbox_id)) if row.kind is InboxKind.MESSAGE else ()
        channel = self._names.name(row.channel)
        destinations = self.destinations(reader, plans)
        fate, reason = _own_fate(row, plans, destinations)
        return MessageRecord(
            row=row,
            channel=channel,
            fate=fate,
            reason=reason,
            type=None if header is None else shown_type(header),
            control_id=None if header is None else shown_id(header.control_id),
            plans=plans,
            destinations=destinations,
        )

    def destinations(
        self, reader: Reader, plans: Iterable[PlanRow]
    ) -> tuple[DestinationRecord, ...]:
        """Return the newest decision about each destination, in the order first planned."""
        plans = tuple(plans)
        records = reader.tally()

        def replays(outbox: int, seq: int) -> tuple[int, bool]:
            delivery = records.delivery(outbox, seq)
            origin = 0 if delivery is None else delivery.origin_seq
            return origin, records.place(outbox, seq).superseded_by > 0

        owed: dict[int, list[Unit]] = {}
        for unit in units(plans, replays):
            owed.setdefault(unit.planned.destination, []).append(unit)
        in_order = dict.fromkeys(fate.destination for plan in plans for fate in plan.fates)
        return tuple(
            min(
                (self._destination(reader, plans[0].channel, unit) for unit in owed[destination]),
                key=lambda record: WEIGHTS[record.state.fate],  # of its parts
            )
            for destination in in_order
            if destination in owed
        )

    def _destination(self, reader: Reader, channel: int, unit: Unit) -> DestinationRecord:
        planned = unit.planned
        if planned.fate is Fate.QUEUED:
            state = delivery_state(reader, self.held, planned.outbox, planned.seq, unit.inbox_id)
        else:
            state = DeliveryState(planned.fate, 0, planned.reason, "", False, 0, None)
        return DestinationRecord(
            name=destination_name(self._names, channel, planned.destination),
            planned=planned,
            run=unit.run,
            state=state,
        )


def destination_name(names: Names, channel: int, destination: int) -> str:
    """Return a destination as its channel names it, without the channel."""
    return names.name(destination).removeprefix(names.name(channel) + ".")


def _skipping_destinations(runtime: Runtime) -> Iterable[int]:
    from_name = {
        f"{channel.name}.{destination.name}"
        for channel in runtime.site.channels
        for destination in channel.destinations
        if destination.order in (Order.SKIP_DEAD, Order.NONE)
    }
    for name in from_name:
        yield runtime.names.number(NameKind.DESTINATION, name)


def _own_fate(
    row: InboxRow, plans: tuple[PlanRow, ...], destinations: tuple[DestinationRecord, ...]
) -> tuple[Fate, str]:
    if row.kind is InboxKind.REJECTED:
        return Fate.REJECTED, row.reason
    if row.kind is not InboxKind.MESSAGE:
        fate, reason = _KIND_FATE[row.kind]
        return fate, row.reason or reason
    if not plans:
        return Fate.RECEIVED, ""
    if not destinations:
        return Fate.FILTERED, "the channel has no destination"
    told = min(destinations, key=lambda destination: WEIGHTS[destination.state.fate])
    return told.state.fate, told.state.reason


def shown_type(header: Header) -> str | None:
    """Return ``ADT^A01`` from MSH-9; None where it is not of that form: it may be anything."""
    if not _CODE.fullmatch(header.message_code):
        return None
    code = header.message_code.decode("ascii")
    if not header.trigger_event:
        return code
    if not _EVENT.fullmatch(header.trigger_event):
        return None
    return f"{code}^{header.trigger_event.decode('ascii')}"


def shown_id(control_id: bytes) -> str | None:
    """Return MSH-10 for people: printable ASCII as it is, any other byte as a hex escape."""
    if not control_id:
        return None
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in control_id[:199]
    )
