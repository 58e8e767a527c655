"""What a test expects, compared with what its world shows: every difference by its place. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ifengine.errors import FieldError
from ifengine.hl7.batch import split_batch
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.message import Message, MessageError
from ifengine.hl7.path import Path, Which
from ifengine.routes.channel import UNMATCHED
from ifengine.routes.channel_tests.receivers import Delivery
from ifengine.routes.channel_tests.world import Seen
from ifengine.routes.config.cases import Expected, Turn
from ifengine.transforms.base import StepScope
from ifengine.transforms.source import Position
from ifengine.transforms.trace import compare, lines_of
from ifengine.transforms.writing import emptied

NOWHERE = "nothing came here"
EMPTY = "(empty)"
NOT_WAITED_FOR = "not waited for"
# not for this channel: whether another one of its connection takes the type is no matter of its own
_ALIKE = {"filtered": frozenset({"filtered", "unrouted"})}


@dataclass(slots=True)
class Difference:
    """One thing that is not as expected. ``place`` is a path, or what was asked."""

    destination: str  # "": the sender's answer
    place: str
    expected: str = field(repr=False)
    got: str = field(repr=False)
    position: Position
    message: int = 0  # whose steps may explain it; 0: no message's
    notes: list[str] = field(default_factory=list, repr=False)


def differences(
    turn: Turn, seen: Seen, charset: CharsetPolicy, golden: Mapping[str, bytes]
) -> Iterator[Difference]:
    """Yield everything that is not as a turn expects it."""
    yield from _answers(turn, seen)
    for expected in turn.expected:
        here = [d for d in seen.deliveries if d.destination == expected.destination]
        yield from _destination(expected, here, charset, golden)


def _answers(turn: Turn, seen: Seen) -> Iterator[Difference]:
    codes = [", then ".join(a.code for a in answers) or "none" for answers in seen.answers]
    got = ", ".join(dict.fromkeys(codes)) or "none"
    if turn.ack and not _answered(turn.ack, seen):
        yield Difference("", "ack", turn.ack, got, turn.position)
    texts = [answer.text for answers in seen.answers for answer in answers]
    if turn.ack_text and not any(turn.ack_text in text for text in texts):
        said = ", ".join(filter(None, dict.fromkeys(texts))) or EMPTY
        yield Difference("", "ack_text", turn.ack_text, said, turn.position)


def _answered(code: str, seen: Seen) -> bool:
    if code == "none":
        return not any(seen.answers)
    return bool(seen.answers) and all(any(a.code == code for a in one) for one in seen.answers)


# --- one destination ----------------------------------------------------------------------------


def chosen(expected: Expected, here: Sequence[Delivery]) -> list[Delivery]:
    """Return the deliveries that an expectation speaks of: those in its state, else the sent ones.

    Without a state, ``application`` speaks of what was stored, a no to it included. ``filtered`` speaks of all: it holds only where nothing else happened.
    """
    state = expected.state
    if not state:
        if expected.application:
            return [d for d in here if d.application]
        state = "sent"
        if expected.destination == UNMATCHED:
            return list(here)
    return [d for d in here if d.state in _ALIKE.get(state, (state,))]


def _destination(
    expected: Expected, here: list[Delivery], charset: CharsetPolicy, golden: Mapping[str, bytes]
) -> Iterator[Difference]:
    found = chosen(expected, here)
    wrong_state = False
    if expected.state:
        others = [d for d in here if d not in found]
        wrong_state = not found or (expected.state == "filtered" and bool(others))
        if wrong_state:
            yield _state(expected, others)
    if expected.count is not None and len(found) != expected.count:
        yield _at(expected, "count", str(expected.count), str(len(found)))
    if wrong_state:
        return  # what is said of content and reason was said of a message in that state
    if expected.reason and not any(expected.reason in d.reason for d in found):
        reasons = ", ".join(filter(None, dict.fromkeys(d.reason for d in found))) or EMPTY
        yield _at(expected, "reason", expected.reason, reasons, found[0] if found else None)
    yield from _application(expected, found)
    yield from _contents(expected, found, charset, golden)


def _application(expected: Expected, found: Sequence[Delivery]) -> Iterator[Difference]:
    """Compare what the receivers made of what they stored, of every message that is spoken of."""
    wanted = expected.application
    if not wanted or (found and all(d.application == wanted for d in found)):
        return
    got = ", ".join(dict.fromkeys(d.application or NOT_WAITED_FOR for d in found)) or NOWHERE
    yield _at(expected, "application", wanted, got, found[0] if found else None)


def _state(expected: Expected, others: Sequence[Delivery]) -> Difference:
    got = ", ".join(dict.fromkeys(d.state for d in others)) or NOWHERE
    first = next((d for d in others if d.state != "filtered"), others[0] if others else None)
    found = _at(expected, "state", expected.state, got, first)
    for delivery in others:
        where = f" at {delivery.step}" if delivery.step else ""
        note = f"{delivery.state}{where}: {delivery.reason}"
        if delivery.reason and note not in found.notes:
            found.notes.append(note)
    return found


def _at(
    expected: Expected, place: str, wanted: str, got: str, delivery: Delivery | None = None
) -> Difference:
    message = 0 if delivery is None else delivery.message
    return Difference(expected.destination, place, wanted, got, expected.position, message)


def _asks_for_content(expected: Expected) -> bool:
    asked = (
        expected.fields,
        expected.absent,
        expected.segments,
        expected.contains,
        expected.not_contains,
        expected.same_as,
        expected.file_names,
    )
    return any(asked)


def _contents(
    expected: Expected, found: list[Delivery], charset: CharsetPolicy, golden: Mapping[str, bytes]
) -> Iterator[Difference]:
    if not _asks_for_content(expected):
        return
    if not found:
        yield _at(expected, "content", "a message", NOWHERE)
        return
    for delivery in found:
        try:
            message = Message.parse(delivery.content, charset=charset)
        except MessageError as error:
            yield _at(expected, "content", "a message", str(error), delivery)
            continue
        for place, wanted, got in _content(expected, message):
            yield _at(expected, place, wanted, got, delivery)
    if expected.same_as:
        yield from _golden(expected, found, charset, golden.get(expected.same_as))
    names = [d.file_name for d in found]
    if expected.file_names and names != [*expected.file_names]:
        shown = ", ".join(name or EMPTY for name in names)
        yield _at(expected, "file name", ", ".join(expected.file_names), shown, found[0])


def _content(expected: Expected, message: Message) -> Iterator[tuple[str, str, str]]:
    for path, wanted in expected.fields:
        got = value_at(message, path) if wanted else _filled(message, path)
        if got != wanted:
            yield path.text, wanted or EMPTY, got or EMPTY
    for path in expected.absent:
        if path.field is None:
            count = len(path.positions(message))
            if count:
                yield path.text, "absent", f"there {_times(count)}"
        elif any(message.raw(*node) for node in path.nodes(message, every=True)):
            yield path.text, "absent", _filled(message, path, every=True)
    if expected.segments is not None:
        yield from _segments(expected.segments, message.names())
    text = message.codec.decode(message.encode())
    for wanted in expected.contains:
        if _in_segments(wanted) not in text:
            yield "content", f'contains "{wanted}"', "does not"
    for unwanted in expected.not_contains:
        if _in_segments(unwanted) in text:
            yield "content", f'does not contain "{unwanted}"', _line_with(text, unwanted)


def _in_segments(text: str) -> str:
    return "\r".join(text.splitlines()) if "\n" in text else text


def _line_with(text: str, part: str) -> str:
    lines = [line for line in text.split("\r") if _in_segments(part) in line]
    return lines[0] if lines else "does"


def value_at(message: Message, path: Path) -> str:
    """Return what a test reads at a path: the first value, or with ``[*]`` the one that all share."""
    indexes = [path.head.index, path.repetition]
    indexes += [] if path.parent is None else [path.parent.index]
    if Which.ALL in indexes:
        return ", ".join(dict.fromkeys(path.values(message)))
    return path.read(message) or ""


def _filled(message: Message, path: Path, *, every: bool = False) -> str:
    """Return what stands at a path, all repetitions of a whole field included; "": nothing."""
    for node in path.nodes(message, every=every):
        raw = message.raw(*node)
        if raw:
            return message.codec.decode(raw)
    return ""


def _segments(wanted: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    expected, got = Counter(wanted), Counter(names)
    for name in dict.fromkeys([*wanted, *names]):
        if expected[name] != got[name]:
            yield name, _times(expected[name]), _times(got[name])


def _times(count: int) -> str:
    return {0: "absent", 1: "once"}.get(count, f"{count} times")


# --- golden files ---------------------------------------------------------------------------------


def golden_bytes(deliveries: Sequence[Delivery]) -> bytes:
    """Return messages as a golden file holds them: a segment a line, a blank line between them."""
    texts = [
        b"\n".join(delivery.content.rstrip(b"\r\n").split(b"\r")) + b"\n" for delivery in deliveries
    ]
    return b"\n".join(texts)


def _golden(
    expected: Expected, found: list[Delivery], charset: CharsetPolicy, golden: bytes | None
) -> Iterator[Difference]:
    if golden is None:
        hint = "there is no such file; --update writes it"
        yield _at(expected, expected.same_as, "this message", hint, found[0])
        return
    wanted = split_batch(golden).messages
    if len(wanted) != len(found):
        yield _at(expected, expected.same_as, _count(len(wanted)), _count(len(found)), found[0])
        return
    for one, delivery in zip(wanted, found, strict=True):
        try:
            before = _without(one.rstrip(b"\r\n"), expected.ignore, charset)
            after = _without(delivery.content, expected.ignore, charset)
        except (MessageError, FieldError) as error:
            yield _at(expected, expected.same_as, "a message", str(error), delivery)
            continue
        for change in compare(lines_of(before), lines_of(after), after.delimiters, ""):
            yield _at(
                expected, change.path, change.before or EMPTY, change.after or EMPTY, delivery
            )


def _count(number: int) -> str:
    return f"{number} message{'' if number == 1 else 's'}"


def _without(content: bytes, ignored: Sequence[Path], charset: CharsetPolicy) -> Message:
    """Return a message without what the golden file does not fix."""
    message = Message.parse(content, charset=charset)
    scope = StepScope(message=message, tables={}, now_us=0, message_id="")
    for path in ignored:
        if path.field is None:
            scope.delete_segments(path.positions(message))
            continue
        for node in emptied(scope, path):
            message.set_text(*node, "")
    return message
