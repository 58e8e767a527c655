from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.identifiers import CX, identifiers, patient_identifiers
from ifengine.hl7.message import NULL, Message

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


@given(
    field=st.lists(st.sampled_from(list(b'a1 ""^^^^^~&&\\T')), max_size=30).map(bytes),
    msh2=st.sampled_from([b"^~\\&", b"^~\\", b"^~", b"^"]),
)
def test_identifiers_without_escapes_are_read_as_every_other_node_is(
    field: bytes, msh2: bytes
) -> None:
    content = b"MSH|" + msh2 + b"|||||||ADT^A40|1|P|2.5\rMRG|" + field + b"\r"
    message = Message.parse(content)
    expected = []
    for r in range(1, message.repetition_count(1, 1) + 1):
        number = message.text(1, 1, r, 1)
        values = [message.text(1, 1, r, 4, s) for s in (1, 2, 3)]
        kind = message.text(1, 1, r, 5)
        if number not in ("", NULL):
            authority = tuple("" if value == NULL else value for value in values)
            expected.append((number, authority, "" if kind == NULL else kind))
    assert identifiers(message, 1, 1) == expected


@pytest.mark.parametrize(
    ("charset", "codec", "number"),
    [
        (b"8859/1", "iso8859_1", "Ü9"),
        (b"UNICODE UTF-8", "utf-8", "Ü9"),
        (b"~ISO IR87", "iso2022_jp", "許9"),
        (b"GB 18030-2000", "gb18030", "許9"),
    ],
)
def test_identifiers_in_every_character_set_are_text(
    charset: bytes, codec: str, number: str
) -> None:
    head = b"MSH|^~\\&|||||||ADT^A40|1|P|2.5||||||" + charset
    last = number.encode(codec) + b"^^^N"
    none = ("", "", "")
    found = CX(number, ("N", "", ""), "")
    plain = Message.parse(head + b"\rMRG|1~" + last + b"\r")
    assert identifiers(plain, 1, 1) == [CX("1", none, ""), found]
    escaped = Message.parse(head + b"\rMRG|\\T\\^^^A\\S\\B~" + last + b"\r")
    assert identifiers(escaped, 1, 1) == [CX("&", ("A^B", "", ""), ""), found]
