"""Misbehaviours of a receiver that answers: the true answer in, what is done instead out.

Pure: no clock, no socket, no chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ifengine.chaos.acts import Act, Amounts, Blackout, End, Exchange, Keep, Say, Wait
from ifengine.hl7.header import read_header

NOBODY = b"NOBODY"  # an id that no message under way has
_BYTE_PAUSE_SECONDS = 0.0005
_SEGMENT_END = b"\r"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the receiver, and the one it gave before."""

    content: bytes = field(repr=False)
    previous: bytes = field(default=b"", repr=False)


Behaviour = Callable[[Answer, Amounts], Sequence[Act]]


def framed(content: bytes) -> bytes:
    """Return the content between framing bytes, whatever it holds."""
    return b"\x0b%b\x1c\r" % content


def made_up(request: bytes) -> bytes:
    """Return a positive answer to a message that no receiver has seen."""
    control_id = read_header(request).control_id
    return (
        b"MSH|^~\\&|CHAOS|CHAOS|||20260101000000||ACK|CHAOS|P|2.5.1\rMSA|AA|" + control_id + b"\r"
    )


def id_of(answer: bytes) -> bytes:
    """Return MSA-2; empty where it cannot be read."""
    fields = _msa(answer)
    return fields[2] if len(fields) > 2 else b""


def with_msa(answer: bytes, *, code: bytes | None = None, id: bytes | None = None) -> bytes:
    """Return the answer with another MSA-1 or MSA-2; unchanged where it has no MSA."""
    fields = _msa(answer)
    if not fields:
        return answer
    fields += [b""] * (3 - len(fields))
    if code is not None:
        fields[1] = code
    if id is not None:
        fields[2] = id
    return _replaced(answer, fields)


def without_id(answer: bytes) -> bytes:
    """Return the answer with an MSA that ends behind MSA-1."""
    return _replaced(answer, _msa(answer)[:2])


def _msa(answer: bytes) -> list[bytes]:
    separator = answer[3:4]
    for line in answer.split(_SEGMENT_END):
        if separator and line.startswith(b"MSA" + separator):
            return line.split(separator)
    return []


def _replaced(answer: bytes, msa: list[bytes]) -> bytes:
    separator = answer[3:4]
    return _SEGMENT_END.join(
        separator.join(msa) if separator and line.startswith(b"MSA" + separator) else line
        for line in answer.split(_SEGMENT_END)
    )


# --- nothing, too late, too often ---------------------------------------------------------------


def drop(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say nothing; the next message is answered again."""
    return ()


def delay(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say it too late."""
    return (Wait(amounts.delay), Say(framed(answer.content)))


def duplicate(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say it twice."""
    return (Say(framed(answer.content)), Say(framed(answer.content)))


def swap(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Exchange it with the next one."""
    return (Exchange(framed(answer.content)),)


def never_answer(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say nothing on this connection any more."""
    return (End.SILENCE,)


def half_open(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Let nothing through for a while."""
    return (Blackout(amounts.heal), Say(framed(answer.content)))


# --- another message, another verdict -----------------------------------------------------------


def wrong_id(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Answer a message that nobody sent."""
    return (Say(framed(with_msa(answer.content, id=NOBODY))),)


def empty_id(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Leave MSA-2 empty."""
    return (Say(framed(with_msa(answer.content, id=b""))),)


def missing_id(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Leave MSA-2 out."""
    return (Say(framed(without_id(answer.content))),)


def previous_id(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Answer the message before once more."""
    return (Say(framed(with_msa(answer.content, id=id_of(answer.previous) or NOBODY))),)


def code_of(code: bytes) -> Behaviour:
    """Return the behaviour that writes this code into MSA-1."""

    def instead(answer: Answer, amounts: Amounts) -> Sequence[Act]:
        return (Say(framed(with_msa(answer.content, code=code))),)

    return instead


def accept_then_application(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say CA, then AA, though nobody asked for two answers."""
    return tuple(Say(framed(with_msa(answer.content, code=code))) for code in (b"CA", b"AA"))


def not_an_ack(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Send a message of its own instead."""
    own = b"MSH|^~\\&|CHAOS|CHAOS|||20260101000000||ADT^A08|CHAOS|P|2.5.1\rEVN|A08|20260101000000\r"
    return (Say(framed(own)),)


# --- broken bytes -------------------------------------------------------------------------------


def junk_before(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say something that is no frame first."""
    return (Say(b"\x00junk\r\n" + framed(answer.content)),)


def no_final_cr(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Leave out the byte after the end block."""
    return (Say(framed(answer.content)[:-1]),)


def two_in_one(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say the answer before once more in the same packet."""
    return (Say(framed(answer.previous or answer.content) + framed(answer.content)),)


def byte_by_byte(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say it one byte at a time."""
    acts: list[Act] = []
    for byte in framed(answer.content):
        acts += [Say(bytes([byte])), Wait(_BYTE_PAUSE_SECONDS)]
    return acts


def huge(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say it with a text of many megabytes."""
    note = b"NTE" + answer.content[3:4] + b"1" + answer.content[3:4] * 2
    return (Say(framed(answer.content + note + b"x" * amounts.huge_bytes + b"\r")),)


def split_over_connections(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say the first half, close, and say the rest on the next connection."""
    frame = framed(answer.content)
    half = len(frame) // 2
    return (Say(frame[:half]), Keep(frame[half:]), End.CLOSE)


def close_after_request(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Close instead of answering."""
    return (End.CLOSE,)


def reset_in_the_middle(answer: Answer, amounts: Amounts) -> Sequence[Act]:
    """Say half and reset."""
    frame = framed(answer.content)
    return (Say(frame[: len(frame) // 2]), End.RESET)
