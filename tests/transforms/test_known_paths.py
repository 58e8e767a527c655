"""Places that no version of HL7 has, and segments that a channel's types never have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7 import dictionary
from ifengine.hl7.path import parse_path
from ifengine.transforms.known_paths import check_place, fault_of, segments_of
from ifengine.transforms.source import Position, Problems

AT = Position("x.yaml", 3, 7)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("PID-119", "PID has 40 fields in 2.8.2"),
        ("PID-41", "PID has 40 fields in 2.8.2"),
        ("PID-40", ""),
        ("PID-5.19", "PID-5 (XPN) has 15 components in 2.8.2"),
        ("PID-3.4.9", "PID-3.4 (HD) has 3 components in 2.8.2"),
        ("PID-3(where .5 = MR).1", ""),
        ("PID-2", ""),  # withdrawn since, and messages of older versions have it
        ("OBX-5.99", ""),  # another field says of which type it is
        ("OBX[2]-119", "OBX has 30 fields in 2.8.2"),
        ("ZPI-119", ""),
        ("QQQ-1", ""),  # said already, as a segment that is none
        ("OBX", ""),
        ("Z*", ""),
    ],
)
def test_a_place_is_wrong_only_where_no_version_has_it(path: str, fault: str) -> None:
    assert fault_of(parse_path(path)) == fault


@given(st.data())
def test_no_field_of_any_version_is_called_wrong(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(dictionary.versions()))
    name = data.draw(st.sampled_from(dictionary.segments(version)))
    segment = dictionary.segment(version, name)
    assert segment is not None
    for number, field in segment.fields.items():
        if not field.withdrawn:
            assert fault_of(parse_path(f"{name}-{number}")) == ""


def test_a_type_has_the_segments_of_all_its_versions() -> None:
    admission = segments_of("ADT", "A01")
    assert admission is not None
    assert {"PID", "PV1", "UAC", "OBX"} <= admission
    assert "MRG" not in admission
    assert "MRG" in (segments_of("ADT", "*") or ())
    assert segments_of("XYZ", "*") is None
    assert segments_of("ADT", "Q99") is None or "PID" in (segments_of("ADT", "Q99") or ())


@pytest.mark.parametrize(
    ("path", "is_read", "codes"),
    [
        ("PID-119", True, ["W304"]),
        ("PID-119", False, ["W304"]),
        ("MRG-1", True, ["W306"]),
        ("MRG-1", False, []),  # a write may make it
        ("MRG-119", True, ["W304"]),  # one mistake, told once
        ("PID-5", True, []),
        ("ZPI-1", True, []),
        ("QQQ-1", True, []),
    ],
)
def test_a_place_is_judged_where_it_is_written(path: str, is_read: bool, codes: list[str]) -> None:
    problems = Problems()
    check_place(parse_path(path), AT, segments_of("ADT", "A01"), problems, is_read=is_read)
    assert [problem.code for problem in problems.found] == codes
    assert all(problem.position == AT for problem in problems.found)


def test_without_types_every_segment_may_come() -> None:
    problems = Problems()
    check_place(parse_path("MRG-1"), AT, None, problems)
    assert problems.found == []
