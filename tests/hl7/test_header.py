from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.delimiters import DEFAULT_DELIMITERS
from ifengine.hl7.header import HeaderFault, read_header

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hl7"
FULL = (
    rb"MSH|^~\&|APP^1.2^ISO|FAC|DEST^2.3^ISO|DFAC|20260301||ADT^A01^ADT_A01|ID 1\T\x |P^R|2.5.1^USA"
    rb"|7|c|AL|NE|NOR|8859/1~ISO IR87|x|y|z"
)


def test_every_field_is_read_as_it_is_written() -> None:
    header = read_header(FULL + b"\rPID|1\r")
    assert header.fault is None
    assert header.delimiters == DEFAULT_DELIMITERS
    assert (header.sending_application, header.sending_facility) == (b"APP^1.2^ISO", b"FAC")
    assert (header.receiving_application, header.receiving_facility) == (b"DEST^2.3^ISO", b"DFAC")
    assert header.timestamp == b"20260301"
    assert (header.message_code, header.trigger_event) == (b"ADT", b"A01")
    assert header.structure == b"ADT_A01"
    assert header.control_id == rb"ID 1\T\x "
    assert (header.processing_id, header.processing_mode) == (b"P", b"R")
    assert header.version == b"2.5.1"
    assert (header.accept_ack, header.application_ack) == (b"AL", b"NE")
    assert header.charset == b"8859/1~ISO IR87"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", HeaderFault.EMPTY),
        (b"\r\n\r", HeaderFault.EMPTY),
        (b"\xef\xbb\xbf", HeaderFault.EMPTY),
        (b"PID|1\r", HeaderFault.NO_MSH),
        (b" MSH|^~\\&|", HeaderFault.NO_MSH),
        (b"MS", HeaderFault.NO_MSH),
        (b"FHS|^~\\&|A\rMSH|^~\\&|A\r", HeaderFault.BATCH),
        (b"\nBHS|^~\\&|A\r", HeaderFault.BATCH),
        (b"MSH", HeaderFault.BAD_DELIMITERS),
        (b"MSH\r", HeaderFault.BAD_DELIMITERS),
        (b"MSH|", HeaderFault.BAD_DELIMITERS),
        (b"MSH||A|B|C|D|||ADT^A01|1|P|2.5", HeaderFault.BAD_DELIMITERS),
        (b"MSH|&&&&|A|B|C|D|||ADT^A01|1|P|2.5", HeaderFault.BAD_DELIMITERS),
        (b"MSH|^~\\\\&|A|B|C|D|||ADT^A01|1|P|2.5", HeaderFault.BAD_DELIMITERS),
        (b"MSHA^~\\&ABACA", HeaderFault.BAD_DELIMITERS),
        (b"MSH|^~\\&|A|B|C|D|20260301||ADT^A01\r", HeaderFault.SHORT_MSH),
        (b"MSH|^~\\&|A\x0bMSH|^~\\&|C|D|||ADT^A01|1|P|2.5", HeaderFault.FRAMING_BYTES),
        (b"MSH|^~\\&|A|B|C|D||||1|P|2.5", HeaderFault.NO_MESSAGE_TYPE),
        (b'MSH|^~\\&|A|B|C|D|||""|1|P|2.5', HeaderFault.NO_MESSAGE_TYPE),
        (b"MSH|^~\\&|A|B|C|D|||ADT^A01||P|2.5", HeaderFault.NO_CONTROL_ID),
        (b'MSH|^~\\&|A|B|C|D|||ADT^A01|""|P|2.5', HeaderFault.NO_CONTROL_ID),
        (b"MSH|^~|A|B|C|D|||ADT^A01|1|P|2.5", None),
        (b"MSH|^~\\&|A|B|C|D|||ADT^A01|1", None),
    ],
)
def test_each_fault_has_its_name(content: bytes, fault: HeaderFault | None) -> None:
    assert read_header(content).fault is fault


def test_what_bad_delimiters_leave_readable_stays_readable() -> None:
    header = read_header(b"MSH|&&&&|A|B|C|D|||ADT^A01|ID7|P|2.5\r")
    assert header.control_id == b"ID7"
    assert header.sending_application == b"A"
    assert header.delimiters == DEFAULT_DELIMITERS


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n", b"\xef\xbb\xbf\n"])
def test_line_ends_and_a_byte_order_mark_do_not_change_what_is_read(
    end: bytes, before: bytes
) -> None:
    header = read_header(before + FULL[:75] + b"|P|2.5" + end + b"PID|1" + end)
    assert header.fault is None
    assert header.version == b"2.5"
    assert header.bom is before.startswith(b"\xef")


@pytest.mark.parametrize(
    ("accept", "application", "enhanced", "silent"),
    [
        (b"", b"", False, False),
        (b'""', b"", False, False),
        (b"NE", b"NE", True, True),
        (b"NE", b"", True, True),
        (b"", b"ER", True, True),
        (b"ER", b"NE", True, True),
        (b"AL", b"NE", True, False),
        (b"NE", b"SU", True, False),
        (b"NE", b"??", True, False),
    ],
)
def test_msh_15_and_msh_16_choose_the_mode(
    accept: bytes, application: bytes, enhanced: bool, silent: bool
) -> None:
    header = read_header(b"MSH|^~\\&|A||||||ADT^A01|1|P|2.5|||%b|%b\r" % (accept, application))
    assert (header.enhanced_mode, header.silent) == (enhanced, silent)


@given(content=st.binary())
def test_no_bytes_make_the_reader_raise(content: bytes) -> None:
    for start in (b"", b"MSH", b"MSH|", b"MSH|^~\\&", b"MSH|^~\\&|A|B|C|D|||", b"\xef\xbb\xbfMSH|"):
        header = read_header(start + content)
        assert len(header.fields) >= 18
        assert isinstance(header.processing_mode, bytes)
        assert isinstance(header.silent, bool)


def test_a_header_shows_no_content_when_printed() -> None:
    header = read_header(b"MSH|^~\\&|CANARY|CANARY|CANARY|CANARY|||ADT^CANARY|CANARY|P|2.5")
    assert "CANARY" not in repr(header)
    assert "CANARY" not in repr(read_header(b"MSH|&&&&|CANARY|||||||CANARY"))


def test_every_fixture_has_a_header_without_fault() -> None:
    files = sorted(FIXTURES.glob("*.hl7"))
    assert len(files) >= 12
    assert [file.name for file in files if read_header(file.read_bytes()).fault] == []
