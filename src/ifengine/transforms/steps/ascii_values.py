"""``ascii``: write letters with what ASCII has, drop control characters.

A character that has no such writing becomes ``?``: dropped, a name in another script would be empty,
and an empty field tells a receiver to keep what it has.
"""

import unicodedata

from ifengine.transforms.base import Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.reading_values import in_place_paths
from ifengine.transforms.source import Node
from ifengine.transforms.writing import change_in_place

# what no decomposition takes apart, by code point
_WRITTEN = {
    0x00A9: "(c)", 0x00AB: "<<", 0x00AE: "(R)", 0x00B1: "+/-", 0x00BB: ">>", 0x00D7: "x",
    0x00F7: "/", 0x00DF: "ss", 0x1E9E: "SS", 0x00E6: "ae", 0x00C6: "AE", 0x0153: "oe", 0x0152: "OE",
    0x00F8: "o", 0x00D8: "O", 0x0142: "l", 0x0141: "L", 0x0111: "d", 0x0110: "D", 0x00F0: "d",
    0x00D0: "D", 0x00FE: "th", 0x00DE: "Th", 0x0131: "i", 0x0127: "h", 0x0126: "H", 0x0167: "t",
    0x0166: "T", 0x014B: "n", 0x014A: "N", 0x0138: "k", 0x0259: "e", 0x00B5: "u", 0x03BC: "u",
    0x2010: "-", 0x2011: "-", 0x2012: "-", 0x2013: "-", 0x2014: "-", 0x2015: "-", 0x2212: "-",
    0x2018: "'", 0x2019: "'", 0x201A: "'", 0x201B: "'", 0x2032: "'", 0x02BC: "'", 0x00B4: "'",
    0x201C: '"', 0x201D: '"', 0x201E: '"', 0x2033: '"', 0x2022: "*", 0x00B7: ".", 0x2039: "<",
    0x203A: ">", 0x20AC: "EUR", 0x00A3: "GBP", 0x00A5: "JPY", 0x2264: "<=", 0x2265: ">=",
    0x2260: "!=", 0x2248: "~", 0x00B0: "deg", 0x2044: "/", 0x00A0: " ",
    # a backslash made of another character could begin an escape sequence
    0xFF3C: "/", 0xFE68: "/",
}  # fmt: skip
_DROPPED = frozenset({"Cc", "Cf", "Mn", "Me"})
_UNKNOWN = "?"


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    paths = in_place_paths(value, context)
    return Built(change_in_place(paths, to_ascii), Uses(writes=tuple(paths)))


def to_ascii(text: str) -> str:
    """Return text in ASCII without control characters."""
    if text.isascii() and text.isprintable():
        return text
    plain = unicodedata.normalize("NFKD", text.translate(_WRITTEN)).translate(_WRITTEN)
    return "".join(map(_plain, plain))


def _plain(character: str) -> str:
    if " " <= character <= "~":
        return character
    if unicodedata.category(character) in _DROPPED:
        return ""
    return " " if character.isspace() else _UNKNOWN
