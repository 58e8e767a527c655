import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.charset import (
    ASCII,
    DEFAULT_POLICY,
    CharsetPolicy,
    find_codec,
    from_internal,
    to_internal,
)


@pytest.mark.parametrize(
    ("msh18", "name"),
    [
        (b"", "ascii"),
        (b'""', "ascii"),
        (b"ASCII", "ascii"),
        (b"8859/1", "iso8859_1"),
        (b"8859/15", "iso8859_15"),
        (b"ISO-8859-1", "iso8859_1"),
        (b"UNICODE UTF-8", "utf-8"),
        (b"unicode  utf-8", "utf-8"),
        (b"UTF-8~UNICODE", "utf-8"),
        (b"GB 18030-2000", "gb18030"),
        (b"BIG-5", "big5"),
        (b"KS X 1001", "euc_kr"),
        (b"~ISO IR87", "iso2022_jp_ext"),
        (b"ISO IR6~ISO IR87~ISO IR159", "iso2022_jp_ext"),
        (b"~8859/1", "ascii"),
        (b"WINDOWS-1252", "cp1252"),
    ],
)
def test_msh_18_names_the_codec(msh18: bytes, name: str) -> None:
    codec = DEFAULT_POLICY.codec(msh18, b"~")
    assert (codec.name, codec.known) == (name, True)


@pytest.mark.parametrize(
    "msh18", [b"ISO IR 999", b"CNS 11643-1992", b"UNICODE UTF-16", b"\xff\xfe"]
)
def test_an_unknown_set_is_opaque_and_says_so(msh18: bytes) -> None:
    assert DEFAULT_POLICY.codec(msh18, b"~").known is False


def test_forced_beats_msh_18_and_default_fills_in_for_nothing() -> None:
    forced = CharsetPolicy(forced="8859/1", default="UTF-8")
    assert forced.codec(b"UNICODE UTF-8", b"~", bom=True).name == "iso8859_1"
    assert CharsetPolicy(default="8859/2").codec(b"", b"~").name == "iso8859_2"
    assert CharsetPolicy(default="8859/2").codec(b"", b"~", bom=True).name == "utf-8"


@pytest.mark.parametrize(
    "name",
    ["ASCII", "UNICODE UTF-8", "8859/1", "8859/6", "CP1252", "KS X 1001", "GB18030", "BIG-5"],
)
@given(raw=st.binary())
def test_any_bytes_survive_a_narrow_set_and_a_wide_one_is_used_only_where_they_do(
    name: str, raw: bytes
) -> None:
    codec = find_codec(name)
    assert codec is not None
    if codec.wide:
        internal = to_internal(raw, codec)
        assert internal is None or from_internal(internal, codec) == raw
    else:
        assert codec.encode(codec.decode(raw)) == raw


def test_a_wide_set_hides_no_delimiter_in_a_character() -> None:
    codec = find_codec("BIG-5")
    assert codec is not None
    raw = "許功蓋".encode("big5")
    assert b"\\" in raw  # the trap: the second byte of a character
    internal = to_internal(raw, codec)
    assert internal is not None
    assert b"\\" not in internal


def test_a_character_the_set_lacks_is_an_error_not_a_question_mark() -> None:
    with pytest.raises(UnicodeEncodeError):
        ASCII.encode("ü")


def test_invented_names_do_not_fill_memory() -> None:
    policy = CharsetPolicy()
    for n in range(1000):
        policy.codec(b"X%d" % n, b"~")
    assert len(policy._named) <= 256


@pytest.mark.parametrize("text", ["\x1b", "a\x1b", "\x1b$", "\x1b(", "\x1b$B"])
def test_half_an_escape_is_no_value_of_a_set_with_escapes(text: str) -> None:
    codec = find_codec("ISO IR87")
    assert codec is not None
    with pytest.raises(UnicodeError):
        codec.encode_value(text)
    assert codec.encode_value("\u65e5\u672c a") == "\u65e5\u672c a".encode()
