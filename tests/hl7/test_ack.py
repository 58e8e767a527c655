from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.clock import MICROSECONDS
from ifengine.hl7.ack import (
    AckCode,
    AckError,
    ErrorLocation,
    Hl7ErrorCode,
    Verdict,
    answers,
    due_answers,
    read_ack,
    refusal_of,
)
from ifengine.hl7.batch import batch_of_answers
from ifengine.hl7.header import HeaderFault, read_header
from ifengine.hl7.message import Message

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hl7"
AT = 1_772_353_207 * MICROSECONDS + 120_000  # 2026-03-01 08:20:07.12 UTC
YES, NO_R, NO_E = Verdict.COMMITTED, Verdict.UNACCEPTABLE_HEADER, Verdict.INVALID_CONTENT
BIRTH_DATE = AckError(
    Hl7ErrorCode.DATA_TYPE, ErrorLocation("PID", 1, 7), "PID-7: is not a date | really"
)


def inbound(
    msh15: bytes = b"",
    msh16: bytes = b"",
    *,
    version: bytes = b"2.5.1",
    kind: bytes = b"ADT^A01^ADT_A01",
    control_id: bytes = b"QS1",
    msh18: bytes = b"",
) -> bytes:
    msh = [b"MSH", b"^~\\&", b"APP^1.2^ISO", b"FAC^3.4^ISO", b"DEST", b"DFAC", b"20260301", b""]
    msh += [kind, control_id, b"P^T", version, b"", b"", msh15, msh16, b"", msh18]
    return b"|".join(msh) + b"\rPID|1\r"


def sent(content: bytes, verdict: Verdict, error: AckError | None = None) -> list[bytes]:
    return answers(read_header(content), verdict, at_us=AT, control_id=b"C7", error=error)


def codes(content: bytes, verdict: Verdict) -> list[str]:
    due = due_answers(read_header(content), verdict, at_us=AT, control_id=b"C7")
    said = [Message.parse(answer.content).text(1, 1) for answer in due]
    assert said == [answer.code for answer in due]
    return said


# --- which ------------------------------------------------------------------------------------

# MSH-15, MSH-16, then what is sent for: committed, refused (R), refused (E)
TABLE = [
    ("", "", ["AA"], ["AR"], ["AE"]),
    ('""', "", ["AA"], ["AR"], ["AE"]),
    ("NE", "NE", [], [], []),
    ("NE", "", [], [], []),
    ("", "NE", [], [], []),
    ("AL", "NE", ["CA"], ["CR"], ["CE"]),
    ("AL", "", ["CA"], ["CR"], ["CE"]),
    ("ER", "NE", [], ["CR"], ["CE"]),
    ("SU", "NE", ["CA"], [], []),
    ("NE", "AL", ["AA"], ["AR"], ["AE"]),
    ("", "AL", ["AA"], ["AR"], ["AE"]),
    ("NE", "ER", [], ["AR"], ["AE"]),
    ("NE", "SU", ["AA"], [], []),
    ("AL", "AL", ["CA", "AA"], ["CR"], ["CE"]),
    ("AL", "SU", ["CA", "AA"], ["CR"], ["CE"]),
    ("AL", "ER", ["CA"], ["CR"], ["CE"]),
    ("ER", "AL", ["AA"], ["CR"], ["CE"]),
    ("SU", "AL", ["CA", "AA"], ["AR"], ["AE"]),
    ("SU", "ER", ["CA"], ["AR"], ["AE"]),
    ("SU", "SU", ["CA", "AA"], [], []),
    ("ER", "ER", [], ["CR"], ["CE"]),
    ("XX", "NE", ["CA"], ["CR"], ["CE"]),  # not of table 0155: as AL
    ("NE", "al", ["AA"], ["AR"], ["AE"]),
    ("\xe9", "", ["CA"], ["CR"], ["CE"]),
]


