"""The view of a message, writing to it, escapes and character sets."""

import re

from fuzz.draw import Draw
from fuzz.messages import CANARY, DELIMITERS, content, requests_place, value
from ifengine.errors import FieldError
from ifengine.hl7.charset import find_codec, from_internal, to_internal
from ifengine.hl7.delimiters import Delimiters, NoEscapeCharacterError
from ifengine.hl7.header import message_start
from ifengine.hl7.message import Message, MessageError

_SEGMENT = re.compile(rb"[A-Z][A-Z0-9]{2}")
_HEADERS = ("MSH", "FHS", "BHS")
_SETS = (
    "ASCII", "UNICODE UTF-8", "8859/1", "8859/15", "GB 18030-2000", "BIG-5", "SHIFT_JIS", "ISO IR87",
    "KS X 1001", "CP1252",
)  # fmt: skip


def _parsed(whole: bytes) -> Message | None:
    try:
        return Message.parse(whole)
    except MessageError as error:
        assert CANARY not in str(error)
        return None


# --- reading ------------------------------------------------------------------------------------


def view(data: bytes) -> None:
    """Untouched bytes leave as they came; every node is what a slow and plain reading finds."""
    draw = Draw(data)
    places = [requests_place(draw) for _ in range(3)]
    whole = content(draw)
    message = _parsed(whole)
    if message is None:
        return
    assert message.encode() == whole
    assert not message.touched
    assert CANARY not in repr(message)
    delimiters = message.delimiters
    if not message.codec.wide:
        lines = _plain_lines(whole, delimiters.field)
        assert message.names() == [line[:3].decode() for line in lines]
        for i, line in enumerate(lines):
            assert message.line(i) == line
            fields = line.split(delimiters.field)
            if message.names()[i] in _HEADERS:
                fields.insert(1, delimiters.field)
            assert message.field_count(i) == len(fields) - 1
            for f, r, c, s in places:
                expected = _plain_node(fields, f, r, c, s, delimiters)
                if f <= 2 and message.names()[i] in _HEADERS:
                    continue
                assert message.raw(i, f, r, c, s) == expected, (f, r, c, s)
    for i, name in enumerate(message.names()):
        for f, r, c, s in places:
            text = message.text(i, f, r, c, s)
            if message.first(name) == i and r is not None:
                assert message.leaf(name, f, r, c, s) == text
            if c is not None and s is not None:
                count = message.repetition_count(i, f)
                each = [message.text(i, f, n, c, s) for n in range(1, count + 1)]
                assert list(message.leaves(i, f, c, s)) == each
                assert list(message.leaves(i, f, c, s)) == each  # what is remembered is the same
                if message.first(name) == i:
                    assert message.first_leaf(name, f) == message.text(i, f, 1, 1, 1)
    assert message.encode() is message.encode()


def _plain_lines(whole: bytes, separator: bytes) -> list[bytes]:
    body = whole[message_start(whole)[0] :]
    lines = re.split(rb"\r\n|\r|\n", body)
    return [line for line in lines if _SEGMENT.match(line) and line[3:4] in (b"", separator)]


def _plain_node(
    fields: list[bytes],
    f: int,
    r: int | None,
    c: int | None,
    s: int | None,
    delimiters: Delimiters,
) -> bytes:
    node = fields[f] if f < len(fields) else b""
    levels = ((delimiters.repetition, r), (delimiters.component, c), (delimiters.subcomponent, s))
    for level, (delimiter, number) in enumerate(levels):
        if number is None and all(below is None for _, below in levels[level:]):
            break
        parts = node.split(delimiter) if delimiter else [node]
        node = parts[(number or 1) - 1] if (number or 1) <= len(parts) else b""
    return node


# --- writing ------------------------------------------------------------------------------------


