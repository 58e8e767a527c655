"""Several messages into one: what is put together, what is refused, who waits and who carries."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.support import Receiver, Site
from ifengine.hl7.message import Message
from ifengine.routes.channel import Channel, Decision, MessageContext
from ifengine.routes.collecting import Collection, Member
from ifengine.routes.combining import CombineError, difference, put_together
from ifengine.store.base import Fate
from ifengine.transforms.memory import Blank, Change, Key, Remembered, Scratch, Space

NOW_US = 1_767_607_200_000_000
Make = Callable[[str], Channel]

MSH = "MSH|^~\\&|MON|ICU|ENG|X|20260105120000||ORU^R01^ORU_R01|{id}|P|2.5.1"
PID = "PID|1||700^^^RIVER^MR||Quill^Ada"


def oru(control: str, *lines: str, head: str = MSH, pid: str = PID) -> Message:
    return Message.parse("\r".join((head.format(id=control), pid, *lines, "")).encode())


def lines(message: Message) -> list[str]:
    return message.encode().decode().rstrip("\r").split("\r")


def joined(by: str, *messages: Message) -> list[str]:
    return lines(put_together(messages, by))[1:]


# --- put together -------------------------------------------------------------------------------


def test_results_of_earlier_messages_stand_before_those_of_the_last_and_are_counted_again() -> None:
    whole = put_together(
        [
            oru(
                "A", "OBR|1||F5|GLU||||||||||||||||||||||P", "OBX|1|NM|NA||141", "NTE|1||hemolyzed"
            ),
            oru("B", "OBR|1||F5|GLU||||||||||||||||||||||P", "OBX|1|NM|K||4.1", "OBX|2|NM|CL||99"),
            oru("C", "OBR|1||F5|GLU||||||||||||||||||||||F", "OBX|1|NM|CA||2.2", "SPM|1|S1"),
        ],
        "OBX",
    )
    assert whole.header.control_id == b"C"
    assert lines(whole)[1:] == [
        PID,
        "OBR|1||F5|GLU||||||||||||||||||||||F",
        "OBX|1|NM|NA||141",
        "NTE|1||hemolyzed",
        "OBX|2|NM|K||4.1",
        "OBX|3|NM|CL||99",
        "OBX|4|NM|CA||2.2",
        "SPM|1|S1",
    ]


def test_a_last_message_without_results_takes_those_before_it_in_their_place() -> None:
    assert joined(
        "OBX",
        oru("A", "OBR|1||F5|GLU", "OBX|1|NM|NA||141"),
        oru("B", "ORC|SC", "OBR|1||F5|GLU", "NTE|1||done", "TQ1|1", "SPM|1|S1"),
    ) == [PID, "ORC|SC", "OBR|1||F5|GLU", "NTE|1||done", "TQ1|1", "OBX|1|NM|NA||141", "SPM|1|S1"]


def test_reports_follow_each_other_with_their_own_results() -> None:
    assert joined(
        "OBR",
        oru("A", "ORC|RE|1", "OBR|1|1||GLU", "OBX|1|NM|GLU||5"),
        oru("B", "OBR|1|2||K", "OBX|1|NM|K||4", "OBX|2|NM|NA||141"),
        oru("C", "ORC|RE|3", "OBR|1|3||CA", "NTE|1||late"),
    ) == [
        PID,
        *("ORC|RE|1", "OBR|1|1||GLU", "OBX|1|NM|GLU||5"),
        *("OBR|2|2||K", "OBX|1|NM|K||4", "OBX|2|NM|NA||141"),
        *("ORC|RE|3", "OBR|3|3||CA", "NTE|1||late"),
    ]


def test_what_only_an_earlier_message_says_of_patient_or_order_is_kept() -> None:
    assert joined(
        "OBX",
        oru(
            "A",
            "NTE|1||of the patient",
            "PV1|1|I|4W",
            "AL1|1||NUTS",
            "AL1|2||MILK",
            "OBR|1||F5|GLU",
            "NTE|1||fasting",
            "NTE|2||again",
            "OBX|1|NM|NA||141",
        ),
        oru("B", "PV1|1|I|5E", "OBR|1||F5|GLU", "NTE|1||again", "OBX|1|NM|K||4"),
    ) == [
        *(PID, "NTE|1||of the patient", "PV1|1|I|5E", "AL1|1||NUTS", "AL1|2||MILK"),
        *("OBR|1||F5|GLU", "NTE|1||fasting", "NTE|2||again"),
        *("OBX|1|NM|NA||141", "OBX|2|NM|K||4"),
    ]


def test_an_empty_set_id_stays_empty() -> None:
    assert joined("OBX", oru("A", "OBR|1", "OBX||NM|A"), oru("B", "OBR|1", "OBX||NM|B")) == [
        *(PID, "OBR|1", "OBX||NM|A", "OBX||NM|B")
    ]


@pytest.mark.parametrize(
    ("by", "body", "says"),
    [
        ("OBX", ["OBR|1", "OBR|2"], "more than one report"),
        ("OBX", ["ORC|1", "ORC|2"], "more than one report"),
        ("OBR", ["OBX|1|NM|A"], "no report"),
        ("OBR", ["OBR|1", "PID|2||9^^^RIVER^MR", "OBR|2"], "more than one patient"),
        ("OBX", ["OBR|1", "OBX|1", "DSC|7|I"], "DSC"),
        ("OBX", ["OBR|1", "OBX|1", "SPM|1", "OBX|1"], "specimen"),
        ("OBX", ["OBR|1", "OBX|1", "what is this"], "no segments"),
    ],
)
def test_what_cannot_be_put_together_is_refused(by: str, body: list[str], says: str) -> None:
    with pytest.raises(CombineError, match=says):
        put_together([oru("A", *body), oru("B", "OBR|1", "OBX|1")], by)


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        (oru("B", "OBR|1||F5|GLU"), ""),
        (oru("B", "OBR|1||F5^^|GLU"), ""),
        (oru("B", "OBR|1|||GLU"), ""),
        (oru("B", "OBR|1||F5|GLU", pid="PID|2||700^^^RIVER^MR||Other^Name"), ""),
        (oru("B", "OBR|1||F5|GLU", pid="PID|1||701^^^RIVER^MR||Quill^Ada"), "PID-3"),
        (oru("B", "OBR|1||F5|GLU", pid="PID|1||700^^^LAKE^MR||Quill^Ada"), "PID-3"),
        (oru("B", "OBR|1||F5|GLU", pid="PID|1"), "PID-3"),
        (oru("B", "OBR|1||F6|GLU"), "OBR-3"),
        (oru("B", "OBR|1||F5|NA"), "OBR-4"),
        (oru("B", "OBR|1||F5|GLU", head=MSH.replace("R01^", "R03^")), "MSH-9"),
        (oru("B", "OBR|1||F5|GLU", head=MSH.replace("2.5.1", "2.4")), "MSH-12"),
        (oru("B", "OBR|1||F5|GLU", head=MSH.replace("|P|", "|T|")), "MSH-11"),
        (oru("B", "OBR|1||F5|GLU", head=MSH + "||||||UNICODE UTF-8"), "MSH-18"),
        (oru("B", "OBR|1||F5|GLU", head=MSH.replace("^~", "^*")), "MSH-2"),
    ],
)
def test_another_patient_type_or_order_is_told_apart(changed: Message, place: str) -> None:
    assert difference(oru("A", "OBR|1||F5|GLU"), changed, "OBX", None, None) == place


SEGMENT = st.sampled_from(["OBX|{n}|NM|K||{n}", "NTE|{n}||note {n}", "ZZ1|{n}"])


@given(st.lists(st.lists(SEGMENT, max_size=4), min_size=1, max_size=6))
def test_no_segment_that_was_brought_is_lost_doubled_or_put_out_of_order(
    brought: list[list[str]],
) -> None:
    messages, expected, number = [], [], 0
    for one in brought:
        body = ["OBX|9|TX|first|" + str(len(messages))]
        for text in one:
            number += 1
            body.append(text.format(n=number))
        messages.append(oru(f"M{len(messages)}", "OBR|1||F5|GLU", *body))
        expected += [line.split("|", 2)[2] if line[0] != "Z" else line for line in body]
    whole = put_together(messages, "OBX")
    found = [line.split("|", 2)[2] if line[0] != "Z" else line for line in lines(whole)[3:]]
    assert found == expected
    results = [line.split("|")[1] for line in lines(whole) if line.startswith("OBX")]
    if len(messages) > 1:
        assert results == [str(n) for n in range(1, len(results) + 1)]


# --- who waits ----------------------------------------------------------------------------------

HEAD = "types: [ORU^*]\norder_by: patient\n"
COMBINE = "combine: {by: OBX, key: OBR-3, until: OBR-25 = F, count: 3, up_to: 10m}\n"
UNTIL = "||||||||||||||||||||||"


class Waiting(Collection):
    """Messages that wait, by number."""

    def __init__(self, waiting: dict[int, Message], *, over: bool = False) -> None:
        self.waiting = waiting
        self.over = over
        self.asked: list[Key] = []

    def under(self, key: Key) -> Sequence[Member]:
        self.asked.append(key)
        return [Member(number, NOW_US + 5, self.over) for number in sorted(self.waiting)]

    def messages(self, inbox_ids: Sequence[int]) -> Sequence[Message | None]:
        return [self.waiting[number].copy() for number in inbox_ids]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def channel(head: str) -> Channel:
        site = Site(tmp_path / "site", {"lab": Receiver()}, head=head)
        loaded = site.settings().site
        return Channel(loaded.channels[0], loaded)

    return channel


def decide(channel: Channel, message: Message, waiting: Waiting, **more: object) -> Decision:
    context = MessageContext("9", NOW_US, collection=waiting, **more)  # type: ignore[arg-type]
    return channel.process(message, context)


def fate(decision: Decision) -> tuple[Fate, str]:
    (planned,) = decision.plan
    return planned.fate, "" if planned.reason is None else planned.reason.safe


def test_the_first_message_waits_from_when_it_was_received_and_a_later_one_no_longer(
    make: Make,
) -> None:
    channel, first = make(HEAD + COMBINE), oru("A", "OBR|1||F5|K", "OBX|1|NM|A")
    nobody = Waiting({})
    decision = decide(channel, first, nobody)
    assert fate(decision) == (Fate.PARKED, "waiting for the rest")
    assert decision.waiting is not None
    assert decision.waiting.until_us == NOW_US + 600_000_000
    decision = decide(channel, oru("B", "OBR|1||F5|K", "OBX|1"), Waiting({4: first}))
    assert decision.waiting is not None
    assert decision.waiting.until_us == NOW_US + 5
    assert nobody.asked == [("adt", "", "MON", "ICU", "F5")]


@pytest.mark.parametrize("how", ["until", "count", "time", "released"])
def test_a_collection_ends_by_its_condition_its_number_its_time_or_a_person(
    make: Make, how: str
) -> None:
    channel = make(HEAD + COMBINE)
    waiting = {
        4: oru("A", "OBR|1||F5|K", "OBX|1|NM|A||1"),
        7: oru("B", "OBR|1||F5|K", "OBX|1|NM|B||2"),
    }
    if how != "count":
        del waiting[7]
    status = UNTIL + "F" if how == "until" else ""
    last = oru("C", f"OBR|1||F5|K{status[1:]}", "OBX|1|NM|C||3")
    decision = decide(
        channel, last, Waiting(waiting), waited_out=how == "time", released=how == "released"
    )
    assert decision.collected is not None
    assert decision.collected.members == tuple(waiting)
    assert decision.collected.is_whole == (how in ("until", "count"))
    (planned,) = decision.plan
    assert planned.fate is Fate.QUEUED
    assert planned.content is not None
    assert planned.content.count(b"\rOBX|") == len(waiting) + 1
    assert planned.content.startswith(last.encode()[:30])


def test_a_message_of_another_patient_is_a_dead_letter_and_the_collection_goes_on(
    make: Make,
) -> None:
    waiting = Waiting({4: oru("A", "OBR|1||F5|K", "OBX|1")})
    stranger = oru("B", "OBR|1||F5|K", "OBX|1", pid="PID|1||701^^^RIVER^MR")
    decision = decide(make(HEAD + COMBINE), stranger, waiting)
    reason = "PID-3 is not that of message 4, which has the same key"
    assert fate(decision) == (Fate.DEAD_LETTER, reason)
    assert decision.collected is None


def test_two_identifiers_of_one_patient_go_together_once_they_are_merged(make: Make) -> None:
    channel = make(HEAD + COMBINE)
    waiting = Waiting({4: oru("A", "OBR|1||F5|K", "OBX|1")})
    other = oru("B", "OBR|1||F5|K", "OBX|1", pid="PID|1||701^^^RIVER^MR")
    survivor = ("RIVER", "", "", "MR", "701")

    def onward(identifier: object) -> tuple[object, ...]:
        return () if identifier == survivor else (survivor,)

    assert fate(decide(channel, other, waiting, onward=onward))[0] is Fate.PARKED


def test_time_over_is_a_dead_letter_where_it_is_said_and_still_ends_the_collection(
    make: Make,
) -> None:
    channel = make(HEAD + COMBINE.replace("10m}", "10m, then: dead_letter}"))
    last, waiting = oru("C", "OBR|1||F5|K", "OBX|1"), {4: oru("A", "OBR|1||F5|K", "OBX|1")}
    decision = decide(channel, last, Waiting(waiting), waited_out=True)
    assert fate(decision) == (Fate.DEAD_LETTER, "not whole within 10m")
    assert decision.collected is not None
    assert decision.collected.members == (4,)
    decision = decide(channel, oru("C", "OBR|1||F5|K", "OBX|1"), Waiting(waiting), released=True)
    assert fate(decision)[0] is Fate.QUEUED


def test_a_message_without_a_key_and_one_that_accept_refuses_collect_nothing(make: Make) -> None:
    channel = make(HEAD + "accept: MSH-3 = MON\n" + COMBINE)
    decision = decide(channel, oru("A", "OBR|1|||K", "OBX|1"), Waiting({}))
    (planned,) = decision.plan
    assert (planned.fate, planned.content) == (Fate.QUEUED, None)
    refused = oru("A", "OBR|1||F5|K", head=MSH.replace("MON", "LAB"))
    assert fate(decide(channel, refused, Waiting({})))[0] is Fate.FILTERED


def test_only_the_last_of_a_collection_decides(make: Make) -> None:
    later = Waiting({12: oru("D", "OBR|1||F5|K", "OBX|1")})
    first = oru("A", "OBR|1||F5|K", "OBX|1")
    assert fate(decide(make(HEAD + COMBINE), first, later, waited_out=True))[0] is Fate.PARKED


def test_a_combined_message_has_the_order_keys_of_all_that_is_in_it(make: Make) -> None:
    combine = "combine: {by: OBR, key: PID-3, count: 2, up_to: 10m}\n"
    channel = make("types: [ORU^*]\norder_by: OBR[1]-3\n" + combine)
    waiting = Waiting({4: oru("A", "OBR|1||F5|K", "OBX|1")})
    (planned,) = decide(channel, oru("B", "OBR|1||F6|K", "OBX|1"), waiting).plan
    assert planned.keys == ("F5", "F6")


class Kept(Blank):
    """A memory in which one collection is kept."""

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        return Remembered("time 4", 9, NOW_US, 0) if space is Space.PART else None


@pytest.mark.interpreted
def test_what_was_put_together_once_is_put_together_again_whatever_waits_by_now(
    make: Make,
) -> None:
    channel = make(HEAD + COMBINE + "steps:\n  - {when: $waited_out = yes, set: {MSH-8: LATE}}")
    members = {4: oru("A", "OBR|1||F5|K", "OBX|1|NM|A"), 7: oru("X", "OBR|1||F5|K", "OBX|1|NM|X")}
    for is_replay in (False, True):
        memory = Scratch(9, NOW_US, Kept(), is_replay)
        last = oru("C", "OBR|1||F5|K", "OBX|1|NM|C")
        decision = decide(channel, last, Waiting(members), memory=memory)
        (planned,) = decision.plan
        assert decision.collected is None
        assert planned.content is not None
        assert lines(Message.parse(planned.content))[3:] == ["OBX|1|NM|A", "OBX|2|NM|C"]
        assert b"|LATE|ORU" in planned.content


def test_a_refused_message_that_is_replayed_goes_alone(make: Make) -> None:
    memory = Scratch(9, NOW_US, Blank(), is_replay=True)
    waiting = Waiting({4: oru("A", "OBR|1||F5|K", "OBX|1")})
    decision = decide(make(HEAD + COMBINE), oru("B", "OBR|1||F5|K"), waiting, memory=memory)
    (planned,) = decision.plan
    assert (planned.fate, planned.content) == (Fate.QUEUED, None)
    assert decision.changes == tuple[Change, ...]()
