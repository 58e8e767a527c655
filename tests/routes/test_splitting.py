"""One message into several before its steps."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.support import Receiver, Site, adt
from ifengine.hl7.message import Message
from ifengine.routes.channel import UNMATCHED, Channel, Decision, MessageContext
from ifengine.routes.splitting import (
    SplitConfig,
    SplitError,
    is_aside,
    minted,
    part_number,
    part_place,
    parts_of,
    split,
)
from ifengine.store.base import Fate
from ifengine.transforms.memory import Change, Remembered, Scratch, Space
from transforms.test_steps_memory import Known

Make = Callable[..., Channel]
NOW_US = 1_767_607_200_000_000


def named(text: str, by: str, carry: frozenset[str] | None = None) -> list[str]:
    """Return the parts of a message of these segments, by name and number in the whole."""
    names = text.split()
    parts = parts_of(names, SplitConfig(by=by, carry=carry))
    return [" ".join(f"{names[i]}{i}" for i in sorted(part)) for part in parts]


def test_each_report_becomes_a_message_with_what_stands_above_and_its_own_order() -> None:
    assert named("MSH PID PV1 ORC OBR OBX NTE OBR OBX ORC NTE OBR SPM", "OBR") == [
        "MSH0 PID1 PV12 ORC3 OBR4 OBX5 NTE6",
        "MSH0 PID1 PV12 OBR7 OBX8",
        "MSH0 PID1 PV12 ORC9 NTE10 OBR11 SPM12",
    ]


def test_each_order_keeps_all_its_reports_and_each_patient_all_that_follows() -> None:
    assert named("MSH PID ORC OBR OBX OBR ORC RXO RXR", "ORC") == [
        "MSH0 PID1 ORC2 OBR3 OBX4 OBR5",
        "MSH0 PID1 ORC6 RXO7 RXR8",
    ]
    assert named("MSH SFT PID PD1 OBR OBX PID OBR OBX DSC", "PID") == [
        "MSH0 SFT1 PID2 PD13 OBR4 OBX5",
        "MSH0 SFT1 PID6 OBR7 OBX8 DSC9",
    ]


def test_reports_of_several_patients_go_with_their_own() -> None:
    assert named("MSH PID PV1 OBR OBX OBR PID OBR OBX", "OBR") == [
        "MSH0 PID1 PV12 OBR3 OBX4",
        "MSH0 PID1 PV12 OBR5",
        "MSH0 PID6 OBR7 OBX8",
    ]


def test_a_patient_without_a_report_is_a_part_so_that_nothing_is_lost() -> None:
    assert named("MSH PID OBR PID PV1 PID OBR", "OBR") == [
        "MSH0 PID1 OBR2",
        "MSH0 PID3 PV14",
        "MSH0 PID5 OBR6",
    ]


def test_what_carry_does_not_name_stays_in_the_first_part_of_its_patient() -> None:
    assert named("MSH SFT PID NTE PV1 OBR OBR PID PV1 OBR OBR", "OBR", frozenset({"PID"})) == [
        "MSH0 SFT1 PID2 NTE3 PV14 OBR5",
        "MSH0 PID2 OBR6",
        "MSH0 PID7 PV18 OBR9",
        "MSH0 PID7 OBR10",
    ]


def test_a_message_without_a_head_or_with_one_stays_as_it_is() -> None:
    message = Message.parse(adt("M1"))
    assert split(message, SplitConfig(by="OBR"), "1") == [message]
    assert split(message, SplitConfig(by="PID"), "1") == [message]
    assert not message.touched


NAMES = st.sampled_from(["PID", "PV1", "NTE", "ORC", "OBR", "OBX", "SPM", "ZPI", "AL1", "TQ1"])


@given(st.lists(NAMES, max_size=30), st.sampled_from(["PID", "ORC", "OBR"]), st.booleans())
def test_every_segment_is_in_a_part_and_each_head_in_exactly_one(
    rest: list[str], by: str, carried: bool
) -> None:
    names = ["MSH", "EVN", *rest]
    config = SplitConfig(by=by, carry=None if carried else frozenset({"PID"}))
    parts = parts_of(names, config)
    assert set().union(*parts) == set(range(len(names)))
    for i, name in enumerate(names):
        if name == by:
            assert sum(i in part for part in parts) == 1
    if len(parts) > 1:
        assert all(0 in part for part in parts)
        # a part speaks of one patient at most
        assert all(sum(names[i] == "PID" for i in part) <= 1 for part in parts)


@given(st.integers(1, 10**12), st.text("abcz-19", min_size=1), st.integers(0, 9999))
def test_a_minted_control_id_is_short_and_the_same_for_the_same(
    number: int, destination: str, part: int
) -> None:
    made = minted(str(number), destination, f"-{part}")
    assert made == minted(str(number), destination, f"-{part}")
    others = [(number + 1, destination, part), (number, destination + "x", part)]
    others.append((number, destination, part + 1))
    assert made not in [minted(str(n), d, f"-{p}") for n, d, p in others]
    assert made != minted(str(number), part=f"-{part}")
    assert len(minted(str(number % 10**10), destination, f"-{part % 10}")) <= 20


@given(st.integers(0, 9999), st.integers(0, 999))
def test_a_place_says_which_part_and_whether_it_was_set_aside(number: int, aside: int) -> None:
    place = part_place(number, aside)
    assert part_number(place) == number
    assert is_aside(place) == (aside > 0)


def test_prior_results_in_an_order_are_not_split_into_new_orders() -> None:
    order = adt("M1", event="O21", message_type="OML", extra="ORC|NW|1\rOBR|1|1\rPID|1\rORC|SN\r")
    with pytest.raises(SplitError, match="prior results"):
        split(Message.parse(order), SplitConfig(by="ORC"), "1")


# --- in a channel ---------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def channel(head: str, **options: str) -> Channel:
        names = list(options) or ["lab"]
        site = Site(tmp_path / "site", {name: Receiver() for name in names}, head=head)
        site.options = options
        loaded = site.settings().site
        return Channel(loaded.channels[0], loaded)

    return channel


BY_OBR = "types: [ORU^*]\norder_by: OBR[1]-3\nsplit_message: {by: OBR}\n"


def report(*orders: str, patients: int = 1) -> bytes:
    content = adt("M1", event="R01", message_type="ORU")
    for n in range(2, patients + 1):
        content += f"PID|{n}||70{n}^^^RIVER^MR\r".encode()
    lines = [f"OBR|{i}||{o}|K\rOBX|1|NM|K||{i}||||||F\r" for i, o in enumerate(orders, 1)]
    return content + "".join(lines).encode()


def decide(
    channel: Channel, content: bytes, memory: Scratch | None = None, **more: int
) -> Decision:
    context = MessageContext("7", NOW_US, memory)
    return channel.process(Message.parse(content), context, **more)  # type: ignore[arg-type]


def test_each_part_goes_through_the_steps_with_its_own_number_id_and_order_key(make: Make) -> None:
    channel = make(BY_OBR + "steps:\n  - set: {MSH-8: '${OBR-3}'}")
    plan = decide(channel, report("A", "B")).plan
    assert [part_number(p.part) for p in plan] == [1, 2]
    assert [p.keys for p in plan] == [("A",), ("B",)]
    for p, order, number in zip(plan, "AB", (1, 2), strict=True):
        assert p.content is not None
        message = Message.parse(p.content)
        assert message.names() == ["MSH", "EVN", "PID", "OBR", "OBX"]
        assert message.header.control_id == b"IFE7-%d" % number
        assert message.raw(0, 8) == order.encode()


def test_a_message_of_one_report_is_neither_copied_nor_renumbered(make: Make) -> None:
    (delivery,) = decide(make(BY_OBR), report("A")).plan
    assert (delivery.content, delivery.part, delivery.keys) == (None, 0, None)


def test_the_senders_control_id_stays_where_it_is_asked_for(make: Make) -> None:
    channel = make(BY_OBR.replace("OBR}", "OBR, control_id: keep}"))
    for delivery in decide(channel, report("A", "B")).plan:
        assert delivery.content is not None
        assert b"|M1|" in delivery.content


def test_a_part_that_fails_is_dead_alone_and_leaves_no_state(make: Make) -> None:
    steps = "steps:\n  - remember: {fact: seen, key: 'OBR[1]-3'}\n  - {when: OBR-3 = B, fail: no}\n"
    decision = decide(make(BY_OBR + steps), report("A", "B", "C"))
    fates = [(p.fate, part_number(p.part)) for p in decision.plan]
    assert fates == [(Fate.QUEUED, 1), (Fate.DEAD_LETTER, 2), (Fate.QUEUED, 3)]
    assert [c.key[2] for c in decision.changes if c.space is Space.FACT] == ["A", "C"]


def test_a_part_can_be_taken_again_alone(make: Make) -> None:
    channel = make(BY_OBR)
    first = decide(channel, report("A", "B")).plan[1]
    assert decide(channel, report("A", "B"), part=2).plan == (first,)
    (gone,) = decide(channel, report("A", "B"), part=3).plan
    assert gone.fate is Fate.DEAD_LETTER
    (whole,) = decide(make("order_by: patient"), report("A", "B"), part=2).plan
    assert whole.fate is Fate.DEAD_LETTER


def test_a_message_waits_as_a_whole_for_what_any_part_waits_for(make: Make) -> None:
    steps = "steps:\n  - wait_for: {fact: order, key: 'OBR[1]-3', up_to: 30m}\n"
    channel = make(BY_OBR + steps)
    seen = Change(Space.FACT, ("adt", "order", "A"), Remembered("", 3, NOW_US, 0))
    known = Known(seen)
    decision = decide(channel, report("A", "B", "C"), Scratch(7, NOW_US, known))
    assert [p.fate for p in decision.plan] == [Fate.PARKED]
    assert decision.waiting is not None
    assert [key[2] for key in decision.waiting.keys] == ["B", "C"]
    assert decision.changes == ()


def test_several_patients_are_taken_where_each_part_speaks_of_one(make: Make) -> None:
    by_patient = "types: [ORU^*]\norder_by: patient\n"
    (dead,) = decide(make(by_patient), report("A", patients=2)).plan
    assert dead.fate is Fate.DEAD_LETTER
    plan = decide(make(by_patient + "split_message: {by: PID}"), report("A", patients=2)).plan
    assert [p.fate for p in plan] == [Fate.QUEUED, Fate.QUEUED]
    assert plan[0].keys != plan[1].keys
    plan = decide(make(by_patient + "split_message: {by: OBR}"), report("A", patients=2)).plan
    assert [p.fate for p in plan] == [Fate.QUEUED, Fate.QUEUED]


def test_accept_and_no_match_decide_about_each_part(make: Make) -> None:
    head = BY_OBR + "accept: OBR[1]-3 != A\nno_match: dead_letter\n"
    plan = decide(make(head, lab="accept: 'OBR[1]-3 = C'"), report("A", "B", "C")).plan
    assert [(p.destination, p.fate, part_number(p.part)) for p in plan] == [
        ("lab", Fate.FILTERED, 1),
        ("lab", Fate.FILTERED, 2),
        (UNMATCHED, Fate.DEAD_LETTER, 2),
        ("lab", Fate.QUEUED, 3),
    ]


def test_numbers_and_names_of_parts_differ(make: Make) -> None:
    head = BY_OBR + "steps:\n  - counter: {name: n, to: MSH-13}\n  - set: {MSH-8: '${msg.id}'}\n"
    plan = decide(make(head), report("A", "B")).plan
    made = [Message.parse(p.content or b"") for p in plan]
    assert [m.raw(0, 8) for m in made] == [b"7-1", b"7-2"]
    assert [m.raw(0, 13) for m in made] == [b"1", b"2"]


def test_a_destination_gets_control_ids_of_the_engines_own_where_it_asks(make: Make) -> None:
    channel = make("order_by: patient", lab="control_id: mint", ward="", icu="control_id: mint")
    plan = {p.destination: p for p in decide(channel, adt("M1")).plan}
    assert plan["ward"].content is None
    minted_ids = {Message.parse(plan[n].content or b"").header.control_id for n in ("lab", "icu")}
    assert len(minted_ids) == 2
    assert b"M1" not in minted_ids
    again = {p.destination: p for p in decide(channel, adt("M1")).plan}
    assert again == plan


def test_each_part_gets_its_own_id_of_the_destinations(make: Make) -> None:
    plan = decide(make(BY_OBR, lab="control_id: mint"), report("A", "B")).plan
    ids = [Message.parse(p.content or b"").header.control_id.decode() for p in plan]
    assert ids == [minted("7", "adt.lab", "-1"), minted("7", "adt.lab", "-2")]
    assert [part_number(p.part) for p in plan] == [1, 2]


def test_what_is_set_aside_has_an_id_of_its_own(make: Make) -> None:
    late = (
        "types: [ORU^*]\norder_by: patient\nsteps:\n  - latest_only: {per: OBR, key: OBR-3, "
        "status: OBR-25, order: [P, F], newer: OBR-22, for: 30d}\n"
    )
    channel = make(late, lab="control_id: mint")
    known = Known()
    first = decide(channel, results("A", "F"), Scratch(6, NOW_US, known))
    known.take(first.changes)
    plan = decide(channel, results("AB", "PF"), Scratch(7, NOW_US, known)).plan
    assert [p.fate for p in plan] == [Fate.QUEUED, Fate.HELD]
    ids = [Message.parse(p.content or b"").header.control_id.decode() for p in plan]
    assert ids == [minted("7", "adt.lab"), minted("7", "adt.lab", "-a1")]


def results(orders: str, statuses: str) -> bytes:
    lines = [
        f"OBR|{i}||{o}|K" + "|" * 18 + f"20260105101500|||{s}\rOBX|1|NM|K||{i}||||||{s}\r"
        for i, (o, s) in enumerate(zip(orders, statuses, strict=True), 1)
    ]
    return adt("M1", event="R01", message_type="ORU") + "".join(lines).encode()
