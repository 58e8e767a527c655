"""What may be forgotten: messages older than `keep`, and only those that are settled everywhere."""

from dataclasses import dataclass

from ifengine.clock import MICROSECONDS
from ifengine.store.base import Fate, InboxKind, InboxRow, Reader

PAGE = 200
MOST_A_PASS = 500
CLOCK_JUMP_US = 24 * 3600 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class Keep:
    """How long messages stay, in microseconds."""

    messages_us: int
    dead_letters_us: int


@dataclass(frozen=True, slots=True)
class Found:
    """One pass over the inbox: what may go, and where the next pass begins."""

    inbox_ids: tuple[int, ...]
    next_after: int


def clock_jumped(now_us: int, high_water_us: int, since_us: int) -> bool:
    """Return whether the wall clock moved more than a day against what the store has seen.

    A clock that jumped must purge nothing (guarantees.md G12). ``since_us`` is how long the
    engine itself has measured since the mark was set, on the monotonic clock.
    """
    if high_water_us == 0:
        return False
    return abs(now_us - (high_water_us + since_us)) > CLOCK_JUMP_US


def find_expired(reader: Reader, after: int, newest: int, now_us: int, keep: Keep) -> Found:
    """Return settled messages that are older than they need be, from an inbox id on.

    The newest message always stays: the numbers of the inbox count on from it.
    """
    expired: list[int] = []
    while len(expired) < MOST_A_PASS:
        rows = reader.inbox_range(after, PAGE)
        if not rows:
            return Found(tuple(expired), 0)
        for row in rows:
            if row.inbox_id >= newest or row.received_us > now_us - keep.messages_us:
                return Found(tuple(expired), 0)
            after = row.inbox_id
            if _is_expired(reader, row, now_us, keep):
                expired.append(row.inbox_id)
    return Found(tuple(expired), after)


def _is_expired(reader: Reader, row: InboxRow, now_us: int, keep: Keep) -> bool:
    if row.kind is not InboxKind.MESSAGE:
        return True
    plans = reader.plans(row.inbox_id)
    if not plans:
        return False  # its steps have not run
    for plan in plans:
        for fate in plan.fates:
            if fate.fate is not Fate.QUEUED:
                continue
            outcome = reader.outcome(fate.outbox, fate.seq)
            if outcome is None:
                return False  # waiting, retrying, held or dead: not settled
            late = row.received_us > now_us - keep.dead_letters_us
            if outcome.fate is Fate.DISCARDED and late:
                return False
    return True
