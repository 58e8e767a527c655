"""Messages out of files people have: one or several, with or without MLLP's bytes around them."""

import re
from pathlib import Path
from typing import NamedTuple

from ifengine.cli.failure import usage

MOST_BYTES = 256 * 1024 * 1024

# a segment MSH: the name, a delimiter that is no letter, digit or blank, at the start of a line
_START = re.compile(rb"(?:^|(?<=[\r\n\x0b\x1c]))(?:\xef\xbb\xbf)?MSH(?=[^\w\s])")


class FileMessage(NamedTuple):
    """One message of a file."""

    file: str
    number: int  # from 1
    content: bytes


def split_messages(data: bytes) -> list[bytes]:
    """Return the messages of a file's bytes, each from MSH to before the next MSH.

    MLLP start and end blocks and batch segments (FHS BHS BTS FTS) outside a message are dropped;
    line ends inside a message stay as they are; blank lines after it are dropped.
    """
    starts = [found.start() for found in _START.finditer(data)]
    ends = [*starts[1:], len(data)]
    messages = []
    for start, end in zip(starts, ends, strict=False):
        piece = data[start:end]
        cut = min(
            (at for at in (piece.find(b"\x0b"), piece.find(b"\x1c")) if at >= 0), default=None
        )
        if cut is not None:
            piece = piece[:cut]
        messages.append(_without_blank_end(_without_batch_trailers(piece)))
    return messages


def _without_batch_trailers(piece: bytes) -> bytes:
    found = re.search(rb"(?:(?<=\r)|(?<=\n))(?:BTS|FTS|BHS|FHS)(?=[^\w\s]|[\r\n]|$)", piece)
    return piece if found is None else piece[: found.start()]


def _without_blank_end(piece: bytes) -> bytes:
    body = piece.rstrip(b"\r\n")
    ends = piece[len(body) :]
    return body + (ends[:2] if ends.startswith(b"\r\n") else ends[:1])


def read_messages(path: Path, shown: str) -> list[FileMessage]:
    """Read the messages of one file.

    Raises:
        CommandError: it cannot be read, is too large or holds no message.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise usage(f"{shown}: cannot be read ({error.strerror})") from None
    if len(data) > MOST_BYTES:
        raise usage(f"{shown}: larger than {MOST_BYTES // 1024 // 1024} MiB")
    return messages_of(data, shown)


def messages_of(data: bytes, shown: str) -> list[FileMessage]:
    """Split bytes, and say where there is nothing to send."""
    found = split_messages(data)
    if not found:
        raise usage(f"{shown}: no line begins with MSH", "a message starts with its MSH segment")
    return [FileMessage(shown, number, content) for number, content in enumerate(found, 1)]
