"""Channels that differ from a written one in one thing: a step less, a condition or value changed.

Pure. They are made of nodes, so that a mutant is read and compiled as a written channel is.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ifengine.errors import NotationError
from ifengine.hl7.condition import parse_condition
from ifengine.hl7.condition_checks import OneOf
from ifengine.hl7.condition_parts import Both, Either, Not, Part, Test
from ifengine.transforms.source import Entries, Items, Node, Position, Text

Make = Callable[[Node | None], Node]  # the whole channel, with a part replaced or (None) left out

STEP, BRANCH, CONDITION, VALUE = "step", "branch", "condition", "value"

# which parameters of a verb are values, and how one is changed into another that is allowed
_AS_TEXT = ("set", "default", "let")
_MEMBERS = frozenset(
    {"require", "copy", "move", "swap", "clear", "null", "upper", "lower", "title", "trim", "ascii"}
    | {"mask", "keep_segments", "delete_segments", "renumber"}
)
_WORDS: Final = {
    "dead_letter": "keep",
    "keep": "dead_letter",
    "deliver": "dead_letter",
    "drop": "hold",
    "hold": "pass",
    "pass": "hold",
    "AR": "AE",
    "AE": "AR",
}
_PARAMETERS: Final = {
    "add_segment": ("fields",),
    "note": ("text",),
    "lookup": ("missing", "empty", "null"),
    "translate": ("missing",),
    "replace": ("with",),
    "join": ("with",),
    "pad": ("to", "with"),
    "date": ("to",),
    "wait_for": ("then", "up_to"),
    "latest_only": ("stale",),
    "reject": ("code",),
}
_THEN: Final = {"dead_letter": "deliver"}  # for `then:`, where `keep` is no word
_CONDITIONS: Final = ("when", "never_wait", "where")
_DURATION = re.compile(r"(\d+)((?:\.\d+)?(?:ms|s|m|h|d|y))")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a channel something stands."""

    owner: str  # a destination, "" for the channel
    number: str  # of the step, as ``4.1``; "" for an accept
    verb: str
    position: Position


@dataclass(frozen=True, slots=True)
class Mutant:
    """A channel with one thing changed."""

    kind: str
    place: Place
    change: str  # what was changed, for a person
    node: Node = field(repr=False)
    subject: str = ""  # the path or name it is about, where it is about one


def mutants_of(channel: Entries) -> Iterator[Mutant]:
    """Yield every mutant of a channel file."""
    for node, make, owner in _parts(channel):
        if isinstance(node, Text):
            place = Place(owner, "", "accept", node.position)
            yield from _conditions(node, make, place)
        elif isinstance(node, Items):
            yield from _steps(node, make, owner, "")


def _parts(channel: Entries) -> Iterator[tuple[Node, Make, str]]:
    """Yield accept and steps of the channel and of each destination."""
    for key in ("accept", "steps"):
        node = channel.get(key)
        if node is not None:
            yield node, _maker(channel, key, lambda whole: whole), ""
    to = channel.get("to")
    if not isinstance(to, Entries):
        return
    make_to = _maker(channel, "to", lambda whole: whole)
    for name, body in to:
        if isinstance(body, Entries):
            make_body = _maker(to, name.value, make_to)
            for key in ("accept", "steps"):
                node = body.get(key)
                if node is not None:
                    yield node, _maker(body, key, make_body), name.value


def _maker(parent: Entries, key: str, make: Callable[[Node], Node]) -> Make:
    """Return how the channel is made with another value under a key of one of its maps."""

    def with_value(value: Node | None) -> Node:
        entries = tuple(
            (name, node if name.value != key else value)
            for name, node in parent
            if name.value != key or value is not None
        )
        kept = tuple((name, node) for name, node in entries if node is not None)
        return make(Entries(kept, parent.position))

    return with_value


def _item_maker(parent: Items, index: int, make: Callable[[Node], Node]) -> Make:
    def with_item(value: Node | None) -> Node:
        items = [*parent.items]
        items[index : index + 1] = [] if value is None else [value]
        return make(Items(tuple(items), parent.position))

    return with_item


# --- steps ----------------------------------------------------------------------------------------


def _steps(node: Items, make: Make, owner: str, prefix: str) -> Iterator[Mutant]:
    for index, item in enumerate(node):
        if not isinstance(item, Entries):
            continue
        number = f"{prefix}{index + 1}"
        verb = _verb(item)
        place = Place(owner, number, verb, item.position)
        with_item = _item_maker(node, index, make)
        yield Mutant(STEP, place, "deleted", with_item(None))
        yield from _inside(item, with_item, place)


def _verb(item: Entries) -> str:
    names = [key.value for key, _ in item]
    others = [n for n in names if n not in ("when", "name", "create", "do", "otherwise")]
    several = [n for n in others if n != "for_each"]
    return (several or others or names or [""])[0]


def _inside(item: Entries, make: Make, place: Place) -> Iterator[Mutant]:
    for key, value in item:
        with_value = _maker(item, key.value, make)
        here = replace(place, position=key.position)
        match key.value, value:
            case "when", Text():
                yield from _conditions(value, with_value, here)
            case "do", Items():
                yield from _steps(value, with_value, place.owner, f"{place.number}.")
            case "choose", Items():
                yield from _branches(value, with_value, place)
            case "otherwise", Items():
                number = f"{place.number}.{_branch_count(item) + 1}"
                yield Mutant(
                    BRANCH, replace(here, number=number), "otherwise left out", with_value(None)
                )
                yield from _steps(value, with_value, place.owner, f"{number}.")
            case _:
                if key.value == place.verb:
                    yield from _parameters(value, with_value, place)


