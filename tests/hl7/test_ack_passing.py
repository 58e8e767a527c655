"""An answer of one version, delimiters and character set told again in those of another message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.ack import AckError, ErrorLocation
from ifengine.hl7.ack_passing import (
    SILENCE,
    Told,
    ToldError,
    read_told,
    told_again,
    told_of,
    told_text,
    write_told,
)
from ifengine.hl7.ack_reading import read_ack
from ifengine.hl7.header import Header, read_header
from ifengine.hl7.tables import Hl7ErrorCode

AT_US = 1_767_607_200_000_000
ANSWER = (
    b"MSH|^~\\&|RIS|S|CPOE|N|20260105||ACK|R1|P|2.5.1\r"
    b"MSA|AE|7|wrong \\T\\ late\r"
    b"ERR||PID^1^3^2^1|101^Required field missing^HL70357|E||||no number\r"
    b"ERR||OBR^2|103^Table value not found^HL70357|W\r"
)


def header(msh: bytes = b"|P|2.5.1", start: bytes = b"MSH|^~\\&", control: bytes = b"7") -> Header:
    return read_header(start + b"|CPOE|N|RIS|S|20260105||ORM^O01|" + control + msh + b"\r")


def written(told: Told, of: Header | None = None) -> bytes:
    answer = write_told(of or header(), told, at_us=AT_US, control_id=b"IFE9")
    assert answer is not None
    return answer.content


def test_code_text_and_every_error_are_told_with_our_own_header() -> None:
    content = written(read_told(ANSWER, "AE"))
    assert content == (
        b"MSH|^~\\&|RIS|S|CPOE|N|20260105100000+0000||ACK^O01^ACK|IFE9|P|2.5.1\r"
        b"MSA|AE|7|wrong \\T\\ late\r"
        b"ERR||PID^1^3^2^1|101^Required field missing^HL70357|E||||no number\r"
        b"ERR||OBR^2|103^Table value not found^HL70357|W\r"
    )


def test_an_old_sender_hears_it_in_err_1_and_a_new_one_without_msa_3() -> None:
    old = written(read_told(ANSWER, "AE"), header(b"|P|2.3"))
    assert b"ERR|PID^1^3^101&Required field missing&HL70357\r" in old
    new = written(read_told(ANSWER, "AE"), header(b"|P|2.7"))
    assert b"MSA|AE|7\r" in new


def test_an_old_answer_is_read_from_err_1() -> None:
    told = read_told(
        b"MSH|^~\\&|R|S|C|N|||ACK|1|P|2.3\rMSA|AR|7|no\rERR|PID^1^5^102&Data type error&HL70357\r",
        "AR",
    )
    assert told.errors == (
        ToldError("102", "Data type error", "HL70357", location=ErrorLocation("PID", 1, 5)),
    )


def test_other_delimiters_hide_what_would_be_theirs() -> None:
    told = Told("AA", "a#b|c")
    content = written(told, _hash_header())
    assert b"MSA#AA#7#a\\F\\b|c\r" in content


def _hash_header() -> Header:
    return read_header(b"MSH#*~\\&#CPOE#N#RIS#S#20260105##ORM*O01#7#P#2.4\r")


def test_letters_go_from_one_character_set_to_another_and_none_is_made_up() -> None:
    answer = "MSH|^~\\&|R|S|C|N|||ACK|1|P|2.4||||||8859/1\rMSA|AA|7|für Ólafur\r".encode("latin-1")
    told = read_told(answer, "AA")
    assert told.text == "für Ólafur"
    utf8 = header(b"|P|2.4||||||UNICODE UTF-8")
    assert "für Ólafur".encode() in written(told, utf8)
    assert b"f?r ?lafur" in written(told, header(b"|P|2.4"))


def test_control_characters_never_break_the_frame() -> None:
    content = written(Told("AA", "a\rb\x1cc\x0bd"), header(b"|P|2.4"))
    assert b"a?b?c?d" in content


def test_enhanced_mode_has_an_id_of_its_own_and_silence_where_it_was_asked_for() -> None:
    wants = header(b"|P|2.5.1|||AL|ER")
    assert write_told(wants, Told("AA"), at_us=AT_US, control_id=b"IFE9") is None
    assert b"|IFE9A|P|" in written(Told("AE"), wants)
    assert write_told(wants, SILENCE, at_us=AT_US, control_id=b"IFE9") is None


def test_the_whole_answer_gets_the_senders_id_and_nothing_else_changes() -> None:
    content = written(read_told(ANSWER, "AE", whole=True), header(control=b"X^9"))
    assert content == ANSWER.replace(b"MSA|AE|7|", b"MSA|AE|X^9|")
    other = written(read_told(ANSWER, "AE", whole=True), _hash_header())
    assert other == ANSWER


@pytest.mark.parametrize(
    "raw", [b"", b"MSH", b"MSH|^~\\&\rMSA", b"\xff\r\r|", b"MSH|^~\\&|\rERR\r"]
)
def test_what_cannot_be_read_is_left_out(raw: bytes) -> None:
    assert read_told(raw, "AA").code == "AA"


TOLD = st.builds(
    Told,
    st.sampled_from(["AA", "AE", "AR"]),
    st.text(max_size=60),
    st.lists(
        st.builds(
            ToldError,
            st.text(max_size=8),
            st.text(max_size=20),
            st.text(max_size=10),
            st.sampled_from("EWIF"),
            st.none()
            | st.builds(ErrorLocation, st.sampled_from(["PID", "OBX"]), st.integers(1, 9)),
            st.text(max_size=60),
        ),
        max_size=3,
    ).map(tuple),
    st.binary(max_size=30),
)


@given(TOLD)
def test_what_is_kept_comes_back(told: Told) -> None:
    assert told_again(told_text(told)) == told


@given(TOLD, st.sampled_from([b"|P|2.1", b"|P|2.3", b"|P|2.5.1", b"|P|2.8||||||UNICODE UTF-8"]))
def test_whatever_is_told_can_be_read_again_with_its_code_and_id(told: Told, msh: bytes) -> None:
    told = Told(told.code, told.text, told.errors)
    content = written(told, header(msh))
    answer = read_ack(content)
    assert (answer.code, answer.control_id) == (told.code, b"7")
    assert not {b"\x0b"[0], b"\x1c"[0]} & set(content)
    assert all(line[:3] in (b"MSH", b"MSA", b"ERR", b"") for line in content.split(b"\r"))


def test_our_own_errors_name_their_place() -> None:
    error = AckError(Hl7ErrorCode.REQUIRED_FIELD_MISSING, ErrorLocation("PID", 1, 3), "no number")
    content = written(told_of("AE", "no number", (error,)))
    assert b"ERR||PID^1^3|101^Required field missing^HL70357|E||||no number\r" in content


def test_nothing_of_an_answer_shows_in_a_repr() -> None:
    told = Told("AE", "for Ada Fir", (ToldError("1", "Ada", text="Fir"),), b"Ada")
    assert "Ada" not in repr(told)
    assert "Fir" not in repr(told)
