"""Written steps with mistakes: each is found, at its place, with a hint, and all at once."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ifengine.transforms
from ifengine.transforms.base import DroppedError, StepFailedError
from ifengine.transforms.codes import STEP_CODES
from ifengine.transforms.compile import MOST_STEPS, Known, compile_steps
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Severity, Text
from ifengine.transforms.table_of_steps import NOT_YET, STEPS
from transforms.test_steps import CASES
from transforms.written import ORU, TABLES, compiled, nodes, scope_of

# one line of steps; "^" in the second line stands under the place of the first problem
# fmt: off
MISTAKES = [
    ("- sett: {MSH-5: X}", "  ^", "E101", "is not known here", 'did you mean "set"?'),
    (
        "- {set: {MSH-5: X}, trim: PID-5}",
        "                    ^",
        "E105",
        'does one thing: "set" or "trim"',
        'put "- " before trim',
    ),
    ("- {when: PID-8 = M}", "  ^", "E106", "no verb", ""),
    ("- trim", "  ^", "E104", "a verb with what it works on", "- trim: …"),
    (
        "- {trim: PID-5, on_update: yes}",
        "                ^",
        "E101",
        "does not go with trim",
        "default",
    ),
    (
        "- {trim: PID-5, whenn: PID-8 = M}",
        "                ^",
        "E101",
        '"whenn" is not known here',
        'did you mean "when"?',
    ),
    ("- {trim: PID-5, name: Trim It}", "                      ^", "E103", "cannot name a step", ""),
    (
        "- {set: {MSH-5: X}, create: maybe}",
        "                            ^",
        "E103",
        "create is yes or no",
        "",
    ),
    (
        "- upper: [PID-5.1, PID-5-2]",
        "                        ^",
        "E110",
        'did not expect "-2" after PID-5',
        "PID-5.2",
    ),
    (
        "- upper: [PID-5.1, 'PID-5-2']",
        "                         ^",
        "E110",
        'did not expect "-2"',
        "PID-5.2",
    ),
    (
        "- {upper: PID-5, when: PV1-2 == I}",
        "                             ^",
        "E110",
        "use a single = to compare",
        "",
    ),
    (
        "- set: {MSH-5: '${PID-5 | uper}'}",
        "                          ^",
        "E110",
        "is not a filter",
        "upper",
    ),
    ("- set: {MSH-2: x}", "        ^", "E306", "delimiters", ""),
    ("- set: {PID: x}", "        ^", "E306", "works on fields", "PID-1"),
    ("- set: MSH-5", "       ^", "E104", "takes a mapping", "set: {MSH-5: LAB}"),
    ("- set: {}", "       ^", "E104", "nothing to do", ""),
    ("- set: {OBX-5: x}", "        ^", "E305", '"OBX" may be there several times', "for_each: OBX"),
    (
        "- default: {OBR-5: x}",
        "            ^",
        "E305",
        '"OBR" may be there several times',
        "for_each: OBR",
    ),
    (
        "- require: {NK1-2: no kin}",
        "            ^",
        "E305",
        '"NK1" may be there several times',
        "for_each: NK1",
    ),
    (
        "- {for_each: OBR, set: {OBX-5: x}}",
        "                        ^",
        "E305",
        '"OBX" may be there several times',
        "for_each: OBX",
    ),
    ("- copy: PID-3 -> AL1-3", "                 ^", "E305", "several times", ""),
    ("- copy: PID-3 => PID-4", "              ^", "E110", "needs an arrow", "copy: A -> B"),
    ("- copy: 'PID-3[*] -> PID-4'", "         ^", "E306", "one node", ""),
    (
        "- copy: PID-3 -> PID-4-1",
        "                      ^",
        "E110",
        'did not expect "-1"',
        "PID-4.1",
    ),
    ("- clear: NK1", "         ^", "E306", "works on fields", "delete_segments: NK1"),
    ("- delete_segments: PID-5", "                   ^", "E306", "takes segments", "clear: PID-5"),
    ("- delete_segments: MSH", "                   ^", "E306", "MSH cannot be deleted", ""),
    ("- delete_segments: [OBR, NTE]", "  ^", "E307", "deleting OBR leaves its OBX", ""),
    ("- keep_segments: [MSH, 'OBX[1]']", "                        ^", "E306", "takes names", "OBX"),
    (
        "- keep_repetitions: {in: PID-3.1, where: .5 = MR}",
        "                         ^",
        "E306",
        "a whole field",
        "PID-3",
    ),
    ("- keep_repetitions: {in: PID-3}", "  ^", "E102", 'needs "where"', ""),
    (
        "- keep_repetitions: {in: PID-3, were: .5 = MR}",
        "                                ^",
        "E101",
        '"were" is not known here',
        'did you mean "where"?',
    ),
    (
        "- lookup: {table: ward, from: PV1-3.1}",
        "  ^",
        "E102",
        "what if there is no row",
        "dead_letter",
    ),
    ("- lookup: {table: ward, missing: keep}", "  ^", "E102", "one of from and keys", ""),
    (
        "- lookup: {table: wrad, from: PV1-3.1, missing: keep}",
        "                  ^",
        "E301",
        'no table "wrad"',
        'did you mean "ward"?',
    ),
    (
        "- lookup: {table: loinc, from: PV1-3.1, missing: keep}",
        "                  ^",
        "E308",
        "2 key columns",
        "code, unit",
    ),
    (
        "- lookup: {table: loinc, keys: {code: PID-3.1}, to: PID-2, missing: keep}",
        "                  ^",
        "E308",
        "keys of table",
        "code, unit",
    ),
    (
        "- lookup: {table: ward, from: PV1-3.1, column: level, missing: keep}",
        "                                               ^",
        "E308",
        'no result column "level"',
        "to, floor",
    ),
    (
        "- lookup: {table: ward, from: OBX-3.1, to: OBX-4, missing: keep}",
        "                                           ^",
        "E305",
        "several times",
        "",
    ),
    (
        "- lookup: {table: loinc, keys: {code: PID-3.1, unit: PID-4}, missing: keep}",
        "  ^",
        "E102",
        "lookup with keys needs to",
        "",
    ),
    (
        "- add_segment: {name: ZRX, after: OBX}",
        "                                  ^",
        "E305",
        "several times",
        "OBX[last]",
    ),
    (
        "- add_segment: {name: ZRX, fields: {a: x}}",
        "                                    ^",
        "E110",
        "a field number",
        "1 or 3.2",
    ),
    ("- add_segment: {name: MSH}", "                      ^", "E306", "name of one segment", ""),
    (
        "- replace: {in: PID-5, find: '', with: x}",
        "                             ^",
        "E104",
        "find is empty",
        "",
    ),
    (
        "- replace: {in: PID-5, find: '(a', with: x, regex: yes}",
        "                              ^",
        "E110",
        "without its )",
        "",
    ),
    (
        "- replace: {in: PID-5, find: a, with: x, regex: perhaps}",
        "                                                ^",
        "E103",
        "yes or no",
        "",
    ),
    ("- let: {Ward: x}", "        ^", "E104", "a name is small letters", ""),
    ("- set: {PID-2: 'x ${wrd}'}", "                    ^", "E302", 'no variable "wrd"', ""),
    (
        "- {trim: PID-5, when: $wrd = x}",
        "                       ^",
        "E302",
        'no variable "wrd"',
        "",
    ),
    (
        "- {trim: PID-5, when: PID-8 in table sx}",
        "                                     ^",
        "E301",
        'no table "sx"',
        'did you mean "sex"?',
    ),
    ("- for_each: OBX", "  ^", "E102", 'needs "do"', ""),
    (
        "- {for_each: OBX-5, do: [{trim: OBX-5}]}",
        "             ^",
        "E306",
        "goes over segments",
        "OBX",
    ),
    ("- choose: {when: PID-8 = M}", "          ^", "E104", "a list of branches", ""),
    ("- choose: [{when: PID-8 = M}]", "  ^", "E102", 'needs "do"', ""),
    (
        "- {for_each: OBX, do: {trim: OBX-5}}",
        "                      ^",
        "E104",
        "steps are a list",
        "",
    ),
    ("- drop: null", "        ^", "E104", "drop needs a reason", ""),
    ("- fail: ' '", "        ^", "E104", "fail needs a reason", ""),
    ("- require: {PV1-2: ''}", "                   ^", "E104", "a reason is missing", ""),
    ("- trim: [[PID-5]]", "         ^", "E104", "path is text here", ""),
]
# fmt: on


@pytest.mark.parametrize(("written", "caret", "code", "message", "hint"), MISTAKES)
def test_a_mistake_is_shown_at_its_place_with_a_hint(
    written: str, caret: str, code: str, message: str, hint: str
) -> None:
    _, problems = compiled(written, variables=frozenset({"ward"}))
    errors = [problem for problem in problems.found if problem.severity is Severity.ERROR]
    assert [problem.code for problem in errors] == [code]
    assert errors[0].position.column == len(caret)
    assert message in errors[0].message
    assert hint in errors[0].hint


WARNINGS = [
    ("- set: {PID-2: '${OBX-5}'}", "W305", "this reads the first"),
    ("- {set: {PID-2: x}, when: OBX-8 = HH}", "W305", "this reads the first"),
    ("- copy: NK1-2 -> PID-9", "W305", "this reads the first"),
    ("- {set: {PID-2: x}, when: PID-8 = M and PID-9 = N or PID-10 = O}", "W213", "tighter"),
    ("- {set: {PID-2: x}, when: MSH-9 = ADT^A01}", "W213", "three components"),
    ("- set: {PDI-2: x}", "W303", "no segment of HL7"),
    ("- drop: all\n- trim: PID-5", "W310", "nothing after drop runs"),
    ("- fail: all\n- trim: PID-5\n- trim: PID-5", "W310", "nothing after fail runs"),
    (
        "- for_each: OBR\n  do:\n    - for_each: OBX\n      do:\n        - choose:\n"
        "            - when: OBX-8 = HH\n              do:\n                - trim: OBX-5\n",
        "W311",
        "more than three",
    ),
]


@pytest.mark.parametrize(("written", "code", "message"), WARNINGS)
def test_what_is_probably_not_meant_is_a_warning(written: str, code: str, message: str) -> None:
    _, problems = compiled(written)
    assert problems.ok
    assert [problem.code for problem in problems.found] == [code]
    assert message in problems.found[0].message


@pytest.mark.parametrize(
    "written",
    [
        "- {for_each: OBX, set: {OBX-5: '${OBX-6} ${OBR-4}'}, when: OBX-8 = HH}",
        "- {for_each: OBX, do: [{set: {OBR-5: x}}]}",
        "- {for_each: OBR, when: OBR-4 = X, do: [{trim: OBX-5}, {set: {ORC-1: XO}}]}",
        "- {set: {PID-2: x}, when: 'any OBX-8 = HH and OBX[1]-3 = X and OBR-4 = Y and ORC-1 = NW'}",
        "- {drop: all, when: PID-8 = M}\n- trim: PID-5",
        "- {for_each: OBX, drop: hidden, when: OBX-8 = HH}\n- trim: PID-5",
        "- trim: [OBX-5, NK1-2, 'OBX[2]-3']",
        "- {let: {a: x}}\n- {trim: PID-5, when: $a = x}\n- set: {PID-2: '${a} ${now} ${msg.id}'}",
        "- set: {ZPI-2: x, QQQ-1: y}",
    ],
)
def test_what_is_said_clearly_has_no_error(written: str) -> None:
    _, problems = compiled(written, variables=frozenset())
    assert [problem for problem in problems.found if problem.code != "W303"] == []


def test_all_mistakes_are_reported_at_once() -> None:
    written = "".join(f"{line}\n" for line, *_ in MISTAKES)
    _, problems = compiled(written, variables=frozenset())
    lines = {p.position.line for p in problems.found if p.severity is Severity.ERROR}
    assert lines == set(range(1, len(MISTAKES) + 1))


def test_every_verb_of_a_later_release_is_named_as_such() -> None:
    for verb in NOT_YET:
        _, problems = compiled(f"- {verb}: {{a: b}}")
        assert [problem.code for problem in problems.found] == ["E190"]


def test_every_verb_of_the_language_is_here_or_announced() -> None:
    design = Path(__file__).parents[2] / ".." / "shared" / "design" / "channel-language.md"
    if not design.exists():
        pytest.skip("the design documents are not beside this repository")
    rows = re.findall(r"^\| \d+ \| (.*?) \|", design.read_text(), re.MULTILINE)
    verbs = {verb for row in rows for verb in re.findall(r"`(\w+)`", row)}
    known = {row.verb for row in STEPS} | set(NOT_YET)
    beyond = {"counter"}  # not in that table: safety-rules.md, "What analysts need every week"
    assert verbs - {"otherwise", "do"} == known - beyond
    assert beyond <= known


def test_more_steps_than_anybody_could_read_are_refused_once() -> None:
    steps, problems = compiled("- trim: PID-5\n" * (MOST_STEPS + 3))
    assert len(steps.steps) == MOST_STEPS
    assert [(p.code, p.position.line) for p in problems.found] == [("E004", MOST_STEPS + 1)]


def test_every_code_is_explained_and_no_explanation_is_left_over() -> None:
    root = Path(ifengine.transforms.__file__).parent
    files = [file for file in root.rglob("*.py") if file.name != "codes.py"]
    used = {code for file in files for code in re.findall(r'"([EW]\d{3})"', file.read_text())}
    assert used == set(STEP_CODES)
    assert all(text.endswith((".", "?")) for text in STEP_CODES.values())


def test_every_mistake_that_has_a_code_is_shown_by_a_test() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    shown = set(re.findall(r'"([EW]\d{3})"', "".join(f.read_text("utf-8") for f in files)))
    assert set(STEP_CODES) - shown == set()


AT = Position("x", 1, 1)
_TEXTS = st.sampled_from(
    ["PID-3", "OBX-5", "set", "PID-5-1", "null", "", "A -> B", "PID-3 -> PID-4", "yes", "${", "x",
     "ward", "PID-8 = M", ".5 = MR", "Z*", "OBX(where OBX-1 = 1)", "\x00", "${PID-3 | table(ward)}"]
).map(lambda text: Text(text, AT))  # fmt: skip
_KEYS = st.sampled_from(
    [*(row.verb for row in STEPS), "when", "for_each", "do", "name", "otherwise", "table", "from",
     "keys", "to", "in", "where", "fields", "after", "find", "with", "regex", "1", "PID-3", "code"]
)  # fmt: skip
NODES = st.recursive(
    _TEXTS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: Items(tuple(items), AT)),
        st.dictionaries(_KEYS, inner, max_size=3).map(
            lambda found: Entries(tuple((Text(k, AT), v) for k, v in found.items()), AT)
        ),
    ),
    max_leaves=8,
)


@given(st.lists(NODES, max_size=3))
def test_whatever_is_written_becomes_steps_or_problems(items: list[Node]) -> None:
    problems = Problems()
    made = compile_steps(Items(tuple(items), AT), problems, Known(TABLES))
    if problems.ok:
        try:
            made.run(scope_of(ORU))
        except (StepFailedError, DroppedError):
            return


@given(
    st.sampled_from([case for case, _ in CASES]),
    st.integers(0, 200),
    st.text(alphabet="-.[]{}:',x=$", max_size=2),
)
def test_a_damaged_file_never_raises(written: str, place: int, damage: str) -> None:
    place = min(place, len(written))
    try:
        nodes(written[:place] + damage + written[place:])
    except (yaml.YAMLError, AttributeError):
        return
    compiled(written[:place] + damage + written[place:])
