"""Every verb: what it does to a message, and the case in which it fails."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.message import Message
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import DroppedError, RejectedError, StepFailedError, StepScope
from ifengine.transforms.compile import Known, compile_steps
from ifengine.transforms.source import Entries, Items, Position, Problems, Text
from ifengine.transforms.table_of_steps import NOT_YET, STEPS
from transforms.written import ADT, ORU, TABLES, compiled, field, run, scope_of, steps

CASES = [
    # set: whole field, first repetition, every one that fits, one value, placeholders
    ("- set: {MSH-5: PHARM}", {"MSH-5": "PHARM"}),
    ("- set: {PID-3: X}", {"PID-3": "X"}),
    ("- set: {PID-3.4: X}", {"PID-3": "70^^^X^MR~99^^^SSA^SS"}),
    ("- set: {'PID-3[2].4': X}", {"PID-3": "70^^^MERCY^MR~99^^^X^SS"}),
    ("- set: {'PID-3[*].4': X}", {"PID-3": "70^^^X^MR~99^^^X^SS"}),
    ("- set: {'PID-3(where .5 = SS).1': X}", {"PID-3": "70^^^MERCY^MR~X^^^SSA^SS"}),
    ("- set: {'PID-3(where .5 = ZZ).1': X}", {"PID-3": "70^^^MERCY^MR~99^^^SSA^SS"}),
    ("- set: {'AL1[*]-2': FA}", {"AL1-2": "FA", "AL1[2]-2": "FA"}),
    ("- set: {'AL1[last]-2': FA}", {"AL1-2": "DA", "AL1[2]-2": "FA"}),
    ("- set: {PID-5: 'a^b~c|d&e'}", {"PID-5": r"a\S\b\R\c\F\d\T\e"}),
    ("- set: {PID-2: '${PID-3.1}/${PV1-3.1}'}", {"PID-2": "70/4WEST"}),
    ("- set: {PID-8: null}", {"PID-8": ""}),
    ("- {set: {PV2-3: X}, create: yes}", {"PV2-3": "X", "PV1-2": "I"}),
    ("- {set: {MSH-5: X}, when: PV1-2 = O}", {"MSH-5": "LIS"}),
    # default: only where empty; null is not empty
    ("- default: {PID-8: U, PID-9: N}", {"PID-8": "2", "PID-9": "N"}),
    ("- default: {PID-16: M}", {"PID-16": '""'}),
    ("- default: {PID-5.6: DR}", {"PID-5": "Fir ^Ada^Q^^^DR~ Firth"}),
    # copy and move: structure and repetitions; an empty source changes nothing
    ("- copy: PID-3 -> PID-4", {"PID-4": "70^^^MERCY^MR~99^^^SSA^SS"}),
    ("- copy: PID-3(where .5 = SS).1 -> PID-2", {"PID-2": "99"}),
    ("- copy: PID-3.1 -> PID-2.4.2", {"PID-2": "^^^&70"}),
    ("- copy: PID-30 -> PID-3", {"PID-3": "70^^^MERCY^MR~99^^^SSA^SS"}),
    ("- copy: PID-16 -> PID-8", {"PID-8": '""'}),
    ("- copy: [PID-8 -> PID-9, PID-9 -> PID-18]", {"PID-18": "2"}),
    ("- move: PID-3 -> PID-4", {"PID-3": "", "PID-4": "70^^^MERCY^MR~99^^^SSA^SS"}),
    ("- move: PID-8 -> PID-8", {"PID-8": "2"}),
    ("- move: PID-30 -> PID-8", {"PID-8": "2"}),
    # in place: every occurrence, every leaf; empty and null stay
    ("- clear: PID-5", {"PID-5": ""}),
    ("- clear: PID-3.4", {"PID-3": "70^^^^MR~99^^^^SS"}),
    ("- clear: AL1-3", {"AL1-3": "", "AL1[2]-3": ""}),
    ("- clear: PID-22", {"PID-22": ""}),
    ("- null: PID-8", {"PID-8": '""'}),
    ("- null: PID-30.2", {"PID-30": '^""'}),
    ("- null: AL1-2", {"AL1-2": '""', "AL1[2]-2": '""'}),
    ("- upper: PID-5", {"PID-5": "FIR ^ADA^Q~ FIRTH"}),
    ("- upper: AL1-3.2", {"AL1-3": "^PENICILLIN", "AL1[2]-3": "^NUTS"}),
    ("- lower: [PID-5.2, PID-16]", {"PID-5": "Fir ^ada^Q~ Firth", "PID-16": '""'}),
    ("- trim: PID-5.1", {"PID-5": "Fir^Ada^Q~Firth"}),
    ("- trim: PID-13", {"PID-13": "555-01 47~555-02"}),
    ("- replace: {in: PID-13, find: '-', with: null}", {"PID-13": "55501 47~55502"}),
    ("- replace: {in: PID-13, find: '[ -]+', with: '.', regex: yes}", {"PID-13": "555.01.47~555.02"}),
    ("- replace: {in: PID-13, find: '5', with: '~'}", {"PID-13": r"\R\\R\\R\-01 47~\R\\R\\R\-02"}),
    # lookup
    ("- lookup: {table: ward, from: PV1-3.1, missing: dead_letter}", {"PV1-3": "W4^401^A"}),
    ("- lookup: {table: ward, from: PV1-3, missing: dead_letter}", {"PV1-3": "W4^401^A"}),
    ("- lookup: {table: ward, from: PV1-3.1, column: floor, missing: keep}", {"PV1-3": "4^401^A"}),
    ("- lookup: {table: sex, from: PID-8, to: PID-9, missing: U}", {"PID-8": "2", "PID-9": "M"}),
    ("- lookup: {table: sex, from: PV1-2, to: PID-9, missing: keep}", {"PID-9": ""}),
    ("- lookup: {table: sex, from: PV1-2, to: PID-9, missing: U}", {"PID-9": "U"}),
    ("- lookup: {table: sex, from: PID-9, missing: U}", {"PID-9": ""}),
    ("- lookup: {table: sex, from: PID-9, missing: U, empty: E}", {"PID-9": "E"}),
    ("- lookup: {table: sex, from: PID-16, missing: U}", {"PID-16": '""'}),
    ("- lookup: {table: sex, from: PID-16, missing: U, 'null': N}", {"PID-16": "N"}),
    # segments and repetitions
    ("- keep_segments: [PID, Z*]", {"PID-1": "1", "ZPI-2": "VIP"}),
    ("- delete_segments: AL1(where AL1-1 = 1)", {"AL1-1": "2"}),
    ("- delete_segments: [NK1, Z*, 'AL1[last]']", {"AL1-1": "1"}),
    ("- keep_repetitions: {in: PID-3, where: '.5 in [MR, PI]'}", {"PID-3": "70^^^MERCY^MR"}),
    ("- keep_repetitions: {in: PID-16, where: .1 = X}", {"PID-16": '""'}),
    ("- keep_repetitions: {in: PID-13, where: .1 = X}", {"PID-13": ""}),
    (
        "- add_segment: {name: ZRX, after: PV1, fields: {1: '${PID-5.2}', 2.3: 'a^b', '3[2]': c}}",
        {"ZRX-1": "Ada", "ZRX-2": r"^^a\S\b", "ZRX-3": "~c"},
    ),
    ("- add_segment: {name: NTE, after: 'AL1[last]', fields: {1: 1}}", {"NTE-1": "1"}),
    # require, let, choose
    ("- require: {PV1-2: no class, 'PID-3(where .5 = MR).1': no number}", {"PV1-2": "I"}),
    ("- let: {ward: '${PV1-3.1}'}\n- set: {PID-2: 'at ${ward}'}", {"PID-2": "at 4WEST"}),
    (
        "- choose:\n  - {when: PV1-2 = O, do: [{set: {MSH-5: A}}]}\n"
        "  - {when: PV1-2 = I, do: [{set: {MSH-5: B}}]}\n"
        "  - {when: PV1-2 = I, do: [{set: {MSH-5: C}}]}\n"
        "  otherwise: [{set: {MSH-5: D}}]",
        {"MSH-5": "B"},
    ),
    (
        "- choose: [{when: PV1-2 = O, do: [{set: {MSH-5: A}}]}]\n  otherwise: [{set: {MSH-5: D}}]",
        {"MSH-5": "D"},
    ),
    ("- choose: [{when: PV1-2 = O, do: [{set: {MSH-5: A}}]}]", {"MSH-5": "LIS"}),
    # for_each, alone and beside a verb
    ("- for_each: AL1\n  do: [{set: {AL1-2: FA}}]", {"AL1-2": "FA", "AL1[2]-2": "FA"}),
    ("- {for_each: AL1, set: {AL1-2: FA}, when: AL1-3.2 = Nuts}", {"AL1-2": "DA", "AL1[2]-2": "FA"}),
    (
        "- {for_each: AL1, when: AL1-3.2 = Nuts, do: [{set: {AL1-2: FA}}]}",
        {"AL1-2": "DA", "AL1[2]-2": "FA"},
    ),
    ("- {for_each: NK1, do: [{set: {PID-2: '${NK1-2.2}'}}]}", {"PID-2": "Eva"}),
    ("- {drop: nothing to do, when: PV1-2 = O}", {"PV1-2": "I"}),
    ("- {fail: an outpatient, when: PV1-2 = O}", {"PV1-2": "I"}),
    ("- {reject: {code: AR, text: an outpatient}, when: PV1-2 = O}", {"PV1-2": "I"}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), CASES)
def test_a_step_does_what_its_row_says(written: str, expected: dict[str, str]) -> None:
    message = run(written)
    assert {place: field(message, place) for place in expected} == expected


FAILING = [
    ("- set: {PV2-3: X}", "set", "there is no segment PV2"),
    ("- set: {'AL1[3]-2': X}", "set", "there is no segment AL1[3]"),
    ("- {set: {'AL1[3]-2': X}, create: yes}", "set", "only the first"),
    ("- default: {PV2-3: X}", "default", "there is no segment PV2"),
    ("- copy: PID-3 -> PID-2.1", "copy", "PID-3 has parts that do not fit into PID-2.1"),
    ("- move: PID-3.1 -> PV2-2", "move", "there is no segment PV2"),
    ("- lookup: {table: ward, from: PID-3.1, missing: dead_letter}", "lookup", "ward has no entry"),
    ("- add_segment: {name: ZRX, after: PV2}", "add_segment", "no segment PV2"),
    ("- keep_repetitions: {in: PID-3, where: .5 = XX}", "keep_repetitions", "no repetition"),
    ("- require: {PV1-19: no visit}", "require", "no visit"),
    ("- require: {PID-16: no state}", "require", "no state"),
    ("- require: {'AL1[3]-1': no third}", "require", "no third"),
    ("- fail: a person must look", "fail", "a person must look"),
    ("- set: {PID-2: '${PID-5.1 | date(\"YYYY\")}'}", "set", "is not a date"),
    ("- set: {PID-2: '${PID-5.1 | table(sex)}'}", "set", "sex has no entry"),
    ("- let: {x: '${PID-5.1 | table(sex)}'}", "let", "sex has no entry"),
]


def test_a_reject_says_which_answer_and_keeps_values_out_of_its_safe_form() -> None:
    for code in ("AE", "AR"):
        with pytest.raises(RejectedError) as caught:
            run(f"- upper: PID-5\n- reject: {{code: {code}, text: 'no ward ${{PV1-3.1}}'}}")
        error = caught.value
        assert (error.answer, error.step, error.line) == (code, "step 2 reject", 2)
        assert error.reason.full == "no ward 4WEST"
        assert error.reason.safe == "no ward ${PV1-3.1}"
        assert "4WEST" not in f"{error} {error!r}"


@pytest.mark.parametrize(("written", "verb", "reason"), FAILING)
def test_a_step_that_cannot_be_done_says_which_and_why(
    written: str, verb: str, reason: str
) -> None:
    with pytest.raises(StepFailedError) as caught:
        run("- upper: PID-5\n" + written)
    assert caught.value.step == f"step 2 {verb}"
    assert caught.value.line == 2
    assert reason in caught.value.reason.safe


def test_a_reason_names_the_value_in_its_full_form_only() -> None:
    lookup = "- lookup: {table: ward, from: PV1-3.1, missing: dead_letter}"
    with pytest.raises(StepFailedError) as caught:
        run(lookup, ADT.replace(b"4WEST", b"9EAST"))
    assert caught.value.reason.full == 'ward has no entry for "9EAST"'
    assert caught.value.reason.safe == "ward has no entry"
    shown = f"{caught.value} {caught.value!r} {caught.value.reason!r} {caught.value.__cause__}"
    assert "9EAST" not in shown


def test_the_safe_form_of_a_reason_keeps_its_placeholders_unrendered() -> None:
    for verb in ("fail", "drop"):
        with pytest.raises((StepFailedError, DroppedError)) as caught:
            run(f"- {verb}: 'no ward ${{PV1-3.1}}'")
        error = caught.value
        assert isinstance(error, StepFailedError | DroppedError)
        assert error.reason.full == "no ward 4WEST"
        assert error.reason.safe == "no ward ${PV1-3.1}"
        assert "4WEST" not in f"{error} {error!r}"


def test_a_drop_names_its_step_and_line_also_inside_branches() -> None:
    written = "- trim: PID-5\n- choose:\n  - when: PV1-2 = I\n    do:\n      - drop: not for us\n"
    with pytest.raises(DroppedError) as caught:
        run(written)
    assert (caught.value.step, caught.value.line) == ("step 2.1.1 drop", 5)


@pytest.mark.parametrize("event", ["A08", "A31"])
def test_default_writes_nothing_on_an_update_unless_told(event: str) -> None:
    update = ADT.replace(b"A01^ADT_A01", event.encode() + b"^ADT_A01")
    assert field(run("- default: {PID-9: N}", update), "PID-9") == ""
    assert field(run("- {default: {PID-9: N}, on_update: yes}", update), "PID-9") == "N"


def test_default_knows_an_order_change_by_the_order_it_is_at() -> None:
    orders = (
        rb"MSH|^~\&|||||||ORM^O01|1|P|2.5"
        + b"\rPID|1\rORC|NW|1\rOBR|1\rORC|XO|2\rOBR|2\rORC|NW|3\rOBR|3\r"
    )
    message = run("- {for_each: OBR, default: {OBR-5: ROUTINE}}", orders)
    assert [field(message, f"OBR[{n}]-5") for n in (1, 2, 3)] == ["ROUTINE", "", "ROUTINE"]
    scheduled = ADT.replace(b"ADT^A01^ADT_A01", b"SIU^S14")
    assert field(run("- default: {PID-9: N}", scheduled), "PID-9") == ""


def test_formatting_sequences_survive_a_change_of_case() -> None:
    content = ORU.replace(b"about the order", rb"One\.br\two \H\bold\N\ \T\ C:\E\temp")
    message = run("- lower: NTE-3", content)
    assert field(message, "NTE-3") == rb"one\.br\two \H\bold\N\ \T\ c:\E\temp".decode()


def test_what_a_segment_name_means_in_a_loop() -> None:
    written = "- for_each: OBR\n  do:\n    - {when: 'any OBX-8 in [HH, LL]', set: {OBR-27.6: S}}\n"
    message = run(written, ORU)
    assert [field(message, f"OBR[{n}]-27") for n in (1, 2)] == ["^^^^^S", ""]
    inner = "- {for_each: OBR, do: [{for_each: OBX, do: [{set: {OBX-23: '${OBR-2}'}}]}]}"
    message = run(inner, ORU)
    assert [field(message, f"OBX[{n}]-23") for n in (1, 2, 3)] == ["P1", "P1", "P2"]


def test_inserting_and_deleting_in_a_loop_skips_and_repeats_nothing() -> None:
    inserted = run("- {for_each: OBX, add_segment: {name: ZOB, after: OBX, fields: {1: x}}}", ORU)
    assert inserted.names().count("ZOB") == 3
    assert [inserted.names()[i + 1] for i in inserted.indexes("OBX")] == ["ZOB"] * 3
    written = """
