"""Short ways of reading and writing fields of one segment; see ``together``."""

from collections.abc import Callable, Iterable

from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.lines import NUMBERED_FROM_SEPARATOR
from ifengine.hl7.parts import leaves_of, node_of
from ifengine.hl7.path import Path, Where
from ifengine.transforms.together import Change, Parts, Short, changing

# The encoded node that a path reads among the fields of its segment; None where it is not plain.
Reader = Callable[[list[bytes], Delimiters], bytes | None]


def is_short(name: str, field: int) -> bool:
    """Whether a field may be changed on the short way: MSH-1 and MSH-2 may not be."""
    return field > 2 or name not in NUMBERED_FROM_SEPARATOR


def reader(path: Path) -> Reader | None:
    """Return how to read the first node of a path; None where no short way leads there."""
    at, field = path.read_at, path.field
    if field is None or not is_short(path.segment, field):
        return None
    if at is not None:
        _, _, r, c, s = at

        def read(fields: list[bytes], given: Delimiters) -> bytes | None:
            value = fields[field] if field < len(fields) else b""
            if value.isalnum() and r == 1 and c is None:
                return value
            return node_of(value, given, r, c, s)

        return read
    choice = path.repetition.choice if isinstance(path.repetition, Where) else None
    if choice is None or not path.is_bare or path.segment == "Z*":
        return None
    texts, negated = frozenset(text.encode() for text in choice.texts), choice.negated
    c, s = path.component, path.subcomponent

    def read_chosen(fields: list[bytes], given: Delimiters) -> bytes | None:
        value = fields[field] if field < len(fields) else b""
        if not value.isascii() or given.escape_code in value:
            return None
        for r, leaf in enumerate(
            leaves_of(value, given, choice.component, choice.subcomponent) if value else (), 1
        ):
            if (leaf in texts) != negated:
                return node_of(value, given, r, c, s)
        return b""

    return read_chosen


def whole_reader(field: int) -> Reader:
    """Return how to read a field with all its repetitions."""

    def read(fields: list[bytes], _: Delimiters) -> bytes:
        return fields[field] if field < len(fields) else b""

    return read


def changes_parts(
    name: str, field: int, numbers: Iterable[int], plain: Callable[[bytes], bytes]
) -> Short | None:
    """Return how to change components of a field, each where its bytes are its text."""
    if not is_short(name, field):
        return None
    parts = Parts(field, tuple(numbers), plain)
    return Short(name, changing(parts), parts)


def puts(values: Iterable[tuple[int, bytes]]) -> Change:
    """Return how to write whole fields that are letters and digits, or empty where they are there."""
    wanted = tuple(values)

    def change(fields: list[bytes], given: Delimiters, _: object) -> bool:
        for field, value in wanted:
            if field < len(fields):
                fields[field] = value
            elif value:
                fields += [b""] * (field - len(fields))
                fields.append(value)
        return True

    return change
