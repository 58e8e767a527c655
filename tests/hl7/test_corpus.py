"""The public corpus: parse, round trip, acknowledgments, expected results, and the `hl7` package."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import hl7
from ifengine.hl7.ack import Verdict, answers, read_ack
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.header import HeaderFault, read_header
from ifengine.hl7.message import Message, MessageError

CORPUS = Path(__file__).parents[2] / ".." / "shared" / "corpus"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "hl7"
needs_corpus = pytest.mark.skipif(
    not (CORPUS / "index.csv").is_file(), reason="the shared corpus is not beside the repository"
)
UNREADABLE = {HeaderFault.EMPTY, HeaderFault.NO_MSH, HeaderFault.BATCH, HeaderFault.BAD_DELIMITERS}
NO_SEGMENT = re.compile(rb"[\r\n](?![A-Z][A-Z0-9]{2}([|@#]|[\r\n]|$)|[\r\n]|$)")
LATIN1 = CharsetPolicy(forced="8859/1")  # every byte a character: what is compared is structure


def rows() -> list[dict[str, str]]:
    with (CORPUS / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def unframed(content: bytes) -> bytes:
    return content.strip(b"\x0b\x1c\r\n") + b"\r" if content.startswith(b"\x0b") else content


def corpus_contents() -> Iterator[tuple[str, bytes]]:
    for row in rows():
        yield row["path"], unframed((CORPUS / row["path"]).read_bytes())


def readable() -> Iterator[tuple[str, bytes]]:
    for path, content in corpus_contents():
        if read_header(content).fault not in UNREADABLE:
            yield path, content


def everything(message: Message) -> list[tuple[str, list[bytes]]]:
    return [
        (name, [message.raw(i, f) for f in range(1, message.field_count(i) + 1)])
        for i, name in enumerate(message.names())
    ]


@needs_corpus
def test_every_file_is_a_message_that_leaves_as_it_came_or_is_refused_by_name() -> None:
    refused = 0
    for path, content in corpus_contents():
        fault = read_header(content).fault
        if fault in UNREADABLE:
            refused += 1
            with pytest.raises(MessageError):
                Message.parse(content)
            continue
        message = Message.parse(content)
        everything(message)
        assert message.encode() is content, path
    assert 20 <= refused <= 60


@needs_corpus
def test_touching_a_message_keeps_every_field_of_it() -> None:
    for path, content in readable():
        message = Message.parse(content)
        before = everything(message)
        message.insert_segment(len(before), "ZZZ")
        assert everything(Message.parse(message.encode())) == [*before, ("ZZZ", [])], path


@needs_corpus
def test_the_count_of_segments_is_that_of_the_index() -> None:
    seen = 0
    for row in rows():
        content = unframed((CORPUS / row["path"]).read_bytes())
        if read_header(content).fault in UNREADABLE or b"non-seg" in row["notes"].encode():
            continue
        if row["notes"].find("lowercase-seg") >= 0 or "MLLP" in row["notes"]:
            continue
        assert len(Message.parse(content).names()) == int(row["segments"]), row["path"]
        seen += 1
    assert seen > 350


@needs_corpus
def test_type_event_and_version_are_those_of_the_index() -> None:
    for row in rows():
        header = read_header(unframed((CORPUS / row["path"]).read_bytes()))
        if header.fault is None and row["type"] in ("ADT", "ORU", "ORM", "SIU", "OML", "ACK"):
            assert header.message_code.decode() == row["type"], row["path"]
            assert header.trigger_event.decode() == row["trigger"].split("+")[0], row["path"]
            assert header.version.decode() == row["version"].split("^")[0], row["path"]


@needs_corpus
def test_every_file_gets_the_answer_its_header_allows() -> None:
    positive = negative = silent = 0
    for path, content in corpus_contents():
        header = read_header(content)
        sent = answers(header, Verdict.COMMITTED, at_us=0, control_id=b"C")
        for one in sent:
            said = read_ack(one)
            assert said.control_id == header.control_id, path
            assert (said.code[1] == "A") is (header.fault is None), path
            positive += said.code[1] == "A"
            negative += said.code[1] != "A"
        silent += not sent
        if not sent:
            assert header.silent or header.message_code in (b"ACK", b"MCF") or not content.strip()
    assert positive > 300
    assert negative >= 20
    assert silent >= 5


@needs_corpus
@pytest.mark.parametrize(
    ("request_path", "response_path"),
    [
        ("cosyte-mllp/r1-adt-a01.frame.bin", "cosyte-mllp/r1-ack-aa.frame.bin"),
        (
            "nist-hl7v2-validation-webservice/ITI-9-Query-Case1-Data-Found/TestMessage-1.txt",
            "nist-hl7v2-validation-webservice/ITI-9-Query-Case1-Data-Found/Response-1.txt",
        ),
    ],
)
def test_answers_are_those_that_the_corpus_expects(request_path: str, response_path: str) -> None:
    expected = unframed((CORPUS / response_path).read_bytes())
    header = read_header(unframed((CORPUS / request_path).read_bytes()))
    (made,) = answers(header, Verdict.COMMITTED, at_us=0, control_id=b"C")
    ours, theirs = read_header(made), read_header(expected)
    for number in (2, 3, 4, 5, 6, 8, 11, 12, 18):
        assert ours.fields[number - 1] == theirs.fields[number - 1]
    assert ours.message_code == theirs.message_code
    assert ours.trigger_event == theirs.trigger_event
    assert read_ack(made) == read_ack(expected)


@needs_corpus
def test_the_answers_in_the_corpus_are_read() -> None:
    read = {
        path: read_ack(content)
        for path, content in corpus_contents()
        if read_header(content).message_code == b"ACK"
    }
    assert len(read) == 9
    assert all(said.is_ack and said.code for said in read.values())
    (refusal,) = (said for path, said in read.items() if path.endswith("err-2_Response.hl7"))
    assert (refusal.code, refusal.control_id, refusal.error_codes) == ("AR", b"10501108", (204,))
    assert refusal.text.endswith("^^^&1.2.3.4&ISO")


@needs_corpus
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("empty-input", HeaderFault.EMPTY),
        ("no-msh-segment", HeaderFault.NO_MSH),
        ("msh-too-short", HeaderFault.SHORT_MSH),
        ("invalid-encoding-characters", None),  # MSH-2 of two characters: read, as the field does
    ],
)
def test_the_malformed_set_has_our_names(name: str, fault: HeaderFault | None) -> None:
    content = (CORPUS / "cosyte-hl7" / "malformed" / f"{name}.hl7").read_bytes()
    assert read_header(content).fault is fault


# --- expected results of another engine ------------------------------------------------------


def parts_of(element: ElementTree.Element, value: str) -> Iterator[tuple[list[int], str]]:
    """Yield the numbers of an XML element's leaves below it, and their text."""
    if len(element) == 0:
        yield [], element.text or ""
    for child in element:
        number = int(child.tag.rsplit(".", 1)[1])
        for numbers, text in parts_of(child, value):
            yield [number, *numbers], text


