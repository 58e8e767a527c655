"""``extract_document``: what is taken out, how it is named, and what stays in the message."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.message import Message
from ifengine.routes.endpoints.files import is_safe_name
from ifengine.transforms.base import StepFailedError, StepScope
from ifengine.transforms.compile import Known, compile_steps
from ifengine.transforms.document_types import TYPES, detect_type
from ifengine.transforms.memory import Document
from ifengine.transforms.source import Problems
from transforms.written import TABLES, field, nodes, scope_of, steps

PDF = b"%PDF-1.4\n%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 9
HEAD = rb"MSH|^~\&|LAB|N|EHR|M|20260105||ORU^R01^ORU_R01|L2|P|2.5.1"
TAKE = "extract_document: {from: OBX(where OBX-2 = ED)-5, save_to: documents, name: '${msg.id}'"


def ed(content: bytes, encoding: bytes = b"Base64", kind: bytes = b"AP^PDF") -> bytes:
    data = base64.b64encode(content) if encoding == b"Base64" else content
    return b"LAB^" + kind + b"^" + encoding + b"^" + data


def report(*values: bytes, kind: bytes = b"ED") -> bytes:
    lines = [b"OBX|%d|%s|R^Report^L||%s||||||F" % (n, kind, v) for n, v in enumerate(values, 1)]
    return b"\r".join([HEAD, b"PID|1||71^^^N^MR||Fir^Ada", b"OBR|1|P1||X", *lines, b""])


def taken(text: str, content: bytes, destination: str = "") -> tuple[Message, list[Document]]:
    scope = scope_of(content)
    scope.destination = destination
    steps(f"- {text}}}").run(scope)
    return Message.parse(scope.message.encode()), scope.documents


def test_a_document_becomes_a_pointer_and_the_rest_stays() -> None:
    content = report(ed(PDF)).replace(b"OBX|1|", b"OBX|1|NM|GLU||4\rOBX|2|")
    made, found = taken(TAKE, content)
    assert found == [Document("documents", "01J8K3Q-1.pdf", PDF)]
    assert field(made, "OBX[2]-2") == "RP"
    assert field(made, "OBX[2]-5") == "01J8K3Q-1.pdf^documents^AP^PDF"
    assert field(made, "OBX[2]-3") == "R^Report^L"
    assert field(made, "OBX[2]-11") == "F"
    assert field(made, "OBX[1]-2") == "NM"
    assert field(made, "OBX[1]-5") == "4"
    assert b"JVBER" not in made.encode()


def test_what_is_left_is_a_pointer_nothing_or_everything() -> None:
    whole = report(ed(PDF))
    made, found = taken(TAKE + ", leave: remove", whole)
    assert (field(made, "OBX-5"), field(made, "OBX-2"), len(found)) == ("", "ED", 1)
    made, found = taken(TAKE + ", leave: keep", whole)
    assert (made.encode(), len(found)) == (whole, 1)


def test_names_count_and_tell_the_type_that_was_found_not_the_one_that_was_said() -> None:
    made, found = taken(TAKE, report(ed(PDF), ed(PNG), ed(b"\x00\x01", kind=b"AU^BASIC")))
    assert [d.name for d in found] == ["01J8K3Q-1.pdf", "01J8K3Q-2.png", "01J8K3Q-3.bin"]
    assert [field(made, f"OBX[{n}]-5") for n in (1, 2, 3)] == [
        "01J8K3Q-1.pdf^documents^AP^PDF",
        "01J8K3Q-2.png^documents^IM^PNG",
        "01J8K3Q-3.bin^documents^AU^BASIC",  # nobody knows better than the sender
    ]


def test_two_steps_and_two_destinations_never_give_two_documents_one_name() -> None:
    scope = scope_of(report(ed(PDF), ed(PNG)))
    steps(f"- {TAKE}, types: pdf}}\n- {TAKE}, types: png}}").run(scope)
    assert [d.name for d in scope.documents] == ["01J8K3Q-1.pdf", "01J8K3Q-2.png"]
    _, ehr = taken(TAKE + ", types: pdf", report(ed(PDF), ed(PDF + b"2")), "ehr")
    _, lab = taken(TAKE + ", types: pdf", report(ed(PDF + b"3")), "lab")
    assert [d.name for d in ehr] == ["01J8K3Q-ehr-1.pdf", "01J8K3Q-ehr-2.pdf"]
    assert [d.name for d in lab] == ["01J8K3Q-lab-1.pdf"]


def test_configured_text_stands_around_the_id() -> None:
    _, found = taken(TAKE.replace("${msg.id}", "lab_${ msg.id }.v1"), report(ed(PDF)))
    assert [d.name for d in found] == ["lab_01J8K3Q.v1-1.pdf"]


def test_only_the_types_that_are_wanted_are_taken() -> None:
    made, found = taken(TAKE + ", types: [png, jpeg]", report(ed(PDF), ed(PNG)))
    assert [d.content for d in found] == [PNG]
    assert [field(made, f"OBX[{n}]-2") for n in (1, 2)] == ["ED", "RP"]


def test_every_repetition_is_taken_or_none() -> None:
    made, found = taken(TAKE, report(ed(PDF) + b"~" + ed(PNG)))
    assert len(found) == 2
    assert field(made, "OBX-5") == ("01J8K3Q-1.pdf^documents^AP^PDF~01J8K3Q-2.png^documents^IM^PNG")
    with pytest.raises(StepFailedError, match="several documents, and not all are taken"):
        taken(TAKE + ", types: pdf", report(ed(PDF) + b"~" + ed(PNG)))


def test_what_is_no_document_is_left_alone() -> None:
    for content in (
        report(b"plain text", kind=b"TX"),
        report(b"", b'""', b"LAB^AP^PDF^Base64^", b'LAB^AP^PDF^Base64^""'),
    ):
        made, found = taken(TAKE.replace("OBX(where OBX-2 = ED)-5", "OBX-5"), content)
        assert (made.encode(), found) == (content, [])


@pytest.mark.parametrize(
    ("encoding", "data", "content"),
    [
        (b"Base64", b"JVBERi0x", b"%PDF-1"),
        (b"BASE64", b"JVBERi0x", b"%PDF-1"),
        (b"", b"JVBERi0x", b"%PDF-1"),
        (b"Base64", rb"JVBE\X0D0A\Ri0x\.br\ ", b"%PDF-1"),
        (b"Hex", b"255044 462D31", b"%PDF-1"),
        (b"A", rb"{\E\rtf1 a\T\b}", b"{\\rtf1 a&b}"),
    ],
)
def test_a_document_is_decoded_by_its_encoding(
    encoding: bytes, data: bytes, content: bytes
) -> None:
    _, found = taken(TAKE, report(b"LAB^AP^PDF^" + encoding + b"^" + data))
    assert [d.content for d in found] == [content]


@pytest.mark.parametrize(
    ("encoding", "data", "rule"),
    [
        (b"Base64", b"JVBERi0", r"OBX\[2\]-5\.5: is not base64 \(7 characters\)"),
        (b"Base64", b"JVBE*i0x", "is not base64"),
        (b"Base64", "JVBEä0x".encode(), "is not base64"),
        (b"Hex", b"2550G0", "is not hexadecimal"),
        (b"zip", b"JVBERi0x", "is not in an encoding of table 0299"),
    ],
)
def test_what_cannot_be_decoded_is_a_dead_letter_that_names_the_place_only(
    encoding: bytes, data: bytes, rule: str
) -> None:
    broken = report(ed(PDF), b"LAB^AP^PDF^" + encoding + b"^" + data)
    with pytest.raises(StepFailedError, match=rule) as failed:
        taken(TAKE, broken)
    assert "JVBE" not in str(failed.value) + failed.value.reason.full + repr(failed.value)


@given(st.binary(min_size=1, max_size=400))
def test_any_content_comes_out_as_it_went_in(content: bytes) -> None:
    made, found = taken(TAKE, report(ed(content)))
    assert [d.content for d in found] == [content]
    assert is_safe_name(found[0].name)
    assert found[0].name.rpartition(".")[2] in TYPES
    assert made.text(made.first("OBX"), 5, 1, 1, 1) == found[0].name


def test_a_type_is_known_by_its_first_bytes() -> None:
    cda = b'<?xml version="1.0"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3">'
    samples = {
        PDF: "pdf", b"\n\n" + PDF: "pdf", b"\xff\xd8\xff\xe0JFIF": "jpeg", PNG: "png",
        b"GIF89a..": "gif", b"II*\x00..": "tiff", b"MM\x00*..": "tiff", b"{\\rtf1": "rtf",
        b"\x00" * 128 + b"DICM": "dicom", cda: "cda", b"<c:ClinicalDocument>": "cda",
        b"\xef\xbb\xbf<?xml version='1.0'?><a/>": "xml", "Befund: größer".encode(): "text",
        "größer".encode("latin-1"): "bin", b"a\x00b": "bin", b"": "bin", b"\x89PNG": "bin",
    }  # fmt: skip
    assert {content: detect_type(content) for content in samples} == samples
    assert {*samples.values()} == set(TYPES)


# --- what check says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "code", "says"),
    [
        ("from: OBX-5, save_to: other, name: '${msg.id}'", "E201", 'no "other" under documents'),
        ("from: OBX-5, save_to: documents, name: '${PID-5.1}'", "E215", "PID-5.1 may tell"),
        ("from: OBX-5, save_to: documents, name: '${msg.id}${ward}'", "E215", "ward may tell"),
        ("from: OBX-5, save_to: documents, name: '${msg.id | left(2)}'", "E215", "two ids"),
        ("from: OBX-5, save_to: documents, name: '${msg.id}-${now}'", "E215", "now may tell"),
        ("from: OBX-5, save_to: documents, name: report", "E217", "the message's id"),
        ("from: OBX-5, save_to: documents, name: 'a/${msg.id}'", "E217", "no folder"),
        ("from: OBX-5, save_to: documents, name: '.${msg.id}'", "E217", "no dot first"),
        ("from: OBX-5.5, save_to: documents, name: '${msg.id}'", "E306", "a whole field"),
        ("from: OBX, save_to: documents, name: '${msg.id}'", "E306", "works on fields"),
        ("from: OBX-5, save_to: documents, name: '${msg.id}', types: word", "E103", "not one of"),
        ("from: OBX-5, save_to: documents, name: '${msg.id}', leave: it", "E103", "not one of"),
        ("from: OBX-5, name: '${msg.id}'", "E102", 'needs "save_to"'),
    ],
)
def test_a_step_that_would_leak_or_fail_is_an_error(parameters: str, code: str, says: str) -> None:
    problems = Problems()
    known = Known(TABLES, frozenset({"ward"}), documents=frozenset({"documents"}))
    compile_steps(nodes(f"- extract_document: {{{parameters}}}"), problems, known)
    assert [problem.code for problem in problems.found] == [code]
    assert says in problems.found[0].message


def test_the_step_says_what_it_reads_and_writes() -> None:
    made = steps(f"- {TAKE}}}")
    assert [str(path) for path in made.paths_read()] == ["OBX(where OBX-2 = ED)-5"]
    assert [str(path) for path in made.paths_written()] == [
        "OBX(where OBX-2 = ED)-5",
        "OBX(where OBX-2 = ED)-2",
    ]
    assert steps(f"- {TAKE}, leave: keep}}").paths_written() == ()


def test_content_is_in_no_text_about_a_scope_or_a_document() -> None:
    scope: StepScope = scope_of(report(ed(b"%PDF-Fir")))
    steps(f"- {TAKE}}}").run(scope)
    assert "Fir" not in repr(scope) + repr(scope.documents)
