"""Parts of an encoded field: found and replaced without touching their neighbours."""

from ifengine.hl7.delimiters import Delimiters


class NoDelimiterError(ValueError):
    """A second part is written and MSH-2 is too short to name the delimiter before it."""


def part_of(value: bytes, delimiter: bytes, number: int) -> bytes:
    """Return one part, counted from 1; ``b""`` when it is absent.

    Without delimiter (``b""``, where MSH-2 names none) the value is its own only part.
    """
    if number == 1:
        return value.partition(delimiter)[0] if delimiter else value
    if number < 1:
        raise ValueError("parts count from 1")
    if not delimiter:
        return b""
    parts = value.split(delimiter, number)
    return parts[number - 1] if number <= len(parts) else b""


def with_part(old: bytes, delimiter: bytes, number: int, value: bytes) -> bytes:
    """Return ``old`` with one part replaced; the parts that are missing before it are empty.

    A plain ``old`` is part 1 and stays where a later part is written.
    """
    if number < 1:
        raise ValueError("parts count from 1")
    if not delimiter:
        return value if number == 1 else old + value
    parts = old.split(delimiter)
    if number > len(parts):
        parts += [b""] * (number - len(parts))
    parts[number - 1] = value
    return delimiter.join(parts)


def node_of(
    field: bytes, delimiters: Delimiters, r: int | None, c: int | None, s: int | None
) -> bytes:
    """Return a node of a field: None is the whole level, and the first where a lower one is given."""
    if r is None and c is None and s is None:
        return field
    # most parts are wanted where no delimiter of their level is: that question is a cheap one
    if delimiters.repetition_code in field:
        if r is None or r == 1:
            field = field.partition(delimiters.repetition)[0]
        else:
            field = part_of(field, delimiters.repetition, r)
    elif r is not None and r != 1:
        return _beyond(r)
    if c is None and s is None:
        return field
    if delimiters.component_code in field:
        if c is None or c == 1:
            field = field.partition(delimiters.component)[0]
        else:
            field = part_of(field, delimiters.component, c)
    elif c is not None and c != 1:
        return _beyond(c)
    if s is None:
        return field
    if delimiters.subcomponent_code in field:
        return part_of(field, delimiters.subcomponent, s)
    return field if s == 1 else _beyond(s)


def leaves_of(field: bytes, delimiters: Delimiters, c: int, s: int) -> list[bytes]:
    """Return one subcomponent of every repetition; each repetition is split once."""
    found: list[bytes] = []
    component = delimiters.component
    several = delimiters.repetition_code in field
    if s == 1 and delimiters.subcomponent_code not in field:
        whole = field.split(delimiters.repetition) if several else (field,)
        return [
            parts[c - 1] if len(parts := one.split(component, c)) >= c else b"" for one in whole
        ]
    for leaf in field.split(delimiters.repetition) if several else (field,):
        if c != 1 and component:
            parts = leaf.split(component, c)
            leaf = parts[c - 1] if c <= len(parts) else b""
        elif c != 1 or delimiters.component_code in leaf:
            leaf = part_of(leaf, component, c)
        if s != 1 or delimiters.subcomponent_code in leaf:
            leaf = part_of(leaf, delimiters.subcomponent, s)
        found.append(leaf)
    return found


def _beyond(number: int) -> bytes:
    if number < 1:
        raise ValueError("parts count from 1")
    return b""


def with_node(
    old: bytes, delimiters: Delimiters, r: int | None, c: int | None, s: int | None, value: bytes
) -> bytes:
    """Return a field with a node replaced; the levels are those of ``node_of``.

    Emptying what is not there adds no delimiters.

    Raises:
        NoDelimiterError: the message has no delimiter for this part.
    """
    if r is None and c is None and s is None:
        return value
    if not value and not node_of(old, delimiters, r, c, s):
        return old
    if s is None and c is not None and r == 1 and delimiters.repetition_code not in old:
        if c == 1 and delimiters.component_code not in old:
            return value  # the usual cases, on a short way
        return with_part(old, delimiters.component, c, value)
    repetition, component = delimiters.repetition, delimiters.component
    r = 1 if r is None else r
    if (r > 1 and not repetition) or (s is not None and s > 1 and not delimiters.subcomponent):
        raise NoDelimiterError("there is no delimiter for this part")
    if c is None and s is None:
        return with_part(old, repetition, r, value)
    c = 1 if c is None else c
    alone = r == 1 and delimiters.repetition_code not in old
    outer = old if alone else part_of(old, repetition, r)
    if s is not None:
        value = with_part(part_of(outer, component, c), delimiters.subcomponent, s, value)
    value = with_part(outer, component, c, value)
    return value if alone else with_part(old, repetition, r, value)
