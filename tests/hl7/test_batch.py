"""Batches: files and frames of several messages, and whether their counts agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.batch import BatchFault, batch_of_answers, is_batch, split_batch

FHS = rb"FHS|^~\&|HUB|REGION|IE|HERE|20260105||name||F7"
BHS = rb"BHS|^~\&|HUB|REGION|IE|HERE|20260105||b1||B9"


def msh(number: int) -> bytes:
    return rb"MSH|^~\&|LAB|N|IE|H|20260105||ORU^R01|%d|P|2.5.1" % number + b"\rPID|1||7\r"


def lines(*segments: bytes, end: bytes = b"\r") -> bytes:
    return b"".join(segment.rstrip(b"\r") + end for segment in segments)


def test_a_file_of_one_batch_gives_its_messages_as_they_came() -> None:
    content = lines(FHS, BHS) + msh(1) + msh(2) + lines(b"BTS|2", b"FTS|1")
    found = split_batch(content)
    assert found.messages == (msh(1), msh(2))
    assert (found.batches, found.is_batch, found.faults) == (1, True, ())
    assert found.control_id == b"B9"


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_every_line_end_is_read_and_kept(end: bytes) -> None:
    message = msh(1).replace(b"\r", end)
    content = lines(BHS, end=end) + message + lines(b"BTS|1", end=end)
    assert split_batch(content).messages == (message,)


def test_messages_without_an_envelope_are_split_at_msh() -> None:
    found = split_batch(msh(1) + msh(2))
    assert found.messages == (msh(1), msh(2))
    assert not found.is_batch
    assert not is_batch(msh(1))


def test_an_empty_batch_is_a_batch() -> None:
    found = split_batch(lines(FHS, BHS, b"BTS|0", b"FTS|1"))
    assert (found.messages, found.is_batch, found.faults) == ((), True, ())


def test_a_file_of_several_batches_counts_each() -> None:
    content = lines(FHS, BHS) + msh(1) + lines(b"BTS|1", BHS) + msh(2) + msh(3)
    assert split_batch(content + lines(b"BTS|2", b"FTS|2")).faults == ()
    assert split_batch(content + lines(b"BTS|3", b"FTS|2")).faults == (BatchFault.BATCH_COUNT,)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (lines(BHS) + msh(1) + lines(b"BTS|2"), BatchFault.BATCH_COUNT),
        (lines(FHS, BHS) + msh(1) + lines(b"BTS|1", b"FTS|2"), BatchFault.FILE_COUNT),
        (lines(BHS) + msh(1) + lines(b"BTS|many"), BatchFault.NOT_A_COUNT),
        (lines(FHS, BHS) + msh(1), BatchFault.NO_END),
        (lines(FHS, BHS) + msh(1) + lines(b"FTS|1"), BatchFault.NO_END),
        (lines(BHS, BHS) + msh(1) + lines(b"BTS|1"), BatchFault.NO_END),
        (lines(FHS, FHS, b"FTS"), BatchFault.NO_END),
        (msh(1) + lines(b"BTS|1"), BatchFault.NO_START),
        (msh(1) + lines(b"FTS|1"), BatchFault.NO_START),
        (lines(BHS, b"PID|1") + msh(1) + lines(b"BTS|1"), BatchFault.STRAY),
    ],
)
def test_what_does_not_agree_is_named(content: bytes, fault: BatchFault) -> None:
    assert split_batch(content).faults == (fault,)


def test_counts_that_are_not_written_agree_with_anything() -> None:
    assert split_batch(lines(FHS, BHS) + msh(1) + lines(b"BTS", b"FTS|")).faults == ()


def test_a_byte_order_mark_and_blank_lines_are_skipped() -> None:
    content = b"\xef\xbb\xbf\r\n" + lines(BHS) + msh(1) + lines(b"", b"BTS|1")
    assert is_batch(content)
    assert split_batch(content).faults == ()


def test_a_segment_whose_name_only_begins_so_belongs_to_its_message() -> None:
    message = msh(1) + b"BTSX|1\r"
    assert split_batch(message).messages == (message,)


@given(st.lists(st.integers(0, 4), max_size=4))
def test_what_is_wrapped_comes_back(sizes: list[int]) -> None:
    number, body = 0, b""
    for size in sizes:
        body += lines(BHS)
        for _ in range(size):
            number += 1
            body += msh(number)
        body += lines(b"BTS|%d" % size)
    found = split_batch(lines(FHS) + body + lines(b"FTS|%d" % len(sizes)))
    assert found.messages == tuple(msh(n) for n in range(1, number + 1))
    assert found.faults == ()


@given(st.binary(max_size=200), st.lists(st.sampled_from([FHS, BHS, b"BTS|1", b"FTS|1", msh(1)])))
def test_no_bytes_break_it_and_every_message_is_a_part_of_what_came(
    noise: bytes, segments: list[bytes]
) -> None:
    content = noise.join(lines(segment) for segment in segments) + noise
    at = 0
    for message in split_batch(content).messages:
        at = content.index(message, at) + len(message)
        assert message.startswith(b"MSH")


def test_a_batch_of_answers_goes_back_to_who_sent_the_batch_and_refers_to_it() -> None:
    answers = [b"MSH|^~\\&|\rMSA|AA|1\r", b"MSH|^~\\&|\rMSA|AE|2\r"]
    made = batch_of_answers(BHS, answers, at_us=1_767_607_200_000_000, control_id=b"IFEB1")
    assert made == (
        rb"BHS|^~\&|IE|HERE|HUB|REGION|20260105100000+0000||||IFEB1|B9"
        + b"\r"
        + b"".join(answers)
        + b"BTS|2\r"
    )
    assert split_batch(made).messages == tuple(answers)


def test_an_empty_batch_of_answers_is_one() -> None:
    made = batch_of_answers(b"FHS#^~\\&#A", (), at_us=0, control_id=b"X")
    assert made.startswith(b"BHS#^~\\&###A##1970")
    assert made.endswith(b"\rBTS#0\r")
    assert split_batch(made).faults == ()
