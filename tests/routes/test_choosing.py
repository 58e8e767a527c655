"""Which destinations take a message where one depends on the others."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.support import Receiver, Site, adt
from ifengine.hl7.message import Message
from ifengine.routes.channel import UNMATCHED, Channel, MessageContext, PlannedDelivery
from ifengine.store.base import Fate

Make = Callable[..., Channel]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def channel(head: str, **options: str) -> Channel:
        site = Site(tmp_path / "site", {name: Receiver() for name in options}, head=head)
        site.options = options
        loaded = site.settings().site
        return Channel(loaded.channels[0], loaded)

    return channel


def decide(channel: Channel, sex: str, only: str | None = None) -> dict[str, PlannedDelivery]:
    content = adt("M1").replace(b"|M\r", b"|" + sex.encode() + b"\r")
    context = MessageContext("1", 1_767_607_200_000_000)
    plan = channel.process(Message.parse(content), context, only=only).plan
    return {delivery.destination: delivery for delivery in plan}


def taking(channel: Channel, sex: str) -> set[str]:
    return {n for n, d in decide(channel, sex).items() if d.fate is Fate.QUEUED}


BY_PATIENT = "order_by: patient\n"
M, F = "accept: PID-8 = M", "accept: PID-8 = F"
NOT_U = "accept: PID-8 in [M, F]"
OTHERWISE = "otherwise: yes"


def test_route_first_gives_a_message_to_the_first_that_accepts_it(make: Make) -> None:
    channel = make(BY_PATIENT + "route: first\n", lab=M, ward=NOT_U, icu="")
    assert [taking(channel, sex) for sex in "MFU"] == [{"lab"}, {"ward"}, {"icu"}]
    passed = decide(channel, "M")["icu"]
    assert passed.fate is Fate.FILTERED
    assert passed.reason is not None
    assert passed.reason.safe.startswith("icu: lab takes it, ")
    # what does not accept anyway says its own rule
    told = decide(channel, "U")["lab"].reason
    assert told is not None
    assert told.safe.startswith("lab accept, ")


def test_otherwise_gets_what_no_sibling_takes(make: Make) -> None:
    channel = make(BY_PATIENT, rest=OTHERWISE, lab=M, ward=NOT_U)
    assert [taking(channel, sex) for sex in "MFU"] == [{"lab", "ward"}, {"ward"}, {"rest"}]


def test_otherwise_has_its_own_accept_and_what_it_does_not_take_is_unmatched(make: Make) -> None:
    rest = OTHERWISE + "\naccept: PID-8 = F"
    channel = make(BY_PATIENT + "no_match: dead_letter\n", lab=M, rest=rest)
    assert [taking(channel, sex) for sex in "MFU"] == [{"lab"}, {"rest"}, set()]
    assert decide(channel, "U")[UNMATCHED].fate is Fate.DEAD_LETTER
    assert UNMATCHED not in decide(channel, "F")


def test_a_destination_whose_steps_fail_has_taken_the_message(make: Make) -> None:
    failing = M + "\nsteps:\n  - fail: not today"
    channel = make(BY_PATIENT + "route: first\n", lab=failing, ward=NOT_U, rest=OTHERWISE)
    plan = decide(channel, "M")
    assert {n: d.fate for n, d in plan.items()} == {
        "lab": Fate.DEAD_LETTER,
        "ward": Fate.FILTERED,
        "rest": Fate.FILTERED,
    }


SORTS = st.sampled_from([M, F, NOT_U])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SORTS, min_size=1, max_size=3), st.booleans(), st.sampled_from("MFU"))
def test_what_one_destination_is_asked_alone_is_what_the_whole_plan_says(
    make: Make, sorts: list[str], first: bool, sex: str
) -> None:
    head = BY_PATIENT + ("route: first\n" if first else "")
    options = {f"d{n}": sort for n, sort in enumerate(sorts)} | {"rest": OTHERWISE}
    channel = make(head, **options)
    whole = decide(channel, sex)
    for name, delivery in whole.items():
        assert decide(channel, sex, only=name)[name] == delivery
    took = [name for name, d in whole.items() if d.fate is Fate.QUEUED]
    # somebody always gets it, and `route: first` gives it to one
    assert took
    assert len(took) == 1 or not first
    assert ("rest" in took) == (took == ["rest"])
