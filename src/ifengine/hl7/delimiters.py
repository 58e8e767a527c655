"""MSH-1 and MSH-2: the characters that give a message its structure, and the escapes that hide them.

Everything here works on bytes of a charset whose ASCII bytes are always ASCII characters;
``hl7.charset`` sees to that (its wide codecs are rewritten before a message is split).
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass

SEGMENT_END = b"\r"
FRAMING_BYTES = b"\x0b\x1c"  # start and end block of MLLP: they may stand in no message
BREAKING_BYTES = b"\r\n" + FRAMING_BYTES  # would end a segment or a frame where they stand
_IN_NO_SEGMENT = SEGMENT_END[0]  # stands for a delimiter that MSH-2 does not name

# Sequences that say how text is shown (2.7.1 to 2.7.8): no character stands for them, so text
# keeps them as they are written. \.sp+2\, \H\, \N\, \Cxxyy\, \Mxxyyzz\, \Zdd..\
_FORMATTING = re.compile(
    rb"[HN]|\.[A-Za-z]{2} ?[+-]?[0-9]*|C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4}(?:[0-9A-Fa-f]{2})?|Z[0-9A-Fa-f]+"
)
_HEXADECIMAL = re.compile(rb"X(?:[0-9A-Fa-f]{2})+")


class NoEscapeCharacterError(ValueError):
    """A value holds a delimiter and MSH-2 is too short to name an escape character."""


class DelimiterFaultError(ValueError):
    """MSH-1 or MSH-2 cannot delimit: missing, repeated, or not printable punctuation."""


def _hexadecimal(value: int) -> bytes:
    return b"X%02X" % value


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The delimiters of one message, one byte each; ``b""`` where MSH-2 is too short to name one.

    ``msh2`` is MSH-2 as it was written, ``truncation`` its fifth character (2.7 and later). The
    ``…_code`` are for asking whether a delimiter is in a field: looking for a number in bytes is
    ten times faster than looking for bytes. One that is not named is a byte no segment holds.

    Source: HL7 v2.9.1, 2.5.4 and 2.7.
    """

    field: bytes
    component: bytes
    repetition: bytes
    escape_character: bytes
    subcomponent: bytes
    truncation: bytes
    msh2: bytes
    # component, repetition and subcomponent: what a field without anything in it may consist of
    parts: bytes = dataclasses.field(init=False, repr=False, compare=False)
    component_code: int = dataclasses.field(init=False, repr=False, compare=False)
    repetition_code: int = dataclasses.field(init=False, repr=False, compare=False)
    escape_code: int = dataclasses.field(init=False, repr=False, compare=False)
    subcomponent_code: int = dataclasses.field(init=False, repr=False, compare=False)
    # Finds what makes encoded bytes differ from the text they are: a delimiter, an escape (however
    # it is written), a byte beyond ASCII or one that breaks a frame. None: the bytes are the text.
    marks: Callable[[bytes], re.Match[bytes] | None] = dataclasses.field(
        init=False, repr=False, compare=False
    )
    _special: re.Pattern[bytes] = dataclasses.field(init=False, repr=False, compare=False)
    _sequence: re.Pattern[bytes] = dataclasses.field(init=False, repr=False, compare=False)
    _escaped: dict[bytes, bytes] = dataclasses.field(init=False, repr=False, compare=False)
    _unescaped: dict[bytes, bytes] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        named = (
            (self.field, b"F"),
            (self.component, b"S"),
            (self.repetition, b"R"),
            (self.escape_character, b"E"),
            (self.subcomponent, b"T"),
            (self.truncation, b"P"),
        )
        letters = {character: letter for character, letter in named if character}
        undone = {letter: character for character, letter in letters.items()}
        letters |= {bytes([code]): _hexadecimal(code) for code in BREAKING_BYTES}
        reserved = re.escape(b"".join(letters))
        special = b"[" + reserved + b"]"
        escape = re.escape(self.escape_character)
        # a sequence runs from one escape character to the next: they do not nest (2.7)
        sequence = escape + b"([^" + escape + b"]*)" + escape if escape else b"(?!)()"
        set_once = object.__setattr__
        set_once(self, "parts", self.component + self.repetition + self.subcomponent)
        for name in ("component", "repetition", "subcomponent"):
            set_once(self, f"{name}_code", _code(getattr(self, name)))
        set_once(self, "escape_code", _code(self.escape_character))
        set_once(self, "marks", re.compile(rb"[\\\x80-\xff" + reserved + b"]").search)
        set_once(self, "_special", re.compile(special))
        set_once(self, "_sequence", re.compile(sequence))
        hidden = {
            plain: self.escape_character + name + self.escape_character
            for plain, name in letters.items()
        }
        set_once(self, "_escaped", hidden)
        set_once(self, "_unescaped", undone)

    @classmethod
    def read(cls, field: bytes, msh2: bytes) -> "Delimiters":
        """Return the delimiters written in MSH-1 and MSH-2; what was seen before is not made again.

        Raises:
            DelimiterFaultError: they are missing, repeated, or not printable punctuation.
        """
        known = _KNOWN.get(field + msh2)
        if known is not None and known.field == field:
            return known
        _require_delimiters(field, msh2)
        parts = [msh2[n : n + 1] for n in range(5)]
        made = cls(field, parts[0], parts[1], parts[2], parts[3], parts[4], msh2)
        if len(_KNOWN) >= _MOST_KNOWN:  # a peer that sends ever new ones must not fill memory
            _KNOWN.clear()
        _KNOWN[field + msh2] = made
        return made

    def escape(self, value: bytes) -> bytes:
        r"""Return bytes that can stand in a message as one value and as nothing else.

        Delimiters become ``\F\ \S\ \T\ \R\ \E\ \P\``; CR, LF, VT and FS become ``\X0D\`` and so on.
        One thing is left as it is: a well-formed *formatting* sequence (``\.br\``, ``\H\``, ``\N\``,
        ``\C..\``, ``\M..\``, ``\Z..\``), because ``unescape`` hands these out unchanged and a value
        that is read, altered and written must not turn them into text. Every other escape
        character is text. So ``unescape(escape(v)) == v`` for every v; a literal ``\.br\`` cannot be
        told from the sequence.

        Raises:
            NoEscapeCharacterError: the message has none and the value needs one.
        """
        if value.isalnum():
            return value
        if not self.escape_character:
            if self._special.search(value) is not None:
                raise NoEscapeCharacterError("a delimiter cannot be escaped in this message")
            return value
        if self.escape_code not in value:
            return self._special.sub(self._hidden, value)
        pieces: list[bytes] = []
        at = 0
        for match in self._sequence.finditer(value):
            if self._is_formatting(match[1]):
                pieces += (self._hide(value[at : match.start()]), match[0])
                at = match.end()
        pieces.append(self._hide(value[at:]))
        return b"".join(pieces)

    def unescape(self, value: bytes, decode_hexadecimal: Callable[[bytes], bytes] = bytes) -> bytes:
        r"""Return the value that stands in a message as these bytes.

        ``\F\ \S\ \T\ \R\ \E\`` and, where MSH-2 has a fifth character, ``\P\`` give the delimiter,
        ``\Xhh..\`` its bytes through ``decode_hexadecimal``. Formatting sequences, unknown ones and
        an escape character without a partner stay as they are.
        """
        if self.escape_code not in value:
            return value

        def undo(match: re.Match[bytes]) -> bytes:
            body = match[1]
            plain = self._unescaped.get(body)
            if plain is not None:
                return plain
            if _HEXADECIMAL.fullmatch(body):
                return decode_hexadecimal(bytes.fromhex(body[1:].decode("ascii")))
            return match[0]

        return self._sequence.sub(undo, value)

    def _is_formatting(self, body: bytes) -> bool:
        return _FORMATTING.fullmatch(body) is not None and self._special.search(body) is None

    def _hide(self, value: bytes) -> bytes:
        return self._special.sub(self._hidden, value)

    def _hidden(self, match: re.Match[bytes]) -> bytes:
        return self._escaped[match[0]]


