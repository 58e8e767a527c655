import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.delimiters import (
    DEFAULT_DELIMITERS,
    DelimiterFaultError,
    Delimiters,
    NoEscapeCharacterError,
)

ODD = Delimiters.read(b"#", b"*!/@$")
CROSSING = Delimiters.read(b"|", b".~\\+")  # delimiters that formatting sequences are made of
EVERY = [DEFAULT_DELIMITERS, Delimiters.read(b"|", b"^~\\&#"), ODD, CROSSING]
# values made mostly of what can go wrong
CROOKED = st.lists(
    st.sampled_from(
        [
            b"\\",
            b"|",
            b"^",
            b"~",
            b"&",
            b"#",
            b"/",
            b"*",
            b"\r",
            b"\n",
            b"\x0b",
            b"\x1c",
            b"H",
            b"N",
            b"E",
            b"X0D",
            b"F",
            b".br",
            b".sp+2",
            b"\\.sp+2\\",
            b"Z01",
            b"C2842",
            b"Q",
            b"a b",
            b"\xff",
            b"P",
        ]
    )
).map(b"".join)


@pytest.mark.parametrize("delimiters", EVERY)
@given(value=st.one_of(CROOKED, st.binary()))
def test_what_is_escaped_reads_as_it_was(delimiters: Delimiters, value: bytes) -> None:
    assert delimiters.unescape(delimiters.escape(value)) == value


@pytest.mark.parametrize("delimiters", EVERY)
@given(value=st.one_of(CROOKED, st.binary()))
def test_an_escaped_value_holds_nothing_that_gives_structure(
    delimiters: Delimiters, value: bytes
) -> None:
    forbidden = delimiters.field + delimiters.msh2 + b"\r\n\x0b\x1c"
    structural = set(forbidden) - set(delimiters.escape_character)
    assert not structural & set(delimiters.escape(value))


@pytest.mark.parametrize("delimiters", EVERY)
@given(raw=CROOKED)
def test_reading_and_writing_again_changes_nothing_after_the_first_time(
    delimiters: Delimiters, raw: bytes
) -> None:
    once = delimiters.escape(delimiters.unescape(raw))
    assert delimiters.escape(delimiters.unescape(once)) == once


@pytest.mark.parametrize(
    "sequence",
    [
        rb"\.br\x",
        rb"\H\loud\N\ ".strip(),
        rb"\.sp+2\a",
        rb"\.in-4\a",
        rb"\Z01\a",
        rb"\C2842\a",
        rb"\M824041\a",
    ],
)
def test_formatting_sequences_survive_reading_and_writing(sequence: bytes) -> None:
    text = DEFAULT_DELIMITERS.unescape(sequence)
    assert text == sequence
    assert DEFAULT_DELIMITERS.escape(text) == sequence


@pytest.mark.parametrize(
    "text", [rb"C:\dir\file", rb"\Q\x", rb"\Zebra\x", rb"\X0\x", b"\\", rb"\\srv\x"]
)
def test_a_backslash_that_formats_nothing_is_text(text: bytes) -> None:
    written = DEFAULT_DELIMITERS.escape(text)
    assert DEFAULT_DELIMITERS.unescape(text) == text
    assert written == text.replace(b"\\", rb"\E" + b"\\")


def test_delimiters_and_hexadecimal_are_undone_at_the_leaf() -> None:
    assert DEFAULT_DELIMITERS.unescape(rb"a\F\b\S\c\T\d\R\e\E\f\X0d0A\g") == b"a|b^c&d~e\\f\r\ng"
    assert ODD.unescape(b"7/R/8/F//P/") == b"7!8#$"


def test_the_truncation_escape_means_something_only_where_msh_2_names_the_character() -> None:
    assert DEFAULT_DELIMITERS.unescape(rb"\P\4") == rb"\P\4"
    assert Delimiters.read(b"|", b"^~\\&#").unescape(rb"\P\4") == b"#4"


def test_without_escape_character_only_harmless_values_can_be_written() -> None:
    short = Delimiters.read(b"|", b"^~")
    assert short.escape(rb"plain \H\ text") == rb"plain \H\ text"
    for value in (b"a|b", b"a^b", b"a\rb"):
        with pytest.raises(NoEscapeCharacterError) as caught:
            short.escape(value)
        assert "a" + chr(value[1]) + "b" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "msh2"),
    [
        (b"|", b""),
        (b"", b"^~\\&"),
        (b"|", b"^^\\&"),
        (b"|", b"^~|&"),
        (b"|", b"^~\\&#$"),
        (b"|", b"^~\x01&"),
        (b"A", b"^~\\&"),
        (b"|", b"^~\\B"),
        (b" ", b"^~\\&"),
        (b"|", b"^~\xe9&"),
    ],
)
def test_what_cannot_delimit_is_refused(field: bytes, msh2: bytes) -> None:
    with pytest.raises(DelimiterFaultError):
        Delimiters.read(field, msh2)


def test_ever_new_delimiters_do_not_fill_memory() -> None:
    from ifengine.hl7 import delimiters

    marks = "!\"#$%&'()*+,-./:;<=>?@[]^_`{}~"
    for one in marks:
        for two in marks:
            if one != two:
                Delimiters.read(b"|", (one + two).encode())
    assert len(delimiters._KNOWN) <= delimiters._MOST_KNOWN
