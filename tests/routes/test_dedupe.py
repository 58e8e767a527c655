"""Business duplicates: the same key and content in a new message, and what is none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.support import Receiver, Site
from ifengine.hl7.message import Message
from ifengine.routes.channel import Channel, Decision, MessageContext
from ifengine.routes.config.loading import load_site
from ifengine.store.base import Fate
from ifengine.transforms.memory import Scratch, Space
from transforms.test_steps_memory import Known

HEAD = """\
types: [ORM^O01]
order_by: patient
dedupe: {key: [ORC-1, ORC-2, OBR-4], per: ORC, window: 10m%s}
"""
MINUTE = 60 * 1_000_000


def orm(control: str, *orders: tuple[str, str], extra: str = "", made: str = "20260105") -> bytes:
    text = f"MSH|^~\\&|CPOE|N|IE|S|{made}||ORM^O01|{control}|P|2.5.1\rPID|1||7^^^RIVER^MR\r"
    for code, number in orders:
        text += f"ORC|{code}|{number}\rOBR|1|{number}||CT^Head{extra}\r"
    return text.encode()


class Feed:
    """A channel with its memory."""

    def __init__(self, folder: Path, said: str = "", steps: str = "") -> None:
        site = Site(folder / "site", {"ris": Receiver()}, head=HEAD % said + steps)
        loaded = site.settings().site
        self.channel = Channel(loaded.channels[0], loaded)
        self.known = Known()
        self.now_us = 1_767_607_200_000_000
        self.number = 0

    def send(self, content: bytes, *, number: int = 0, replay: bool = False) -> Decision:
        self.number = number or self.number + 1
        memory = Scratch(self.number, self.now_us, self.known, replay)
        context = MessageContext(str(self.number), self.now_us, memory)
        decision = self.channel.process(Message.parse(content), context)
        self.known.take(decision.changes)
        return decision

    def fate(self, content: bytes, *, number: int = 0, replay: bool = False) -> Fate:
        return self.send(content, number=number, replay=replay).plan[0].fate


Make = Callable[..., Feed]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda said="", steps="": Feed(tmp_path, said, steps)


def test_the_same_order_again_is_dropped_as_a_duplicate(make: Make) -> None:
    feed = make()
    assert feed.fate(orm("M1", ("NW", "P1"))) is Fate.QUEUED
    again = feed.send(orm("M2", ("NW", "P1"), made="20260106"))
    (delivery,) = again.plan
    assert (delivery.fate, delivery.reason.safe) == (Fate.DROPPED, "duplicate")  # type: ignore[union-attr]
    assert again.repeat.original == 1


def test_other_content_under_the_key_is_none_and_counts_from_then_on(make: Make) -> None:
    feed = make()
    first, second = orm("M1", ("NW", "P1")), orm("M2", ("NW", "P1"), extra="|||S")
    assert [feed.fate(m) for m in (first, second, second, first)] == [
        Fate.QUEUED,
        Fate.QUEUED,
        Fate.DROPPED,
        Fate.QUEUED,
    ]


def test_every_group_enters_the_key(make: Make) -> None:
    feed = make()
    feed.fate(orm("M1", ("NW", "P1"), ("NW", "P2")))
    assert feed.fate(orm("M2", ("NW", "P1"), ("NW", "P3"))) is Fate.QUEUED
    assert feed.fate(orm("M3", ("NW", "P1"))) is Fate.QUEUED
    assert feed.fate(orm("M4", ("NW", "P1"), ("NW", "P2"))) is Fate.DROPPED


def test_the_window_runs_from_the_first_and_is_not_renewed(make: Make) -> None:
    feed = make()
    feed.fate(orm("M1", ("NW", "P1")))
    feed.now_us += 6 * MINUTE
    assert feed.fate(orm("M2", ("NW", "P1"))) is Fate.DROPPED
    feed.now_us += 6 * MINUTE
    assert feed.fate(orm("M3", ("NW", "P1"))) is Fate.QUEUED


def test_a_message_that_starts_over_is_not_its_own_duplicate(make: Make) -> None:
    feed = make(steps="steps:\n  - wait_for: {fact: visit, key: PID-3.1, up_to: 1h}\n")
    waiting = feed.send(orm("M1", ("NW", "P1")))
    assert waiting.waiting is not None
    assert [change.space for change in waiting.changes] == [Space.DEDUPE]
    assert feed.fate(orm("M2", ("NW", "P1"))) is Fate.DROPPED
    assert feed.fate(orm("M1", ("NW", "P1")), number=1) is Fate.PARKED


def test_a_message_that_starts_over_takes_no_claim_from_a_later_one_and_is_no_repeat_of_it(
    make: Make,
) -> None:
    feed = make(steps="steps:\n  - wait_for: {fact: visit, key: PID-3.1, up_to: 1h}\n")
    first, second = orm("M1", ("NW", "P1")), orm("M2", ("NW", "P1"), extra="|||S")
    assert [feed.fate(m) for m in (first, second)] == [Fate.PARKED] * 2
    assert feed.fate(first, number=1) is Fate.PARKED  # it starts over
    feed.number = 2
    # the second one's content still counts: back to the first one's is news, the second one's is none
    assert feed.fate(second) is Fate.DROPPED
    assert feed.fate(first) is Fate.PARKED
    assert feed.fate(first, number=1) is Fate.PARKED  # the fourth says the same, and is none of it


def test_a_dead_letter_claims_nothing(make: Make) -> None:
    feed = make(steps="steps:\n  - require: {PV1-2: no class}\n")
    assert feed.fate(orm("M1", ("NW", "P1"))) is Fate.DEAD_LETTER
    assert feed.fate(orm("M2", ("NW", "P1"))) is Fate.DEAD_LETTER


def test_without_a_key_nothing_is_compared(make: Make) -> None:
    feed = make()
    for number in (1, 2):
        assert feed.fate(orm(f"M{number}").replace(b"PID|1", b"PID|1")) is Fate.QUEUED


def test_ignored_content_makes_the_key_alone_a_duplicate_where_that_is_said(make: Make) -> None:
    feed = make(", content: ignore, when: any ORC-1 = NW")
    assert feed.fate(orm("M1", ("NW", "P1"))) is Fate.QUEUED
    assert feed.fate(orm("M2", ("NW", "P1"), extra="|||S")) is Fate.DROPPED
    for control in ("M3", "M4"):
        assert feed.fate(orm(control, ("XO", "P1"))) is Fate.QUEUED


def test_send_lets_it_go_and_a_hit_on_a_replay_is_held(make: Make) -> None:
    feed = make(", on_repeat: send")
    assert [feed.fate(orm(c, ("NW", "P1"))) for c in ("M1", "M2")] == [Fate.QUEUED] * 2
    feed = make()
    feed.fate(orm("M1", ("NW", "P1")))
    assert feed.fate(orm("M2", ("NW", "P1")), replay=True) is Fate.HELD
    assert feed.fate(orm("M1", ("NW", "P1")), number=1, replay=True) is Fate.QUEUED


def test_a_waiting_sender_can_be_refused(make: Make) -> None:
    feed = make(", on_repeat: reject")
    feed.fate(orm("M1", ("NW", "P1")))
    memory = Scratch(9, feed.now_us, feed.known)
    context = MessageContext("9", feed.now_us, memory, sender_waits=True)
    decision = feed.channel.process(Message.parse(orm("M2", ("NW", "P1"))), context)
    assert decision.refusal is not None
    assert (decision.refusal.answer, decision.plan[0].fate) == ("AR", Fate.REJECTED)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("{key: MSH-10}", "E240"),
        ("{key: [ORC-2, MSH-10], per: ORC}", "E240"),
        ("{key: ORC-2, per: ORC, content: ignore}", "E241"),
        ("{key: ORC-2, per: ORC, content: ignore, when: PV1-2 = I}", "E241"),
        ("{key: OBX-3}", "E305"),
        ("{on_repeat: ack}", "E102"),
    ],
)
def test_what_would_drop_something_new_is_an_error(tmp_path: Path, written: str, code: str) -> None:
    site = Site(
        tmp_path / "site", {"ris": Receiver()}, head=f"order_by: patient\ndedupe: {written}"
    )
    site.write()
    found = load_site(site.folder, environ={}).problems
    assert [p.code for p in found if p.severity == "error"] == [code]


MESSAGES = st.lists(
    st.tuples(st.sampled_from(["P1", "P2"]), st.sampled_from(["", "|||S"]), st.integers(0, 7)),
    max_size=15,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(MESSAGES)
def test_a_duplicate_is_what_the_last_content_under_its_key_said_within_the_window(
    make: Make, messages: list[tuple[str, str, int]]
) -> None:
    feed = make()
    held: dict[str, tuple[str, int]] = {}
    for number, (order, extra, minutes) in enumerate(messages):
        feed.now_us += minutes * MINUTE
        fate = feed.fate(orm(f"M{number}", ("NW", order), extra=extra))
        content, since = held.get(order, ("none", 0))
        repeated = content == extra and feed.now_us - since <= 10 * MINUTE
        assert fate is (Fate.DROPPED if repeated else Fate.QUEUED)
        if not repeated:
            held[order] = (extra, feed.now_us)


def test_a_sites_other_channels_have_keys_of_their_own(make: Make) -> None:
    feed = make()
    feed.fate(orm("M1", ("NW", "P1")))
    feed.channel.config = replace(feed.channel.config, name="other")
    feed.channel.name = "other"
    assert feed.fate(orm("M2", ("NW", "P1"))) is Fate.QUEUED
