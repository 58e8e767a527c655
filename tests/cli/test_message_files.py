"""Files of messages, split as people mean them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.cli.failure import CommandError
from ifengine.cli.message_files import messages_of, split_messages

ONE = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5\rPID|1||7\r"
TWO = b"MSH|^~\\&|A|B|C|D|2026||ADT^A08|2|P|2.5\rPID|1||8\rNTE|1||MSH of old\r"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ONE, [ONE]),
        (ONE + TWO, [ONE, TWO]),
        (b"\x0b" + ONE + b"\x1c\r\x0b" + TWO + b"\x1c\r", [ONE, TWO]),
        (b"\x0b" + ONE + b"\x1c\x0b" + TWO + b"\x1c", [ONE, TWO]),
        (ONE.replace(b"\r", b"\n") + b"\n\n" + TWO.replace(b"\r", b"\n"),
         [ONE.replace(b"\r", b"\n"), TWO.replace(b"\r", b"\n")]),
        (ONE.replace(b"\r", b"\r\n") + b"\r\n", [ONE.replace(b"\r", b"\r\n")]),
        (b"\xef\xbb\xbf" + ONE, [b"\xef\xbb\xbf" + ONE]),
        (b"\r\n \r\n" + ONE, [ONE]),
        (b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + ONE + TWO + b"BTS|2\rFTS|1\r", [ONE, TWO]),
        (b"MSH#*~\\&#A\rZZZ#1\r", [b"MSH#*~\\&#A\rZZZ#1\r"]),
        (b"PID|1||7\r", []),
        (b"", []),
    ],
)  # fmt: skip
def test_a_file_is_split_at_msh_and_its_framing_dropped(data: bytes, expected: list[bytes]) -> None:
    assert split_messages(data) == expected


def test_msh_inside_a_line_starts_no_message() -> None:
    assert split_messages(b"MSH|^~\\&|A\rNTE|1||see MSH|9\r") == [
        b"MSH|^~\\&|A\rNTE|1||see MSH|9\r"
    ]


@given(st.lists(st.sampled_from([ONE, TWO]), min_size=1, max_size=6), st.booleans())
def test_what_was_joined_is_split_again(messages: list[bytes], framed: bool) -> None:
    data = b"".join(b"\x0b" + m + b"\x1c\r" if framed else m for m in messages)
    assert split_messages(data) == messages


@given(st.binary(max_size=300))
def test_any_bytes_split_without_an_error_and_never_hold_framing_bytes(data: bytes) -> None:
    for message in split_messages(data + ONE):
        assert b"\x0b" not in message
        assert b"\x1c" not in message
        assert message.removeprefix(b"\xef\xbb\xbf").startswith(b"MSH")


def test_a_file_without_a_message_is_named() -> None:
    with pytest.raises(CommandError, match=r"notes\.txt: no line begins with MSH") as caught:
        messages_of(b"Quillfeather", "notes.txt")
    assert caught.value.code == 2
