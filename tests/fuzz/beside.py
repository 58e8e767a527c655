"""What reads beside the engine itself: the worker's own message, tables, and the scalars of files."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from functools import partial

from fuzz.draw import Draw
from fuzz.messages import CANARY, content, requests_place
from ifengine.errors import FieldError
from ifengine.hl7.message import Message, MessageError
from ifengine.routes.config import scalars
from ifengine.routes.worker_message import Message as WorkerMessage
from ifengine.transforms.source import Problems
from ifengine.transforms.tables import read_csv
from ifengine.transforms.tables_fhir import read_concept_map

_NUMBERED_OTHERWISE = ("FHS", "BHS")  # headers of batches: a function gets messages


# --- the message in a worker --------------------------------------------------------------------


def worker(data: bytes) -> None:
    """A function in a worker reads and writes what the engine would, to the byte."""
    draw = Draw(data)
    places = [requests_place(draw) for _ in range(3)]
    number = draw.byte()
    text = draw.choice(("A|^~\\&B", "x", "", "\\.br\\", "a\r\nb", "é", '""', "\\")) + draw.text(4)
    try:
        message = Message.parse(content(draw))
    except MessageError:
        return
    codec = message.codec
    names = message.names()
    if codec.wide or not set(names).isdisjoint(_NUMBERED_OTHERWISE) or names.count("MSH") > 1:
        return
    lines = b"\r".join(message.line(i) for i in range(len(names)))
    theirs = WorkerMessage(lines.decode(codec.name, "surrogateescape"), codec.name)
    segments = list(theirs)
    assert [segment.name for segment in segments] == names
    for i, segment in enumerate(segments):
        for f, r, c, s in places:
            if (r is None and c is not None) or (c is None and s is not None):
                continue  # a place is written from the left
            place = _written(f, r, c, s)
            if i == 0 and f <= 2:
                continue
            assert segment[place] == message.text(i, f, r, c, s), place
            raw = segment.raw(place).encode(codec.name, "surrogateescape")
            assert raw == message.raw(i, f, r, c, s), place
    _same_write(message, theirs, number % len(names), places[0], text)


def _written(f: int, r: int | None, c: int | None, s: int | None) -> str:
    place = str(f) if r is None else f"{f}[{r}]"
    return place + "".join(f".{part}" for part in (c, s) if part is not None)


def _same_write(
    message: Message,
    theirs: WorkerMessage,
    i: int,
    place: tuple[int, int | None, int | None, int | None],
    text: str,
) -> None:
    f, r, c, s = place
    if (r is None and c is not None) or (c is None and s is not None):
        return
    segment = list(theirs)[i]
    try:
        message.set_text(i, f, r, c, s, text)
        refused = False
    except FieldError:
        refused = True
    try:
        segment[_written(f, r, c, s)] = text
        encoded = segment.encoded().encode(message.codec.name, "surrogateescape")
    except ValueError:  # the engine refuses what cannot be encoded when the line comes back
        assert refused
        return
    assert not refused
    assert encoded == message.line(i), (encoded, message.line(i))


# --- tables and scalars -------------------------------------------------------------------------

_CSV = (
    "from,to\n", "# c\n", "a,b\n", '"a,b",c\n', '"', ",", "\n", "\r\n", "*,x\n", "valid_from", "20260101", ",,\n",
    "code,unit,to\n", "é", "\x00", "a,b,c,d\n", "\ufeff", "from,from\n", "20261301,", "\u2028",
)  # fmt: skip
_MAP = {
    "resourceType": "ConceptMap",
    "group": [
        {
            "source": "http://example.org/a",
            "target": "http://loinc.org",
            "element": [{"code": "A", "target": [{"code": "1-8", "relationship": "equivalent"}]}],
        }
    ],
}
_JSON: tuple[object, ...] = (
    None,
    1,
    "",
    [],
    {},
    "x",
    True,
    [1],
    {"a": 1},
    [[]],
    1e400,
    "\ud800",
    "*",
)


def tables(data: bytes) -> None:
    """Any text is a table or problems at lines of it; a good row is found again."""
    draw = Draw(data)
    problems = Problems()
    if draw.flag():
        text = "".join(
            draw.choice(_CSV) if draw.flag() else draw.text(5) for _ in range(draw.number(9))
        )
        table = read_csv("t", text, "t.csv", problems)
    else:
        text = _concept_map(draw)
        table = read_concept_map("t", text, "t.json", problems)
    last = text.count("\n") + text.count("\r") + 1
    for problem in problems.found:
        assert 1 <= problem.position.line <= last, problem
        assert problem.position.column >= 1
    for value in ("a", "*", "", "A", CANARY):
        table.contains(value)


def _concept_map(draw: Draw) -> str:
    made = json.loads(json.dumps(_MAP))
    for _ in range(draw.number(3)):
        at = made
        for _ in range(draw.number(6)):
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(at[key], dict | list) and draw.byte() % 4:
                at = at[key]
                continue
            at[key] = deepcopy(draw.choice(_JSON))
            break
    text = json.dumps(made, indent=draw.choice((None, 1)))
    if draw.byte() % 4 == 0:
        at_text = draw.number(len(text))
        text = text[:at_text] + draw.text(3) + text[at_text + draw.number(3) :]
    return text


_SCALARS: tuple[Callable[[str], object], ...] = (
    scalars.parse_words, scalars.parse_yes_no, scalars.parse_duration, scalars.parse_positive_duration,
    scalars.parse_size, scalars.parse_positive_size, partial(scalars.parse_whole, 1, 99),
    partial(scalars.parse_number, 0.5, 9.5), scalars.parse_port, scalars.parse_name, scalars.parse_host,
    scalars.parse_host_port, scalars.parse_unix, scalars.parse_network, scalars.parse_time_range,
    scalars.parse_type, scalars.parse_fingerprint, scalars.parse_processing_mode,
)  # fmt: skip
_WORDS = (
    "1", "5s", "500ms", "1.5h", "20MiB", "0", "-1", "127.0.0.1", "[::1]", ":9464", "unix:", "/16", "a-b", "A01",
    "ADT^", "*", "06:00-22:00", "24:30", "06:00-24:30", "yes", "OFF", "sha256:", "ab" * 32, ".", " ", "host", "://", "0x1",
    "999999999", "y", "e5", "_", "\n", "\u0660", "fe80::1%eth0", "10.0.0.1/8",
)  # fmt: skip


def scalar_values(data: bytes) -> None:
    """Any text is a value that reads the same again, or is refused without being quoted."""
    draw = Draw(data)
    parse = draw.choice(_SCALARS)
    text = "".join(
        draw.choice(_WORDS) if draw.flag() else draw.text(4) for _ in range(draw.number(4) + 1)
    )
    try:
        value = parse(text)
    except scalars.ScalarError as error:
        assert error.message
        return
    assert parse(text) == value
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert 0 <= value < 2**63
    if parse in (scalars.parse_host, scalars.parse_network, scalars.parse_name):
        assert isinstance(value, str)
        assert parse(value) == value
        assert not re.search(r"[\s\x00-\x1f]", value)
    if parse is scalars.parse_time_range:
        hours = [int(part[:2]) * 60 + int(part[3:]) for part in text.split("-")]
        assert all(minutes <= 24 * 60 for minutes in hours), text