- for_each: OBX
  do:
    - {when: OBX-8 = HH, delete_segments: OBX}
    - {when: OBX-1 exists, set: {OBX-20: seen}}
"""
    deleted = run(written, ORU)
    assert [field(deleted, f"OBX[{n}]-3") for n in (1, 2)] == ["718-7^Hb", "2823-3^K"]
    assert [field(deleted, f"OBX[{n}]-20") for n in (1, 2)] == ["seen", "seen"]
    same = run("- {for_each: OBX, do: [{add_segment: {name: OBX, after: OBX}}]}", ORU)
    assert same.names().count("OBX") == 6


def test_a_loop_goes_on_behind_a_loop_inside_it_that_inserts() -> None:
    written = """
- for_each: OBR
  do:
    - {for_each: OBX, add_segment: {name: ZOB, after: OBX}}
    - set: {OBR-20: done}
"""
    message = run(written, ORU)
    assert [field(message, f"OBR[{n}]-20") for n in (1, 2)] == ["done", "done"]
    assert message.names().count("ZOB") == 3


def test_a_deleted_segment_ends_its_turn_in_the_loop() -> None:
    written = "- for_each: OBX\n  do:\n    - {when: OBX-8 = HH, delete_segments: OBX}\n    - set: {OBX-20: x}\n"
    message = run(written, ORU)
    assert [field(message, f"OBX[{n}]-3") for n in (1, 2)] == ["718-7^Hb", "2823-3^K"]
    assert [field(message, f"OBX[{n}]-20") for n in (1, 2)] == ["x", "x"]


@pytest.mark.parametrize(
    "written",
    ["- delete_segments: 'OBR[1]'", "- delete_segments: 'OBX[1]'", "- keep_segments: [PID, OBX]",
     "- keep_segments: [PID, OBR, NTE]", "- {for_each: OBX, delete_segments: OBX}"],
)  # fmt: skip
def test_a_deletion_that_leaves_orphans_fails(written: str) -> None:
    with pytest.raises(StepFailedError) as caught:
        run(written, ORU)
    assert "would stay without the segment" in caught.value.reason.safe


def test_msh_is_never_deleted() -> None:
    assert run("- keep_segments: [PID]").names() == ["MSH", "PID"]
    assert run("- delete_segments: Z*").names()[0] == "MSH"


def test_a_new_segment_stands_after_the_one_that_was_named() -> None:
    names = run("- add_segment: {name: ZRX, after: PV1}").names()
    assert names[names.index("ZRX") - 1] == "PV1"
    assert run("- add_segment: {name: ZRX}").names()[-1] == "ZRX"
    names = run("- {set: {PV2-3: X}, create: yes}").names()
    assert names[names.index("PV2") - 1] == "PV1"


def test_a_lookup_by_several_keys_takes_the_nearest_row() -> None:
    content = ORU.replace(b"718-7^Hb||13.1|", b"GLU||1|mg/dL").replace(
        b"2345-7^Glu||9.9|", b"GLU||1|g"
    )
    content = content.replace(b"2823-3^K||4|", b"X||1|kg")
    keys = "keys: {code: OBX-3.1, unit: OBX-6}, to: OBX-3.4, missing: dead_letter"
    message = run(f"- {{for_each: OBX, lookup: {{table: loinc, {keys}}}}}", content)
    found = [field(message, f"OBX[{n}]-3").split("^")[3] for n in (1, 2, 3)]
    assert found == ["2345-7", "14749-6", "29463-7"]


def test_a_message_that_no_step_changed_keeps_its_bytes() -> None:
    scope = scope_of(ADT)
    steps("- require: {PV1-2: no class}\n- upper: PID-15\n- clear: PID-30\n- trim: PID-8").run(
        scope
    )
    assert scope.message.encode() == ADT


def test_steps_of_one_destination_do_not_reach_another() -> None:
    first = scope_of(ADT)
    second = scope_of(ADT)
    second.message = first.message.copy()
    steps("- set: {PID-3: X}\n- delete_segments: NK1").run(second)
    assert first.message.encode() == ADT


def test_every_verb_has_a_case_and_its_example_compiles() -> None:
    files = Path(__file__).parent.glob("test_steps*.py")
    cases = "".join(file.read_text(encoding="utf-8") for file in files)
    for row in STEPS:
        assert f"{row.verb}:" in cases, f"no test of {row.verb}"
        beside = {"for_each": "\n  do: [{clear: OBX-8}]"}.get(row.verb, "")
        _, problems = compiled(f"- {row.example}{beside}")
        assert problems.ok, (row.verb, problems.found)
    assert not set(NOT_YET) & {row.verb for row in STEPS}


def test_a_step_written_wrongly_as_people_do_is_an_error() -> None:
    for row in STEPS:
        if row.failing:
            _, problems = compiled(f"- {row.failing}", variables=frozenset())
            assert not problems.ok, row.verb


def test_steps_say_what_they_touch() -> None:
    made = steps(
        "- lookup: {table: ward, from: PV1-3.1, missing: keep}\n"
        "- {when: PID-8 in table sex, set: {PID-2: '${PID-4}'}}\n"
        "- choose: [{when: EVN-1 = A01, do: [{let: {a: '${b}'}}, {delete_segments: NK1}]}]\n"
        "- keep_segments: PID\n"
    )
    assert {path.text for path in made.paths_read()} == {"PV1-3.1", "PID-8", "PID-4", "EVN-1"}
    assert {path.text for path in made.paths_written()} == {"PV1-3.1", "PID-2"}
    assert [path.text for path in made.segments_deleted()] == ["NK1"]
    assert made.segments_kept() == (("MSH", "PID"),)
    assert made.table_names() == {"ward", "sex"}
    assert (made.variables_set(), made.variables_read()) == ({"a"}, {"b"})
    assert [row[:2] for row in made.listing()] == [
        ("1", "lookup"), ("2", "set"), ("3", "choose"), ("3.1.1", "let"),
        ("3.1.2", "delete_segments"), ("4", "keep_segments"),
    ]  # fmt: skip


_PLACES = st.sampled_from(
    ["PID-3", "PID-3.1", "PID-5.2", "PID-3[2].4.2", "PID-3(where .5 = SS).1", "PV1-3.1", "PV1-50",
     "AL1[2]-3.2", "AL1[*]-4", "ZPI-2", "MSH-6", "PID-13[last].7"]
)  # fmt: skip
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=15).filter(
    lambda text: "${" not in text and text.isascii()
)


@given(_PLACES, _TEXTS)
def test_any_value_set_at_any_path_is_one_value_there_and_nothing_else_changes(
    place: str, value: str
) -> None:
    at = Position("x", 1, 1)
    pair = (Text(place, at), Text(value, at, plain=False))
    node = Items((Entries(((Text("set", at), Entries((pair,), at)),), at),), at)
    problems = Problems()
    made = compile_steps(node, problems, Known(TABLES))
    assert problems.ok
    scope = scope_of(ADT)
    made.run(scope)
    before, after = Message.parse(ADT), Message.parse(scope.message.encode())
    assert after.names() == before.names()
    nodes = parse_path(place).nodes(before)
    for node_ref in nodes:
        assert after.text(*node_ref) == value or "\\" in value
    written = {(node_ref.segment, node_ref.field) for node_ref in nodes}
    for i in range(len(before.names())):
        for f in range(1, max(before.field_count(i), after.field_count(i)) + 1):
            if (i, f) not in written:
                assert after.raw(i, f) == before.raw(i, f)


@given(
    st.sampled_from([case for case, _ in CASES]),
    st.sampled_from([ADT, ORU]),
    st.binary(max_size=30),
)
def test_no_step_puts_a_value_into_an_error_or_breaks_a_frame(
    written: str, content: bytes, noise: bytes
) -> None:
    noise = noise.replace(b"\r", b"").replace(b"\n", b"").replace(b"|", b"")
    content = content.replace(b"Fir", b"CANARY" + noise)
    scope = scope_of(content)
    error = failure_of(written, scope)
    assert "CANARY" not in f"{error} {error!r} {error and error.__cause__}"
    again = Message.parse(scope.message.encode())
    assert again.names() == scope.message.names()


def failure_of(written: str, scope: StepScope) -> Exception | None:
    try:
        steps(written).run(scope)
    except (StepFailedError, DroppedError) as error:
        return error
    return None
