"""What `ifengine try` shows: each place once, from before the first step to after the last."""

from ifengine.transforms.base import StepFailedError
from ifengine.transforms.trace import Trace
from transforms.written import ADT, ORU, run, scope_of, steps

FANOUT = """
- require: {PV1-2: no patient class}
- trim: [PID-5.1, PID-5.2]
- upper: [PID-5.1, PID-5.2]
- lookup: {table: sex, from: PID-8, missing: U}
- keep_repetitions: {in: PID-3, where: ".5 in [MR, PI]"}
- copy: PID-3.1 -> PID-2
- delete_segments: [NK1, Z*]
- add_segment: {name: ZRX, after: PV1, fields: {1: "${PID-5.1}, ${PID-5.2}", 2: "${PV1-3.1}"}}
- {clear: PID-15, when: PV1-2 = O}
"""


def traced(written: str, content: bytes = ADT) -> Trace:
    trace = Trace()
    steps(written).run(scope_of(content, trace))
    return trace


def rows(trace: Trace) -> list[tuple[str, str, str, str, str]]:
    return [(c.kind, c.path, c.before, c.after, ", ".join(c.steps)) for c in trace.changes()]


def test_every_changed_place_is_one_row_with_all_its_steps() -> None:
    assert rows(traced(FANOUT)) == [
        ("~", "PID-5[1].1", "Fir ", "FIR", "step 2 trim, step 3 upper"),
        ("~", "PID-5[2]", " Firth", "FIRTH", "step 2 trim, step 3 upper"),
        ("~", "PID-5[1].2", "Ada", "ADA", "step 3 upper"),
        ("~", "PID-8", "2", "M", "step 4 lookup sex"),
        ("-", "PID-3[2]", "99^^^SSA^SS", "", "step 5 keep_repetitions"),
        ("+", "PID-2", "", "70", "step 6 copy"),
        ("-", "NK1", "1 | Fir^Eva | SPO", "", "step 7 delete_segments"),
        ("-", "ZPI", "1 | VIP", "", "step 7 delete_segments"),
        ("+", "ZRX", "", "FIR, ADA | 4WEST", "step 8 add_segment"),
    ]


def test_every_step_is_a_record_that_says_whether_it_ran() -> None:
    records = traced(FANOUT).records
    assert [record.number for record in records] == [str(n) for n in range(1, 10)]
    assert [record.ran for record in records] == [True] * 8 + [False]
    assert (records[3].verb, records[3].line) == ("lookup", 5)


def test_nested_steps_are_recorded_behind_their_parent() -> None:
    written = "- {for_each: OBX, do: [{set: {OBX-8: X}, when: OBX-8 = HH}]}\n- trim: PID-5\n"
    trace = traced(written, ORU)
    assert [(r.number, r.ran) for r in trace.records] == [
        ("1", True), ("1.1", False), ("1.1", True), ("1.1", False), ("2", True),
    ]  # fmt: skip
    assert rows(trace) == [("~", "OBX[2]-8", "HH", "X", "step 1.1 set")]


def test_a_change_that_a_later_step_takes_back_is_no_row() -> None:
    assert rows(traced("- set: {PID-8: X}\n- set: {PID-8: '2'}")) == []


def test_a_field_that_a_step_empties_after_another_filled_it_is_told_right() -> None:
    assert rows(traced("- set: {PID-9: X}\n- set: {PID-9: Y}")) == [
        ("+", "PID-9", "", "Y", "step 1 set, step 2 set")
    ]
    assert rows(traced("- upper: PID-15\n- set: {PID-15: X}\n- clear: PID-15")) == [
        ("-", "PID-15", "ENG", "", "step 2 set, step 3 clear")
    ]


def test_a_write_that_fits_nothing_and_a_comparison_without_answer_are_noted() -> None:
    trace = traced("- {set: {'PID-3(where .5 = ZZ).1': X}, when: PID-5.1 > 5 or PV1-2 = I}")
    notes = trace.records[0].notes
    assert any("fits nothing" in note for note in notes)
    assert any(note.startswith("PID-5.1 > 5:") for note in notes)
    assert "Fir" not in repr(trace.records)


def test_a_failed_step_is_recorded_too() -> None:
    trace = Trace()
    try:
        steps("- trim: PID-5\n- fail: stop\n- trim: PID-8").run(scope_of(ADT, trace))
    except StepFailedError as error:
        failed = error.step
    assert failed == "step 2 fail"
    assert [record.number for record in trace.records] == ["1", "2"]


def test_a_trace_does_not_change_what_the_steps_do() -> None:
    trace = Trace()
    scope = scope_of(ADT, trace)
    steps(FANOUT).run(scope)
    assert scope.message.encode() == run(FANOUT).encode()