@pytest.mark.parametrize(("msh15", "msh16", "committed", "refused_r", "refused_e"), TABLE)
def test_msh_15_and_msh_16_are_judged_after_the_outcome(
    msh15: str, msh16: str, committed: list[str], refused_r: list[str], refused_e: list[str]
) -> None:
    content = inbound(msh15.encode("latin-1"), msh16.encode("latin-1"))
    assert codes(content, YES) == committed
    assert codes(content, NO_R) == refused_r
    assert codes(content, NO_E) == refused_e
    assert read_header(content).silent is (committed == [])


@pytest.mark.parametrize("kind", [b"ACK", b"ACK^A01^ACK", b"MCF^Q01"])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_an_acknowledgment_is_never_answered(kind: bytes, verdict: Verdict) -> None:
    assert sent(inbound(kind=kind), verdict) == []
    assert sent(inbound(b"AL", b"AL", kind=kind), verdict) == []


FAULTY = {
    HeaderFault.NO_MSH: b"PID|1\r",
    HeaderFault.BATCH: b"FHS|^~\\&|A\rBHS|^~\\&\r",
    HeaderFault.BAD_DELIMITERS: b"MSH|&&&&|APP|FAC|DEST|DFAC|||ADT^A01|QS1|P|2.5\r",
    HeaderFault.SHORT_MSH: b"MSH|^~\\&|APP|FAC|DEST|DFAC|20260301\r",
    HeaderFault.FRAMING_BYTES: b"MSH|^~\\&|APP|FAC|DEST|\x0bDFAC|||ADT^A\x1c01|Q\x0b1|P|2.5\r",
    HeaderFault.NO_MESSAGE_TYPE: b"MSH|^~\\&|APP|FAC|DEST|DFAC||||QS1|P|2.5\r",
    HeaderFault.NO_CONTROL_ID: b"MSH|^~\\&|APP|FAC|DEST|DFAC|||ADT^A01||P|2.5\r",
}


@pytest.mark.parametrize(
    "fault", [fault for fault in HeaderFault if fault is not HeaderFault.EMPTY]
)
def test_a_header_with_a_fault_is_answered_and_never_positively(fault: HeaderFault) -> None:
    content = FAULTY[fault]
    assert read_header(content).fault is fault
    verdict, error = refusal_of(fault)
    assert verdict is (NO_R if fault is HeaderFault.BATCH else NO_E)
    for given_verdict in Verdict:
        (answer,) = sent(content, given_verdict)
        assert not {b"\x0b", b"\x1c"} & {bytes([code]) for code in answer}
        said = read_ack(answer)
        assert said.is_ack
        assert said.code in ("AE", "AR")
        assert said.error_codes == (error.code,)
    assert b"\rMSA|AE|QS1|" in sent(FAULTY[HeaderFault.BAD_DELIMITERS], YES)[0]


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\xef\xbb\xbf"])
def test_nothing_is_answered_with_nothing(content: bytes) -> None:
    assert sent(content, NO_R) == []


# --- what stands in it -------------------------------------------------------------------------


def test_a_positive_answer_is_written_to_the_letter() -> None:
    assert sent(inbound(msh18=b"8859/1~X"), YES) == [
        b"MSH|^~\\&|DEST|DFAC|APP^1.2^ISO|FAC^3.4^ISO|20260301082007+0000||ACK^A01^ACK|C7|P^T|2.5.1"
        b"||||||8859/1~X\rMSA|AA|QS1\r"
    ]
    assert sent(inbound(version=b"2.3"), YES) == [
        b"MSH|^~\\&|DEST|DFAC|APP^1.2^ISO|FAC^3.4^ISO|20260301082007+0000||ACK^A01|C7|P^T|2.3\r"
        b"MSA|AA|QS1\r"
    ]


def test_two_answers_are_two_messages_with_control_ids_of_their_own() -> None:
    accept, application = (read_header(one) for one in sent(inbound(b"AL", b"AL"), YES))
    assert (accept.control_id, application.control_id) == (b"C7", b"C7A")
    for header in (accept, application):
        assert (header.accept_ack, header.application_ack) == (b"NE", b"NE")


