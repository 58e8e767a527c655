"""What each misbehaviour of a receiver makes of one true answer. No socket, no clock."""

import pytest

from ifengine.chaos.acts import Act, Amounts, Blackout, End, Exchange, Keep, Say, Wait
from ifengine.chaos.answers import Answer, made_up, with_msa
from ifengine.chaos.table import BY_NAME, MISBEHAVIOURS, Scope
from ifengine.hl7.ack import read_ack

TRUE = b"MSH|^~\\&|R|R|HIS|RIVER|20260105101501||ACK|R2|P|2.5.1\rMSA|AA|M2\r"
BEFORE = TRUE.replace(b"M2", b"M1").replace(b"R2", b"R1")
FRAME = b"\x0b" + TRUE + b"\x1c\r"
AMOUNTS = Amounts(delay=3.0, heal=7.0, huge_bytes=5000)


def acts_of(name: str, *, previous: bytes = BEFORE) -> list[Act]:
    behaviour = BY_NAME[name].behaviour
    assert behaviour is not None
    return list(behaviour(Answer(TRUE, previous), AMOUNTS))


def said(name: str, *, previous: bytes = BEFORE) -> list[bytes]:
    return [act.data for act in acts_of(name, previous=previous) if isinstance(act, Say)]


def read(frame: bytes) -> tuple[str, bytes]:
    assert frame.startswith(b"\x0b")
    assert frame.endswith(b"\x1c\r")
    answer = read_ack(frame[1:-2])
    assert answer.is_ack
    return answer.code, answer.control_id


EXACTLY: dict[str, list[Act]] = {
    "ack_dropped": [],
    "ack_late": [Wait(3.0), Say(FRAME)],
    "ack_duplicated": [Say(FRAME), Say(FRAME)],
    "acks_swapped": [Exchange(FRAME)],
    "junk_before": [Say(b"\x00junk\r\n" + FRAME)],
    "no_final_cr": [Say(FRAME[:-1])],
    "two_in_one": [Say(b"\x0b" + BEFORE + b"\x1c\r" + FRAME)],
    "fin_after_request": [End.CLOSE],
    "rst_mid_ack": [Say(FRAME[: len(FRAME) // 2]), End.RESET],
    "never_answers": [End.SILENCE],
    "half_open": [Blackout(7.0), Say(FRAME)],
}


@pytest.mark.parametrize("name", sorted(EXACTLY))
def test_a_misbehaviour_does_exactly_what_its_name_says(name: str) -> None:
    assert acts_of(name) == EXACTLY[name]


OTHERWISE = {
    "ack_wrong_id": ("AA", b"NOBODY"),
    "ack_empty_id": ("AA", b""),
    "ack_missing_id": ("AA", b""),
    "ack_previous_id": ("AA", b"M1"),
    "code_ae": ("AE", b"M2"),
    "code_ar": ("AR", b"M2"),
    "code_ce": ("CE", b"M2"),
    "code_cr": ("CR", b"M2"),
    "ca_only": ("CA", b"M2"),
}


@pytest.mark.parametrize("name", sorted(OTHERWISE))
def test_an_answer_is_changed_in_msa_alone(name: str) -> None:
    (frame,) = said(name)
    assert read(frame) == OTHERWISE[name]
    assert frame.split(b"\rMSA")[0] == FRAME.split(b"\rMSA")[0]


def test_a_missing_id_is_no_empty_field() -> None:
    (frame,) = said("ack_missing_id")
    assert frame.endswith(b"\rMSA|AA\r\x1c\r")
    (frame,) = said("ack_empty_id")
    assert frame.endswith(b"\rMSA|AA|\r\x1c\r")


def test_without_an_answer_before_the_id_of_nobody_is_told() -> None:
    (frame,) = said("ack_previous_id", previous=b"")
    assert read(frame) == ("AA", b"NOBODY")
    (twice,) = said("two_in_one", previous=b"")
    assert twice == FRAME + FRAME


def test_two_answers_of_enhanced_mode_come_one_after_the_other() -> None:
    assert [read(frame) for frame in said("ca_then_aa")] == [("CA", b"M2"), ("AA", b"M2")]


def test_byte_by_byte_says_the_same_in_pieces_of_one() -> None:
    pieces = said("byte_by_byte")
    assert b"".join(pieces) == FRAME
    assert {len(piece) for piece in pieces} == {1}


def test_a_split_answer_is_whole_over_two_connections() -> None:
    first, rest, end = acts_of("ack_split")
    assert isinstance(first, Say)
    assert isinstance(rest, Keep)
    assert first.data + rest.data == FRAME
    assert min(len(first.data), len(rest.data)) > 10
    assert end is End.CLOSE


def test_what_is_no_acknowledgment_cannot_be_read_as_one() -> None:
    (frame,) = said("not_an_ack")
    assert not read_ack(frame[1:-2]).is_ack


def test_a_huge_answer_is_a_true_one_with_much_behind_it() -> None:
    (frame,) = said("huge_ack")
    assert len(frame) > 5000
    assert read(frame) == ("AA", b"M2")


def test_whoever_says_no_yes_never_says_yes_to_the_message_under_way() -> None:
    """With these the message may be lost on purpose: no correct sender takes it for delivered."""
    for row in MISBEHAVIOURS:
        if row.scope is not Scope.ANSWER or row.is_yes:
            continue
        for frame in said(row.name):
            if frame.startswith(b"\x0b") and frame.endswith(b"\x1c\r"):
                answer = read_ack(frame[1:-2])
                assert (answer.control_id, answer.code) != (b"M2", "AA"), row.name
                assert (answer.control_id, answer.code) != (b"M2", "CA"), row.name


def test_an_answer_is_made_up_for_the_message_that_came() -> None:
    request = b"MSH$^~\\&$HIS$R$IE$R$20260105$$ADT^A01$M77$P$2.5.1\rPID$1\r"
    answer = read_ack(made_up(request))
    assert (answer.is_ack, answer.code, answer.control_id) == (True, "AA", b"M77")


def test_an_answer_with_other_delimiters_is_changed_too() -> None:
    other = TRUE.replace(b"|", b"#")
    assert with_msa(other, id=b"X", code=b"CE").endswith(b"\rMSA#CE#X\r")
    assert with_msa(b"no answer at all", code=b"AE") == b"no answer at all"


def test_every_misbehaviour_of_the_specification_is_there() -> None:
    assert len(BY_NAME) == len(MISBEHAVIOURS)
    assert set(BY_NAME) == {
        "latency", "bandwidth", "slow_close", "timeout", "slicer", "limit_data", "reset_peer",
        "ack_dropped", "ack_late", "ack_duplicated", "acks_swapped", "ack_wrong_id",
        "ack_empty_id", "ack_missing_id", "ack_previous_id", "code_ae", "code_ar", "code_ce",
        "code_cr", "ca_then_aa", "ca_only", "junk_before", "no_final_cr", "two_in_one",
        "byte_by_byte", "ack_split", "not_an_ack", "huge_ack", "fin_after_request",
        "rst_mid_ack", "never_reads", "never_answers", "tls_hang", "tls_expired", "tls_wrong",
        "half_open", "flap",
    }  # fmt: skip
