"""The dictionary: what it says, against the package its data comes from, and how it says it."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.errors import NotationError
from ifengine.hl7 import dictionary
from ifengine.hl7.structures import Part, parse_structure

VERSIONS = dictionary.versions()


def module_of(version: str):
    return importlib.import_module("hl7apy.v" + version.replace(".", "_"))


def test_every_version_from_2_1_to_2_8_is_there() -> None:
    assert {"2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8"} <= set(
        VERSIONS
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_segments_have_the_fields_and_types_of_the_package_they_come_from(version: str) -> None:
    module = module_of(version)
    wanted = {
        (part[0], (part[1][2] or "").upper())
        for name, shape in module.SEGMENTS.items()
        if len(name) == 3 and len(shape) == 2
        for part in shape[1]
    }
    got = {
        (f"{name}_{part.number}", part.data_type.upper())
        for name in dictionary.segments(version)
        for part in dictionary.segment(version, name).fields.values()
    }
    assert got == wanted


@pytest.mark.parametrize("version", VERSIONS)
def test_no_field_is_required_that_the_package_does_not_require(version: str) -> None:
    module = module_of(version)
    wanted = {
        part[0]
        for name, shape in module.SEGMENTS.items()
        if len(name) == 3 and len(shape) == 2
        for part in shape[1]
        if part[2][0]
    }
    got = {
        f"{name}_{part.number}"
        for name in dictionary.segments(version)
        for part in dictionary.segment(version, name).fields.values()
        if part.required
    }
    assert got <= wanted
    # what is laxer here is known, and few: docs/validation-differences.md
    assert len(wanted - got) <= 2


@pytest.mark.parametrize("version", VERSIONS)
def test_structures_are_those_of_the_package(version: str) -> None:
    module = module_of(version)

    def flat(shape) -> Iterator[tuple[str, int, int]]:
        for name, ref, (least, most), kind in shape[1]:
            if kind == "SEG":
                yield ("*ANY" if name == "ANYHL7SEGMENT" else name, min(least, 1), most == 1)
            elif inner := (ref or module.GROUPS[name])[1]:
                yield ("(", min(least, 1), most == 1)
                yield from flat((None, inner))
            else:
                yield ("*ANY", 0, False)  # the query says what stands there

    def ours(parts: tuple[Part, ...]) -> Iterator[tuple[str, int, int]]:
        for part in parts:
            yield ("(" if part.parts else part.name, int(part.required), not part.repeats)
            yield from ours(part.parts)

    assert set(dictionary.structures(version)) == set(module.MESSAGES)
    for name, shape in module.MESSAGES.items():
        assert list(ours(dictionary.structure(version, name).parts)) == list(flat(shape)), name


@pytest.mark.parametrize("version", VERSIONS)
def test_types_and_tables_that_are_named_can_be_read(version: str) -> None:
    for name in dictionary.segments(version):
        for part in dictionary.segment(version, name).fields.values():
            kind = dictionary.data_type(version, part.data_type)
            if kind is not None:
                assert kind.components
            assert re.fullmatch(r"\d{4}|", part.table), (name, part)
            table = dictionary.table(version, part.table)
            assert table is None or (table.values and table.number == part.table)


def test_lengths_and_names_are_the_standards_own() -> None:
    sex = dictionary.field("2.5.1", "PID", 8)
    assert sex == dictionary.FieldDef(8, "Administrative Sex", "IS", length=1, table="0001")
    identifiers = dictionary.field("2.5.1", "PID", 3)
    assert identifiers is not None
    assert (identifiers.required, identifiers.repetitions, identifiers.length) == (True, 0, 250)
    assert dictionary.segment("2.5.1", "PID").title == "Patient Identification"
    assert dictionary.table("2.5.1", "0001").values == frozenset("AFMNOU")
    assert dictionary.data_type("2.5", "CX").components[4].data_type == "HD"


def test_a_table_with_ranges_or_remarks_is_not_complete() -> None:
    assert dictionary.table("2.5.1", "0396").complete is False  # 99zzz: local ones
    assert dictionary.table("2.5.1", "0001").complete is True


@pytest.mark.parametrize(
    ("version", "field", "required"),
    [("2.3", 7, False), ("2.3", 1, True), ("2.5.1", 7, False)],
)
def test_an_order_needs_no_quantity_in_any_version(
    version: str, field: int, required: bool
) -> None:
    found = dictionary.field(version, "ORC", field)
    assert found is not None
    assert found.required is required


@pytest.mark.parametrize(
    ("version", "nearest"),
    [
        ("2.5.1", "2.5.1"), ("2.9", "2.8.2"), ("2.9.1", "2.8.2"), ("2.7.1", "2.7"), ("2.0", "2.1"),
        ("1", "2.1"), ("", "2.5.1"), ("x", "2.5.1"), ("2.", "2.5.1"), ("3", "2.8.2"),
        ("2.5.1.9999999", "2.5.1"),
    ],
)  # fmt: skip
def test_an_unknown_version_is_read_as_the_one_before_it(version: str, nearest: str) -> None:
    assert dictionary.nearest_version(version) == nearest


@given(st.text(alphabet="0123456789.", max_size=8))
def test_every_text_has_a_nearest_version(text: str) -> None:
    assert dictionary.nearest_version(text) in VERSIONS


@pytest.mark.parametrize(
    ("version", "code", "event", "name"),
    [
        ("2.5.1", "ADT", "A04", "ADT_A01"), ("2.5.1", "ADT", "A28", "ADT_A05"),
        ("2.3", "ADT", "A28", "ADT_A01"), ("2.2", "ADT", "A28", "ADT_A28"),
        ("2.5.1", "ADT", "A40", "ADT_A39"), ("2.3", "ADT", "A34", "ADT_A30"),
        ("2.3.1", "ADT", "A23", "ADT_A02"), ("2.4", "ADT", "A23", "ADT_A21"),
        ("2.3", "SIU", "S14", "SIU_S12"), ("2.5.1", "MDM", "T10", "MDM_T02"),
        ("2.7", "ADT", "A44", "ADT_A44"), ("2.5.1", "ADT", "A44", "ADT_A43"),
        ("2.5.1", "ACK", "A01", "ACK"), ("2.5.1", "ORU", "R32", "ORU_R30"),
    ],
)  # fmt: skip
def test_an_event_has_the_structure_of_table_0354(
    version: str, code: str, event: str, name: str
) -> None:
    found = dictionary.structure_of(version, code, event)
    assert found is not None
    assert found.name == name


def test_a_type_that_is_not_in_the_standard_has_no_structure() -> None:
    assert dictionary.structure_of("2.5.1", "ADT", "Z99") is None
    assert dictionary.structure_of("2.5.1", "", "") is None


def test_groups_and_choices_are_read_with_what_repeats() -> None:
    pid, order = parse_structure("PID? ORDER( ORC CHOICE< OBR RXO >+ )*")
    assert (pid.name, pid.required, pid.repeats) == ("PID", False, False)
    assert (order.required, order.repeats, order.choice) == (False, True, False)
    choice = order.parts[1]
    assert (choice.choice, choice.required, choice.repeats) == (True, True, True)
    assert list(order.segments()) == ["ORC", "OBR", "RXO"]


# --- in words -----------------------------------------------------------------------------------


def test_a_field_is_described_with_its_type_use_length_and_table() -> None:
    assert dictionary.describe("PID-8", "2.5.1") == [
        "PID-8 Administrative Sex, HL7 2.5.1",
        "type: IS",
        "use: optional",
        "length: 1 at the most, in characters",
        "table: 0001 Administrative Sex: A F M N O U",
    ]


def test_a_segment_is_described_by_its_fields() -> None:
    lines = dictionary.describe("PID", "2.5.1")
    assert lines[0] == "PID Patient Identification, HL7 2.5.1, 39 fields"
    assert lines[3] == "PID-3 Patient Identifier List: CX, required, repeats"
    assert len(lines) == 40


def test_a_part_is_described_with_what_it_is_a_part_of() -> None:
    lines = dictionary.describe("PID-3.4.2", "2.5.1")
    assert lines[0] == "PID-3.4.2 Universal ID, HL7 2.5.1"
    assert lines[-1] == "PID-3.4 Assigning Authority: HD Hierarchic Designator"


def test_a_field_whose_type_another_says_is_described_so() -> None:
    assert "type: another field says the type" in dictionary.describe("OBX-5", "2.5.1")
    assert dictionary.describe("OBX-5.1", "2.5.1")[0] == "OBX-5 Observation Value, HL7 2.5.1"


def test_what_the_standard_does_not_have_is_said_in_one_line() -> None:
    assert dictionary.describe("PID-45", "2.5.1") == ["PID has 39 fields in 2.5.1"]
    assert dictionary.describe("QQQ-1", "2.5.1") == ["QQQ is no segment of 2.5.1"]
    assert len(dictionary.describe("ZPI-1", "2.5.1")) == 1
    with pytest.raises(NotationError):
        dictionary.describe("PID.8", "2.5.1")


@pytest.mark.parametrize(
    ("version", "path", "problem"),
    [
        ("2.5.1", "PID-39", ""),
        ("2.5.1", "PID-40", "PID has 39 fields in 2.5.1"),
        ("2.3", "PID-31", "PID has 30 fields in 2.3"),
        ("2.5.1", "PID-8.1", ""),
        ("2.5.1", "PID-8.2", "PID-8 (IS) has no components in 2.5.1"),
        ("2.5.1", "PID-5.15", "PID-5 (XPN) has 14 components in 2.5.1"),
        ("2.5.1", "PID-3.4.3", ""),
        ("2.5.1", "PID-3.4.4", "PID-3.4 (HD) has 3 components in 2.5.1"),
        ("2.5.1", "OBX[2]-5.9", ""),
        ("2.5.1", "ZPI-99.9", ""),
        ("2.5.1", "XYZ-1", "XYZ is no segment of 2.5.1"),
        ("2.5.1", "PID", ""),
        ("2.6", "DG1-7", ""),
    ],
)
def test_a_path_that_the_standard_does_not_have_is_told(
    version: str, path: str, problem: str
) -> None:
    if (version, path) == ("2.6", "DG1-7"):
        assert dictionary.problem_of_path(version, path) == "DG1-7 was withdrawn before 2.6"
    else:
        assert dictionary.problem_of_path(version, path) == problem


@given(
    st.sampled_from(VERSIONS),
    st.sampled_from(["MSH", "PID", "PV1", "OBX", "ORC", "IN1"]),
    st.integers(1, 60),
    st.none() | st.integers(1, 20),
)
def test_a_place_is_described_exactly_where_nothing_is_wrong_with_it(
    version: str, name: str, number: int, component: int | None
) -> None:
    path = f"{name}-{number}" + ("" if component is None else f".{component}")
    problem = dictionary.problem_of_path(version, path)
    lines = dictionary.describe(path, version)
    assert (lines == [problem]) is bool(problem)


def test_nothing_is_read_before_it_is_asked_for() -> None:
    script = (
        "import sys\nfrom ifengine.hl7 import dictionary as d\n"
        "assert d._read.cache_info().currsize == 0\n"
        "assert d.segment('2.4', 'PID') is not None\n"
        "assert d._read.cache_info().currsize == 1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
