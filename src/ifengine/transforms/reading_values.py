"""Reading the parameters that several value verbs share."""

from ifengine.hl7.path import Path
from ifengine.transforms.reading import Context
from ifengine.transforms.source import Node, Text

LONGEST = 100_000  # characters a value can be cut or padded to


def in_place_paths(node: Node, context: Context) -> list[Path]:
    """Return one or a list of paths whose every occurrence is changed."""
    found = [context.in_place(text) for text in context.texts(node, "path")]
    return [path for path in found if path is not None]


def whole_number(
    node: Node, what: str, context: Context, *, least: int = 1, most: int = LONGEST
) -> int | None:
    """Return a whole number within bounds."""
    text = context.text(node, what)
    if text is None:
        return None
    value = text.value
    if value.isascii() and value.isdecimal() and least <= int(value[:9]) <= most:
        return int(value)
    context.error("E104", text.position, f"{what} is a whole number from {least} to {most}")
    return None


def written_text(node: Node, what: str, context: Context, example: str) -> Text | None:
    """Return text that is not empty and not plain ``null``."""
    text = context.text(node, what)
    if text is not None and (text.is_null or not text.value):
        context.error("E104", text.position, f"{what} is empty", example)
        return None
    return text