def _branch_count(item: Entries) -> int:
    choose = item.get("choose")
    return len(choose.items) if isinstance(choose, Items) else 0


def _branches(node: Items, make: Make, place: Place) -> Iterator[Mutant]:
    for index, branch in enumerate(node):
        if not isinstance(branch, Entries):
            continue
        here = replace(place, number=f"{place.number}.{index + 1}", position=branch.position)
        with_branch = _item_maker(node, index, make)
        if len(node.items) > 1:
            yield Mutant(BRANCH, here, "branch left out", with_branch(None))
        for key, value in branch:
            with_value = _maker(branch, key.value, with_branch)
            if key.value == "when" and isinstance(value, Text):
                yield from _conditions(value, with_value, here)
            elif key.value == "do" and isinstance(value, Items):
                yield from _steps(value, with_value, place.owner, f"{here.number}.")


# --- values ---------------------------------------------------------------------------------------


def _parameters(value: Node, make: Make, place: Place) -> Iterator[Mutant]:
    verb = place.verb
    if verb in _AS_TEXT and isinstance(value, Entries):
        yield from _texts(value, make, place)
    elif verb in _MEMBERS:
        yield from _members(value, make, place)
    elif verb in ("version", "note") and isinstance(value, Text):
        yield from _other_text(value, make, place, verb)
    elif isinstance(value, Entries):
        for key, inner in value:
            with_inner = _maker(value, key.value, make)
            if key.value in _CONDITIONS and isinstance(inner, Text):
                yield from _conditions(inner, with_inner, place)
            elif key.value in _PARAMETERS.get(verb, ()):
                if isinstance(inner, Entries):
                    yield from _texts(inner, with_inner, place)
                elif isinstance(inner, Text):
                    yield from _other_text(inner, with_inner, place, key.value)


def _texts(value: Entries, make: Make, place: Place) -> Iterator[Mutant]:
    for key, inner in value:
        if isinstance(inner, Text):
            here = replace(place, position=key.position)
            yield from _other_text(inner, _maker(value, key.value, make), here, key.value)


def _other_text(text: Text, make: Make, place: Place, name: str) -> Iterator[Mutant]:
    before = "null" if text.is_null else text.value
    after = _changed(before, name, is_null=text.is_null)
    node = make(_text(after, text))
    subject = name if place.verb in _AS_TEXT else ""
    yield Mutant(VALUE, place, f"{name}: {before} -> {after}", node, subject)


def _changed(before: str, name: str, *, is_null: bool) -> str:
    duration = _DURATION.fullmatch(before)
    if name == "up_to" and duration:
        return f"{int(duration[1]) * 10}{duration[2]}"
    if name == "version":
        return "2.4" if before == "2.3" else "2.3"
    if name == "then":
        return _THEN.get(before, _WORDS.get(before, before))
    if name in ("missing", "stale", "code") and before in _WORDS:
        return _WORDS[before]
    if name == "to" and before.isdigit():
        return str(int(before) + 1)
    return "OTHER" if is_null else f"{before}X"


def _members(value: Node, make: Make, place: Place) -> Iterator[Mutant]:
    """Leave out one of several paths, names or requirements."""
    several: list[tuple[str, Position, Node]] = []
    if isinstance(value, Items):
        several = [
            (member.value, member.position, _item_maker(value, index, make)(None))
            for index, member in enumerate(value)
            if isinstance(member, Text)
        ]
    elif isinstance(value, Entries):
        several = [
            (key.value, key.position, _maker(value, key.value, make)(None)) for key, _ in value
        ]
    for name, position, node in several if len(several) > 1 else ():
        if name == "MSH" and place.verb == "keep_segments":
            continue  # it stays, named or not
        here = replace(place, position=position)
        yield Mutant(VALUE, here, f"without {name}", node, name.partition(" -> ")[2] or name)


def _text(value: str, like: Text) -> Text:
    return Text(value, like.position, plain=False, literal=False)


# --- conditions -----------------------------------------------------------------------------------


def _conditions(text: Text, make: Make, place: Place) -> Iterator[Mutant]:
    try:
        part = parse_condition(text.value, relative=True).part
    except NotationError:
        return
    here = replace(place, position=text.position)
    for change, other in _other_conditions(part):
        yield Mutant(CONDITION, here, change, make(_text(other, text)))


def _other_conditions(part: Part) -> Iterator[tuple[str, str]]:
    """Yield what was changed, and the condition that it makes."""
    yield "turned round", f"not ({part})"
    for change, other in _parts_of(part):
        yield change, str(other)


def _parts_of(part: Part) -> Iterator[tuple[str, Part]]:
    match part:
        case Both() | Either():
            for index, inner in enumerate(part.parts):
                rest = (*part.parts[:index], *part.parts[index + 1 :])
                yield f"without {inner}", rest[0] if len(rest) == 1 else replace(part, parts=rest)
                for change, other in _parts_of(inner):
                    parts = _with(part.parts, index, other)
                    yield change, replace(part, parts=parts)
        case Not():
            for change, other in _parts_of(part.inner):
                yield change, Not(other)
        case Test(check=OneOf() as check) if len(check.choices) > 1:
            for index, choice in enumerate(check.choices):
                choices = (*check.choices[:index], *check.choices[index + 1 :])
                yield f"without {choice}", replace(part, check=replace(check, choices=choices))
        case _:
            pass


def _with(parts: Sequence[Part], index: int, other: Part) -> tuple[Part, ...]:
    return (*parts[:index], other, *parts[index + 1 :])
