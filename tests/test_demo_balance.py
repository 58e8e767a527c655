"""The demonstration's balance holds for a right account and fails for each wrong one."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # demo/ is no part of the package

from demo.balance import Balance, Place, draw
from demo.departments import Hub, Lab, Merges, OrderEntry
from demo.hospital import Hospital
from demo.night import TELLING, Night, Research
from demo.sending import Told

MESSAGES = {"epic-adt": 400, "hub-in": 150, "lab-oru": 120, "cpoe-orm": 80}
ADT_LAB = ("adt-fanout", "lab")
PHARMACY = ("adt-fanout", "pharmacy")
RECORD = ("identity-and-waiting", "ehr")
LAB_RECORD = ("lab-results", "ehr")
RIS = ("radiology-orders", "ris")
RESEARCH = ("regional-batch", "research")


class Book:
    """The log of a sender, without its thread."""

    def __init__(self) -> None:
        self.sent: dict[str, Told] = {}
        self.answers: dict[str, str] = {}


class Log:
    """The log of a receiver, without its socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.delivered: list[str] = []
        self.patients: dict[str, str] = {}

    def repeats(self) -> list[str]:
        return [one for one in set(self.delivered) if self.delivered.count(one) > 1]


class World:
    """Senders, receivers and an engine's listing that agree with each other."""

    def __init__(self) -> None:
        merges = Merges()
        streams = {
            "epic-adt": Hospital(), "hub-in": Hub(merges), "lab-oru": Lab(merges),
            "cpoe-orm": OrderEntry(),
        }  # fmt: skip
        self.books: dict[str, Any] = {}
        self.logs: dict[Place, Log] = {}
        self.records: list[dict[str, Any]] = []
        self.decided: dict[str, str] = {}
        for name, stream in streams.items():
            self.books[name] = Book()
            for told in itertools.islice(stream.messages(), MESSAGES[name]):
                self.books[name].answers[told.control_id] = told.answer
                self.take(self.books[name], told)
        self.books["night"] = Night()
        for told in self.books["night"].sent.values():
            self.take(self.books["night"], told)
        self.cut_files = 1
        self.records.append(self.record("", "dead_letter", []))

    def record(self, control: str, state: str, places: list[dict[str, Any]]) -> dict[str, Any]:
        number = str(len(self.records) + 1)
        return {"id": number, "control_id": control, "state": state, "destinations": places}

    def take(self, book: Any, told: Told) -> None:
        book.sent[told.control_id] = told
        places = []
        for name, wanted in told.wanted.items():
            state = "dead_letter" if wanted == "refused" else wanted
            places.append({"name": name, "state": state, "possible_duplicate": False})
            if name != "unmatched":
                log = self.logs.setdefault((told.channel, name), Log(name))
                if state == "sent":
                    log.delivered.append(told.control_id)
                    log.patients[told.control_id] = told.patient
        self.records.append(self.record(told.control_id, places[0]["state"], places))

    def draw(self) -> Balance:
        return draw(self.books.values(), self.logs, self.records, self.decided, self.cut_files)

    def one(self, place: Place, state: str, channel: str = "") -> dict[str, Any]:
        """Return the first record in this state at a place."""
        controls = {
            control
            for book in self.books.values()
            for control, told in book.sent.items()
            if told.channel == place[0]
        }
        return next(
            record
            for record in self.records
            if record["control_id"] in controls and self.at(record, place)["state"] == state
        )

    def at(self, record: dict[str, Any], place: Place) -> dict[str, Any]:
        found: dict[str, Any] = next(
            one for one in record["destinations"] if one["name"] == place[1]
        )
        return found

    def broken(self) -> str:
        drawn = self.draw()
        assert not drawn.holds()
        return " ".join(drawn.broken)


@pytest.fixture
def world() -> World:
    return World()


def test_a_right_account_balances_with_every_state_of_the_story(world: World) -> None:
    drawn = world.draw()
    assert drawn.holds(), drawn.broken
    states = {line.state for line in drawn.lines if line.outside}
    assert states == {"sent", "filtered", "dropped", "dead_letter", "parked", "rejected"}
    places = {line.name for line in drawn.lines}
    assert {"/".join(place) for place in world.logs} <= places
    for name in ("adt-fanout/lab", "adt-fanout/pharmacy"):
        assert sum(line.outside for line in drawn.lines if line.name == name) == 400


@pytest.mark.parametrize("place", [ADT_LAB, PHARMACY, RECORD, LAB_RECORD, RIS, RESEARCH])
def test_a_lost_message_breaks_the_balance_at_every_receiver(world: World, place: Place) -> None:
    del world.logs[place].delivered[7]
    assert "lost" in world.broken()


def test_a_message_lost_at_both_ends_alike_breaks_the_balance(world: World) -> None:
    control = world.logs[ADT_LAB].delivered.pop(17)
    record = next(one for one in world.records if one["control_id"] == control)
    world.at(record, ADT_LAB)["state"] = "discarded"
    assert "lost" in world.broken()


@pytest.mark.parametrize(
    ("place", "state"),
    [(PHARMACY, "filtered"), (LAB_RECORD, "dropped"), (RIS, "rejected"), (RECORD, "parked")],
)
def test_a_message_that_should_not_have_come_breaks_the_balance(
    world: World, place: Place, state: str
) -> None:
    world.logs[place].delivered.append(world.one(place, state)["control_id"])
    assert "should not be here" in world.broken()