@needs_corpus
@pytest.mark.parametrize(
    "name", ["test-hl7", "test-hl7-repetitions", "test-hl7-subcomponents", "test-hl7-whitespace"]
)
def test_the_view_agrees_with_the_expected_xml(name: str) -> None:
    folder = CORPUS / "nextgenhealthcare-connect" / "server" / "tests"
    message = Message.parse((folder / f"{name}-input.txt").read_bytes())
    root = ElementTree.parse(folder / f"{name}-output.xml").getroot()
    assert [segment.tag for segment in root] == message.names()
    compared = 0
    for i, segment in enumerate(root):
        repetition: dict[int, int] = {}
        for field in segment:
            f = int(field.tag.rsplit(".", 1)[1])
            r = repetition[f] = repetition.get(f, 0) + 1
            for numbers, text in parts_of(field, ""):
                c, s, *_ = [*numbers, None, None]
                assert message.text(i, f, r, c, s) == text, field.tag
                compared += 1
    assert compared > 15


# --- the hl7 package --------------------------------------------------------------------------


def compare_with_hl7(name: str, content: bytes) -> int:
    """Compare every node that both can name; return how many."""
    ours = Message.parse(content, charset=LATIN1)
    ours.insert_segment(len(ours.names()), "ZZZ")  # what hl7 wants: CR, no byte order mark
    text = ours.encode().removeprefix(b"\xef\xbb\xbf").decode("iso8859-1")
    theirs = hl7.parse(text)
    assert [str(segment[0]) for segment in theirs] == ours.names(), name
    compared = 0
    for i, segment in enumerate(theirs):
        for f in range(1, len(segment)):
            field = segment[f]
            assert str(field).encode("iso8859-1") == ours.raw(i, f), (name, i, f)
            compared += 1
            if i == 0 and f <= 2:
                continue
            for r, repetition in enumerate(field, 1):
                compared += compare_repetition((name, i, f, r), ours, theirs, repetition)
    return compared


def compare_repetition(
    place: tuple[str, int, int, int], ours: Message, theirs: hl7.Message, repetition: object
) -> int:
    _, i, f, r = place
    if isinstance(repetition, str):
        assert repetition.encode("iso8859-1") == ours.raw(i, f, r), place
        return 1
    assert isinstance(repetition, list)
    compared = 0
    for c, component in enumerate(repetition, 1):
        leaves = component if isinstance(component, list) else [component]
        for s, leaf in enumerate(leaves, 1):
            assert leaf.encode("iso8859-1") == ours.raw(i, f, r, c, s), (place, c, s)
            compared += 1
    return compared


@pytest.mark.parametrize(
    "name",
    sorted(
        path.name
        for path in FIXTURES.glob("*.hl7")
        if path.name not in ("oru_r01_big5.hl7", "raw_break_inside_a_field.hl7")
    ),
)
def test_reading_agrees_with_the_hl7_package_on_the_fixtures(name: str) -> None:
    assert compare_with_hl7(name, (FIXTURES / name).read_bytes()) > 20


def test_unescaping_agrees_with_the_hl7_package_where_it_defines_a_meaning() -> None:
    message = Message.parse((FIXTURES / "escapes.hl7").read_bytes())
    theirs = hl7.parse(message.encode().decode("ascii"))
    for i, f, c in ((1, 5, 1), (1, 5, 2), (3, 5, 1)):
        raw = message.raw(i, f, 1, c).decode("ascii")
        assert message.text(i, f, 1, c) == theirs.unescape(raw)


@needs_corpus
def test_reading_agrees_with_the_hl7_package_on_the_corpus() -> None:
    files = nodes = 0
    for path, content in readable():
        if len(content) > 6000 or NO_SEGMENT.search(content):
            continue  # hl7 makes a segment of every line
        if content.count(b"MSH") != 1 or len(read_header(content).fields[1]) < 4:
            continue  # hl7 takes four characters for granted, and one message
        nodes += compare_with_hl7(path, content)
        files += 1
    assert files > 250
    assert nodes > 20_000
