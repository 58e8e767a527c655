"""The filters of placeholders that reckon: dates, days, numbers, line breaks."""

import pytest

from ifengine.errors import NotationError
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import ReasonError
from ifengine.transforms.filters import FILTERS
from ifengine.transforms.template import parse_template
from transforms.written import ADT, ORU, compiled, field, run, scope_of

LAB = ORU.replace(b"||13.1|||", b"||<^5|||").replace(b"||9.9|||", b"||1,50|||")


def rendered(text: str, content: bytes = ADT) -> str:
    return parse_template(text).render(scope_of(content))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${PID-7 | age}", "45"),
        ("${PID-7 | age()}", "45"),
        ("${age(PID-7)}", "45"),
        ("${ age( PID-7 ) | pad(3,0)}", "045"),
        ("${PID-40 | age}", ""),
        ("${PID-16 | age}", '""'),
        ("${age(PID-40) | default(unknown)}", "unknown"),
        ("${EVN-2 | add(2h)}", "20260105121500"),
        ("${EVN-2 | add(-1d) | date('YYYY-MM-DD')}", "2026-01-04"),
        ("${now | add(-1d)}", "20260104100000+0000"),
        ("${PID-7 | add(1y)}", "19810215"),
        ("${PID-16 | add(1y)}", '""'),
        ("${EVN-2 | days_until}", "0"),
        ("${now | add(3d) | days_until}", "3"),
        ("${days_until(PID-7)}", "-16761"),
        ("${EVN-2 | weekday}", "mon"),
        ("${now | weekday | upper}", "MON"),
        ("${weekday(PID-7)}", "fri"),
        ("a${br}b", "a\\.br\\b"),
        ("${PID-3.1 | number_of}", "70"),
    ],
)
def test_a_filter_reckons_with_the_time_of_the_message(text: str, expected: str) -> None:
    assert rendered(text) == expected


def test_number_of_writes_a_result_plainly_and_keeps_its_limit() -> None:
    assert rendered("${number_of(OBX[1]-5)}", LAB) == "<5"
    assert rendered("${number_of(OBX[2]-5)}", LAB) == "1.50"
    assert rendered("${number_of(OBX(where OBX-3.1 = 2823-3)-5)}", LAB) == "4"
    swapped = LAB.replace(b"^~\\&", b"!~\\&").replace(b"<^5", b"<!5")
    assert rendered("${number_of(OBX[1]-5)}", swapped) == "<5"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("${PID-5.2 | age}", "not a date"),
        ("${PV1-3.1 | days_until}", "not a date"),
        ("${PID-5.2 | weekday}", "not a date"),
        ("${PID-7 | add(2h)}", "not a date to which 2h can be added"),
        ("${PID-5.2 | add(2h)}", "not a date to which 2h can be added"),
        ("${number_of(PID-5.2)}", "not a number"),
    ],
)
def test_a_filter_that_cannot_reckon_does_not_name_the_value(text: str, rule: str) -> None:
    with pytest.raises(ReasonError) as caught:
        rendered(text)
    assert rule in caught.value.reason.safe
    for value in ("Ada", "4WEST", "1980"):
        assert value not in f"{caught.value} {caught.value!r} {caught.value.reason.full}"


def test_an_age_from_a_year_alone_is_not_made_up() -> None:
    with pytest.raises(ReasonError, match="does not say the day"):
        rendered("${PID-7 | age}", ADT.replace(b"19800215", b"1980"))
    assert rendered("${PID-7 | age}", ADT.replace(b"19800215", b"198003")) == "45"


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("${PID-7 | add}", 10, "takes one value"),
        ("${PID-7 | add(2)}", 10, "takes a duration"),
        ("${PID-7 | add(2w)}", 10, "takes a duration"),
        ("${PID-7 | age(years)}", 10, "takes nothing"),
        ("${age(PID.7)}", 9, "did not expect"),
        ("${age(now)}", 6, "takes a path"),
        ("${number_of()}", 11, "names a path"),
        ("${number_of(OBX)}", 12, "reads a field"),
    ],
)
def test_a_mistake_in_a_filter_is_shown_at_its_place(text: str, offset: int, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        parse_template(text)
    assert message in caught.value.message
    assert caught.value.offset == offset


def test_a_template_knows_the_paths_in_its_functions_and_its_line_breaks() -> None:
    template = parse_template("${number_of(OBX-5)} ${age(PID-7)}${br}${ward}")
    assert [path.text for path in template.paths()] == ["OBX-5", "PID-7"]
    assert template.variables() == ("ward",)
    assert template.breaks_lines
    assert not parse_template("${ward} br").breaks_lines


def test_no_variable_takes_the_name_of_something_built_in() -> None:
    for name in ("now", "br", "msg"):
        _, problems = compiled(f"- let: {{{name}: x}}")
        assert [problem.code for problem in problems.found] == ["E104"]


def test_every_filter_leaves_empty_and_null_alone() -> None:
    arguments = {"left": "(1)", "right": "(1)", "pad": "(3,0)", "date": "(YYYY)", "table": "(sex)",
                 "add": "(1d)", "default": "(x)"}  # fmt: skip
    for name in FILTERS:
        call = name + arguments.get(name, "")
        assert rendered(f"${{PID-16 | {call}}}") == '""', name
        assert rendered(f"${{PID-40 | {call}}}") == ("x" if name == "default" else ""), name


def test_inside_a_loop_a_function_reads_this_segment() -> None:
    message = run("- {for_each: OBX, set: {OBX-20: '${number_of(OBX-5)}'}}", LAB)
    assert [field(message, f"OBX[{n}]-20") for n in (1, 2, 3)] == ["<5", "1.50", "4"]
    conditional = run("- {for_each: OBX, when: number_of(OBX-5) < 5, set: {OBX-20: low}}", LAB)
    assert [field(conditional, f"OBX[{n}]-20") for n in (1, 2, 3)] == ["low", "low", "low"]
    assert parse_path("OBX[1]-20").read(conditional) == "low"
