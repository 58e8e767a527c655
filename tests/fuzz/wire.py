"""What comes over a connection: frames, headers, acknowledgments, batches."""

import re

from fuzz.draw import Draw
from fuzz.messages import CANARY, content
from ifengine.hl7.ack import AckError, Verdict, due_answers
from ifengine.hl7.ack_passing import read_told, told_text, write_told
from ifengine.hl7.ack_reading import read_ack
from ifengine.hl7.batch import BatchFault, batch_of_answers, split_batch
from ifengine.hl7.header import HeaderFault, read_header
from ifengine.hl7.message import Message, MessageError
from ifengine.hl7.tables import AckCode, Hl7ErrorCode
from ifengine.mllp.framing import (
    NEED_DATA,
    PEER_CLOSED,
    Fault,
    Frame,
    FrameDecoder,
    Tolerance,
    encode_frame,
)

AT_US = 1_767_607_200_000_000
POSITIVE = {AckCode.AA, AckCode.CA}
_PIECES = (
    b"\x0b", b"\x1c\r", b"\x1c", b"\r", b"\n", b" ", b"\x0bMSH|1\x1c\r", b"\x0b\x0bMSH|2\x1c\x1c\r",
    b"\x0b\x06\x1c\r", b"\x0b\x1c\r", b"GET ", b"\x16\x03", b"x", b"\x0bab\x1c\n", b"\x0bcd\x1c",
)  # fmt: skip


# --- framing ------------------------------------------------------------------------------------


def framer(data: bytes) -> None:
    """Any cut of a stream gives the same; a strict decoder takes what a plain reading takes."""
    draw = Draw(data)
    chosen = draw.byte()
    tolerate = [t for n, t in enumerate(Tolerance) if chosen >> n & 1]
    most = draw.choice((40, 3, 8, 200))
    cuts = [draw.number(12) + 1 for _ in range(draw.number(9))] or [1]
    pieces: list[bytes] = []
    while draw.left and len(pieces) < 40:
        pieces.append(draw.choice(_PIECES) if draw.flag() else draw.some(20))
    stream = b"".join(pieces)
    whole = _events(stream, [max(len(stream), 1)], most, tolerate)
    for sizes in (cuts, [1]):
        assert _events(stream, sizes, most, tolerate) == whole, "another cut, other events"
    events, _ = whole
    assert _contents(stream, cuts, most, tolerate) == [
        e.content for e in events if type(e) is Frame
    ]
    for event in events:
        if isinstance(event, Frame):
            assert 0 < len(event.content) <= most
            assert b"\x0b" not in event.content
            if b"\x1c" not in event.content:
                again, _ = _events(encode_frame(event.content), [2], most, ())
                assert again == [event]
        else:
            assert len(event.data) <= max(most + 3, len(stream))
    if not tolerate:
        assert [e.content for e in events if isinstance(e, Frame)] == _plainly(stream, most)


def _events(
    stream: bytes, sizes: list[int], most: int, tolerate: list[Tolerance] | tuple[Tolerance, ...]
) -> tuple[list[Frame | Fault], dict[Tolerance, int]]:
    decoder = FrameDecoder(max_content_bytes=most, tolerate=tolerate)
    events: list[Frame | Fault] = []
    for chunk in [*_chunks(stream, sizes), b""]:
        decoder.receive_data(chunk)
        while not isinstance(event := decoder.next_event(), type(NEED_DATA)):
            events.append(event)
        assert event is (PEER_CLOSED if decoder.is_ended else NEED_DATA)
    assert not decoder.is_mid_frame
    assert sum(isinstance(e, Fault) and e.fatal for e in events) <= 1
    return events, dict(decoder.counts.tolerated)


