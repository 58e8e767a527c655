"""Records to columns and back, where they are not the same already."""

import struct
from enum import IntEnum
from typing import Any

from ifengine.errors import DamagedPageError, unchained
from ifengine.store.base import (
    ExceptionRow,
    ExceptionState,
    Fate,
    GuardVerdict,
    InboxKind,
    InboxRow,
    NameKind,
    OutboxRow,
    OutcomeRow,
    PlannedFate,
    PlanRow,
)

Columns = tuple[Any, ...]  # a row as SQLite gives it; the tables are STRICT

_FATE = struct.Struct(">IBIQI")  # destination, fate, outbox, seq, bytes of the reason

# an IntEnum's constructor costs more than an index
INBOX_KINDS = tuple(InboxKind)
VERDICTS = tuple(GuardVerdict)
FATES = tuple(Fate)


class High(IntEnum):
    """Which highest number a row of table ``high`` keeps."""

    INBOX = 1
    COPY = 2
    OUTBOX = 3


def pack_fates(fates: tuple[PlannedFate, ...]) -> bytes:
    """Return the planned fates of one run as one value: 21 bytes each, plus the reason."""
    parts = []
    for destination, fate, outbox, seq, reason in fates:
        text = reason.encode()
        parts.append(_FATE.pack(destination, fate, outbox, seq, len(text)))
        parts.append(text)
    return b"".join(parts)


def unpack_fates(packed: bytes) -> tuple[PlannedFate, ...]:
    """Return what :func:`pack_fates` packed.

    Raises:
        DamagedPageError: it is cut short, or holds what is never packed.
    """
    fates = []
    offset = 0
    try:
        while offset < len(packed):
            destination, fate, outbox, seq, length = _FATE.unpack_from(packed, offset)
            offset += _FATE.size + length
            reason = packed[offset - length : offset].decode()
            fates.append(PlannedFate(destination, FATES[fate], outbox, seq, reason))
    except (struct.error, IndexError, UnicodeDecodeError):
        raise unchained(DamagedPageError("the fates of a plan cannot be read")) from None
    if offset != len(packed):
        raise DamagedPageError("the fates of a plan are cut short")
    return tuple(fates)


def plan_columns(plan: PlanRow) -> tuple[int, int, int, int, int, bytes]:
    """Return the columns of table ``plan``."""
    return (*plan[:5], pack_fates(plan.fates))


def plan_row(columns: Columns) -> PlanRow:
    """Return a row of table ``plan``."""
    inbox_id, run, channel, config_version, at_us, fates = columns
    return PlanRow(inbox_id, run, channel, config_version, at_us, unpack_fates(fates))


def inbox_row(columns: Columns) -> InboxRow:
    """Return a row of table ``inbox``."""
    inbox_id, received_us, listener, channel, kind, size, peer, reason, origin, verdict, sealed = (
        columns
    )
    return InboxRow(
        inbox_id,
        received_us,
        listener,
        channel,
        INBOX_KINDS[kind],
        size,
        peer,
        reason,
        origin,
        VERDICTS[verdict],
        sealed,
    )


def outbox_row(columns: Columns) -> OutboxRow:
    """Return a row of table ``outbox``."""
    return OutboxRow._make((*columns[:8], bool(columns[8]), *columns[9:]))


def exception_row(columns: Columns) -> ExceptionRow:
    """Return a row of table ``exception``."""
    return ExceptionRow._make(
        (*columns[:2], ExceptionState(columns[2]), *columns[3:13], bool(columns[13]))
    )


def outcome_row(columns: Columns) -> OutcomeRow:
    """Return a row of table ``outcome``."""
    return OutcomeRow._make(
        (*columns[:2], FATES[columns[2]], *columns[3:7], bool(columns[7]), *columns[8:])
    )


def name_row(columns: Columns) -> tuple[int, NameKind, str]:
    """Return a row of table ``name``."""
    number, kind, name = columns
    return (number, NameKind(kind), name)
