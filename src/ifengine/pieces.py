"""Large content in pieces, so that others go on meanwhile.

One call that copies, encrypts or decrypts some ten megabytes holds up every thread of the
interpreter until it ends. A piece takes well below a millisecond, and others go on between two.
"""

import time
from io import BytesIO

GIANT_BYTES = 1024 * 1024
"""From here on content is worked on in a thread: below, that costs less than handing it over."""
PIECE_BYTES = 256 * 1024

Bytes = bytes | bytearray | memoryview


def pieces(*parts: Bytes) -> list[memoryview]:
    """Return the bytes of all parts in pieces, none of them copied."""
    return [
        memoryview(part)[at : at + PIECE_BYTES]
        for part in parts
        for at in range(0, len(part), PIECE_BYTES)
    ]


def copied(part: Bytes) -> bytes:
    """Return a copy that was made piece by piece. For any thread."""
    found = BytesIO()  # grows in place, and gives its bytes away without another copy
    for piece in pieces(part):
        found.write(piece)
        let_others_go_on()
    return found.getvalue()


def let_others_go_on() -> None:
    """Give the interpreter to whoever waits for it."""
    time.sleep(0)  # noqa: TID251 - no wait: it lets go of the interpreter and takes it again
