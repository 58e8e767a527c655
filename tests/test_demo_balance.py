"""The demonstration's balance holds for a right account and fails for each wrong one."""

import copy
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # demo/ is no part of the package

from demo.balance import Balance, draw
from demo.hospital import Hospital, Sender
from demo.receivers import Receiver

MESSAGES = 400


class World:
    """A sender, two receivers and an engine's listing that agree with each other."""

    def __init__(self) -> None:
        self.sender = Sender(port=1, rate=1.0)
        self.receivers = {"lab": Receiver("lab"), "pharmacy": Receiver("pharmacy")}
        self.records: list[dict[str, Any]] = []
        self.replayed_ids: frozenset[str] = frozenset()
        for number, told in enumerate(itertools.islice(Hospital().messages(), MESSAGES)):
            self.sender.sent[told.control_id] = told
            self.sender.accepted.add(told.control_id)
            places = []
            for name, wanted in (("lab", told.lab), ("pharmacy", told.pharmacy)):
                state = "dead_letter" if wanted == "refused" else wanted
                places.append({"name": name, "state": state, "possible_duplicate": False})
                if state == "sent":
                    self.receivers[name].delivered.append(told.control_id)
            self.records.append(
                {
                    "id": str(number),
                    "control_id": told.control_id,
                    "state": "sent",
                    "destinations": places,
                }
            )

    def draw(self) -> Balance:
        asked = {"asked": len(self.replayed_ids), "done": len(self.replayed_ids)}
        return draw(self.sender, self.receivers.values(), self.records, asked, self.replayed_ids)

    def close(self) -> None:
        for receiver in self.receivers.values():
            receiver.close()

    def one(self, place: str, state: str) -> dict[str, Any]:
        """Return the first record in this state at a destination."""
        return next(
            record
            for record in self.records
            for one in record["destinations"]
            if (one["name"], one["state"]) == (place, state)
        )


@pytest.fixture
def world() -> Any:
    world = World()
    yield world
    world.close()


def test_a_right_account_balances(world: World) -> None:
    drawn = world.draw()
    assert drawn.holds(), drawn
    numbers = {line.name: line.outside for line in drawn.lines}
    assert numbers["sent"] == numbers["acknowledged"] == MESSAGES
    assert numbers["lab: dead letters left"] > 0
    assert numbers["pharmacy: filtered"] > 0
    for name in ("lab", "pharmacy"):
        parts = [
            numbers[f"{name}: {part}"] for part in ("delivered", "filtered", "dead letters left")
        ]
        assert sum(parts) == MESSAGES


def test_a_lost_message_breaks_the_balance(world: World) -> None:
    del world.receivers["lab"].delivered[17]
    assert not world.draw().holds()


def test_a_message_lost_at_both_ends_alike_breaks_the_balance(world: World) -> None:
    control = world.receivers["lab"].delivered.pop(17)
    record = next(one for one in world.records if one["control_id"] == control)
    record["destinations"][0]["state"] = "discarded"
    drawn = world.draw()
    assert not drawn.holds()
    assert any("lost" in text for text in drawn.broken)


def test_a_message_that_should_have_been_filtered_breaks_the_balance(world: World) -> None:
    record = world.one("pharmacy", "filtered")
    world.receivers["pharmacy"].delivered.append(record["control_id"])
    assert any("should not be here" in text for text in world.draw().broken)


def test_an_unmarked_repeat_breaks_the_balance_and_a_marked_one_does_not(world: World) -> None:
    control = world.receivers["lab"].delivered[-1]
    world.receivers["lab"].delivered.append(control)
    assert any("twice" in text for text in world.draw().broken)
    record = next(one for one in world.records if one["control_id"] == control)
    record["destinations"][0]["possible_duplicate"] = True
    assert world.draw().holds()


def test_two_messages_of_a_patient_in_the_wrong_order_break_the_balance(world: World) -> None:
    log = world.receivers["lab"].delivered
    patient = {control: world.sender.sent[control].patient for control in log}
    first = next(
        n for n, control in enumerate(log) if list(patient.values()).count(patient[control]) > 1
    )
    second = next(n for n in range(first + 1, len(log)) if patient[log[n]] == patient[log[first]])
    log[first], log[second] = log[second], log[first]
    assert any("overtaken" in text for text in world.draw().broken)


def test_an_acknowledged_message_that_the_engine_does_not_know_breaks_the_balance(
    world: World,
) -> None:
    world.records = copy.deepcopy(world.records)
    record = world.one("lab", "filtered")
    world.records.remove(record)
    assert any("books" in text for text in world.draw().broken)


def test_a_replayed_dead_letter_must_have_arrived(world: World) -> None:
    record = world.one("lab", "dead_letter")
    world.replayed_ids = frozenset({record["control_id"]})
    assert not world.draw().holds()
    record["destinations"][0]["state"] = "sent"
    world.receivers["lab"].delivered.append(record["control_id"])
    assert world.draw().holds()
