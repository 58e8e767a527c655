"""What may be forgotten: old messages that are settled everywhere, and memory that ran out."""

from collections.abc import Callable
from dataclasses import dataclass

from ifengine.clock import MICROSECONDS
from ifengine.store.base import Fate, InboxFilter, InboxKind, Reader, TallyInbox
from ifengine.transforms.memory import Space

PAGE = 200
MOST_A_PASS = 500
MOST_PAGES_A_PASS = 10  # where nothing may go, deliveries are not kept from reading meanwhile
SPARE_US = 24 * 3600 * MICROSECONDS  # what ran out stays this much longer
MOST_STATES_A_PASS = 500


Came = Callable[[int, int], int]  # of a message's id and what the wall clock showed


def _as_shown(inbox_id: int, received_us: int) -> int:
    return received_us


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


@dataclass(frozen=True, slots=True)
class Ended:
    """What steps remembered and ran out before a time: (space, key), what ended first first.

    ``is_all`` is False where another pass would find more.
    """

    before_us: int
    states: tuple[tuple[int, bytes], ...]
    is_all: bool


def find_expired(
    reader: Reader, after: int, newest: int, now_us: int, keep: Keep, came: Came = _as_shown
) -> Found:
    """Return settled messages that are older than they need be, from an inbox id on.

    The newest message always stays: the numbers of the inbox count on from it. ``now_us`` and what
    ``came`` says of a message's id and time of receipt are on one clock, that nobody sets.
    """
    expired: list[int] = []
    pages, records = 0, reader.tally()  # heads: content is of no interest here
    while len(expired) < MOST_A_PASS and pages < MOST_PAGES_A_PASS:
        pages += 1
        rows = records.inbox(after, PAGE)
        if not rows:
            return Found(tuple(expired), 0)
        for row in rows:
            came_us = came(row.inbox_id, row.received_us)
            if row.inbox_id >= newest or came_us > now_us - keep.messages_us:
                return Found(tuple(expired), 0)
            after = row.inbox_id
            if _is_expired(reader, row, late=came_us > now_us - keep.dead_letters_us):
                expired.append(row.inbox_id)
    return Found(tuple(expired), after)


def _is_expired(reader: Reader, row: TallyInbox, *, late: bool) -> bool:
    if row.kind is not InboxKind.MESSAGE:
        return True
    plans = reader.plans(row.inbox_id)
    if not plans:
        return False  # its steps have not run
    if reader.parked_message(row.inbox_id):
        return False  # waits, whatever its plans say
    for plan in plans:
        for fate in plan.fates:
            if fate.fate is Fate.DROPPED and fate.seq and reader.inbox(fate.seq) is not None:
                return False  # the message that it was combined into may be sent again
            if fate.fate is not Fate.QUEUED:
                continue
            outcome = reader.outcome(fate.outbox, fate.seq)
            if outcome is None:
                return False  # waiting, retrying, held or dead: not settled
            if outcome.fate is Fate.DISCARDED and late:
                return False
    return True


def find_left_over(reader: Reader, before_us: int) -> list[tuple[int, bytes]]:
    """Return what is remembered of collections (`combine`) whose messages are gone.

    ``before_us``: messages received later than this are still kept.
    """
    found: list[tuple[int, bytes]] = []
    after = b""
    while rows := reader.states(Space.PART, after, PAGE):
        old = [row for row in rows if row.at_us < before_us]
        found += [(row.space, row.key) for row in old if reader.inbox(row.inbox_id) is None]
        after = rows[-1].key
    return found


def find_ended(reader: Reader, now_us: int, came: Came = _as_shown) -> Ended:
    """Return what steps remembered and no message that may still come in can ask for.

    The clock is the time of receipt of the newest message: what ran out is forgotten as messages
    come, and none is while none comes. The caller looks at each state again before it is removed
    (``Memories.forget_ended``): it may have been renewed.
    """
    newest = reader.inbox_newest(InboxFilter(), 1)
    if not newest:
        return Ended(0, (), True)
    before_us = min(came(newest[0].inbox_id, newest[0].received_us), now_us) - SPARE_US
    found = tuple(reader.states_until(before_us, MOST_STATES_A_PASS))
    return Ended(before_us, found, len(found) < MOST_STATES_A_PASS)
