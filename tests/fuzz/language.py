"""What analysts write: paths, conditions, placeholders, expressions, times, YAML and whole sites."""

import re
import time
import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from fuzz.draw import Draw
from fuzz.messages import CANARY, ROOT, content
from ifengine.errors import NotationError
from ifengine.hl7.condition import parse_condition
from ifengine.hl7.message import Message, MessageError
from ifengine.hl7.path import parse_path
from ifengine.hl7.patterns import Pattern
from ifengine.routes.config.formatting import format_text, meaning
from ifengine.routes.config.loading import load_site
from ifengine.routes.config.render import problem_as_json, render_problem
from ifengine.routes.config.yaml_nodes import compose
from ifengine.transforms.base import ReasonError, StepScope
from ifengine.transforms.source import Problems
from ifengine.transforms.tables import Table
from ifengine.transforms.template import parse_template

T = TypeVar("T")
NOW_US = 1_767_607_200_000_000
TABLES: dict[str, Table] = {}

_PATHS = (
    "PID-3", "PID-5.1", "PID-3[2].4.1", "OBX[*]-5", "OBR[2]/OBX[last]-5[*].1", "Z*", "ZPI-1",
    "PID-3(where .5 = MR).1", "OBX(where OBX-8 = HH)-5", "MSH-9.2", "MSH-1", "OBX-3(where .1 in [a, 'b'])",
    "PID-3(where not .5 exists and .1 starts with \"7\")", "PID-3[last].4.2",
)  # fmt: skip
_TESTS = (
    "= A01", "!= 'x y'", "in [I, E]", "not in [\"a\", b]", "exists", "not exists", "is empty", "is null",
    "matches /^A[0-9]+$/i", "starts with A", "contains 'b'", "ends with C", ">= 5", "< 20260101",
    "> $limit", "= PID-3.1", "<= now", "is not empty", "in table sex", "not matches /a|b/",
)  # fmt: skip
_WORDS = (
    " and ", " or ", "not ", "(", ")", "any ", "all ", "no ", "[", "]", "'", '"', "/", "$", ".", "-",
    "age(PID-7) ", "weekday(PV1-44) = sat", "days_until(PID-7)", "number_of(OBX-5)", " ", "\t", "é", "\\",
    "{", "}", "|", "${", ",", "1", "0", "99999999999", "\n", "now",
)  # fmt: skip
_FILTERS = (
    "upper", "lower", "trim", "left(3)", "right(2)", "default('n')", "date('YYYYMMDD')", "pad(5, '0')",
    "replace('a', 'b')", "title", "digits", "mask", "nope", "left(", "date('')", "ascii", "substring(1,2)",
)  # fmt: skip


def _written(draw: Draw, *kinds: tuple[str, ...]) -> str:
    """Return a text of pieces, mostly well formed, sometimes cut about."""
    text = "".join(draw.choice(draw.choice(kinds)) for _ in range(draw.number(7) + 1))
    for _ in range(draw.number(2)):
        at = draw.number(min(len(text), 255))
        text = text[:at] + draw.text(3) + text[at + draw.number(3) :]
    return text


def _parsed(parse: Callable[[str], T], text: str) -> T | None:
    """Return what was read; None where it was refused at a place inside the text, in words."""
    try:
        return parse(text)
    except NotationError as error:
        assert 0 <= error.offset <= len(text), (error.offset, len(text))
        assert error.message
        return None


def _message(draw: Draw) -> Message | None:
    try:
        return Message.parse(content(draw))
    except MessageError:
        return None


def _scope(message: Message) -> StepScope:
    return StepScope(message, _tables(), NOW_US, "1", variables={"limit": "5", "ward": "W"})


@cache
def _tables() -> dict[str, Table]:
    site = load_site(ROOT, environ={}).site
    assert site is not None
    return dict(site.tables)


# --- paths, conditions, placeholders ------------------------------------------------------------


