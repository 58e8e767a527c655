from pathlib import Path

from ifengine.hl7.identifiers import CX, patient_identifiers
from ifengine.hl7.message import Message

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hl7"
QUAY = ("QUAY", "1.2.3.99", "ISO")


def test_every_survivor_and_prior_identifier_of_a_merge_is_found_with_its_whole_authority() -> None:
    message = Message.parse((FIXTURES / "adt_a40_two_prior.hl7").read_bytes())
    numbers = ["700111", "700333", "600222", "600444"]
    assert patient_identifiers(message) == [CX(number, QUAY, "MR") for number in numbers]


def test_repetitions_count_and_what_has_no_number_does_not() -> None:
    message = Message.parse(
        b'MSH|^~\\&|A\rPID|1||1\\T\\2^^^A^MR~^^^B^MR~""~3^^^""^""~1\\T\\2^^^A^MR\rMRG|""\rPID|2\r'
    )
    assert patient_identifiers(message) == [
        CX("1&2", ("A", "", ""), "MR"),
        CX("3", ("", "", ""), ""),
    ]


def test_an_identifier_shows_no_content_when_printed() -> None:
    assert repr(CX("700111", QUAY, "MR")) == "CX()"
