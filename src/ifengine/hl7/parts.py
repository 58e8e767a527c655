"""Parts of an encoded field: found and replaced level by level, without touching their neighbours."""


def part_of(value: bytes, delimiter: bytes, number: int) -> bytes:
    """Return one part, counted from 1; ``b""`` when it is absent.

    Without delimiter (``b""``, where MSH-2 names none) the value is its own only part.
    """
    if number < 1:
        raise ValueError("parts count from 1")
    if not delimiter or delimiter not in value:
        return value if number == 1 else b""
    parts = value.split(delimiter, number)
    return parts[number - 1] if number <= len(parts) else b""


def replace_part(old: bytes, levels: list[tuple[bytes, int]], value: bytes) -> bytes:
    """Return ``old`` with the part replaced that ``levels`` names, from the outermost in.

    Each level is a delimiter and a number from 1. A plain value is part 1 of every level, so it
    stays where a later part is written; missing parts between are empty.
    """
    if not levels:
        return value
    (delimiter, number), *inner = levels
    parts = old.split(delimiter) if delimiter else [old]
    if number > len(parts):
        parts += [b""] * (number - len(parts))
    parts[number - 1] = replace_part(parts[number - 1], inner, value)
    return delimiter.join(parts)
