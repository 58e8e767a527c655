"""Answers leave each connection in the order of its frames, also where some come later than others."""

from collections import deque
from typing import Protocol


class Answerable(Protocol):
    """A connection that is owed answers: ``mllp.inbound.Inbound``."""

    def answer(self, frames: bytes, answered: int = 1) -> None:
        """Write answers; ``answered`` frames are settled by them."""
        ...

    def refuse_and_close(self) -> None:
        """Close without another answer."""
        ...


class Slot:
    """The place of one frame's answer in the line of its connection."""

    __slots__ = ("answered", "closes", "connection", "frames", "holds_accepts", "is_ready")

    def __init__(self, connection: Answerable, *, holds_accepts: bool) -> None:
        self.connection = connection
        self.holds_accepts = holds_accepts
        self.frames = b""
        self.answered = 1
        self.closes = False
        self.is_ready = False

    def __repr__(self) -> str:
        return f"<Slot {'ready' if self.is_ready else 'waiting'}>"


class AnswerLines:
    """The lines of one listener. A connection has one only while an answer is waited for."""

    def __init__(self) -> None:
        self._lines: dict[Answerable, deque[Slot]] = {}

    def __repr__(self) -> str:
        return f"<AnswerLines {len(self._lines)}>"

    def __len__(self) -> int:
        return len(self._lines)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def has(self, connection: Answerable) -> bool:
        """Return whether an earlier frame of a connection still waits for its answer."""
        return connection in self._lines

    def reserve(self, connection: Answerable, *, holds_accepts: bool) -> Slot:
        """Keep the place of an answer that comes later.

        ``holds_accepts``: accept acknowledgments of later frames wait for it too. They do in
        original mode, where a sender may take the next answer it reads for this one.
        """
        slot = Slot(connection, holds_accepts=holds_accepts)
        self._lines.setdefault(connection, deque()).append(slot)
        return slot

    def write(self, connection: Answerable, frames: bytes, answered: int) -> None:
        """Write an answer that is known, in its turn."""
        line = self._lines.get(connection)
        if line is None:
            connection.answer(frames, answered)
            return
        slot = Slot(connection, holds_accepts=False)
        slot.frames, slot.answered, slot.is_ready = frames, answered, True
        line.append(slot)

    def accept(self, connection: Answerable, frames: bytes) -> None:
        """Write an accept acknowledgment; the answer to its frame is still owed."""
        if any(slot.holds_accepts for slot in self._lines.get(connection, ())):
            self.write(connection, frames, 0)
        else:
            connection.answer(frames, 0)

    def fill(self, slot: Slot, frames: bytes, *, closes: bool = False) -> None:
        """Give the answer of a slot; what waited behind it leaves too."""
        slot.frames, slot.closes, slot.is_ready = frames, closes, True
        connection = slot.connection
        line = self._lines.get(connection)
        if line is None:
            return  # the connection is gone
        frames_ready: list[bytes] = []
        answered = 0
        while line and line[0].is_ready:
            head = line.popleft()
            if head.closes:
                connection.answer(b"".join(frames_ready), answered)
                del self._lines[connection]
                connection.refuse_and_close()
                return
            frames_ready.append(head.frames)
            answered += head.answered
        if not line:
            del self._lines[connection]
        if answered or frames_ready:
            connection.answer(b"".join(frames_ready), answered)

    def forget(self, connection: Answerable) -> None:
        """A connection is gone: its answers have nowhere to go."""
        self._lines.pop(connection, None)
