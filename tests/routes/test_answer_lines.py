"""Answers leave a connection in the order of its frames, whenever they become known."""

from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.answer_lines import AnswerLines


class Connection:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.answered = 0
        self.closed = False

    def answer(self, frames: bytes, answered: int = 1) -> None:
        assert not self.closed
        if frames:
            self.written.append(frames)
        self.answered += answered

    def refuse_and_close(self) -> None:
        self.closed = True

    @property
    def text(self) -> bytes:
        return b"".join(self.written)


@given(st.permutations(range(6)), st.sets(st.integers(0, 5)))
def test_whatever_becomes_known_first_the_order_is_that_of_the_frames(
    order: list[int], known: set[int]
) -> None:
    lines, connection = AnswerLines(), Connection()
    slots = {}
    for number in range(6):
        if number in known:
            lines.write(connection, b"%d" % number, 1)
        else:
            slots[number] = lines.reserve(connection, holds_accepts=True)
    for number in order:
        if number in slots:
            assert connection.answered <= number
            lines.fill(slots[number], b"%d" % number)
    assert connection.text == b"012345"
    assert connection.answered == 6
    assert not lines


def test_an_accept_acknowledgment_leaves_at_once_unless_original_mode_waits() -> None:
    lines, connection = AnswerLines(), Connection()
    lines.accept(connection, b"a")
    enhanced = lines.reserve(connection, holds_accepts=False)
    lines.accept(connection, b"b")
    assert (connection.text, connection.answered) == (b"ab", 0)
    original = lines.reserve(connection, holds_accepts=True)
    lines.accept(connection, b"c")
    assert connection.text == b"ab"
    lines.fill(original, b"O")
    lines.fill(enhanced, b"E")
    assert (connection.text, connection.answered) == (b"abEOc", 2)


def test_what_stands_before_a_close_leaves_and_nothing_after_it() -> None:
    lines, connection = AnswerLines(), Connection()
    first = lines.reserve(connection, holds_accepts=True)
    silent = lines.reserve(connection, holds_accepts=True)
    last = lines.reserve(connection, holds_accepts=True)
    lines.fill(last, b"3")
    lines.fill(silent, b"", closes=True)
    assert not connection.closed
    lines.fill(first, b"1")
    assert (connection.text, connection.closed) == (b"1", True)
    assert not lines.has(connection)


def test_a_connection_that_is_gone_is_written_to_no_more() -> None:
    lines, connection = AnswerLines(), Connection()
    slot = lines.reserve(connection, holds_accepts=True)
    lines.forget(connection)
    lines.fill(slot, b"1")
    assert connection.written == []


def test_connections_do_not_wait_for_each_other() -> None:
    lines, one, other = AnswerLines(), Connection(), Connection()
    lines.reserve(one, holds_accepts=True)
    lines.write(other, b"x", 1)
    assert other.text == b"x"
