"""Parts of an encoded field: found and replaced without touching their neighbours."""


def part_of(value: bytes, delimiter: bytes, number: int) -> bytes:
    """Return one part, counted from 1; ``b""`` when it is absent.

    Without delimiter (``b""``, where MSH-2 names none) the value is its own only part.
    """
    if number < 1:
        raise ValueError("parts count from 1")
    if not delimiter or delimiter not in value:
        return value if number == 1 else b""
    if number == 1:
        return value[: value.find(delimiter)]
    parts = value.split(delimiter, number)
    return parts[number - 1] if number <= len(parts) else b""


def with_part(old: bytes, delimiter: bytes, number: int, value: bytes) -> bytes:
    """Return ``old`` with one part replaced; the parts that are missing before it are empty.

    A plain ``old`` is part 1 and stays where a later part is written.
    """
    if number < 1:
        raise ValueError("parts count from 1")
    if not delimiter or delimiter not in old:
        return value if number == 1 else old + delimiter * (number - 1) + value
    parts = old.split(delimiter)
    if number > len(parts):
        parts += [b""] * (number - len(parts))
    parts[number - 1] = value
    return delimiter.join(parts)
