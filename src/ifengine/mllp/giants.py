"""A frame so large that even its copy would hold up everybody else."""

from ifengine.pieces import Bytes, copied


def frame_of(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the frame that carries this content in three parts, without a copy of it.

    Raises:
        ValueError: it holds a framing byte, as from ``framing.encode_frame``.
    """
    for byte in (0x0B, 0x1C):
        offset = content.find(byte)
        if offset != -1:
            raise ValueError(f"content holds the framing byte 0x{byte:02X} at offset {offset}")
    return b"\x0b", content, b"\x1c\r"


class Giant:
    """A whole frame, lent: its bytes are still those that the connection received.

    It has them for itself: the decoder it came from has let go of them.
    """

    __slots__ = ("_bytes", "_end", "_start", "size")

    def __init__(self, received: Bytes, start: int, end: int) -> None:
        self._bytes = received
        self._start = start
        self._end = end
        self.size = end - start

    def __repr__(self) -> str:
        return f"Giant({self.size} bytes)"

    def content(self) -> bytes:
        """Return what stood between start block and end block. For any thread, once."""
        content = copied(memoryview(self._bytes)[self._start : self._end])
        self._bytes = b""
        return content
