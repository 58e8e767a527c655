"""A stream as frames and what stands between them, byte for byte. Pure.

Unlike the engine's decoder it refuses nothing: what one peer says, the other hears.
"""

from typing import NamedTuple

_START = b"\x0b"
_END = b"\x1c\r"


class Piece(NamedTuple):
    """Bytes as they came; ``is_frame``: from a start block to an end block and its CR."""

    data: bytes
    is_frame: bool

    @property
    def content(self) -> bytes:
        """What stands between the framing bytes of a frame."""
        return self.data[1:-2]


class Splitter:
    """Cuts one direction of a connection into pieces.

    Args:
        most_bytes: of a frame; what grows larger passes in parts, as no frame.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._buffer = bytearray()
        self._searched = 0

    def received(self, data: bytes) -> list[Piece]:
        """Return the pieces that are whole now."""
        buffer = self._buffer
        buffer += data
        pieces = []
        while buffer:
            if not buffer.startswith(_START):
                start = buffer.find(_START)
                pieces.append(self._cut(start if start >= 0 else len(buffer), is_frame=False))
                continue
            end = buffer.find(_END, self._searched)
            if end >= 0:
                pieces.append(self._cut(end + len(_END), is_frame=True))
            elif len(buffer) > self._most:
                pieces.append(self._cut(len(buffer), is_frame=False))
            else:
                self._searched = len(buffer) - 1  # the end block may be cut in two
                break
        return pieces

    def rest(self) -> bytes:
        """Return what is held of a frame that was not finished, and forget it."""
        return self._cut(len(self._buffer), is_frame=False).data

    def _cut(self, size: int, *, is_frame: bool) -> Piece:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        return Piece(data, is_frame)
