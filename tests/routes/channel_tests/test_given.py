"""What a test gives: samples with changes, as the bytes that a sender would send."""

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.message import Message
from ifengine.hl7.path import parse_path
from ifengine.routes.channel_tests.given import GivenError, content_of
from ifengine.routes.config.cases import Given
from ifengine.transforms.source import Position
from routes.channel_tests.small import ADT, ORU

HERE = Position("one.yaml", 1, 1)
SAMPLES = {
    "adt": ADT.encode(),
    "oru": ORU.encode(),
    "batch": b"BHS|^~\\&|A\n" + ADT.encode() + ADT.replace("|C1|", "|C2|").encode() + b"BTS|2\n",
    "empty": b"\n",
}


def made(sample: str = "adt", **said: object) -> bytes:
    change = said.pop("change", {})
    assert isinstance(change, dict)
    given = Given(
        position=HERE,
        sample=sample,
        change=tuple((parse_path(path), text) for path, text in change.items()),
        remove=tuple(parse_path(text) for text in said.pop("remove", ())),  # type: ignore[attr-defined]
        append=tuple(said.pop("append", ())),  # type: ignore[call-overload]
    )
    assert not said
    return content_of(given, SAMPLES, CharsetPolicy())


def field(content: bytes, path: str) -> str | None:
    return parse_path(path).read(Message.parse(content))


def test_segments_of_a_sample_end_with_cr_whatever_the_file_uses() -> None:
    expected = ADT.replace("\n", "\r").encode()
    assert made() == expected
    for ends in ("\r\n", "\r", "\n\n"):
        given = Given(position=HERE, sample="x")
        content = content_of(given, {"x": ADT.replace("\n", ends).encode()}, CharsetPolicy())
        assert content == expected


def test_inline_text_may_be_indented_and_speaks_the_character_set_it_names() -> None:
    text = "  MSH|^~\\&|A|B|C|D|20260105||ADT^A01|1|P|2.5.1||||||8859/1\n\n  PID|1||7||Müller\n"
    content = content_of(Given(position=HERE, text=text), {}, CharsetPolicy())
    assert content.startswith(b"MSH|")
    assert content.endswith(b"M\xfcller\r")
    assert field(content, "PID-5") == "Müller"


def test_a_change_is_one_value_and_delimiters_in_it_are_escaped() -> None:
    content = made(change={"PID-5.1": "A^B|C", "PV1-3": "4^W"})
    assert field(content, "PID-5.1") == "A^B|C"
    assert field(content, "PID-5.2") == "Ada"
    assert field(content, "PV1-3.1") == "4^W"


def test_null_empties_a_field_with_all_its_repetitions_and_text_goes_beyond_the_end() -> None:
    content = made(
        change={"PID-3": "", "PV1-44": "2026", "PID-5.7": "L", "PID-13[2].4": "x@y.example"}
    )
    assert b"PID|1||||" in content
    assert field(content, "PV1-44") == "2026"
    assert field(content, "PID-5.7") == "L"
    assert field(content, "PID-13[2].4") == "x@y.example"


def test_places_are_chosen_by_number_and_by_condition() -> None:
    content = made("oru", change={"OBX[2]-5": "9", "OBX(where OBX-3.1 = GLU)-8": "HH"})
    assert field(content, "OBX[2]-5") == "9"
    assert field(content, "OBX[1]-8") == "HH"
    assert field(content, "OBX[2]-8") == "H"
    content = made(change={"PID-3(where .5 = PI).1": "55"})
    assert field(content, "PID-3[2].1") == "55"
    assert field(content, "PID-3[1].1") == "7001"


def test_segments_and_fields_are_removed_and_segments_appended() -> None:
    content = made("oru", remove=["OBX[1]", "PID-5"], append=["NTE|1||x", "ZZZ|1"])
    names = Message.parse(content).names()
    assert names == ["MSH", "PID", "OBR", "OBX", "NTE", "ZZZ"]
    assert field(content, "PID-5") is None
    assert field(content, "OBX-3.1") == "K"


def test_each_message_of_a_batch_is_changed_in_its_place() -> None:
    content = made("batch", change={"PV1-2": "O"})
    assert content.startswith(b"BHS|")
    assert content.endswith(b"BTS|2\r")
    assert content.count(b"PV1|1|O|") == 2
    assert made("batch") == SAMPLES["batch"].replace(b"\n", b"\r")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"change": {"ZPI-1": "x"}}, "append"),
        ({"change": {"OBX[9]-5": "x"}}, "there is no segment"),
        ({"change": {"PID-3(where .5 = XX).1": "x"}}, "fits nothing"),
        ({"change": {"PID": "x"}}, "is a segment"),
        ({"change": {"MSH-2": "x"}}, "MSH-2"),
        ({"remove": ["MSH"]}, "MSH"),
        ({"sample": "empty", "change": {"PID-5": "x"}}, "holds no message"),
        ({"sample": "absent"}, "no sample absent"),
    ],
)
def test_a_change_that_changes_nothing_is_told(said: dict[str, object], why: str) -> None:
    with pytest.raises(GivenError, match=why):
        made(**said)  # type: ignore[arg-type]


def test_what_is_not_there_can_be_emptied() -> None:
    assert made(change={"ZPI-1": "", "OBX[9]-5": ""}) == made()


@examples(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1))
def test_any_value_reads_back_as_it_was_given(text: str) -> None:
    content = made(change={"PV1-3.2": text})
    assert field(content, "PV1-3.2") == text
    assert field(content, "PV1-2") == "I"
