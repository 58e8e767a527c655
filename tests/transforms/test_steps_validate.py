"""``validate``: what each level asks, what a profile adds, and what becomes of a message that fails."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7 import dictionary
from ifengine.hl7.ack import ErrorLocation, Hl7ErrorCode
from ifengine.hl7.message import Message
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import RejectedError, StepFailedError
from ifengine.transforms.compile import Known, compile_steps
from ifengine.transforms.source import Problems
from ifengine.transforms.trace import Trace
from ifengine.transforms.validation import Validation
from ifengine.transforms.validation_findings import MOST_FINDINGS, Finding, summary
from ifengine.transforms.validation_profile import Profile, ProfileRule, RuleSet
from ifengine.transforms.validation_segments import Level, _plan
from ifengine.transforms.validation_structure import structure_named
from ifengine.transforms.validation_types import PRIMITIVES, _leaves, leaves
from transforms.written import ADT, ORU, TABLES, compiled, nodes, scope_of, steps

SAMPLES = Path(__file__).resolve().parents[2] / "channels" / "samples"
ORM = b"\r".join(
    [
        rb"MSH|^~\&|CPOE|MERCY|RIS|RAD|20260105090000||ORM^O01|O300|P|2.3",
        b"PID|1||70^^^MERCY^MR||Fir^Ada||19800215|F",
        b"PV1|1|O|RAD",
        b"ORC|NW|P901",
        b"OBR|1|P901||71020^Chest^C4",
        b"",
    ]
)


def found(content: bytes, level: Level = Level.STANDARD, **given: object) -> list[str]:
    validation = Validation(level=level, **given)  # type: ignore[arg-type]
    return [finding.text for finding in validation.findings(Message.parse(content), TABLES)]


def with_line(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new)


# --- levels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [ADT, ORU, ORM])
@pytest.mark.parametrize("level", [Level.LENIENT, Level.STANDARD])
def test_good_messages_break_no_rule_below_strict(content: bytes, level: Level) -> None:
    assert found(content, level) == []


def test_lenient_asks_for_required_segments_and_their_order() -> None:
    assert found(with_line(ADT, b"EVN|A01|20260105101500\r", b""), Level.LENIENT) == [
        "EVN: is required and missing"
    ]
    swapped = ADT.replace(b"PID|", b"TMP|").replace(b"PV1|", b"PID|").replace(b"TMP|", b"PV1|")
    assert found(swapped, Level.LENIENT) == [
        "PV1: cannot stand here, or not so often, in ADT_A01"
    ] or ("PID: cannot stand here, or not so often, in ADT_A01" in found(swapped, Level.LENIENT))


def test_lenient_does_not_look_into_fields() -> None:
    broken = with_line(ADT, b"|19800215|", b"|yesterday|")
    assert found(broken, Level.LENIENT) == []
    assert found(broken) == ["PID-7: is not a date and time (TS)"]


def test_a_required_group_is_missed_by_its_first_segment() -> None:
    assert found(ORM.partition(b"ORC|")[0], Level.LENIENT) == ["ORC: is required and missing"]


def test_a_choice_is_missed_by_all_that_could_stand_there() -> None:
    order = ORM.replace(b"OBR|1|P901||71020^Chest^C4", b"NTE|1||see chart")
    assert found(order, Level.LENIENT) == ["OBR, RQD, RQ1, RXO, ODS or ODT is required and missing"]


def test_groups_may_repeat_as_the_structure_says() -> None:
    order = b"ORC|NW|P902\rOBR|2|P902||1^X\rNTE|1||a\rOBX|1|NM|1^Y||5|||N|||F\rNTE|1||b\r"
    assert found(ORM + order) == []
    assert found(ORM + b"PV1|2|O\r") == ["PV1[2]: cannot stand here, or not so often, in ORM_O01"]


def test_a_segment_of_another_message_is_named_and_a_stray_line_is_not() -> None:
    assert found(ORM + b"SCH|1\r", Level.LENIENT) == ["SCH: is not part of ORM_O01"]
    told = found(ORM + b"ANN|Fir\r", Level.LENIENT)
    assert told == ["segment 6 of the message is not part of ORM_O01"]
    assert "ANN" not in told[0]


def test_standard_asks_for_required_fields() -> None:
    for empty in (b"", b"^^", b"~"):
        content = with_line(ADT, b"Fir ^Ada^Q~ Firth", empty)
        assert found(content) == ["PID-5: is required and empty"]


def test_null_fills_a_required_field_and_is_of_every_type() -> None:
    assert found(with_line(ADT, b"Fir ^Ada^Q~ Firth", b'""')) == []
    assert found(with_line(ADT, b"|19800215|", b'|""|')) == []


def test_standard_asks_that_a_field_stands_once() -> None:
    assert found(with_line(ADT, b"|19800215|", b"|19800215~19800216|")) == ["PID-7: may not repeat"]


def test_standard_asks_for_types_in_components_and_every_repetition() -> None:
    bad = with_line(ADT, b"99^^^SSA^SS", b"99^^^SSA^SS^^soon")
    assert found(bad) == ["PID-3[2].7: is not a date (DT)"]


def test_a_value_is_of_the_type_that_its_message_says() -> None:
    assert found(with_line(ORU, b"||13.1|", b"||abc|")) == ["OBX-5: is not a number (NM)"]
    text = with_line(ORU, b"OBX|1|NM|718-7^Hb||13.1|", b"OBX|1|ST|718-7^Hb||abc|")
    assert found(text) == []
    ranged = with_line(ORU, b"OBX|1|NM|718-7^Hb||13.1|", b"OBX|1|SN|718-7^Hb||>^5~~^1^-^x|")
    assert found(ranged) == ["OBX-5[3].4: is not a number (NM)"]


def test_extra_fields_components_and_local_segments_pass_below_strict() -> None:
    extra = with_line(
        ORU, b"|||F\rNTE|1||about the value", b"|||F" + b"|" * 30 + b"x\rZZZ|1\rNTE|1||v"
    )
    extra = with_line(extra, b"OBR|1|P1||CBC", b"OBR|1|P1^a^b^c^d^e||CBC")
    assert found(extra) == []
    told = found(extra, Level.STRICT)
    assert "OBX-41: OBX has 25 fields in 2.5.1" in told
    assert "OBR-2: EI has 4 components" in told
    assert "segment 6 of the message is a local one" in told


def test_strict_asks_for_lengths_and_tables() -> None:
    told = found(with_line(ADT, b"|A100|", b"|" + b"9" * 21 + b"|"), Level.STRICT)
    assert "MSH-10: is longer than 20 characters" in told
    assert "PID-8: is not in table 0001" in told
    assert found(with_line(ADT, b"|19800215|2|", b"|19800215|F|"), Level.STRICT) == [
        "segment 8 of the message is a local one"
    ]


def test_lengths_count_characters_and_not_bytes() -> None:
    umlauts = "Ä".encode() * 20
    content = with_line(ADT, b"P|2.5.1", b"P|2.5.1||||||UNICODE UTF-8")
    assert not any(
        "MSH-10" in text
        for text in found(with_line(content, b"|A100|", b"|" + umlauts + b"|"), Level.STRICT)
    )


def test_a_coded_element_is_compared_with_the_table_only_where_it_claims_it() -> None:
    married = with_line(ADT, b'|ENG|""|', b"|ENG|XX^^%s|")
    told = "PID-16: is not in table 0002"
    assert told in found(married.replace(b"%s", b"HL70002"), Level.STRICT)
    assert told in found(married.replace(b"^^%s", b""), Level.STRICT)
    assert told not in found(married.replace(b"%s", b"L"), Level.STRICT)


def test_required_components_are_asked_for_by_strict() -> None:
    content = with_line(ADT, b"2.5.1", b"2.7").replace(b"70^^^MERCY^MR", b"70^^^MERCY")
    assert "PID-3.5: is required and empty (CX)" in found(content, Level.STRICT)
    assert not any("PID-3.5" in text for text in found(content))


# --- structure and version ----------------------------------------------------------------------


def test_the_structure_that_is_written_counts_not_that_of_the_message() -> None:
    assert found(ADT, structure="ADT_A01") == []
    assert "ORC: is required and missing" in found(ADT, structure="ORM_O01")


def test_a_structure_that_the_version_lost_is_taken_from_the_nearest_that_has_it() -> None:
    assert dictionary.structure("2.1", "VXU_V04") is None
    assert structure_named("2.1", "VXU_V04") is structure_named("2.3", "VXU_V04")
    assert structure_named("2.5.1", "NOT_HERE") is None


def test_a_type_without_structure_is_told_at_msh_9() -> None:
    local = with_line(ADT, b"ADT^A01^ADT_A01", b"ADT^Z01")
    assert found(local) == ["MSH-9: 2.5.1 has no structure for this type"]
    assert found(local, structure="ADT_A01") == []


def test_the_version_that_is_written_counts_not_that_of_the_message() -> None:
    assert found(ORM, version="2.3") == []
    assert found(ORM, version="2.5.1") == []
    assert found(ADT, version="2.1") != []


def test_an_unknown_version_is_read_as_the_one_before_it() -> None:
    assert found(with_line(ADT, b"|P|2.5.1", b"|P|2.5.1.7")) == []


@pytest.mark.parametrize("version", dictionary.versions())
def test_every_structure_of_every_version_can_be_compared_with(version: str) -> None:
    for name in dictionary.structures(version):
        structure = structure_named(version, name)
        assert structure is not None
        assert structure.faults(["MSH", "PID", "OBX"], 50) is not None
        shortest = _shortest(dictionary.structure(version, name).parts)
        assert structure.faults(shortest, 50) == [], name


@pytest.mark.parametrize("version", dictionary.versions())
def test_every_required_segment_is_missed(version: str) -> None:
    """Take one required segment out of the shortest message of each structure."""
    for name in dictionary.structures(version):
        structure = structure_named(version, name)
        shortest = _shortest(dictionary.structure(version, name).parts)
        for at, segment in enumerate(shortest):
            if segment == "ZZZ":
                continue
            left = shortest[:at] + shortest[at + 1 :]
            assert structure.faults(left, 50), (name, segment)


def _shortest(parts: tuple) -> list[str]:
    """Return the segments of a structure that may not be left out; the first of a choice."""
    names: list[str] = []
    for part in parts:
        if part.required and part.choice:
            names += _shortest((part.parts[0]._replace(required=True),))
        elif part.required:
            names += _shortest(part.parts) if part.parts else [part.name.replace("*ANY", "ZZZ")]
    return names


def _all(parts: tuple) -> list[str]:
    """Return the segments of a structure once through, repeating ones twice; choices the first."""
    names: list[str] = []
    for part in parts:
        inner = _all(part.parts[:1] if part.choice else part.parts) if part.parts else [part.name]
        names += inner * (2 if part.repeats else 1)
    return [name.replace("*ANY", "ZZZ") for name in names]


@given(
    st.sampled_from(["ADT_A01", "ORU_R01", "ORM_O01", "OML_O21", "SIU_S12", "RDE_O11"]), st.data()
)
def test_what_the_structure_allows_may_be_left_out_and_repeated(
    name: str, data: st.DataObject
) -> None:
    structure = structure_named("2.5.1", name)

    def some(parts: tuple, depth: int = 0) -> list[str]:
        names: list[str] = []
        for part in parts:
            least, most = int(part.required), 2 if part.repeats and depth < 3 else 1
            for _ in range(data.draw(st.integers(least, most))):
                if part.choice:
                    names += some((data.draw(st.sampled_from(part.parts)),), depth + 1)
                else:
                    names += some(part.parts, depth + 1) if part.parts else [part.name]
        return names

    drawn = some(dictionary.structure("2.5.1", name).parts)
    assert structure.faults(drawn, 50) == []


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("NM", ["0", "-1", "+1.5", ".5", "5.", "007"], ["", "1,5", "1e3", ">5", "-", ".", "1 ", "٣"]),
        ("SI", ["1", "0012"], ["-1", "1.0", "a"]),
        ("DT", ["2026", "202601", "20260105"], ["20261301", "2026-01-05", "20260230", "202601051200"]),
        ("TM", ["23", "2359", "235959.1234", "2359+0100"], ["24", "2360", "23:59", "235959.12345"]),
        ("DTM", ["2026", "20260105101500.1234-0500", "20240229"], ["20230229", "5 Jan", "2026010525"]),
        ("ID", ["A", "ADT_A01", "a b"], ["\x07", "Ä"]),
    ],
)  # fmt: skip
def test_a_primitive_type_is_what_the_standard_writes(
    kind: str, good: list[str], bad: list[str]
) -> None:
    question = PRIMITIVES[kind][0]
    assert [value for value in good if not question(value.encode())] == []
    assert [value for value in bad if question(value.encode())] == []


@given(st.binary(max_size=30))
def test_no_value_makes_a_type_fail_otherwise_than_by_no(value: bytes) -> None:
    for question, _ in PRIMITIVES.values():
        assert question(value) in (True, False)


@pytest.mark.parametrize("version", dictionary.versions())
def test_every_type_can_be_asked_for_and_asks_in_order(version: str) -> None:
    kinds = {
        part.data_type
        for name in dictionary.segments(version)
        for part in dictionary.segment(version, name).fields.values()
    }
    for kind in kinds:
        asked = leaves(version, kind)
        assert [leaf.component for leaf in asked] == sorted(leaf.component for leaf in asked)


# --- what is told -------------------------------------------------------------------------------


def test_findings_name_places_and_rules_and_never_a_value() -> None:
    secret = b"Quetzalcoatl"
    content = ADT.replace(b"19800215", secret).replace(b"|I|", b"|" + secret * 30 + b"|")
    for level in Level:
        for finding in Validation(level=level).findings(Message.parse(content), TABLES):
            assert secret.decode() not in finding.text
            assert secret.decode() not in repr(finding)


@given(st.binary(max_size=200))
def test_any_bytes_behind_msh_are_compared_without_failing(body: bytes) -> None:
    content = ADT.partition(b"\r")[0] + b"\r" + body
    for level in Level:
        assert len(found(content, level)) <= MOST_FINDINGS


@given(
    st.lists(st.sampled_from(dictionary.segments("2.5.1")[:40]), max_size=80),
    st.sampled_from(list(Level)),
)
def test_no_more_than_fifty_are_kept(names: list[str], level: Level) -> None:
    content = ADT + b"".join(name.encode() + b"|" + b"x^y|" * 20 + b"\r" for name in names)
    assert len(found(content, level)) <= MOST_FINDINGS


def test_a_place_is_written_as_a_path() -> None:
    code = Hl7ErrorCode.DATA_TYPE
    assert Finding(code, ErrorLocation("OBX", 2, 5, 3, 1, 2), "r").text == "OBX[2]-5[3].1.2: r"
    assert Finding(code, ErrorLocation("PID", 1, 7, 1), "r").text == "PID-7: r"
    assert Finding(code, ErrorLocation(""), "r").for_sender().location is None


def test_a_summary_names_five_and_counts_the_others() -> None:
    one = Finding(Hl7ErrorCode.DATA_TYPE, ErrorLocation("PID", 1, 7), "r")
    assert summary([one]) == "PID-7: r"
    assert summary([one] * 7).endswith("; and 2 more")
    assert summary([one] * MOST_FINDINGS).endswith("; and at least 45 more")


# --- the step -----------------------------------------------------------------------------------

BROKEN = with_line(ADT, b"|19800215|", b"|yesterday|")


def test_a_message_that_fails_is_a_dead_letter() -> None:
    with pytest.raises(StepFailedError) as caught:
        steps("- validate: {level: standard}").run(scope_of(BROKEN))
    assert str(caught.value) == "step 1 validate: PID-7: is not a date and time (TS)"
    assert "yesterday" not in caught.value.reason.full


def test_a_message_that_passes_goes_on_unchanged() -> None:
    scope = scope_of(ADT)
    steps("- validate: {}").run(scope)
    assert scope.message.encode() is not None
    assert not scope.message.touched


def test_a_sender_that_waits_is_told_place_and_rule_of_each_fault() -> None:
    scope = scope_of(with_line(BROKEN, b"Fir ^Ada^Q~ Firth", b""))
    scope.sender_waits = True
    with pytest.raises(RejectedError) as caught:
        steps("- validate: {level: standard, on_fail: nak}").run(scope)
    error = caught.value
    assert error.answer == "AE"
    assert [(e.code, e.location) for e in error.errors] == [
        (Hl7ErrorCode.REQUIRED_FIELD_MISSING, ErrorLocation("PID", 1, 5)),
        (Hl7ErrorCode.DATA_TYPE, ErrorLocation("PID", 1, 7, 1)),
    ]


def test_a_sender_that_has_its_answer_already_leaves_a_dead_letter() -> None:
    with pytest.raises(StepFailedError):
        steps("- validate: {on_fail: nak}").run(scope_of(BROKEN))


@pytest.mark.parametrize(
    ("change", "level", "code"),
    [
        ((b"EVN|A01|20260105101500\r", b""), "lenient", 100),
        ((b"Fir ^Ada^Q~ Firth", b""), "standard", 101),
        ((b"|19800215|", b"|yesterday|"), "standard", 102),
        ((b"ZPI|1|VIP\r", b""), "strict", 103),
    ],
)
def test_each_kind_of_fault_has_its_code_of_table_0357(
    change: tuple[bytes, bytes], level: str, code: int
) -> None:
    scope = scope_of(with_line(ADT, *change))
    scope.sender_waits = True
    with pytest.raises(RejectedError) as caught:
        steps(f"- validate: {{level: {level}, on_fail: nak}}").run(scope)
    assert [error.code for error in caught.value.errors] == [code]


def test_warn_goes_on_and_counts_into_a_variable() -> None:
    trace = Trace()
    scope = scope_of(BROKEN, trace)
    steps("- validate: {on_fail: warn}\n- set: {PID-20: '${validation}'}").run(scope)
    assert scope.variables["validation"] == "1"
    assert "PID-7: is not a date and time (TS)" in str(trace.records)
    good = scope_of(ADT)
    steps("- validate: {on_fail: warn}").run(good)
    assert good.variables["validation"] == "0"


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("validate: {level: strickt}", "E103", 'did you mean "strict"?'),
        ("validate: {structure: ADT_O1}", "E103", "did you mean"),
        ("validate: {version: '2.55'}", "E103", "2.5"),
        ("validate: {on_fail: warm}", "E103", 'did you mean "warn"?'),
        ("validate: {profile: ris}", "E320", "profiles/ris.yaml"),
        ("validate: {lvl: strict}", "E101", ""),
        ("validate: strict", "E104", ""),
    ],
)
def test_what_is_written_wrongly_is_told_at_its_place(text: str, code: str, hint: str) -> None:
    _, problems = compiled(f"- {text}")
    (problem,) = problems.found
    assert problem.code == code
    assert problem.position.line == 1
    assert hint in problem.hint


def test_the_count_is_a_variable_only_after_a_warning() -> None:
    use = "- set: {PID-20: '${validation}'}"
    for text, good in (("- validate: {on_fail: warn}", True), ("- validate: {}", False)):
        _, problems = compiled(f"{text}\n{use}", variables=frozenset())
        assert problems.ok is good


# --- profiles -----------------------------------------------------------------------------------


def profile(types: tuple[tuple[str, str], ...] = (), **rules: dict[str, object]) -> Profile:
    made = tuple(
        ProfileRule(path=parse_path(path.replace("_", "-")), **said)  # type: ignore[arg-type]
        for path, said in rules.items()
    )
    return Profile(name="ris", sets=(RuleSet(types=types, rules=made),))


def with_profile(
    content: bytes, level: Level = Level.LENIENT, /, **rules: dict[str, object]
) -> list[str]:
    return found(content, level, profile=profile(**rules))


def test_a_profile_requires_a_field_in_every_such_segment() -> None:
    assert with_profile(ADT, PID_19={"required": True}) == [
        "PID-19: is required and empty (profile ris)"
    ]
    assert with_profile(ADT, **{"PID-3.1": {"required": True}}) == []
    bad = ADT.replace(b"99^^^SSA", b"^^^SSA")
    assert with_profile(bad, **{"PID-3.1": {"required": True}}) == [
        "PID-3[2].1: is required and empty (profile ris)"
    ]
    second = ORU.replace(b"|718-7^Hb||", b"|718-7^Hb|1|")
    assert with_profile(second, OBX_4={"required": True}) == [
        "OBX[2]-4: is required and empty (profile ris)",
        "OBX[3]-4: is required and empty (profile ris)",
    ]


def test_one_of_the_repetitions_that_a_profile_names_is_enough() -> None:
    rule = {"PID-3(where .5 = MR).1": {"required": True}}
    assert with_profile(ADT, **rule) == []
    assert with_profile(ADT.replace(b"MERCY^MR", b"MERCY^XX"), **rule) == [
        "PID-3.1: is required and empty (profile ris)"
    ]


def test_a_required_field_asks_for_its_segment_only_where_that_stands_once() -> None:
    without = ADT.replace(b"AL1|1|DA|^Penicillin\rAL1|2|DA|^Nuts\r", b"")
    assert with_profile(without, AL1_3={"required": True}) == []
    assert with_profile(ADT, PD1_3={"required": True}) == [
        "PD1-3: is required and empty (profile ris)"
    ]


def test_a_profile_requires_and_forbids_segments() -> None:
    assert with_profile(ADT, GT1={"required": True}) == [
        "GT1: is required and missing (profile ris)"
    ]
    assert with_profile(ADT, AL1={"forbidden": True}) == [
        "AL1: must not be there (profile ris)",
        "AL1[2]: must not be there (profile ris)",
    ]


def test_a_profile_forbids_limits_and_looks_up_values() -> None:
    assert with_profile(ADT, PID_13={"forbidden": True}) == [
        "PID-13: must be empty (profile ris)",
        "PID-13[2]: must be empty (profile ris)",
    ]
    assert with_profile(ADT, **{"PID-5.1": {"length": (5, 5)}}) == [
        "PID-5.1: is shorter than 5 characters (profile ris)",
        "PID-5[2].1: is longer than 5 characters (profile ris)",
    ]
    assert with_profile(ADT, **{"PV1-3.1": {"table": "ward"}, "PID-8": {"table": "sex"}}) == []
    assert with_profile(ADT, **{"PV1-3.2": {"table": "ward"}}) == [
        "PV1-3.2: is not in table ward (profile ris)"
    ]
    assert with_profile(ADT, **{"PID-8": {"table": "0001"}}) == [
        "PID-8: is not in table 0001 (profile ris)"
    ]


def test_null_fills_a_field_for_a_profile_and_is_too_much_where_it_is_forbidden() -> None:
    rules = {"required": True, "length": (3, 9), "table": "sex"}
    assert with_profile(ADT, PID_19=rules) == with_profile(ADT, PID_19={"required": True})
    assert with_profile(ADT, PID_16=rules) == []
    assert with_profile(ADT, PID_16={"forbidden": True}) == ["PID-16: must be empty (profile ris)"]


def test_a_profile_takes_the_place_of_the_dictionary() -> None:
    empty = with_line(ADT, b"Fir ^Ada^Q~ Firth", b"")
    assert with_profile(empty, Level.STANDARD, PID_5={"required": False}) == []
    told = with_profile(ADT, Level.STRICT, PID_8={"table": "any"})
    assert told == ["segment 8 of the message is a local one"]
    long = with_line(ADT, b"|A100|", b"|" + b"9" * 30 + b"|")
    assert not any(
        "MSH-10" in text for text in with_profile(long, Level.STRICT, MSH_10={"length": (0, 0)})
    )


def test_a_profile_admits_local_segments_to_strict() -> None:
    admitted = Profile(name="ris", sets=(), local=frozenset({"ZPI"}))
    assert found(ADT, Level.STRICT, profile=admitted) == ["PID-8: is not in table 0001"]


def test_rules_hold_for_the_types_that_they_name() -> None:
    for types, count in (
        ((("ADT", "*"),), 1),
        ((("ORU", "*"),), 0),
        ((), 1),
        ((("ADT", "A01"),), 1),
    ):
        rules = profile(types, PID_19={"required": True})
        assert len(found(ADT, Level.LENIENT, profile=rules)) == count


def test_a_step_with_a_profile_reads_the_tables_of_the_profile() -> None:
    problems = Problems()
    known = Known(TABLES, profiles={"ris": profile(**{"PV1-3.1": {"table": "ward"}})})
    made = compile_steps(nodes("- validate: {level: lenient, profile: ris}"), problems, known)
    assert problems.ok
    assert made.table_names() == {"ward"}
    made.run(scope_of(ADT))
    with pytest.raises(StepFailedError, match=r"PV1-3\.1: is not in table ward \(profile ris\)"):
        made.run(scope_of(with_line(ADT, b"|4WEST^", b"|5EAST^")))


def test_a_type_that_a_message_names_is_content_and_is_never_repeated() -> None:
    message = with_line(ORU, b"OBX|1|NM|718-7^Hb||13.1|", b"OBX|1|CANARY|718-7^Hb||13.1^x|")
    told = found(message, Level.STRICT)
    assert "CANARY" not in " ".join(told)
    assert "OBX-5: a type that the standard does not have has no parts" in told
    named = with_line(ORU, b"OBX|1|NM|718-7^Hb||13.1|", b"OBX|1|ST|718-7^Hb||13.1^x|")
    assert "OBX-5: ST has no parts" in found(named, Level.STRICT)


def test_types_and_segments_that_peers_invent_do_not_fill_memory() -> None:
    for number in range(5000):
        leaves("2.5.1", f"T{number}")
        _plan("2.5.1", f"{number:03X}")
    assert leaves("2.5.1", "x" * 100_000) == ()
    for remembered in (_leaves, _plan):
        size = remembered.cache_info().maxsize
        assert size is not None
        assert remembered.cache_info().currsize <= size