@given(control_id=st.binary(min_size=1))
def test_msa_2_is_msh_10_byte_for_byte(control_id: bytes) -> None:
    control_id = control_id.translate(None, b"|\r\n\x0b\x1c")
    content = inbound(b"AL", b"AL", control_id=control_id)
    fault = read_header(content).fault
    for verdict in Verdict:
        for answer in sent(content, verdict):
            assert read_ack(answer).control_id == control_id
            assert fault is None or read_ack(answer).code[1] in "ER"


def test_the_answer_uses_the_delimiters_of_the_message() -> None:
    header = read_header((FIXTURES / "odd_delimiters.hl7").read_bytes())
    (answer,) = answers(header, NO_E, at_us=AT, control_id=b"C7", error=BIRTH_DATE)
    assert answer.startswith(b"MSH#*!/@#LABHUB#QUAYSIDE#NORTHWEB#QUAYSIDE#")
    assert b"#ACK*A08*ACK#C7#" in answer
    assert (
        b"\rERR##PID*1*7#102*Data type error*HL70357#E####PID-7: is not a date | really\r" in answer
    )


@pytest.mark.parametrize(
    ("version", "tail"),
    [
        (
            b"2.1",
            b"MSA|AE|QS1|PID-7: is not a date \\F\\ really\rERR|PID^1^7^102&Data type error&HL70357\r",
        ),
        (
            b"2.4",
            b"MSA|AE|QS1|PID-7: is not a date \\F\\ really\rERR|PID^1^7^102&Data type error&HL70357\r",
        ),
        (
            b"2.5",
            b"MSA|AE|QS1|PID-7: is not a date \\F\\ really\r"
            b"ERR||PID^1^7|102^Data type error^HL70357|E||||PID-7: is not a date \\F\\ really\r",
        ),
        (
            b"2.6",
            b"MSA|AE|QS1|PID-7: is not a date \\F\\ really\r"
            b"ERR||PID^1^7|102^Data type error^HL70357|E||||PID-7: is not a date \\F\\ really\r",
        ),
        (
            b"2.7.1",
            b"MSA|AE|QS1\r"
            b"ERR||PID^1^7|102^Data type error^HL70357|E||||PID-7: is not a date \\F\\ really\r",
        ),
        (
            b"",
            b"MSA|AE|QS1|PID-7: is not a date \\F\\ really\rERR|PID^1^7^102&Data type error&HL70357\r",
        ),
    ],
)
def test_errors_are_written_as_the_version_of_the_message_wants(
    version: bytes, tail: bytes
) -> None:
    (answer,) = sent(inbound(version=version), NO_E, BIRTH_DATE)
    assert answer.split(b"\r", 1)[1] == tail
    assert read_ack(answer).error_codes == (102,)
    assert read_ack(answer).text == "PID-7: is not a date | really"


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        (b"2.3.1", b"ACK^A01"),
        (b"2.4", b"ACK^A01"),
        (b"2.5", b"ACK^A01^ACK"),
        (b"2.10", b"ACK^A01^ACK"),
        (b"2.5.1^USA", b"ACK^A01^ACK"),
        (b"2.3 PID", b"ACK^A01"),
        (b"T", b"ACK^A01"),
        (b"2.99999999999999999999999", b"ACK^A01"),
    ],
)
def test_msh_9_has_a_structure_from_2_5_on_and_msh_12_is_copied_whole(
    version: bytes, kind: bytes
) -> None:
    header = read_header(sent(inbound(version=version), YES)[0])
    assert header.fields[8] == kind
    assert header.fields[11] == version


def test_a_message_without_event_is_answered_with_plain_ack() -> None:
    assert b"||ACK|C7|" in sent(inbound(kind=b"ORU"), YES)[0]


