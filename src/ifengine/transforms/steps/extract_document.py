"""``extract_document``: an encapsulated document to a named store, a pointer in its place.

ED is source^type^subtype^encoding^data, RP is pointer^application^type^subtype.

Source: HL7 v2.9.1 chapter 2A (ED, RP), tables 0191, 0291, 0299; safety-rules.md 25.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from ifengine.errors import FieldError
from ifengine.hl7.message import NULL, Message
from ifengine.hl7.path import NodeRef, Path, parse_path
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.document_types import TYPES, detect_type
from ifengine.transforms.memory import Document
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node, Text

_EXAMPLE = (
    "extract_document: {from: OBX(where OBX-2 = ED)-5, save_to: documents, name: '${msg.id}'}"
)
_LEAVES = ("pointer", "remove", "keep")
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_ID = "msg.id"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,59}")
_LINE_BREAK = "\\.br\\"  # as white space, this wraps encoded data and is none of it
_ENCAPSULATED, _POINTER = "ED", "RP"


@dataclass(frozen=True, slots=True)
class _Found:
    """One document and where it stood."""

    node: NodeRef
    content: bytes
    type: str

    def __repr__(self) -> str:
        return f"<document at segment {self.node.segment}>"


@dataclass(frozen=True, slots=True)
class _Extract:
    """The step with its parameters. ``prefix`` and ``suffix`` stand around the message's id."""

    path: Path
    store: str
    prefix: str
    suffix: str
    types: frozenset[str]
    leave: str

    def __call__(self, scope: StepScope) -> None:
        message = scope.message
        by_field: dict[tuple[int, int], list[NodeRef]] = {}
        for node in self.path.nodes(message, scope, every=True):
            by_field.setdefault((node.segment, node.field), []).append(node)
        for (i, f), nodes in by_field.items():
            if message.names()[i] == "OBX" and message.text(i, 2, 1, 1, 1) != _ENCAPSULATED:
                continue
            found = [_read(message, node) for node in nodes if _data(message, node)]
            taken = [d for d in found if not self.types or d.type in self.types]
            if not taken:
                continue
            is_one_type = message.names()[i] == "OBX" and self.leave == "pointer"
            if is_one_type and len(taken) < _filled(message, i, f):  # OBX-2 speaks of all of them
                raise ReasonError(
                    f"{self.path.text}: a field holds several documents, and not all are taken"
                )
            self._take(scope, taken)

    def _take(self, scope: StepScope, taken: list[_Found]) -> None:
        message = scope.message
        for document in taken:
            name = self._name(scope, document.type)
            scope.documents.append(Document(self.store, name, document.content))
            if self.leave == "keep":
                continue
            i, f, r = document.node[:3]
            sent = [message.text(i, f, r, c, 1) for c in (2, 3)]
            message.set_raw(i, f, r, None, None, b"")
            if self.leave == "remove":
                continue
            known = TYPES[document.type]
            kind, subtype = known if known[0] else sent
            for c, text in enumerate((name, self.store, kind, subtype), 1):
                message.set_text(i, f, r, c, None, text)
            if message.names()[i] == "OBX":
                message.set_text(i, 2, None, None, None, _POINTER)

    def _name(self, scope: StepScope, ending: str) -> str:
        """Return a file name: the written one, how many went before, and what it is.

        A destination's copy may differ from the channel's, so its documents carry its name.
        """
        if not _PLAIN_NAME.fullmatch(scope.message_id):
            raise ReasonError("the message's id cannot stand in a file name")
        base = f"{self.prefix}{scope.message_id}{scope.part}{self.suffix}"
        if scope.destination:
            base += f"-{scope.destination}"
        before = sum(
            1
            for store, name, _ in scope.documents
            if store == self.store and name.rpartition(".")[0].rpartition("-")[0] == base
        )
        return f"{base}-{before + 1}.{ending}"


def _data(message: Message, node: NodeRef) -> bytes:
    raw = message.raw(node.segment, node.field, node.repetition, 5)
    return b"" if raw == NULL.encode() else raw


def _filled(message: Message, i: int, f: int) -> int:
    count = message.repetition_count(i, f)
    return sum(1 for r in range(1, count + 1) if message.raw(i, f, r))


