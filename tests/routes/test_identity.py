"""The crosswalk at work: retired identifiers as order keys, and merges as a barrier."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.support import Receiver, Site, adt
from ifengine.hl7.message import Message
from ifengine.hl7.path import parse_path
from ifengine.routes.channel import Channel, MessageContext
from ifengine.routes.identity import Barrier, Retired, identifiers_in
from ifengine.routes.memory import Memories
from ifengine.store.base import Batch, Fate
from ifengine.transforms.identity import Identifier, PatientIdentity, retire, take_back
from ifengine.transforms.memory import Change, Scratch, Space
from routes.sealed import Sealed


def mr(number: str) -> Identifier:
    return ("RIVER", "", "", "MR", number)


IDENTITY = PatientIdentity(path=parse_path("PID-3"), type="MR", authority=("RIVER",))
A, B, C = mr("A"), mr("B"), mr("C")


class Kept:
    """A crosswalk in a store, written as the engine writes it."""

    def __init__(self, folder: Path) -> None:
        self.sealed = Sealed(folder)
        self.memories = Memories(self.sealed.ring, self.sealed.store.reader())
        self.retired = Retired(self.memories, IDENTITY)

    def write(self, scratch: Scratch) -> list[str]:
        changes: tuple[Change, ...] = scratch.changes()
        batch = Batch()
        self.memories.write(batch, changes)
        self.sealed.commit(batch)
        for done in batch.done:
            done()
        return self.retired.changed(changes)

    def merge(self, number: int, prior: Identifier, survivor: Identifier) -> list[str]:
        scratch = self.memories.scratch(number, 1)
        retire(scratch, prior, survivor, (("x",),))
        return self.write(scratch)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_site_without_merges_is_empty_and_one_with_them_knows_the_way(kept: Kept) -> None:
    assert not kept.retired
    assert kept.merge(1, B, A) == ["RIVER|B", "RIVER|A"]
    kept.merge(2, C, B)
    assert kept.retired
    assert [kept.retired.onward(one) for one in (A, B, C)] == [(), (A,), (B, A)]


def test_what_was_retired_is_known_after_a_restart(kept: Kept) -> None:
    kept.merge(1, B, A)
    again = Retired(kept.memories, IDENTITY)
    again.load(kept.sealed.store.reader())
    assert again.onward(B) == (A,)
    assert again.onward(A) == ()
    assert again.alike(A) == (B,)


def test_a_merge_that_is_taken_back_concerns_its_patient_and_is_known_no_more(kept: Kept) -> None:
    kept.merge(1, B, A)
    scratch = kept.memories.scratch(9, 1)
    take_back(scratch, B)
    assert kept.write(scratch) == ["RIVER|B"]
    assert kept.retired.onward(B) == ()
    assert kept.retired.alike(A) == ()


def test_what_a_message_names_may_have_been_retired_since(kept: Kept) -> None:
    kept.merge(5, B, A)
    for content, number, since in (
        (adt("M", patient="B"), 4, True),
        (adt("M", patient="B"), 6, False),
        (adt("M", patient="A"), 4, False),
        (adt("M", patient="A", extra="MRG|B^^^RIVER^MR\r"), 4, True),
        (adt("M", patient="A", extra="MRG|B^^^RIVER^MR\r"), 5, False),  # the merge itself
    ):
        message = Message.parse(content)
        assert kept.retired.since(message, number) is since


def test_identifiers_are_those_of_the_sites_definition_in_every_pid_and_mrg() -> None:
    content = adt("M", patient="A", extra="MRG|B^^^RIVER^MR~9^^^SSA^SS\rPID|2||C^^^RIVER^MR\r")
    assert set(identifiers_in(Message.parse(content), IDENTITY)) == {A, B, C}


# --- order ----------------------------------------------------------------------------------------


def channel(folder: Path, head: str = "order_by: patient", **more: str) -> Channel:
    loaded = Site(folder / "site", {"lab": Receiver()}, head=head, **more).settings().site  # type: ignore[arg-type]
    return Channel(loaded.channels[0], loaded)


def test_messages_share_the_keys_of_all_identifiers_that_merges_made_one_patient(
    kept: Kept, tmp_path: Path
) -> None:
    kept.merge(1, B, A)
    kept.merge(2, C, B)
    one = channel(tmp_path)
    keys = {
        number: one.order_keys(Message.parse(adt("M", patient=number)), kept.retired.alike)
        for number in "ABCD"
    }
    assert keys == {
        **dict.fromkeys("ABC", ("RIVER|A", "RIVER|B", "RIVER|C")),
        "D": ("RIVER|D",),
    }
    merge = Message.parse(adt("M", patient="A", event="A40", extra="MRG|D^^^RIVER^MR\r"))
    every = ("RIVER|A", "RIVER|B", "RIVER|C", "RIVER|D")
    assert one.order_keys(merge, kept.retired.alike) == every


MERGES = "order_by: patient\nsteps:\n  - when: MSH-9.2 = A40\n    merge_patient: {keep: PID-3, retire: MRG-1}\n"


def decided(one: Channel, memories: Memories, number: int, content: bytes):  # type: ignore[no-untyped-def]
    context = MessageContext(str(number), 1, memories.scratch(number, 1))
    return one.process(Message.parse(content), context)


def test_a_channel_that_merges_notices_a_registration_under_a_retired_identifier(
    kept: Kept, tmp_path: Path
) -> None:
    kept.merge(1, B, A)
    one = channel(tmp_path, MERGES)
    assert one.merges
    assert not one.resolves
    found = decided(one, kept.memories, 2, adt("M", patient="B"))
    assert [(change.space, change.key) for change in found.changes] == [(Space.FROZEN, B)]
    assert [delivery.fate for delivery in found.plan] == [Fate.QUEUED]
    # and learns what a patient is called
    found = decided(one, kept.memories, 3, adt("M", patient="A", event="A08"))
    assert [(change.space, change.key) for change in found.changes] == [(Space.PATIENT, A)]


def test_a_freeze_stays_though_the_message_ends_in_its_steps(kept: Kept, tmp_path: Path) -> None:
    kept.merge(1, B, A)
    one = channel(tmp_path, MERGES + "  - fail: enough\n")
    found = decided(one, kept.memories, 2, adt("M", patient="B"))
    assert [delivery.fate for delivery in found.plan] == [Fate.DEAD_LETTER]
    assert [(change.space, change.key) for change in found.changes] == [(Space.FROZEN, B)]
    assert decided(one, kept.memories, 2, adt("M", patient="A")).changes == ()


def test_a_channel_of_a_site_that_merges_nobody_notices_nothing(kept: Kept, tmp_path: Path) -> None:
    kept.merge(1, B, A)
    assert decided(channel(tmp_path), kept.memories, 2, adt("M", patient="B")).changes == ()


# --- the barrier ----------------------------------------------------------------------------------


@dataclass
class Work:
    """A channel as the barrier sees it: the messages it has not planned."""

    left: list[int]
    paused: bool = False
    recovered: bool = True

    @property
    def first_unplanned(self) -> int:
        return min(self.left, default=0)


def test_a_message_waits_for_every_earlier_one_of_a_channel_that_merges() -> None:
    merging = Work([5, 9])
    barrier = Barrier([merging], Work([]))
    assert barrier.may_plan(4)
    assert barrier.may_plan(5)
    assert not barrier.may_plan(6)
    merging.left = []
    assert barrier.may_plan(6)


def test_a_paused_channel_holds_nobody_and_one_that_is_starting_holds_all() -> None:
    merging = Work([5], paused=True)
    barrier = Barrier([merging], Work([]))
    assert barrier.may_plan(9)
    merging.paused = False
    merging.left, merging.recovered = [], False
    assert not barrier.may_plan(9)


@given(st.lists(st.sets(st.integers(1, 30)), min_size=1, max_size=4), st.data())
def test_channels_that_all_merge_and_resolve_never_wait_for_each_other_for_ever(
    messages: list[set[int]], data: st.DataObject
) -> None:
    taken: set[int] = set()
    works = []
    for own in messages:
        works.append(Work(sorted(own - taken)))
        taken |= own
    barriers = [Barrier(works, work) for work in works]
    order: list[int] = []
    while any(work.left for work in works):
        able = [
            k for k, work in enumerate(works) if work.left and barriers[k].may_plan(work.left[0])
        ]
        assert able, "nobody can go on"
        order.append(works[data.draw(st.sampled_from(able))].left.pop(0))
    assert order == sorted(order)
