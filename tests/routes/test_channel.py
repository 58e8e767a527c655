"""What a channel decides about a message at each of its destinations."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.support import Receiver, Site, adt
from ifengine.hl7.message import Message
from ifengine.routes.channel import UNMATCHED, Channel, MessageContext, Plan, PlanTrace
from ifengine.store.base import Fate
from ifengine.transforms.memory import Scratch
from transforms.test_steps_memory import Known

Make = Callable[..., Channel]
CONTEXT = MessageContext("1", 1_767_607_200_000_000)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def channel(head: str, **options: str) -> Channel:
        names = list(options) or ["lab"]
        site = Site(tmp_path / "site", {name: Receiver() for name in names}, head=head)
        site.options = options
        loaded = site.settings().site
        return Channel(loaded.channels[0], loaded)

    return channel


def plan(channel: Channel, content: bytes, only: str | None = None) -> Plan:
    return channel.process(Message.parse(content), CONTEXT, only=only).plan


def fates(decided: Plan) -> dict[str, Fate]:
    return {delivery.destination: delivery.fate for delivery in decided}


PATIENT = "order_by: patient"


def test_untouched_bytes_go_out_as_they_came_and_changed_ones_as_a_copy(make: Make) -> None:
    channel = make(PATIENT, lab="", ward="steps:\n  - set: {MSH-5: WARD}")
    decided = {d.destination: d for d in plan(channel, adt("M1"))}
    assert decided["lab"].content is None
    assert decided["ward"].content == adt("M1").replace(b"|IE|", b"|WARD|")


def test_a_step_that_changes_nothing_makes_no_copy(make: Make) -> None:
    channel = make(PATIENT + "\nsteps:\n  - set: {MSH-5: IE}\n  - upper: PID-8")
    (delivery,) = plan(channel, adt("M1"))
    assert delivery.content is None


def test_one_destinations_steps_are_not_seen_by_another(make: Make) -> None:
    channel = make(PATIENT, lab="steps:\n  - clear: PID-5", ward="accept: PID-5.1 = Sample")
    decided = {d.destination: d for d in plan(channel, adt("M1"))}
    assert decided["ward"].fate is Fate.QUEUED
    assert decided["ward"].content is None


def test_a_failing_step_of_the_channel_fails_every_destination_and_one_of_a_destination_its_own(
    make: Make,
) -> None:
    channel = make(PATIENT, lab="steps:\n  - require: {PV1-2: no class}", ward="")
    decided = plan(channel, adt("M1"))
    assert fates(decided) == {"lab": Fate.DEAD_LETTER, "ward": Fate.QUEUED}
    assert decided[0].step.startswith("lab ")
    channel = make(PATIENT + "\nsteps:\n  - require: {PV1-2: no class}", lab="", ward="")
    assert set(fates(plan(channel, adt("M1"))).values()) == {Fate.DEAD_LETTER}


def test_accept_and_types_filter_with_the_place_of_the_rule(make: Make) -> None:
    channel = make(PATIENT, lab="accept: EVN-1 = A08", ward="types: [ADT^A08]", icu="")
    decided = plan(channel, adt("M1"))
    assert fates(decided) == {"lab": Fate.FILTERED, "ward": Fate.FILTERED, "icu": Fate.QUEUED}
    for delivery in decided[:2]:
        assert delivery.reason is not None
        assert "adt.yaml:" in delivery.reason.safe
    channel = make(PATIENT + "\naccept: EVN-1 = A08", lab="", ward="")
    assert set(fates(plan(channel, adt("M1"))).values()) == {Fate.FILTERED}


def test_a_drop_is_a_fate_of_its_own(make: Make) -> None:
    channel = make(PATIENT + "\nsteps:\n  - {drop: not wanted, when: EVN-1 = A01}")
    assert fates(plan(channel, adt("M1"))) == {"lab": Fate.DROPPED}
    assert fates(plan(channel, adt("M1", event="A08"))) == {"lab": Fate.QUEUED}


def test_no_match_makes_a_dead_letter_only_where_nobody_wants_the_message(make: Make) -> None:
    head = PATIENT + "\nno_match: dead_letter"
    channel = make(head, lab="accept: EVN-1 = A08", ward="accept: EVN-1 = A03")
    decided = plan(channel, adt("M1"))
    assert fates(decided)[UNMATCHED] is Fate.DEAD_LETTER
    reason = decided[-1].reason
    assert reason is not None
    assert reason.safe == "no destination accepts it"  # the value is in the full form only
    assert UNMATCHED not in fates(plan(channel, adt("M1", event="A03")))
    channel = make(PATIENT, lab="accept: EVN-1 = A08")
    assert UNMATCHED not in fates(plan(channel, adt("M1")))


def test_a_replay_decides_for_its_own_destination_alone(make: Make) -> None:
    channel = make(PATIENT, lab="", ward="", icu="")
    assert fates(plan(channel, adt("M1"), only="ward")) == {"ward": Fate.QUEUED}
    assert fates(plan(channel, adt("M1"), only="gone")) == {}


def test_a_disabled_destination_is_not_there(make: Make) -> None:
    channel = make(PATIENT, lab="", ward="enabled: no")
    assert fates(plan(channel, adt("M1"))) == {"lab": Fate.QUEUED}


def test_two_patients_in_one_result_are_never_filed_as_one(make: Make) -> None:
    two = adt("M1", message_type="ORU", event="R01", extra="PID|2||9^^^RIVER^MR\r")
    assert fates(plan(make(PATIENT), two)) == {"lab": Fate.DEAD_LETTER}
    reads = make("types: [ORU^R01]", lab="accept: PID-8 = M")
    assert fates(plan(reads, two)) == {"lab": Fate.DEAD_LETTER}
    passes = make("types: [ORU^R01]")  # it reads no PID: there is nothing to mix up
    assert fates(plan(passes, two)) == {"lab": Fate.QUEUED}
    link = adt("M2", event="A24", extra="PID|2||9^^^RIVER^MR\r")
    assert fates(plan(make(PATIENT), link)) == {"lab": Fate.QUEUED}


# --- order keys ---------------------------------------------------------------------------------


def keys(channel: Channel, content: bytes) -> tuple[str, ...] | None:
    return channel.order_keys(Message.parse(content))


def test_a_merge_carries_the_keys_of_both_patients(make: Make) -> None:
    channel = make(PATIENT)
    merge = adt("M1", patient="1", event="A40", extra="MRG|2^^^RIVER^MR\r")
    one, two = keys(channel, adt("A", patient="1")), keys(channel, adt("B", patient="2"))
    assert one is not None
    assert two is not None
    assert keys(channel, merge) == tuple(sorted((*one, *two)))


def test_only_identifiers_of_the_sites_identity_are_keys(make: Make) -> None:
    channel = make(PATIENT)
    plain = keys(channel, adt("A", patient="1"))
    many = adt("B", patient="55^^^SSA^SS~1^^^RIVER^MR~1^^^OTHER^MR~9").replace(
        b"~9^^^RIVER^MR", b"~9^^^RIVER^PI"
    )
    assert keys(channel, many) == plain
    assert keys(channel, adt("C", patient=" 1 ")) == plain
    assert keys(channel, adt("D", patient="ab")) == keys(channel, adt("E", patient="AB"))


def test_a_message_without_a_key_is_a_barrier_and_a_channel_without_order_none(make: Make) -> None:
    unknown = adt("A").replace(b"^^^RIVER^MR", b"^^^NOWHERE^MR")
    assert keys(make(PATIENT), unknown) == ()
    assert keys(make(PATIENT), b"MSH|^~\\&|A|B|C|D|1||ADT^A01|1|P|2.5\r") == ()
    assert keys(make("types: [ADT^A01]\nignore_types: {identity: t}"), adt("A")) is None


def test_keys_of_paths_join_all_values_and_are_empty_only_when_all_are(make: Make) -> None:
    channel = make("order_by: [PV1-19, MSH-4]\ntypes: [ADT^A01]\nignore_types: {identity: t}")
    a = keys(channel, adt("A", extra="PV1|1|I|||||||||||||||||V1\r"))
    b = keys(channel, adt("B", extra="PV1|1|I|||||||||||||||||V2\r"))
    c = keys(channel, adt("C"))
    assert a is not None
    assert len({a, b, c}) == 3
    assert a == keys(channel, adt("D", extra="PV1|1|I|||||||||||||||||V1\r"))
    bare = adt("E").replace(b"|HIS|RIVER|", b"|HIS||")
    assert keys(channel, bare) == ()


# --- what is said about it ----------------------------------------------------------------------


def test_a_trace_names_the_steps_of_the_channel_and_of_each_destination(make: Make) -> None:
    channel = make(
        PATIENT + "\nsteps:\n  - set: {MSH-5: ONE}", lab="steps:\n  - set: {MSH-6: TWO}", ward=""
    )
    trace = PlanTrace()
    channel.process(Message.parse(adt("M1")), CONTEXT, trace=trace)
    assert set(trace.destinations) == {"lab"}


def test_a_planned_delivery_does_not_show_its_content(make: Make) -> None:
    channel = make(PATIENT + "\nsteps:\n  - set: {PID-5: CANARY}")
    (delivery,) = plan(channel, adt("M1"))
    assert delivery.content is not None
    assert b"CANARY" in delivery.content
    assert "CANARY" not in repr(delivery)


def test_once_a_visit_was_sent_the_rest_of_it_follows(make: Make) -> None:
    channel = make(PATIENT, ward="accept: PV1-2 = I\nfollow: {key: PV1-19.1, for: 30d}")
    known = Known()
    at_us = CONTEXT.now_us

    def fate(patient_class: str, visit: str) -> Fate:
        content = adt("M1", extra=f"PV1|1|{patient_class}{'|' * 17}{visit}\r")
        memory = Scratch(1, at_us, known)
        decided = channel.process(Message.parse(content), MessageContext("1", at_us, memory))
        known.take(decided.changes)
        return decided.plan[0].fate

    assert fate("O", "V1") is Fate.FILTERED
    assert fate("I", "V1") is Fate.QUEUED
    assert fate("O", "V1") is Fate.QUEUED
    assert fate("O", "V2") is Fate.FILTERED
    assert fate("I", "") is Fate.QUEUED
    assert fate("O", "") is Fate.FILTERED  # no visit, nothing to follow
    at_us += 31 * 86_400 * 1_000_000
    assert fate("O", "V1") is Fate.FILTERED


def test_a_visit_whose_steps_failed_was_not_sent_and_is_not_followed(make: Make) -> None:
    channel = make(
        PATIENT,
        ward="accept: PV1-2 = I\nfollow: {key: PV1-19.1, for: 30d}\n"
        "steps: [{require: {PV1-3: no ward}}]",
    )
    content = adt("M1", extra=f"PV1|1|I{'|' * 17}V1\r")
    decided = channel.process(Message.parse(content), CONTEXT)
    assert decided.plan[0].fate is Fate.DEAD_LETTER
    assert decided.changes == ()