def writing(data: bytes) -> None:
    """A value that is set is read again, here and after the message was sent; no other field changes.

    What cannot be written is refused by name, and the message stays as it was.
    """
    draw = Draw(data)
    place = requests_place(draw)
    number = draw.byte()
    text = draw.choice(
        (
            CANARY + "|^~\\&\r\n",
            CANARY,
            "",
            CANARY + "é",
            CANARY + "日本\\F\\",
            '""',
            CANARY + "\x0b",
        )
    )
    text = text + draw.text(6)
    message = _parsed(content(draw))
    if message is None:
        return
    f, r, c, s = place
    i = number % len(message.names())
    before = _everything(message)
    untouched = message.copy()
    sent = message.encode()
    try:
        message.set_text(i, f, r, c, s, text)
    except FieldError as error:
        assert CANARY not in str(error)
        assert message.encode() == sent
        assert _everything(message) == before
        return
    assert untouched.encode() == sent
    assert _everything(untouched) == before
    leaf = r is not None and c is not None and s is not None
    if leaf:
        assert message.text(i, f, r, c, s) == text
    after = _everything(message)
    assert [name for name, _ in after] == [name for name, _ in before]
    for n, ((_, old), (_, new)) in enumerate(zip(before, after, strict=True)):
        size = max(len(old), len(new))
        padded = [fields + [b""] * (size - len(fields)) for fields in (old, new)]
        changed = [k + 1 for k in range(size) if padded[0][k] != padded[1][k]]
        assert changed in ([], [f]) if n == i else not changed, (n, changed)
    _siblings_stay(message, untouched, i, place)
    if message.header.charset != untouched.header.charset or message.header.delimiters != (
        untouched.header.delimiters
    ):
        return  # MSH-18 itself was written
    try:
        bytes_sent = message.encode()
    except MessageError as error:
        assert CANARY not in str(error)
        return
    again = Message.parse(bytes_sent)
    if again.codec == message.codec:
        assert _everything(again) == after
        if leaf:
            assert again.text(i, f, r, c, s) == text
    raw = again.raw(i, f)
    if not re.search(rb"[\x0b\x1c]", raw):
        again.set_raw(i, f, None, None, None, raw)
        assert again.encode() == bytes_sent


def _everything(message: Message) -> list[tuple[str, list[bytes]]]:
    return [
        (name, [message.raw(i, f) for f in range(1, message.field_count(i) + 1)])
        for i, name in enumerate(message.names())
    ]


def _siblings_stay(
    message: Message,
    before: Message,
    i: int,
    place: tuple[int, int | None, int | None, int | None],
) -> None:
    f, r, c, s = place
    if r is None:
        return
    for other_r in (1, 2, 3, 4):
        if other_r != r:
            assert message.raw(i, f, other_r) == before.raw(i, f, other_r)
    if c is None:
        return
    for other_c in (1, 2, 3, 4):
        if other_c != c:
            assert message.raw(i, f, r, other_c) == before.raw(i, f, r, other_c)
    if s is None:
        return
    for other_s in (1, 2, 3, 4):
        if other_s != s:
            assert message.raw(i, f, r, c, other_s) == before.raw(i, f, r, c, other_s)


# --- escapes and character sets -----------------------------------------------------------------


def escapes(data: bytes) -> None:
    """What is escaped holds no delimiter and comes back the same, with any delimiters."""
    draw = Draw(data)
    field, msh2 = draw.choice(DELIMITERS)
    if draw.flag():
        signs = [code for code in range(0x21, 0x7F) if not chr(code).isalnum()]
        chosen: list[int] = []
        for _ in range(5 + draw.number(1)):
            chosen.append(signs.pop(draw.number(len(signs) - 1)))
        field, msh2 = bytes(chosen[:1]), bytes(chosen[1:])
    delimiters = Delimiters.read(field, msh2)
    own = field + msh2
    plain = b"".join(
        value(draw) if draw.flag() else own[at : at + 1]
        for at in (draw.number(len(own) - 1) for _ in range(draw.number(12)))
    )
    try:
        written = delimiters.escape(plain)
    except NoEscapeCharacterError:
        assert not delimiters.escape_character
        return
    for sign in (field, delimiters.component, delimiters.repetition, delimiters.subcomponent):
        assert not sign or sign not in written
    assert not re.search(rb"[\r\n\x0b\x1c]", written)
    assert delimiters.unescape(written) == plain
    # what came from a peer means the same when it is written again
    if not re.search(rb"[\r\n\x0b\x1c]", plain):
        meant = delimiters.unescape(plain)
        assert delimiters.unescape(delimiters.escape(meant)) == meant


def charsets(data: bytes) -> None:
    """Bytes become text and the same bytes again, or are told to be of another set."""
    draw = Draw(data)
    codec = find_codec(draw.choice(_SETS))
    assert codec is not None
    raw = b"".join(value(draw) for _ in range(draw.number(5))) + draw.rest()
    if not codec.wide:
        assert codec.encode(codec.decode(raw)) == raw
    internal = to_internal(raw, codec) if codec.wide else None
    if internal is not None:
        assert from_internal(internal, codec) == raw
    text = raw.decode("utf-8", "replace")
    try:
        encoded = codec.encode_value(text)
    except UnicodeError:
        return
    if codec.wide:
        assert from_internal(encoded, codec).decode(codec.name) == text
    else:
        assert codec.decode(encoded) == text
