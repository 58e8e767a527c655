"""Groups: what stands under what, and what a deletion would orphan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.groups import (
    children,
    comments_of,
    end_of_block,
    has_set_id,
    numbered_under,
    orphans,
    owner_of_comment,
    place_for,
    repeats,
    seen_from,
    takes_comments,
)

LAB = [
    "MSH",
    "PID",
    "NTE",
    "ORC",
    "OBR",
    "NTE",
    "OBX",
    "NTE",
    "OBX",
    "SPM",
    "OBX",
    "OBR",
    "OBX",
    "PID",
    "OBR",
]


@pytest.mark.parametrize(
    ("parent", "child", "expected"),
    [
        (4, "OBX", [6, 8, 10]),
        (4, "NTE", [5]),
        (6, "NTE", [7]),
        (8, "NTE", []),
        (9, "OBX", [10]),
        (1, "OBX", [6, 8, 10, 12]),
        (1, "NTE", [2]),
        (3, "OBR", [4, 11]),
        (14, "OBX", []),
    ],
)
def test_children_end_where_the_next_group_begins(
    parent: int, child: str, expected: list[int]
) -> None:
    assert children(LAB, parent, child) == expected


@pytest.mark.parametrize(
    ("deleted", "expected"),
    [
        ({4}, [5, 6, 8, 9, 10]),
        ({6}, [7]),
        ({6, 7}, []),
        ({8}, []),
        ({4, 5, 6, 7, 8, 9, 10}, []),
        ({11}, [12]),
        ({3}, []),
        ({9}, [10]),
        ({1}, [2]),
    ],
)
def test_a_deletion_names_what_it_would_orphan(deleted: set[int], expected: list[int]) -> None:
    assert orphans(LAB, deleted) == expected


_NAMES = st.lists(
    st.sampled_from(["PID", "ORC", "OBR", "OBX", "NTE", "SPM", "PV1", "ZXX", "AL1"]), max_size=15
).map(lambda names: ["MSH", *names])


@given(_NAMES, st.data())
def test_whatever_is_seen_from_a_segment_has_the_name_and_exists(
    names: list[str], data: st.DataObject
) -> None:
    current = data.draw(st.integers(0, len(names) - 1))
    wanted = data.draw(st.sampled_from(names))
    found = seen_from(names, current, wanted)
    assert all(names[position] == wanted for position in found)
    assert found == sorted(set(found))
    if wanted == names[current]:
        assert found == [current]


@given(_NAMES)
def test_every_comment_has_one_owner_before_it(names: list[str]) -> None:
    for position, name in enumerate(names):
        if name == "NTE":
            assert owner_of_comment(names, position) < position
            owner = owner_of_comment(names, position)
            if owner:
                assert position in children(names, owner, "NTE") or names[owner] == "PID"


@given(_NAMES, st.data())
def test_deleting_nothing_but_leaves_orphans_nothing(names: list[str], data: st.DataObject) -> None:
    leaves = [at for at, name in enumerate(names) if name in ("NTE", "ZXX")]
    assert orphans(names, set(data.draw(st.sets(st.sampled_from(leaves))) if leaves else ())) == []


def test_a_new_segment_goes_where_the_structures_have_it() -> None:
    assert place_for(["MSH", "EVN", "PID", "AL1"], "PV1") == 3
    assert place_for(["MSH", "EVN", "PID", "PV1", "ZPI"], "ZXX") == 5
    assert place_for(["MSH"], "PID") == 1


def test_segments_of_a_patient_that_come_once_do_not_repeat() -> None:
    assert not any(repeats(name) for name in ("MSH", "PID", "PV1", "ZPI", "QQQ"))
    assert all(
        repeats(name) for name in ("OBX", "NTE", "AL1", "DG1", "NK1", "IN1", "GT1", "OBR", "ORC")
    )


@pytest.mark.parametrize(
    ("head", "end"), [(1, 3), (3, 13), (4, 11), (6, 8), (8, 9), (9, 11), (11, 13)]
)
def test_a_block_is_a_segment_with_what_stands_under_it(head: int, end: int) -> None:
    assert end_of_block(LAB, head) == end


def test_local_segments_and_notes_belong_to_the_block_they_stand_in() -> None:
    names = ["MSH", "PID", "OBX", "ZOB", "NTE", "DSC", "AL1", "NTE", "GT1", "NTE"]
    assert end_of_block(names, 2) == 5
    assert end_of_block(names, 6) == 8
    assert end_of_block(names, 8) == 9
    assert comments_of(names, 6) == [7, 9]
    assert comments_of(LAB, 4) == [5]


def test_orders_are_numbered_through_for_a_patient_and_the_rest_under_its_parent() -> None:
    under = [numbered_under(LAB, position) for position in range(len(LAB))]
    assert under == [0, 0, 1, 1, 1, 4, 4, 6, 4, 4, 9, 1, 11, 0, 13]
    assert has_set_id("OBX")
    assert has_set_id("ZAB")
    assert not has_set_id("ORC")
    assert not takes_comments("EVN")