def test_err_2_names_every_level_it_is_given_and_is_left_out_where_the_fault_is_elsewhere() -> None:
    deep = AckError(Hl7ErrorCode.TABLE_VALUE_NOT_FOUND, ErrorLocation("OBX", 3, 5, 2, 1, 4))
    assert b"\rERR||OBX^3^5^2^1^4|103^" in sent(inbound(), NO_E, deep)[0]
    event = AckError(Hl7ErrorCode.UNSUPPORTED_EVENT_CODE, ErrorLocation("MSH", 1, 9, 1, 2))
    assert (
        b"\rERR||MSH^1^9^1^2|201^Unsupported event code^HL70357|E\r"
        in sent(inbound(), NO_R, event)[0]
    )
    assert b"\rERR|||207^Application internal error^HL70357|E\r" in sent(inbound(), NO_R)[0]
    assert b"\rERR|^^^207&" in sent(inbound(version=b"2.3"), NO_R)[0]


def test_the_text_of_an_error_is_one_value_of_bounded_length_in_ascii() -> None:
    error = AckError(Hl7ErrorCode.INTERNAL_ERROR, None, "a\rMSA|AA|QS1 ü" + "x" * 500)
    (answer,) = sent(inbound(), NO_R, error)
    assert answer.count(b"\rMSA|") == 1
    assert answer.isascii()
    assert len(answer) < 700


def test_the_answer_can_name_its_own_sender() -> None:
    header = read_header(inbound())
    (answer,) = answers(header, YES, at_us=AT, control_id=b"C", sender=(b"IFE", b"MERCY"))
    assert answer.startswith(b"MSH|^~\\&|IFE|MERCY|APP^1.2^ISO|")


def test_the_time_follows_the_clock_from_second_to_second() -> None:
    header = read_header(inbound())
    times = [
        read_header(answers(header, YES, at_us=at, control_id=b"C")[0]).timestamp
        for at in (AT, AT + 1, AT + MICROSECONDS, AT)
    ]
    assert times == [b"20260301082007+0000"] * 2 + [b"20260301082008+0000", b"20260301082007+0000"]


@pytest.mark.parametrize(
    "content", [b"MSH!!\x0b", b"MSH||A\x1c|B", b"MSH|^^|||||||ADT^A\x0b|C\x0b7|P"]
)
def test_framing_bytes_beside_wrong_delimiters_are_not_echoed(content: bytes) -> None:
    (answer,) = sent(content, Verdict.COMMITTED)
    assert not {0x0B, 0x1C} & set(answer)
    assert b"MSH-1 or MSH-2 cannot delimit" in answer


@given(content=st.binary(), verdict=st.sampled_from(Verdict))
def test_any_bytes_get_a_framable_answer_or_none(content: bytes, verdict: Verdict) -> None:
    for start in (b"", b"MSH", b"MSH|^~\\&|", b"MSH|^~\\&|||||||", b"MSH#*!/@#"):
        for answer in sent(start + content, verdict):
            assert not {0x0B, 0x1C, 0x0A} & set(answer)
            said = read_ack(answer)
            assert said.is_ack
            assert said.code in list(AckCode)
            assert said.code[1] != "A" or read_header(start + content).fault is None


# --- a peer's ----------------------------------------------------------------------------------

ACK = b"MSH|^~\\&|L|Q|N|Q|20260301||ACK^A01|77|P|2.5"


