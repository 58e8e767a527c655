"""MSH-18: from the name of a character set to a codec, without ever replacing a byte silently.

Bytes that the codec does not know are carried opaque: they become lone surrogates in text and
the same bytes again when written (PEP 383). That also holds for every byte above 127 of a
message that says ASCII or nothing.
"""

from dataclasses import dataclass, field

_UTF8_ALIASES = ("UNICODE UTF-8", "UTF-8", "UTF8", "UNICODE")  # UTF-16 cannot travel in MLLP
_CP1252_ALIASES = ("CP1252", "WINDOWS-1252", "WINDOWS 1252")

# Table 0211. ISO IR14 (JIS X 0201) and CNS 11643 have no codec here and stay opaque.
_CODECS: dict[str, str] = {
    "ASCII": "ascii",
    "US-ASCII": "ascii",
    "ISO IR6": "ascii",
    "ISO IR87": "iso2022_jp_ext",
    "ISO IR159": "iso2022_jp_ext",
    "GB 18030-2000": "gb18030",
    "GB 18030": "gb18030",
    "GB18030": "gb18030",
    "BIG-5": "big5",
    "BIG5": "big5",
    "KS X 1001": "euc_kr",
    "SHIFT_JIS": "shift_jis",
    "SHIFT JIS": "shift_jis",
    **dict.fromkeys(_UTF8_ALIASES, "utf-8"),
    **dict.fromkeys(_CP1252_ALIASES, "cp1252"),
    **{
        prefix + str(part): f"iso8859_{part}"
        for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)
        for prefix in ("8859/", "8859-", "ISO8859-", "ISO-8859-", "ISO 8859-", "ISO8859/")
    },
}

# In these a byte of a character can be the byte of a delimiter, so the message is rewritten in
# UTF-8 before it is split and back when it leaves.
_WIDE = frozenset({"gb18030", "big5", "shift_jis", "iso2022_jp_ext"})
_SHIFTED = "iso2022_jp_ext"


OPAQUE_BYTES = "surrogateescape"
# encoding and error handling of the form a wide message is split in
INTERNAL = ("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Codec:
    """How the bytes of one message become text.

    ``wide``: a character's byte may look like a delimiter. ``known``: MSH-18 named a set that has
    a codec; where not, bytes above 127 are opaque.
    """

    name: str
    wide: bool = False
    known: bool = True

    def decode(self, raw: bytes) -> str:
        """Return text; bytes that are not of this set become lone surrogates."""
        try:
            return raw.decode(self.name, OPAQUE_BYTES)
        except UnicodeDecodeError:
            # Behind an ISO 2022 escape two ASCII bytes make a character, and an ASCII byte that
            # makes none cannot be a lone surrogate: the whole is read as it stands.
            return raw.decode("ascii", OPAQUE_BYTES)

    def encode(self, text: str) -> bytes:
        """Return bytes; lone surrogates of ``decode`` become the bytes they came from.

        Raises:
            UnicodeEncodeError: the set lacks a character. Its text quotes the value: cut the chain.
        """
        return text.encode(self.name, OPAQUE_BYTES)

    def encode_value(self, text: str) -> bytes:
        """Return the bytes of one value in the form a message of this set is split in.

        Raises:
            UnicodeError: the set lacks a character; or, in a wide set, the value holds opaque bytes
                or control characters that would swallow what stands behind it. Its text quotes the
                value: cut the chain.
        """
        if not self.wide:
            return self.encode(text)
        internal = text.encode("utf-8")  # strict: no opaque bytes
        # strictly: half an escape reads back alone, and takes in what will stand behind it
        if self.encode(text).decode(self.name) != text:
            raise UnicodeError("the value does not read back")
        return internal


ASCII = Codec("ascii")
OPAQUE = Codec("ascii", known=False)
UTF8 = Codec("utf-8")
_BY_NAME = {name: Codec(name, wide=name in _WIDE) for name in {*_CODECS.values()}}


def find_codec(name: str) -> Codec | None:
    """Return the codec of a name of table 0211 or a usual alias; None where there is none."""
    codec = _CODECS.get(" ".join(name.upper().split()))
    return None if codec is None else _BY_NAME[codec]


@dataclass(frozen=True, slots=True)
class CharsetPolicy:
    """Which character set counts: ``forced``, else MSH-18, else a UTF-8 byte order mark, else ``default``.

    A name that table 0211 does not know makes every byte above 127 opaque.
    """

    forced: str | None = None
    default: str = "ascii"
    _named: dict[bytes, Codec] = field(init=False, repr=False, compare=False, default_factory=dict)

    def codec(self, msh18: bytes, repetition: bytes, *, bom: bool = False) -> Codec:
        """Return the codec for the raw bytes of MSH-18, cut at the repetition delimiter."""
        if bom and self.forced is None and msh18 in (b"", b'""'):
            return UTF8
        key = repetition + msh18
        codec = self._named.get(key)
        if codec is None:
            if len(self._named) >= _MOST_NAMED:  # a peer that invents names must not fill memory
                self._named.clear()
            codec = self._named[key] = self._choose(msh18, repetition)
        return codec

    def _choose(self, msh18: bytes, repetition: bytes) -> Codec:
        """Look a name up.

        The first repetition is the set of the message. Japanese messages name ASCII or nothing
        there and the two-byte sets, reached by ISO 2022 escapes, in later repetitions.
        """
        if self.forced is not None:
            return find_codec(self.forced) or OPAQUE
        default = find_codec(self.default) or OPAQUE
        if msh18 in (b"", b'""'):
            return default
        parts = msh18.split(repetition) if repetition else [msh18]
        names = [part.decode("ascii", "replace") for part in parts]
        codecs = [find_codec(name) for name in names]
        if _BY_NAME[_SHIFTED] in codecs:
            return _BY_NAME[_SHIFTED]
        return (codecs[0] or OPAQUE) if names[0].strip() else default


_MOST_NAMED = 256
DEFAULT_POLICY = CharsetPolicy()


def to_internal(content: bytes, codec: Codec) -> bytes | None:
    """Return content in a form in which every ASCII byte is an ASCII character; None where it cannot be.

    Only for wide codecs. None when writing it back would not give the same bytes: such content is
    read as it stands, opaque.
    """
    text = codec.decode(content)
    try:
        if codec.encode(text) != content:
            return None
    except UnicodeEncodeError:
        return None
    return text.encode(*INTERNAL)


def from_internal(internal: bytes, codec: Codec) -> bytes:
    """Undo ``to_internal``.

    Raises:
        UnicodeError: the bytes are not of that form.
    """
    return codec.encode(internal.decode(*INTERNAL))