def stamp_between(stamp: bytes, marks: bytes) -> bytes:
    """Return a time that ends in +0000 so that none of these delimiters stands in it.

    -0000 says UTC as well; where both signs delimit, the offset cannot be written.
    """
    if b"+" not in marks:
        return stamp
    digits = stamp.removesuffix(b"+0000")
    return digits if b"-" in marks else digits + b"-0000"


def _code(delimiter: bytes) -> int:
    return delimiter[0] if delimiter else _IN_NO_SEGMENT


def _require_delimiters(field: bytes, msh2: bytes) -> None:
    characters = field + msh2
    if len(field) != 1 or not 1 <= len(msh2) <= 5:
        raise DelimiterFaultError("MSH-2 must have one to five characters")
    if len(set(characters)) != len(characters):
        raise DelimiterFaultError("a delimiter is used twice")
    if not all(0x21 <= code <= 0x7E for code in characters):
        raise DelimiterFaultError("a delimiter is not printable")
    if any(character.isalnum() for character in characters.decode("ascii")):
        raise DelimiterFaultError("a delimiter is a letter or a digit")


_MOST_KNOWN = 256
_KNOWN: dict[bytes, Delimiters] = {}
DEFAULT_DELIMITERS = Delimiters.read(b"|", b"^~\\&")
