"""What would differ under other rules, without an engine."""

from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.shadow import (
    NOWHERE,
    Difference,
    Outcome,
    Overlay,
    Place,
    Tally,
    differences,
)
from ifengine.transforms.memory import Change, Key, Remembered, Space

A = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5\rPID|1||700||SECRET^SAM\r"
B = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5\rPID|1||700||HIDDEN^SAM\r"


class Engine:
    """What an engine remembers."""

    def __init__(self, *found: Remembered) -> None:
        self.found = {("fact", str(i)): one for i, one in enumerate(found)}

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        return self.found.get(key)  # type: ignore[call-overload, no-any-return]


def steps(name: str, part: int) -> dict[str, str]:
    return {"PID-5.1": f"{name} step 1 upper"}


def test_a_place_that_differs_is_told_with_its_step_and_without_values() -> None:
    before, after = {("lab", 0): Outcome("queued", A)}, {("lab", 0): Outcome("queued", B)}
    [found] = differences(before, after, steps)
    assert found.places == (Place("~", "PID-5.1", "lab step 1 upper"),)
    assert "SECRET" not in repr((found, before, after))
    assert "HIDDEN" not in repr((found, before, after))


def test_another_state_is_a_difference_and_another_reason_for_the_same_state_is_none() -> None:
    before = {
        ("lab", 0): Outcome("filtered", reason="adt.yaml:4"),
        ("ward", 0): Outcome("queued", A),
    }
    after = {("lab", 0): Outcome("filtered", reason="adt.yaml:9"), ("ris", 0): Outcome("queued", A)}
    found = differences(before, after, steps)
    assert [(d.destination, d.was, d.now) for d in found] == [
        ("ward", "queued", NOWHERE),
        ("ris", NOWHERE, "queued"),
    ]


CONTENT = st.sampled_from([A, B, None])
OUTCOME = st.builds(Outcome, st.sampled_from(["queued", "filtered"]), CONTENT)
PLAN = st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 1)), OUTCOME)


@given(plan=PLAN)
def test_a_plan_does_not_differ_from_itself(plan: dict[tuple[str, int], Outcome]) -> None:
    assert differences(plan, dict(plan), steps) == []


@given(before=PLAN, after=PLAN)
def test_the_same_is_found_different_from_both_sides(
    before: dict[tuple[str, int], Outcome], after: dict[tuple[str, int], Outcome]
) -> None:
    there = sorted((d.destination, d.was, d.now) for d in differences(before, after, steps))
    back = sorted((d.destination, d.now, d.was) for d in differences(after, before, steps))
    assert there == back


def test_what_later_messages_and_those_of_this_run_left_is_hidden() -> None:
    overlay = Overlay(Engine(*(Remembered("v", number, 0, 0) for number in (1, 5, 6, 9))))

    def seen() -> list[bool]:
        keys = [("fact", str(i)) for i in range(4)]
        return [overlay.look_up(Space.FACT, key) is not None for key in keys]

    overlay.message = 6
    assert seen() == [True, True, False, False]
    overlay.message = 5
    overlay.take((), is_whole=True)
    overlay.message = 8
    assert seen() == [True, False, True, False]
    overlay.take((Change(Space.FACT, ("fact", "3"), Remembered("w", 8, 0, 0)),), is_whole=False)
    overlay.message = 9
    assert seen() == [True, False, True, True]


def test_rules_are_counted_by_message_and_the_most_frequent_is_first() -> None:
    tally = Tally(most_examples=2)
    twice = (Place("~", "OBX-5", "step 2 round"), Place("~", "OBX-5", "step 2 round"))
    for number in ("1", "2", "3"):
        tally.add(number, [Difference("lab", "queued", "queued", twice)])
    tally.add("4", [Difference("lab", "queued", "dead_letter", (), "lab step 1", "no code")])
    first, second = tally.rows()
    assert (first["path"], first["messages"], first["examples"]) == ("OBX-5", 3, ["1", "2"])
    assert (second["kind"], second["step"]) == ("queued -> dead_letter", "lab step 1: no code")
