"""``python``: a function of the site, run by a worker process.

The step itself is pure: it asks for a call, and the run starts over with the reply.
"""

import difflib
from dataclasses import dataclass, field

from ifengine.errors import FieldError
from ifengine.hl7.charset import Codec, to_internal
from ifengine.hl7.message import Message
from ifengine.transforms.base import (
    CallNeededError,
    Reason,
    ReasonError,
    RejectedError,
    StepScope,
    Uses,
)
from ifengine.transforms.memory import Call, Reply
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.site_files import PythonFile
from ifengine.transforms.source import Entries, Node, Text
from ifengine.transforms.template import Template

_EXAMPLE = "python: {file: python/strange_lab.py, function: transform, timeout: 500ms}"
_OPTIONAL = ("timeout", "with", "as")
_FOLDER = "python/"
_INTERNAL = ("utf-8", "surrogatepass")
_LONGEST_US = 60_000_000
DEFAULT_US = 500_000


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One call as it is written."""

    file: PythonFile
    function: str
    timeout_us: int
    arguments: tuple[tuple[str, Template], ...] = field(repr=False)
    as_hl7: bool


def build(value: Node, context: Context) -> Built | None:
    """Read ``{file, function, timeout, with, as}``."""
    if not context.known.allows_python:
        context.error("E352", context.at, "the site does not allow python", "python: on, there")
        return None
    given = context.parameters(
        value, required=("file", "function"), optional=_OPTIONAL, example=_EXAMPLE
    )
    if given is None:
        return None
    file = _file(given["file"], context)
    function = _function(given["function"], file, context)
    timeout_us = _timeout(given.get("timeout"), context)
    arguments = _arguments(given.get("with"), context)
    kind = context.word(given.get("as"), "as", ("message", "hl7"), "message")
    if file is None or function is None or timeout_us is None or arguments is None or kind is None:
        return None
    wanted = _Wanted(file, function, timeout_us, arguments, kind == "hl7")
    templates = [template for _, template in arguments]
    uses = Uses(
        reads=tuple(path for template in templates for path in template.paths()),
        tables=tuple(name for template in templates for name in template.tables()),
        reads_variables=tuple(name for template in templates for name in template.variables()),
        calls=((file.name, function),),
    )

    def act(scope: StepScope) -> None:
        number = scope.calls
        scope.calls = number + 1
        reply = scope.replies.get(number)
        if reply is None:
            raise CallNeededError(_call(wanted, number, scope))
        _apply(reply, wanted, scope)

    return Built(act, uses, f"{file.name} {function}")


def _call(wanted: _Wanted, number: int, scope: StepScope) -> Call:
    message = scope.message
    codec = message.codec
    return Call(
        number,
        wanted.file.name,
        wanted.function,
        wanted.timeout_us,
        b"\r".join(_readable(message.line(i), codec) for i in range(len(message.names()))),
        tuple((name, template.render(scope)) for name, template in wanted.arguments),
        wanted.as_hl7,
        wanted.file.text,
        "utf-8" if codec.wide else codec.name,
        scope.now_us,
        scope.segment,
        scope.tables,
    )


def _readable(line: bytes, codec: Codec) -> bytes:
    """Return a segment in a character set in which its delimiters are themselves."""
    if not codec.wide:
        return line
    internal = to_internal(line, codec)
    if internal is None:
        raise ReasonError("a segment cannot be read alone in the message's character set")
    return internal.decode(*_INTERNAL).encode("utf-8", "surrogateescape")


def _apply(reply: Reply, wanted: _Wanted, scope: StepScope) -> None:
    for note in reply.notes:
        scope.note(note)
    if reply.verb == "reject":
        raise RejectedError(reply.answer, Reason(reply.reason, reply.full or reply.reason))
    if reply.content is None or reply.verb:
        raise ReasonError(reply.reason, reply.full)
    message = scope.message
    names: dict[int, str] = {}
    for at, line in reply.lines:
        names[at] = line[:3].decode("ascii", "replace")
    if reply.origins is not None:
        _rearrange(reply.origins, names, scope)
    for at, line in reply.lines:
        if not 0 <= at < len(message.names()) or message.names()[at] != names[at]:
            raise ReasonError(f"{wanted.file.name} gave segments that do not fit the message")
        _write(message, at, line)


def _rearrange(origins: tuple[int, ...], names: dict[int, str], scope: StepScope) -> None:
    """Delete, order and insert segments as the function did; loops keep their place."""
    old = [origin for origin in origins if origin >= 0]
    count = len(scope.message.names())
    if old[:1] != [0] or len(set(old)) != len(old) or max(old) >= count:
        raise ReasonError("MSH does not stay first, or a segment is there twice")
    staying = sorted(old)
    scope.delete_segments(set(range(count)) - set(old))
    places = {origin: at for at, origin in enumerate(staying)}
    scope.reorder_segments([places[origin] for origin in old])
    for at, origin in enumerate(origins):
        if origin < 0:
            scope.insert_segment(at, names.get(at, ""))


def _write(message: Message, i: int, line: bytes) -> None:
    """Write the fields of one segment that differ; the others keep their bytes."""
    separator, codec = message.delimiters.field, message.codec
    fields = line.split(separator)
    if i == 0:
        if len(fields) < 2 or fields[1] != message.raw(0, 2):
            raise ReasonError("the delimiters of a message cannot be changed")
        fields.insert(1, separator)
    for f in range(3 if i == 0 else 1, max(len(fields), message.field_count(i) + 1)):
        value = fields[f] if f < len(fields) else b""
        if codec.wide:
            value = _in_charset(value, codec, f"{message.names()[i]}-{f}")
        if value != message.raw(i, f):
            message.set_raw(i, f, None, None, None, value)


def _in_charset(value: bytes, codec: Codec, place: str) -> bytes:
    try:
        return codec.encode(value.decode("utf-8", "surrogateescape"))
    except UnicodeError:
        rule = "the character set of the message (MSH-18) lacks a character of this value"
        raise FieldError(place, rule) from None


# --- parameters --------------------------------------------------------------------------------


def _file(node: Node, context: Context) -> PythonFile | None:
    text = context.text(node, "file")
    if text is None:
        return None
    files = context.known.python_files
    found = files.get(text.value) or files.get(_FOLDER + text.value)
    if found is None:
        near = difflib.get_close_matches(text.value, files, 1)
        hint = f'did you mean "{near[0]}"?' if near else "put it into channels/python/"
        context.error("E350", text.position, f'there is no Python file "{text.value}"', hint)
    return found


def _function(node: Node, file: PythonFile | None, context: Context) -> str | None:
    text = context.text(node, "function")
    if text is None:
        return None
    if not text.value.isidentifier():
        context.error("E350", text.position, f'"{text.value}" cannot name a function')
        return None
    if file is not None and file.functions is not None and text.value not in file.functions:
        near = difflib.get_close_matches(text.value, file.functions, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"def {text.value}(msg, ctx):"
        context.error("E350", text.position, f'{file.name} has no function "{text.value}"', hint)
        return None
    return text.value


def _timeout(node: Node | None, context: Context) -> int | None:
    if node is None:
        return DEFAULT_US
    read = context.duration(node, "timeout")
    if read is None:
        return None
    if read[1] * 1e6 > _LONGEST_US:
        context.error("E103", node.position, "timeout is one minute at most", "500ms")
        return None
    return int(read[1] * 1e6)


def _arguments(node: Node | None, context: Context) -> tuple[tuple[str, Template], ...] | None:
    if node is None:
        return ()
    if not isinstance(node, Entries):
        context.error("E104", node.position, "with takes named values", "with: {unit: mg/dL}")
        return None
    found: list[tuple[str, Template]] = []
    for key, value in node:
        text = context.text(value, key.value)
        template = None if not isinstance(text, Text) else context.template(text)
        if template is None:
            return None
        found.append((key.value, template))
    return tuple(found)