def _contents(stream: bytes, sizes: list[int], most: int, tolerate: list[Tolerance]) -> list[bytes]:
    """Read by the fast way, as a listener does."""
    decoder = FrameDecoder(max_content_bytes=most, tolerate=tolerate)
    found: list[bytes] = []
    for chunk in [*_chunks(stream, sizes), b""]:
        decoder.receive_data(chunk)
        while True:
            plain = decoder.take_frame()
            if plain is not None:
                found.append(plain)
                continue
            event = decoder.next_event()
            if event is NEED_DATA or event is PEER_CLOSED:
                break
            if isinstance(event, Frame):
                found.append(event.content)
    return found


def _chunks(stream: bytes, sizes: list[int]) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(stream):
        size = sizes[len(found) % len(sizes)]
        found.append(stream[at : at + size])
        at += size
    return found


def _plainly(stream: bytes, most: int) -> list[bytes]:
    """Read a stream as the specification says, without any tolerance."""
    found: list[bytes] = []
    at = 0
    while stream[at : at + 1] == b"\x0b":
        end = stream.find(b"\x1c", at)
        inside = stream[at + 1 : end]
        if end < 0 or stream[end + 1 : end + 2] != b"\r" or len(inside) > most or b"\x0b" in inside:
            break
        if inside and inside not in (b"\x06", b"\x15"):
            found.append(inside)
        at = end + 2
    return found


# --- header -------------------------------------------------------------------------------------


def header(data: bytes) -> None:
    """The header agrees with the view and with a plain split, and never raises."""
    whole = content(Draw(data))
    found = read_header(whole)
    assert CANARY not in repr(found)
    try:
        message = Message.parse(whole)
    except MessageError as error:
        assert CANARY not in str(error)
        assert found.fault is not None
        return
    line = re.split(rb"[\r\n]", re.sub(rb"^(\xef\xbb\xbf)?[\r\n]*", b"", whole), maxsplit=1)[0]
    separator = line[3:4]
    plain = [*line.split(separator), *[b""] * 18]
    assert found.delimiters.field == separator
    for number in range(2, 19):
        assert found.fields[number - 1] == plain[number - 1], number
        if not message.codec.wide:
            assert message.raw(0, number) == plain[number - 1], number
    kind = plain[8].split(found.delimiters.component)
    assert (found.message_code, found.trigger_event) == (kind[0], [*kind, b""][1])
    assert found.control_id == plain[9]
    again = read_header(line)
    assert (again.fields[:18], again.fault) == (found.fields[:18], found.fault)
    message.copy()
    same = message.header
    assert same.fields[:18] == found.fields[:18]


# --- acknowledgments ----------------------------------------------------------------------------


def answers(data: bytes) -> None:
    """What is built is read again: its verdict, the very MSA-2; a fault is never answered with yes."""
    draw = Draw(data)
    verdict = draw.choice(tuple(Verdict))
    error = draw.choice(
        (None, AckError(Hl7ErrorCode.REQUIRED_FIELD_MISSING, text="a|b^c\\d"), None)
    )
    whole = content(draw)
    asked = read_header(whole)
    due = due_answers(asked, verdict, at_us=AT_US, control_id=b"E1", error=error)
    assert len(due) <= 2
    for answer in due:
        frame = encode_frame(answer.content)
        decoder = FrameDecoder(max_content_bytes=len(frame), tolerate=())
        decoder.receive_data(frame)
        assert decoder.next_event() == Frame(answer.content)
        told = read_ack(answer.content)
        assert told.is_ack
        assert told.code == answer.code
        answering = read_header(answer.content)
        assert (answering.message_code, answering.fault) == (b"ACK", None)
        assert answering.control_id in (b"E1", b"E1A")
        assert answering.timestamp[:14] == b"20260105100000"
        if answer.code in POSITIVE:
            assert verdict is Verdict.COMMITTED
            assert asked.fault is None
        if asked.fault not in (HeaderFault.FRAMING_BYTES, HeaderFault.BAD_DELIMITERS):
            assert told.control_id == asked.control_id
        assert (
            due_answers(read_header(answer.content), verdict, at_us=AT_US, control_id=b"E2") == []
        )
    if asked.fault is not None:
        assert not POSITIVE & {answer.code for answer in due}