@pytest.mark.parametrize(
    ("content", "code", "control_id", "text", "error_codes"),
    [
        (ACK + b"\rMSA|AA|QS1\r", "AA", b"QS1", "", ()),
        (ACK + b"\nMSA| CA |Q\\S\\ 1 |\n", "CA", b"Q\\S\\ 1 ", "", ()),
        (ACK + b"\r\nMSA|AE|QS1|not \\T\\ found", "AE", b"QS1", "not & found", ()),
        (
            ACK + b"\rMSA|AR|QS1\rERR||PID^1|204^Unknown^HL70357|E||||who?\r",
            "AR",
            b"QS1",
            "who?",
            (204,),
        ),
        (
            ACK + b"\rMSA|AE|QS1\rERR|||101|E\rERR|||207^x|E\rERR|||101|W",
            "AE",
            b"QS1",
            "x",
            (101, 207),
        ),
        (ACK + b"\rMSA|AE|QS1\rERR|PID^1^3^102&Data~PV1^1^2^103&T\r", "AE", b"QS1", "", (102, 103)),
        (ACK + b"\rMSA|AR|QS1||||207^internal\r", "AR", b"QS1", "", (207,)),
        (ACK + b"\rMSA|AR|QS1||||9999999999\r", "AR", b"QS1", "", ()),
        (ACK + b"\rMSA||QS1\r", "", b"QS1", "", ()),
        (ACK + b"\rMSA|OK|QS1\r", "", b"QS1", "", ()),
        (ACK + b"\rMSA|aa|QS1\r", "", b"QS1", "", ()),
        (ACK + b"\rMSA|AA\r", "AA", b"", "", ()),
        (ACK + b"\rMSA|AA|QS1\rMSA|AE|QS2\r", "", b"QS1", "", ()),
        (b"MSH|^~\\&|L\rMSA|AA|QS1\r", "AA", b"QS1", "", ()),
        (b"MSH#*!/@#L\rMSA#AA#QS1#x/F/y\r", "AA", b"QS1", "x#y", ()),
    ],
)
def test_a_peer_s_answer_is_read_as_it_is_meant(
    content: bytes, code: str, control_id: bytes, text: str, error_codes: tuple[int, ...]
) -> None:
    said = read_ack(content)
    assert said.is_ack
    assert (said.code, said.control_id, said.text, said.error_codes) == (
        code,
        control_id,
        text,
        error_codes,
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MSA|AA|QS1\r",
        b"ok",
        ACK,
        ACK + b"\rMSAX|AA|QS1",
        b"MSH|&&&&|L\rMSA|AA|QS1\r",
        b"MSH|^~\\&|L\x0bMSH|^~\\&|M\rMSA|AA|QS1\r",
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(content: bytes) -> None:
    said = read_ack(content)
    assert (said.is_ack, said.code, said.control_id) == (False, "", b"")


@given(content=st.binary())
def test_no_bytes_make_the_reader_of_answers_raise(content: bytes) -> None:
    for start in (b"", ACK + b"\rMSA|", ACK + b"\rMSA|AE|1\rERR|", ACK + b"||||||BIG-5\rMSA|AE|1|"):
        read_ack(start + content)


def test_a_peer_s_words_show_only_where_they_are_asked_for() -> None:
    said = read_ack(ACK + b"\rMSA|AE|CANARY|CANARY\rERR|||101^CANARY|E")
    assert said.text == "CANARY"
    assert "CANARY" not in repr(said)


@pytest.mark.parametrize(
    ("msh", "stamp"),
    [
        (b"MSH+^~\\&+", b"20260105100000-0000"),
        (b"MSH|^~+&|", b"20260105100000-0000"),
        (b"MSH+^~-&+", b"20260105100000"),
        (b"MSH|^~\\&|", b"20260105100000+0000"),
    ],
)
def test_the_offset_of_a_time_cannot_be_taken_for_a_delimiter(msh: bytes, stamp: bytes) -> None:
    mark = msh[3:4]
    content = msh + mark.join([b"S", b"F", b"R", b"G", b"", b"", b"ADT^A01", b"C7", b"P", b"2.5"])
    (answer,) = answers(read_header(content), YES, at_us=1_767_607_200_000_000, control_id=b"E1")
    header = read_header(answer)
    assert (header.timestamp, header.control_id) == (stamp, b"E1")
    assert header.message_code == b"ACK"
    batch = batch_of_answers(
        msh.replace(b"MSH", b"BHS") + b"A", [], at_us=1_767_607_200_000_000, control_id=b"Z1"
    )
    assert batch.split(b"\r")[0].split(mark)[6] == stamp