def paths(data: bytes) -> None:
    """What is printed reads as the same path, and reads the same of any message."""
    draw = Draw(data)
    relative = draw.flag()
    text = draw.choice(_PATHS) if draw.flag() else _written(draw, _PATHS, _WORDS)
    path = _parsed(lambda t: parse_path(t, relative=relative), text)
    if path is None:
        return
    printed = str(path)
    again = parse_path(printed, relative=relative)
    assert str(again) == printed
    assert (again.head.name, again.field) == (path.head.name, path.field)
    assert (again.component, again.subcomponent) == (path.component, path.subcomponent)
    message = _message(draw)
    if message is None or path.is_relative:
        return
    scope = _scope(message)
    sent = message.encode()
    assert path.read(message, scope) == again.read(message, scope)
    assert path.leaf(scope) == again.leaf(scope)
    assert path.leaves(scope) == again.leaves(scope)
    assert path.found(scope) == again.found(scope)
    if path.field is not None and path.leaves(scope):
        assert path.leaf(scope) in ("", *path.leaves(scope))
    every = list(path.nodes(message, scope, every=True)) if path.field is not None else []
    assert all(0 <= node.segment < len(message.names()) for node in every)
    assert message.encode() == sent


def conditions(data: bytes) -> None:
    """What is printed reads as the same condition, with the same answer; notes hold no value."""
    draw = Draw(data)
    parts = [f"{draw.choice(_PATHS)} {draw.choice(_TESTS)}" for _ in range(draw.number(3) + 1)]
    text = draw.choice((" and ", " or ")).join(parts)
    if draw.flag():
        text = _written(draw, _PATHS, _TESTS, _WORDS)
    condition = _parsed(parse_condition, text)
    if condition is None:
        return
    printed = str(condition)
    again = parse_condition(printed)
    assert str(again) == printed, printed
    assert all(0 <= warned.offset <= len(text) for warned in condition.warnings)
    message = _message(draw)
    if message is None or any(name not in _tables() for name in condition.table_names()):
        return
    scope = _scope(message)
    assert condition.holds(scope) == again.holds(scope)
    negated = parse_condition(f"not ({printed})")
    assert negated.holds(scope) != condition.holds(scope)
    assert CANARY not in " ".join(condition.notes(scope))


def templates(data: bytes) -> None:
    """Text without placeholders stays; what cannot be rendered is a reason without a value."""
    draw = Draw(data)
    pieces = []
    for _ in range(draw.number(3) + 1):
        source = draw.choice((*_PATHS, "now", "ward", "msg.id", "msg.type", "br", "env:X"))
        filters = "".join(f" | {draw.choice(_FILTERS)}" for _ in range(draw.number(2)))
        pieces.append(f"{draw.text(3)}${{{source}{filters}}}")
    text = "".join(pieces) if draw.byte() % 4 else _written(draw, _PATHS, _FILTERS, _WORDS)
    template = _parsed(parse_template, text)
    if template is None:
        return
    message = _message(draw)
    if message is None:
        return
    try:
        shown = template.render(_scope(message))
    except ReasonError as error:
        assert CANARY not in str(error)
        return
    if template.is_constant:
        assert shown == text.replace("$${", "${")


# --- regular expressions ------------------------------------------------------------------------

_ATOMS = (
    "a",
    "b",
    ".",
    "[ab]",
    "[^a]",
    r"\d",
    r"\w",
    "(a|b)",
    "(ab)",
    "^",
    "$",
    "1",
    r"\.",
    "[0-9]",
)
_TIMES = ("", "", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}")


def patterns(data: bytes) -> None:
    """An expression finds what Python's finds, or is refused inside its text, without exploding."""
    draw = Draw(data)
    if draw.byte() % 4 == 0:
        _parsed(Pattern, draw.text(60))
        return
    text = ""
    for _ in range(draw.number(4) + 1):
        atom = draw.choice(_ATOMS)
        text += atom + ("" if atom in "^$" else draw.choice(_TIMES))
        text += draw.choice(("", "", "", "|"))
    pattern = _parsed(lambda t: Pattern(t, groups=True), text)
    if pattern is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = re.compile(re.sub(r"(?<!\\)\$", r"\\Z", text), re.ASCII)
    for _ in range(4):
        subject = draw.text(9, "ab1. ")
        found = reference.search(subject)
        assert pattern.search(subject) == (found is not None), (text, subject)
        captured = pattern.captures(subject)
        assert bool(captured) == (found is not None)
        if found is not None:
            assert captured[0] == found[0], (text, subject)
        spans = pattern.spans(subject)
        assert spans is not None
        assert all(0 <= start < end <= len(subject) for start, end in spans)
        assert all(one[1] <= two[0] for one, two in pairwise(spans))