def ack_reader(data: bytes) -> None:
    """No verdict without MSA-1 of the table in the one MSA; what is passed on keeps its verdict."""
    draw = Draw(data)
    code = draw.choice((b"AA", b"AE", b"XX", b"", b"aa", b" AA ", b"CA"))
    whole = content(draw)
    if draw.flag():
        asked = read_header(whole)
        msa = asked.delimiters.field.join((b"MSA", code, b"C1", draw.some(9)))
        whole = whole + b"\r" + msa + draw.choice((b"", b"\r", b"\n"))
    told = read_ack(whole)
    assert CANARY not in repr(told)
    asked = read_header(whole)
    if told.code:
        assert told.is_ack
        separator = asked.delimiters.field
        lines = [
            line.split(separator)
            for line in re.split(rb"[\r\n]+", whole)
            if line[:4] == b"MSA" + separator
        ]
        assert len(lines) == 1
        assert lines[0][1].strip().decode("ascii") == told.code
        assert told.code in set(AckCode)
        assert told.control_id == [*lines[0], b""][2]
    assert all(0 <= number < 100_000 for number in told.error_codes)
    if told.code in ("AA", "AE", "AR"):
        passed = read_told(whole, told.code)
        assert CANARY not in repr(passed)
        assert passed.is_positive == (told.code == "AA")
        told_text(passed)
        sender = read_header(b"MSH|^~\\&|S|F|R|G|20260105||ADT^A01|N7|P|2.5\r")
        answer = write_told(sender, passed, at_us=AT_US, control_id=b"E3")
        assert answer is not None
        assert answer.code == told.code
        read = read_ack(answer.content)
        assert (read.code, read.control_id) == (told.code, b"N7")
        encode_frame(answer.content)


# --- batches ------------------------------------------------------------------------------------


def batches(data: bytes) -> None:
    """A batch that is put together comes apart the same; counts that do not fit are found."""
    draw = Draw(data)
    if draw.flag():
        _any_batch(content(draw))
        return
    count = draw.number(4)
    messages = [b"MSH|^~\\&|A|B|||1||ADT^A01|%d|P|2.5\rPID|1||%d\r" % (n, n) for n in range(count)]
    said = draw.choice((count, count, count + 1, 7))
    file_said = draw.choice((1, 1, 2))
    in_file = draw.flag()
    end = draw.choice((b"\r", b"\n", b"\r\n"))
    lines = [b"BHS|^~\\&|A|B|C|D|1||||B7", *messages, b"BTS|%d" % said]
    if in_file:
        lines = [b"FHS|^~\\&|A", *lines, b"FTS|%d" % file_said]
    whole = b"".join(line if line.startswith(b"MSH") else line + b"\r" for line in lines).replace(
        b"\r", end
    )
    found = split_batch(whole)
    assert found.is_batch
    assert list(found.messages) == [m.replace(b"\r", end) for m in messages]
    assert (BatchFault.BATCH_COUNT in found.faults) == (said != count)
    assert (BatchFault.FILE_COUNT in found.faults) == (in_file and file_said != 1)
    answered = batch_of_answers(found.header, messages, at_us=AT_US, control_id=b"Z1")
    again = split_batch(answered)
    assert (list(again.messages), again.faults, again.control_id) == (messages, (), b"Z1")


def _any_batch(whole: bytes) -> None:
    found = split_batch(whole)
    starts = len(re.findall(rb"(?:^|(?<=[\r\n]))MSH", whole.removeprefix(b"\xef\xbb\xbf")))
    assert len(found.messages) == starts
    at = 0
    for message in found.messages:
        assert message.startswith(b"MSH")
        at = whole.index(message, at) + len(message)
    if not found.is_batch and BatchFault.STRAY not in found.faults and found.messages:
        kept = b"".join(found.messages)
        assert whole.endswith(kept)
        assert not whole[: -len(kept)].removeprefix(b"\xef\xbb\xbf").strip()
