"""What a test gives: text or a sample with changes, as the bytes that a sender would send. Pure."""

import re
from collections.abc import Mapping

from ifengine.errors import EngineError, FieldError
from ifengine.hl7.batch import split_batch
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.header import read_header
from ifengine.hl7.message import Message, MessageError
from ifengine.hl7.path import Path, Where, Which
from ifengine.routes.config.cases import Given
from ifengine.transforms.base import ReasonError, StepScope
from ifengine.transforms.writing import write_text

_LINE_END = re.compile(rb"\r\n|\n")


class GivenError(EngineError):
    """What a test gives cannot be made. Its text is for the person who wrote the test."""

    code = "test_given"


def content_of(given: Given, samples: Mapping[str, bytes], charset: CharsetPolicy) -> bytes:
    """Return the bytes that come in: one message, or a batch. Segments end with CR.

    Args:
        given: as written.
        samples: the sample files by name.
        charset: of the connection, for what MSH-18 does not say.

    Raises:
        GivenError: a sample is not there, or a change does not fit it.
    """
    if given.text:
        return _encoded(given.text, charset)
    if given.sample not in samples:
        raise GivenError(f"no sample {given.sample}")
    content = _with_carriage_returns(samples[given.sample])
    if not (given.change or given.remove or given.append):
        return content
    messages = split_batch(content).messages
    if not messages:
        raise GivenError(f"sample {given.sample} holds no message to change")
    at, parts = 0, []
    for message in messages:  # each keeps its place between FHS, BHS, BTS and FTS
        start = content.index(message, at)
        parts += [content[at:start], _changed(message, given, charset)]
        at = start + len(message)
    return b"".join([*parts, content[at:]])


def _with_carriage_returns(content: bytes) -> bytes:
    body = _LINE_END.sub(b"\r", content).strip(b"\r")
    return re.sub(rb"\r\r+", b"\r", body) + b"\r"


def _encoded(text: str, charset: CharsetPolicy) -> bytes:
    lines = [line.strip() if line.startswith(" ") else line for line in text.splitlines()]
    joined = "\r".join(line for line in lines if line.strip()) + "\r"
    header = read_header(joined.encode("utf-8"))
    codec = charset.codec(header.charset, header.delimiters.repetition)
    try:
        return codec.encode(joined)
    except UnicodeError:
        return joined.encode("utf-8")


def _changed(content: bytes, given: Given, charset: CharsetPolicy) -> bytes:
    try:
        message = Message.parse(content, charset=charset)
    except MessageError as error:
        raise GivenError(f"sample {given.sample} cannot be changed: {error}") from None
    scope = StepScope(message=message, tables={}, now_us=0, message_id="")
    for path in given.remove:
        _remove(scope, path)
    for path, text in given.change:
        _change(scope, path, text)
    appended = "".join(f"{line}\r" for line in given.append)
    try:
        added = message.codec.encode(appended)
    except UnicodeError:
        raise GivenError("append: the character set of the sample lacks a character") from None
    return message.encode().rstrip(b"\r") + b"\r" + added


def _remove(scope: StepScope, path: Path) -> None:
    if path.field is not None:
        _change(scope, path, "")
        return
    try:
        scope.delete_segments(path.positions(scope.message))
    except FieldError as error:
        raise GivenError(f"remove: {error}") from None


def _change(scope: StepScope, path: Path, text: str) -> None:
    """Write one value. A place that is not there can be emptied, not filled."""
    if path.field is None:
        raise GivenError(f"{path.text} is a segment: write its fields, or remove or append it")
    message = scope.message
    nodes = path.nodes(message)
    if not nodes and not text:
        return
    if not nodes and (_is_chosen(path) or path.positions(message)):
        raise GivenError(f"{path.text} fits nothing in the sample")
    try:
        write_text(scope, path, text)
    except ReasonError as error:
        raise GivenError(f"{error}; `append` adds one") from None
    except FieldError as error:
        raise GivenError(str(error)) from None


def _is_chosen(path: Path) -> bool:
    indexes = [path.head.index, path.repetition]
    indexes += [] if path.parent is None else [path.parent.index]
    return any(isinstance(index, Where) or index is Which.ALL for index in indexes)
