"""How much content one look at the inbox holds in memory."""

from collections.abc import Iterable

from ifengine.store.base import InboxRow

MOST_PAGE_BYTES = 8 * 1024 * 1024  # content after which a page ends, be it of few messages


def page_of(rows: Iterable[InboxRow]) -> list[InboxRow]:
    """Return rows up to the one whose content fills a page."""
    found, size = [], 0
    for row in rows:
        found.append(row)
        size += len(row.sealed)
        if size >= MOST_PAGE_BYTES:
            break
    return found


def is_full(rows: Iterable[InboxRow]) -> bool:
    """Return whether content, and not the end of what there is, may have ended a page."""
    return sum(len(row.sealed) for row in rows) >= MOST_PAGE_BYTES
