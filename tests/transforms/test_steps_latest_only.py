"""``latest_only``: what comes late does not overwrite what is newer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.message import Message
from ifengine.transforms.base import DroppedError, HeldError, StepScope
from ifengine.transforms.memory import Scratch
from transforms.test_steps_memory import Known, left
from transforms.written import NOW_US, TABLES, steps

RULE = (
    "- latest_only: {per: OBR, key: [MSH-4, OBR-2, OBR-3, OBR-4], status: OBR-25, "
    "order: [I, P, F], newer: OBR-22, for: 90d, stale: %s}"
)
FIELDS = "|" * 17


def obr(number: int, status: str, time: str, *, order: str = "P1", obx: str = "F") -> bytes:
    # OBR-22 is the time of the report, OBR-25 its status
    obr_fields = ["OBR", str(number), order, "L1", "CBC"] + [""] * 17 + [time, "", "", status]
    lines = [
        f"ORC|RE|{order}",
        "|".join(obr_fields),
        f"OBX|1|NM|718-7||13.1|||N|||{obx}",
        "NTE|1||a note",
    ]
    return ("\r".join(lines) + "\r").encode()


def oru(*groups: bytes) -> bytes:
    head = rb"MSH|^~\&|LAB|NORTH|EHR|SOUTH|20260105||ORU^R01|1|P|2.5.1" + b"\rPID|1||71\r"
    return head + b"".join(groups)


class Feed:
    """One channel with its memory: what each message becomes."""

    def __init__(self, stale: str = "drop", rule: str = RULE) -> None:
        self.steps = steps(rule % stale if "%s" in rule else rule)
        self.known = Known()
        self.number = 0

    def send(self, *groups: bytes, replay: bool = False, now_us: int = NOW_US) -> StepScope:
        return self.send_message(oru(*groups), replay=replay, now_us=now_us)

    def send_message(
        self, content: bytes, *, replay: bool = False, now_us: int = NOW_US
    ) -> StepScope:
        self.number += 1
        memory = Scratch(self.number, now_us, self.known, replay)
        message = Message.parse(content)
        scope = StepScope(message, TABLES, now_us, str(self.number), memory=memory, channel="lab")
        self.steps.run(scope)
        self.known.take(left(scope))
        return scope


def test_a_late_preliminary_is_dropped_after_the_final() -> None:
    feed = Feed()
    feed.send(obr(1, "F", "20260105101000"))
    with pytest.raises(DroppedError, match="later than a newer one"):
        feed.send(obr(1, "P", "20260105100000"))


def test_by_default_it_is_held_for_a_person() -> None:
    feed = Feed(rule=RULE.replace(", stale: %s", ""))
    feed.send(obr(1, "F", "20260105101000"))
    with pytest.raises(HeldError):
        feed.send(obr(1, "P", "20260105100000"))


@pytest.mark.parametrize(
    ("first", "second", "late"),
    [
        (("F", "1010"), ("P", "1010"), True),  # lower, not newer
        (("F", "1010"), ("P", "1011"), False),  # lower, and newer: the report was opened again
        (("F", "1010"), ("P", ""), True),  # lower, and nothing says that it is newer
        (("F", "1010"), ("F", "1009"), True),  # same rank, older
        (("F", "1010"), ("F", "1010"), False),
        (("F", "1010"), ("F", ""), False),  # same rank, no time: passed
        (("F", ""), ("F", "1009"), False),
        (("P", "1010"), ("F", "1009"), False),  # a higher rank is never late
        (("F", "1010"), ("C", "1009"), False),  # nor is a correction
        (("F", "1010"), ("X", "1009"), False),
        (("F", "1010"), ("Z", "1009"), False),  # nor a status nobody named
        (("C", "1010"), ("F", "1009"), True),  # a final after its correction would undo it
        (("C", "1010"), ("F", "1011"), False),
    ],
)
def test_late_is_a_lower_rank_that_is_not_newer_or_an_older_time(
    first: tuple[str, str], second: tuple[str, str], late: bool
) -> None:
    feed = Feed()

    def time(minute: str) -> str:
        return f"20260105{minute}00" if minute else ""

    feed.send(obr(1, first[0], time(first[1])))
    if late:
        with pytest.raises(DroppedError):
            feed.send(obr(1, second[0], time(second[1])))
    else:
        feed.send(obr(1, second[0], time(second[1])))


@pytest.mark.parametrize("status", ["C", "D", "W", "X"])
def test_a_result_that_replaces_or_removes_another_is_never_late(status: str) -> None:
    feed = Feed()
    feed.send(obr(1, "F", "20260105101000"))
    withdrawn = obr(1, "P", "20260105100000", obx=status)
    try:
        scope = feed.send(withdrawn)
    except DroppedError:
        pytest.fail("a result that says an earlier one is wrong was dropped")
    assert scope.message.encode() == oru(withdrawn)


def test_only_the_late_groups_are_taken_out() -> None:
    feed = Feed()
    feed.send(obr(1, "F", "20260105101000"), obr(2, "P", "20260105101000", order="P2"))
    scope = feed.send(obr(1, "P", "20260105100000"), obr(2, "F", "20260105102000", order="P2"))
    assert scope.message.encode() == oru(obr(2, "F", "20260105102000", order="P2"))
    assert scope.aside == []


def test_a_late_group_that_must_not_be_dropped_is_set_aside_alone() -> None:
    feed = Feed("hold")
    feed.send(obr(1, "F", "20260105101000"), obr(2, "P", "20260105101000", order="P2"))
    scope = feed.send(obr(1, "P", "20260105100000"), obr(2, "F", "20260105102000", order="P2"))
    assert scope.message.encode() == oru(obr(2, "F", "20260105102000", order="P2"))
    (aside,) = scope.aside
    assert aside.content == oru(obr(1, "P", "20260105100000"))


def test_pass_lets_it_go_and_keeps_what_is_newer_in_mind() -> None:
    feed = Feed("pass")
    feed.send(obr(1, "F", "20260105101000"))
    assert feed.send(obr(1, "P", "20260105100000")).message.encode() == oru(
        obr(1, "P", "20260105100000")
    )
    feed.steps = steps(RULE % "drop")
    with pytest.raises(DroppedError):
        feed.send(obr(1, "P", "20260105100000"))


def test_other_orders_and_empty_keys_are_not_compared() -> None:
    feed = Feed()
    feed.send(obr(1, "F", "20260105101000"))
    feed.send(obr(1, "P", "20260105100000", order="P9"))
    bare = "- latest_only: {key: PID-4, newer: MSH-7, for: 1d, stale: drop}"
    other = Feed(rule=bare)
    other.send(obr(1, "F", "20260105101000"))
    other.send(obr(1, "P", "20260105100000"))


def test_accession_numbers_come_again_after_their_time() -> None:
    feed = Feed()
    feed.send(obr(1, "F", "20260105101000"))
    feed.send(obr(1, "P", "20250105100000"), now_us=NOW_US + 91 * 86_400 * 1_000_000)


def test_a_hit_on_a_replay_is_held_and_leaves_nothing() -> None:
    feed = Feed()
    feed.send(obr(1, "F", "20260105101000"))
    with pytest.raises(HeldError):
        feed.send(obr(1, "P", "20260105100000"), replay=True)
    feed.send(obr(1, "F", "20260105102000"), replay=True)
    feed.send(obr(1, "F", "20260105101500"))  # the replay was not remembered


def test_an_older_snapshot_of_a_patient_is_late_by_its_event_time() -> None:
    feed = Feed(rule="- latest_only: {key: PID-3.1, newer: EVN-2, for: 30d, stale: drop}")

    def adt(time: str) -> bytes:
        head = rb"MSH|^~\&|HIS|N|IE|S|20260105||ADT^A08|1|P|2.5.1"
        return head + f"\rEVN|A08|{time}\rPID|1||71\r".encode()

    feed.send_message(adt("20260105101000"))
    feed.send_message(adt("20260105101000"))
    with pytest.raises(DroppedError):
        feed.send_message(adt("20260105100959"))
    feed.send_message(adt("20260105101001"))


REPORTS = st.lists(
    st.tuples(
        st.sampled_from("IPFCXZ"), st.integers(0, 3), st.sampled_from(["A", "B"]), st.booleans()
    ),
    max_size=12,
)


@given(REPORTS)
def test_any_history_ends_with_the_highest_rank_and_newest_time_it_was_told(
    reports: list[tuple[str, int, str, bool]],
) -> None:
    feed, best = Feed(), dict[str, tuple[int, int]]()
    ranks = {"I": 0, "P": 1, "F": 2, "C": 3, "X": 3}
    for status, minute, order, corrects in reports:
        group = obr(1, status, f"202601051{minute}0000", order=order, obx="C" if corrects else "F")
        try:
            feed.send(group)
            passed = True
        except DroppedError:
            passed = False
        rank = ranks.get(status)
        if rank is None:
            assert passed
            continue
        held = best.get(order)
        older = held is not None and (
            (rank < held[0] and minute <= held[1]) or (rank == held[0] and minute < held[1])
        )
        late = older and not corrects and status not in "CX"
        assert passed is not late
        if not older:
            newest = minute if held is None else max(minute, held[1])
            best[order] = (rank, newest)