@pytest.mark.parametrize(
    ("place", "state", "other"),
    [
        (PHARMACY, "filtered", "dropped"),
        (LAB_RECORD, "dropped", "filtered"),
        (RIS, "rejected", "dead_letter"),
        (RECORD, "parked", "filtered"),
        (ADT_LAB, "dead_letter", "queued"),
    ],
)
def test_another_state_than_the_message_should_have_breaks_the_balance(
    world: World, place: Place, state: str, other: str
) -> None:
    world.at(world.one(place, state), place)["state"] = other
    assert "wrong state" in world.broken()


def test_an_unmarked_repeat_breaks_the_balance_and_a_marked_one_does_not(world: World) -> None:
    control = world.logs[ADT_LAB].delivered[-1]
    world.logs[ADT_LAB].delivered.append(control)
    assert "twice" in world.broken()
    record = next(one for one in world.records if one["control_id"] == control)
    world.at(record, ADT_LAB)["possible_duplicate"] = True
    assert world.draw().holds()


def test_a_message_that_the_engine_took_twice_breaks_the_balance(world: World) -> None:
    record = world.one(ADT_LAB, "sent")
    world.records.append({**record, "id": str(len(world.records) + 1)})
    assert "in the books twice" in world.broken()


def test_a_repeat_that_went_nowhere_and_a_refused_order_sent_again_are_none_of_their_own(
    world: World,
) -> None:
    sent, refused = world.one(ADT_LAB, "sent"), world.one(RIS, "rejected")
    world.records.append(world.record(sent["control_id"], "dropped", []))
    world.records.append({**refused, "id": str(len(world.records) + 1)})
    assert world.draw().holds()


@pytest.mark.parametrize("place", [ADT_LAB, ("identity-and-waiting", "registry"), LAB_RECORD])
def test_two_messages_of_a_patient_in_the_wrong_order_break_the_balance(
    world: World, place: Place
) -> None:
    log = world.logs[place].delivered
    patient = world.logs[place].patients
    first, second = next(
        (n, m)
        for n, control in enumerate(log)
        for m in range(n + 1, len(log))
        if patient[log[m]] == patient[control]
    )
    log[first], log[second] = log[second], log[first]
    assert "overtaken" in world.broken()


def test_a_result_that_waited_for_its_order_may_come_after_others(world: World) -> None:
    told = world.books["hub-in"].sent
    log = world.logs[RECORD].delivered
    waited = next(control for control in log if told[control].alone)
    log.remove(waited)
    log.append(waited)
    assert world.draw().holds()


def test_a_result_under_the_retired_number_breaks_the_balance(world: World) -> None:
    log = world.logs[LAB_RECORD]
    log.patients[log.delivered[3]] = "1330001"
    assert "another patient's number" in world.broken()


def test_a_sender_that_was_told_something_else_breaks_the_balance(world: World) -> None:
    refused = world.one(RIS, "rejected")["control_id"]
    world.books["cpoe-orm"].answers[refused] = "AA"
    assert "told something else" in world.broken()


def test_an_acknowledged_message_that_the_engine_does_not_know_breaks_the_balance(
    world: World,
) -> None:
    world.records.remove(world.one(PHARMACY, "filtered"))
    assert "books" in world.broken()


def test_a_message_that_nobody_sent_breaks_the_balance(world: World) -> None:
    world.records.append(world.record("STRANGE", "sent", []))
    assert "nobody sent" in world.broken()


def test_a_file_without_its_end_that_left_no_dead_letter_breaks_the_balance(world: World) -> None:
    world.records.remove(world.records[-1])
    assert not world.draw().holds()


def test_a_replayed_dead_letter_must_have_arrived(world: World) -> None:
    record = world.one(ADT_LAB, "dead_letter")
    control = record["control_id"]
    world.decided[control] = "sent"
    assert "lost" in world.broken()
    world.at(record, ADT_LAB)["state"] = "sent"
    world.logs[ADT_LAB].delivered.append(control)
    assert world.draw().holds()


def test_a_result_that_is_not_waited_for_any_more_must_be_a_dead_letter(world: World) -> None:
    record = world.one(RECORD, "parked")
    world.decided[record["control_id"]] = "dead_letter"
    assert "wrong state" in world.broken()
    for one in record["destinations"]:
        one["state"] = "dead_letter"
    assert world.draw().holds()


def test_every_story_is_told_to_its_end_once_it_is_closed() -> None:
    hub = Hub(Merges())
    messages = hub.messages()
    begun = list(itertools.islice(messages, 40))
    hub.close()
    told = [*begun, *messages]
    orders = {one.content.partition(b"|NW|")[2].split(b"\r")[0] for one in told}
    waiting = [one for one in told if one.alone and one.wanted["ehr"] == "sent"]
    assert waiting
    for one in waiting:
        assert one.content.partition(b"|RE|")[2].split(b"|")[0] in orders


def test_a_name_in_a_copy_for_research_is_found(tmp_path: Path) -> None:
    research = Research(tmp_path)
    clean = "MSH|^~\\&|||||2026||ORU^R01|1|P|2.5.1\rPID|1||||||1947|F\r"
    (tmp_path / "1.hl7").write_text(clean)
    for number, word in enumerate(TELLING, 2):
        (tmp_path / f"{number}.hl7").write_text(f"{clean}OBX|1|ST|||{word}\r")
    research.read([{"id": "1", "control_id": "NIGHT0001"}])
    assert research.delivered[0] == "NIGHT0001"
    assert research.telling == [f"{number}.hl7" for number in range(2, 2 + len(TELLING))]


def test_the_file_of_the_night_holds_every_word_that_must_not_be_in_a_copy() -> None:
    content = Night().content().decode()
    assert all(word in content for word in TELLING)
