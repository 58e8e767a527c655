"""Steps that remember: facts, and messages that wait for them."""

import json

import pytest

from ifengine.hl7.message import Message
from ifengine.transforms.base import ParkedError, StepFailedError, StepScope
from ifengine.transforms.facts import fact_values
from ifengine.transforms.memory import Blank, Change, Key, Remembered, Scratch, Space
from transforms.written import NOW_US, ORU, TABLES, compiled, steps

ORM = b"\r".join(
    [
        rb"MSH|^~\&|CPOE|N|RIS|S|20260105||ORM^O01|7|P|2.5.1",
        b"PID|1||71^^^N^MR||Fir^Ada",
        b"PV1|1|I|4WEST||||||||||||||||V77",
        b"ORC|NW|P1",
        b"OBR|1|P1||CBC",
        b"ORC|NW|P2",
        b"OBR|2|P2||K",
        b"",
    ]
)
WAIT = "wait_for: {fact: order, per: OBR, key: OBR-2.1, up_to: 30m"


class Known:
    """What was remembered before, as the store would know it."""

    def __init__(self, *changes: Change) -> None:
        self.held: dict[tuple[Space, Key], Remembered] = {}
        self.take(changes)

    def take(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            if change.remembered is None:
                self.held.pop((change.space, change.key), None)
            else:
                self.held[change.space, change.key] = change.remembered

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        return self.held.get((space, key))


def scope(content: bytes, known: Known | Blank | None = None, **said: object) -> StepScope:
    memory = Scratch(7, NOW_US, known or Blank(), bool(said.pop("replay", False)))
    made = StepScope(Message.parse(content), TABLES, NOW_US, "7", memory=memory, channel="lab")
    for name, value in said.items():
        setattr(made, name, value)
    return made


def left(at: StepScope) -> tuple[Change, ...]:
    assert isinstance(at.memory, Scratch)
    return at.memory.changes()


def test_every_group_is_remembered_under_its_own_key() -> None:
    at = scope(ORM)
    steps("- remember: {fact: order, per: ORC, key: ORC-2.1}").run(at)
    assert [change.key for change in left(at)] == [("lab", "order", "P1"), ("lab", "order", "P2")]
    assert all(c.remembered and c.remembered.until_us > NOW_US for c in left(at))


def test_a_fact_the_site_declares_belongs_to_no_channel_and_lasts_as_long_as_it_says() -> None:
    at = scope(ORM)
    steps("- remember: {fact: visit, key: PV1-19.1}").run(at)
    (change,) = left(at)
    assert change.key == ("", "visit", "V77")
    assert change.remembered is not None
    assert change.remembered.until_us == NOW_US + 90 * 86_400 * 1_000_000


def test_a_fact_carries_values() -> None:
    at = scope(ORM)
    steps(
        "- remember: {fact: order, per: ORC, key: ORC-2.1,"
        " value: {visit: PV1-19.1, ward: '${PV1-3.1 | lower}'}}"
    ).run(at)
    remembered = left(at)[0].remembered
    assert remembered is not None
    assert fact_values(remembered) == {"visit": "V77", "ward": "4west"}


def test_an_empty_key_cannot_be_remembered() -> None:
    at = scope(ORM.replace(b"ORC|NW|P2", b'ORC|NW|""'))
    with pytest.raises(StepFailedError, match="order: the key is empty"):
        steps("- remember: {fact: order, per: ORC, key: ORC-2.1}").run(at)


def test_a_key_of_several_paths_cannot_be_taken_for_another() -> None:
    for first, second in (("AB|C", "A|BC"), ("^A|B", "A^|B")):
        keys = []
        for fields in (first, second):
            at = scope(ORM.replace(b"ORC|NW|P1", b"ORC|" + fields.encode()))
            steps("- remember: {fact: order, per: ORC, key: [ORC-1, ORC-2]}").run(at)
            keys.append(left(at)[0].key)
        assert keys[0] != keys[1]


def test_once_delivered_waits_with_its_facts_until_a_destination_took_the_message() -> None:
    at = scope(ORM)
    steps("- remember: {fact: order, per: ORC, key: ORC-2.1, once: delivered}").run(at)
    (change,) = left(at)
    assert (change.space, change.key) == (Space.AWAITED, ("7",))
    assert change.remembered is not None
    held = json.loads(change.remembered.value)
    assert [entry[0] for entry in held] == [["lab", "order", "P1"], ["lab", "order", "P2"]]


def test_a_message_waits_for_every_group_and_its_reason_names_no_value() -> None:
    at = scope(ORU)
    with pytest.raises(ParkedError) as parked:
        steps("- " + WAIT + "}").run(at)
    assert parked.value.keys == (("lab", "order", "P1"), ("lab", "order", "P2"))
    assert parked.value.up_to_us == 30 * 60 * 1_000_000
    assert parked.value.reason.safe == "waiting for order"
    assert parked.value.reason.full == "waiting for order P1, P2"
    assert parked.value.step == "step 1 wait_for"


def test_a_message_goes_on_once_all_its_groups_are_known() -> None:
    before = scope(ORM)
    steps("- remember: {fact: order, per: ORC, key: ORC-2.1}").run(before)
    first, second = left(before)
    with pytest.raises(ParkedError) as parked:
        steps("- " + WAIT + "}").run(scope(ORU, Known(first)))
    assert parked.value.reason.full == "waiting for order P2"
    # of all its keys: a later message of a key that is known stays behind this one
    assert parked.value.keys == (first.key, second.key)
    steps("- " + WAIT + "}").run(scope(ORU, Known(first, second)))


def test_a_message_stays_behind_an_earlier_one_that_waits_for_the_same() -> None:
    before = scope(ORM)
    steps("- remember: {fact: order, per: ORC, key: ORC-2.1}").run(before)
    at = scope(ORU, Known(*left(before)), waits_behind=lambda key: key[2] == "P2")
    with pytest.raises(ParkedError) as parked:
        steps("- " + WAIT + "}").run(at)
    assert parked.value.reason.full == "waiting for order P2"
    at = scope(ORU, Known(*left(before)), waits_behind=lambda key: True, waited_out=True)
    steps("- " + WAIT + ", then: dead_letter}\n- set: {MSH-8: '${waited_out}'}").run(at)
    assert at.message.raw(0, 8) == b""  # its time is over, and nothing is missing


def test_a_message_that_a_person_lets_go_waits_no_more_whatever_then_says() -> None:
    at = scope(ORU, released=True)
    steps("- " + WAIT + ", then: dead_letter}\n- set: {MSH-8: '${waited_out}'}").run(at)
    assert at.message.raw(0, 8) == b"yes"


def test_without_a_key_a_message_does_not_wait_and_says_so() -> None:
    content = ORU.replace(b"OBR|1|P1", b"OBR|1|").replace(b"OBR|2|P2", b"OBR|2|")
    at = scope(content)
    steps("- " + WAIT + "}\n- set: {MSH-8: '${unsolicited}'}").run(at)
    assert at.message.raw(0, 8) == b"yes"


def test_what_must_never_wait_does_not() -> None:
    steps("- " + WAIT + ", never_wait: any OBX-8 = HH}").run(scope(ORU))


def test_after_its_time_a_message_is_delivered_and_marked() -> None:
    at = scope(ORU, waited_out=True)
    steps("- " + WAIT + "}\n- {when: $waited_out = yes, set: {MSH-8: LATE}}").run(at)
    assert at.message.raw(0, 8) == b"LATE"


def test_after_its_time_a_message_is_a_dead_letter_where_that_is_said() -> None:
    with pytest.raises(StepFailedError) as failed:
        steps("- " + WAIT + ", then: dead_letter}").run(scope(ORU, waited_out=True))
    assert failed.value.reason.safe == "no order within 30m"
    assert failed.value.reason.full == "no order P1, P2 within 30m"


def test_a_replay_neither_waits_nor_remembers() -> None:
    at = scope(ORU, replay=True)
    steps("- " + WAIT + "}").run(at)
    assert at.variables["waited_out"] == "yes"
    again = scope(ORM, replay=True)
    steps("- remember: {fact: order, per: ORC, key: ORC-2.1}").run(again)
    assert left(again) == ()


def test_what_ran_out_is_not_remembered() -> None:
    gone = Remembered("", 1, 0, NOW_US - 1)
    known = Known(Change(Space.FACT, ("lab", "order", "P1"), gone))
    with pytest.raises(ParkedError):
        steps("- wait_for: {fact: order, key: 'OBR[1]-2.1', up_to: 1h}").run(scope(ORU, known))


@pytest.mark.parametrize(
    "verb",
    [
        "wait_for: {fact: order, key: PID-3.1, up_to: 1h}",
        "remember: {fact: order, key: PID-3.1, once: delivered}",
    ],
)
def test_waiting_stands_before_the_destinations(verb: str) -> None:
    _, problems = compiled(f"- {verb}", destination="ehr")
    assert [problem.code for problem in problems.found] == ["E309"]
