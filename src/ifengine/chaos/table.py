"""Every misbehaviour there is: its name, where it happens, what it means."""

from enum import Enum
from typing import NamedTuple

from ifengine.chaos import answers
from ifengine.chaos.answers import Behaviour


class Scope(Enum):
    """When it is decided whether it happens."""

    ANSWER = "answer"  # for each message
    NETWORK = "network"  # for each connection, to the bytes that pass
    CONNECTION = "connection"  # for each connection, before anything passes
    PROXY = "proxy"  # all the time


class Misbehaviour(NamedTuple):
    """One row.

    ``is_yes``: a correct sender may take it for a positive answer to its message, so that the
    message must have reached the receiver.
    """

    name: str
    scope: Scope
    meaning: str
    behaviour: Behaviour | None = None
    is_yes: bool = False


def _answer(name: str, behaviour: Behaviour, meaning: str, *, is_yes: bool = False) -> Misbehaviour:
    return Misbehaviour(name, Scope.ANSWER, meaning, behaviour, is_yes)


MISBEHAVIOURS: tuple[Misbehaviour, ...] = (
    _answer("ack_dropped", answers.drop, "the answer is lost"),
    _answer("ack_late", answers.delay, "the answer comes --delay later", is_yes=True),
    _answer("ack_duplicated", answers.duplicate, "the answer comes twice", is_yes=True),
    _answer("acks_swapped", answers.swap, "two answers change places", is_yes=True),
    _answer("ack_wrong_id", answers.wrong_id, "MSA-2 names a message that nobody sent"),
    _answer("ack_empty_id", answers.empty_id, "MSA-2 is empty"),
    _answer("ack_missing_id", answers.missing_id, "MSA ends behind MSA-1"),
    _answer("ack_previous_id", answers.previous_id, "MSA-2 names the message before"),
    _answer("code_ae", answers.code_of(b"AE"), "AE instead of the answer"),
    _answer("code_ar", answers.code_of(b"AR"), "AR instead of the answer"),
    _answer("code_ce", answers.code_of(b"CE"), "CE instead of the answer"),
    _answer("code_cr", answers.code_of(b"CR"), "CR instead of the answer"),
    _answer(
        "ca_then_aa", answers.accept_then_application,
        "CA and then AA, though one answer is due", is_yes=True,
    ),
    _answer("ca_only", answers.code_of(b"CA"), "CA instead of the answer", is_yes=True),
    _answer("junk_before", answers.junk_before, "bytes before the start block", is_yes=True),
    _answer("no_final_cr", answers.no_final_cr, "no 0D after the end block", is_yes=True),
    _answer(
        "two_in_one", answers.two_in_one,
        "the answer before and this one in one packet", is_yes=True,
    ),
    _answer("byte_by_byte", answers.byte_by_byte, "one byte at a time", is_yes=True),
    _answer(
        "ack_split", answers.split_over_connections,
        "half an answer, and the rest on the next connection",
    ),
    _answer("not_an_ack", answers.not_an_ack, "a message that is no acknowledgment instead"),
    _answer("huge_ack", answers.huge, "an answer of --size bytes", is_yes=True),
    _answer("fin_after_request", answers.close_after_request, "closed instead of answered"),
    _answer("rst_mid_ack", answers.reset_in_the_middle, "reset in the middle of the answer"),
    _answer("never_answers", answers.never_answer, "no answer any more on this connection"),
    _answer(
        "half_open", answers.half_open,
        "nothing passes in either direction for --heal", is_yes=True,
    ),
    Misbehaviour("latency", Scope.NETWORK, "bytes come --delay later, and up to --jitter more"),
    Misbehaviour("bandwidth", Scope.NETWORK, "--bytes-per-second and no more"),
    Misbehaviour("slow_close", Scope.NETWORK, "the end of a connection is passed on --delay later"),
    Misbehaviour("timeout", Scope.NETWORK, "nothing passes; closed after --delay"),
    Misbehaviour("slicer", Scope.NETWORK, "packets of --slice bytes"),
    Misbehaviour("limit_data", Scope.NETWORK, "closed after --limit bytes"),
    Misbehaviour("reset_peer", Scope.NETWORK, "reset after --delay"),
    Misbehaviour("never_reads", Scope.CONNECTION, "accepted, and nothing is ever read"),
    Misbehaviour("tls_hang", Scope.CONNECTION, "the TLS handshake is never answered"),
    Misbehaviour("tls_expired", Scope.CONNECTION, "an expired certificate (--expired-cert)"),
    Misbehaviour("tls_wrong", Scope.CONNECTION, "somebody else's certificate (--wrong-cert)"),
    Misbehaviour("flap", Scope.PROXY, "every connection is reset every --flap"),
)  # fmt: skip

BY_NAME = {row.name: row for row in MISBEHAVIOURS}
