"""The retransmission guard's decision (safety-rules.md 6), shared by all stores. Pure."""

from typing import NamedTuple

from ifengine.store.base import MOST_CONTENTS_PER_ID, GuardVerdict, InboxKind, NewInboxEntry


class Claim(NamedTuple):
    """What a store remembers of one message id of one sender: the *latest* content under it."""

    inbox_id: int  # the message that claimed it
    digest: bytes
    contents: int  # how many times the content changed, the first one included
    at_us: int
    until_us: int  # end of the window, for the purge only


def may_claim(entry: NewInboxEntry) -> bool:
    """Return whether the guard looks at this entry at all: refused frames claim nothing."""
    return entry.guard_key is not None and (
        entry.kind is InboxKind.MESSAGE or entry.kind is InboxKind.UNROUTED
    )


def first_claim(entry: NewInboxEntry) -> Claim:
    """Return the claim of an entry whose id is not held."""
    at_us = entry.guard_at_us or entry.received_us
    return Claim(entry.inbox_id, entry.digest, 1, at_us, at_us + entry.guard_window_us)


def judge(entry: NewInboxEntry, held: Claim) -> Claim | None:
    """Set ``verdict`` and ``origin`` of an entry whose id is held; return the claim to write.

    None leaves the held claim as it is: a repetition does not renew it, so that a device which
    sends one id for ever is heard again after the window.
    """
    if (entry.guard_at_us or entry.received_us) - held.at_us > entry.guard_window_us:
        entry.verdict = GuardVerdict.NEW
        entry.origin = 0
        return first_claim(entry)
    if held.contents <= MOST_CONTENTS_PER_ID and held.digest == entry.digest:
        entry.verdict = GuardVerdict.TAGGED if entry.tag_only else GuardVerdict.DUPLICATE
        entry.origin = held.inbox_id
        return None
    contents = min(held.contents + 1, MOST_CONTENTS_PER_ID + 1)
    off = contents > MOST_CONTENTS_PER_ID
    entry.verdict = GuardVerdict.OFF if off else GuardVerdict.REUSED
    entry.origin = 0 if off else held.inbox_id
    return first_claim(entry)._replace(contents=contents)