def _read(message: Message, node: NodeRef) -> _Found:
    """Decode one document.

    Raises:
        FieldError: it cannot be decoded.
    """
    i, f, r = node[:3]
    text = message.text(i, f, r, 5, None)
    encoding = message.text(i, f, r, 4, 1).strip().upper()
    content = _decode(message, text, encoding)
    if content is None:
        name = message.names()[i]
        place = f"{name}[{message.indexes(name).index(i) + 1}]-{f}.5"
        rule = "is not " + {"HEX": "hexadecimal", "": "base64", "BASE64": "base64"}.get(
            encoding, "in an encoding of table 0299: Base64, Hex or A"
        )
        raise FieldError(place, rule, length=len(text))
    return _Found(node, content, detect_type(content))


def _decode(message: Message, text: str, encoding: str) -> bytes | None:
    try:
        match encoding:
            case "BASE64" | "":
                return base64.b64decode(_unwrapped(text).encode("ascii"), validate=True)
            case "HEX":
                return bytes.fromhex(_unwrapped(text))
            case "A":
                return message.codec.encode(text)
            case _:
                return None
    except (binascii.Error, ValueError):
        return None


def _unwrapped(text: str) -> str:
    return "".join(text.replace(_LINE_BREAK, "").split())


# --- reading --------------------------------------------------------------------------------------


def build(value: Node, context: Context) -> Built | None:
    """Read ``{from, save_to, name, types, leave}``."""
    given = context.parameters(
        value,
        required=("from", "save_to", "name"),
        optional=("types", "leave"),
        example=_EXAMPLE,
    )
    if given is None:
        return None
    path = _from(given["from"], context)
    store = _store(given["save_to"], context)
    name = _name(given["name"], context)
    types = _types(given.get("types"), context)
    leave = context.word(given.get("leave"), "leave", _LEAVES, "pointer")
    if path is None or store is None or name is None or types is None or leave is None:
        return None
    writes = () if leave == "keep" else (path, *_type_field(path))
    step = _Extract(path, store, *name, types, leave)
    return Built(step, Uses(reads=(path,), writes=writes), store)


def _type_field(path: Path) -> tuple[Path, ...]:
    if path.segment != "OBX":
        return ()
    head = f"{path.parent}/{path.head}" if path.parent is not None else str(path.head)
    return (parse_path(f"{head}-2"),)


def _from(node: Node, context: Context) -> Path | None:
    text = context.text(node, "from")
    path = None if text is None else context.in_place(text)
    if text is not None and path is not None and path.component is not None:
        context.error(
            "E306", text.at(0), "a document is a whole field", f"{path.head}-{path.field}"
        )
        return None
    return path


def _store(node: Node, context: Context) -> str | None:
    name = context.name(node, "document store")
    known = context.known.documents
    if name is None or known is None or name in known:
        return name
    listed = ", ".join(sorted(known))
    hint = f"there are: {listed}" if listed else "documents: {NAME: {dir: var/documents}}"
    context.error("E201", node.position, f'no "{name}" under documents: of ifengine.yaml', hint)
    return None


def _name(node: Node, context: Context) -> tuple[str, str] | None:
    """Return what stands before and after the message's id: the only thing of a message in a name."""
    text = context.text(node, "name")
    if text is None or context.template(text) is None:
        return None
    good = True
    for found in _PLACEHOLDER.finditer(text.value):
        source = found[1].strip()
        if source != _ID:
            _refuse(source, text, found.start(), context)
            good = False
    if not good:
        return None
    pieces = _PLACEHOLDER.split(text.value)[::2]
    plain = "0".join(pieces)
    if len(pieces) != 2:
        message = "a document's name holds the message's id, once"
    elif not _PLAIN_NAME.fullmatch(plain):
        message = (
            "a file name is at most 60 letters, digits, dots, - and _, no dot first, no folder"
        )
    else:
        return pieces[0], pieces[1]
    context.error("E217", text.position, message, "name: ${msg.id}")
    return None


def _refuse(source: str, text: Text, offset: int, context: Context) -> None:
    what = "a filter" if source.startswith(_ID) else source.split("|")[0].strip()[:40] or "this"
    message = f"{what} may tell who the patient is, and a file name is seen by everybody"
    if what == "a filter":
        message = "two ids can look the same behind a filter"
    context.error("E215", text.at(offset), message, "documents are named by ${msg.id}")


def _types(node: Node | None, context: Context) -> frozenset[str] | None:
    if node is None:
        return frozenset()
    words: Final = tuple(TYPES)
    found = [
        context.word(text, "types", words, "") for text in context.texts(node, "type of document")
    ]
    good = frozenset(word for word in found if word)
    return good if len(good) == len(found) else None