# --- YAML and sites -----------------------------------------------------------------------------

_YAML = (
    "a: b\n", "- x\n", "  ", "- ", ": ", "{a: b}", "[a, b]", "&x ", "*x", "!t ", "'", '"', "# c\n", "|\n",
    ">\n", "<<: *x\n", "\t", "steps:\n", "to:\n", "? ", "~", "null", "\r\n", "é: ü\n", "\u2028", "\x00",
    "- set: {PID-5.1: \"${PID-3 | upper}\"}\n", "%YAML 1.1\n", "---\n", "...\n", "\ufeff", "shared:\n",
)  # fmt: skip


def yaml_text(data: bytes) -> None:
    """Any text is nodes or problems inside it; formatting keeps what it says, and is done once."""
    draw = Draw(data)
    text = (
        _written(draw, _YAML) + _written(draw, _YAML)
        if draw.flag()
        else draw.rest().decode("utf-8", "replace")
    )
    problems = Problems()
    node = compose(text, "x.yaml", problems)
    lines = text.count("\n") + text.count("\r") + 1
    for problem in problems.found:
        assert 1 <= problem.position.line <= lines
        assert problem.position.column >= 1
    if node is None:
        return
    formatted = format_text(text, "x.yaml")
    assert (formatted.text is None) == any(True for _ in formatted.problems)
    if formatted.text is not None:
        after = Problems()
        read = compose(formatted.text, "x.yaml", after)
        assert read is not None
        assert after.ok
        assert meaning(read) == meaning(node)
        assert format_text(formatted.text, "x.yaml").text == formatted.text


@cache
def _site_files() -> dict[str, bytes]:
    files = [ROOT / "ifengine.yaml", *(ROOT / "channels").rglob("*")]
    found = {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in files if p.is_file()}
    keep = ("ifengine.yaml", "channels/adt-fanout.yaml", "channels/lab-results.yaml")
    return {
        n: c
        for n, c in found.items()
        if n in keep or n.startswith(("channels/samples", "channels/tables"))
    }


def sites(data: bytes) -> None:
    """Whatever stands in the files of a site: a site, or problems inside the files; soon."""
    draw = Draw(data)
    files = dict(_site_files())
    for _ in range(draw.number(2) + 1):
        name = draw.choice(sorted(files))
        whole = files[name]
        at = draw.number(max(len(whole), 256)) % (len(whole) + 1)
        piece = (
            draw.choice((*_YAML, *_PATHS, *_TESTS, *_WORDS)).encode()
            if draw.flag()
            else draw.some(5)
        )
        if draw.byte() % 3 == 0:  # a line of the file somewhere else: known words at a wrong place
            lines = whole.splitlines(keepends=True) or [b""]
            piece = draw.choice(lines)
        files[name] = whole[:at] + piece + whole[at + draw.number(20) :]
    started = time.process_time()
    loaded = load_site(Path("site"), environ={}, given=files)
    assert time.process_time() - started < 10
    errors = [p for p in loaded.problems if p.severity == "error"]
    assert (loaded.site is None) == bool(errors)
    for problem in loaded.problems:
        lines = loaded.lines.get(problem.position.file, ())
        raw = files.get(problem.position.file, b"")
        last = len(lines) or len(re.split(rb"\r\n|\r|\n", raw))  # what is no UTF-8 has no lines
        assert 1 <= problem.position.line <= last, problem.position
        assert problem.position.column >= 1
        assert render_problem(problem, lines)
        assert problem_as_json(problem)["code"] == problem.code
