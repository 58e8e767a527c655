"""What MSH-15 and MSH-16 say after `acks:`, and that nothing else changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.header import read_header
from ifengine.hl7.message import Message
from ifengine.routes.acks_asked import ASKED, asking_for

CONDITIONS = ["", "AL", "NE", "ER", "SU", "XX"]


def message(accept: str, application: str, tail: str = "") -> Message:
    text = f"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|7|P|2.5.1|||{accept}|{application}{tail}"
    return Message.parse((text.rstrip("|") + "\rPID|1||1^^^A^MR\r").encode())


@given(
    st.sampled_from(sorted(ASKED)),
    st.sampled_from(CONDITIONS),
    st.sampled_from(CONDITIONS),
    st.sampled_from(["", "|DEU|8859/1"]),
)
def test_the_copy_asks_for_what_acks_says_and_the_received_message_stays(
    acks: str, accept: str, application: str, tail: str
) -> None:
    received = message(accept, application, tail)
    before = received.encode()
    copy = asking_for(acks, received, received)
    header = read_header(copy.encode())
    assert (header.accept_ack, header.application_ack) == ASKED[acks]
    assert received.encode() == before
    assert header.control_id == b"7"
    assert header.charset == (b"8859/1" if tail else b"")
    assert copy.encode().split(b"\r")[1:] == before.split(b"\r")[1:]


@pytest.mark.parametrize("acks", sorted(ASKED))
def test_a_message_that_asks_so_already_is_not_copied(acks: str) -> None:
    accept, application = (value.decode() for value in ASKED[acks])
    received = message(accept, application)
    assert asking_for(acks, received, received) is received


def test_a_copy_that_steps_made_is_written_in_place() -> None:
    received = message("", "")
    copy = received.copy()
    assert asking_for("accept", copy, received) is copy
