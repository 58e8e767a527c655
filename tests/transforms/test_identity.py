"""The crosswalk by itself: chains, contradictions, and merge histories against a plain model."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.identifiers import CX
from ifengine.hl7.message import Message
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import HeldError
from ifengine.transforms.identity import (
    Identifier,
    PatientIdentity,
    all_merged_into,
    chain_of,
    differs,
    freezes,
    known_facts,
    learn,
    link_of,
    merge,
    merged_into,
    observe,
    parts_at,
    read_frozen,
    take_back,
    thaw,
    write_parts,
)
from ifengine.transforms.memory import Change, Key, Remembered, Scratch, Space
from transforms.written import IDENTITY, NOW_US


class Shelf:
    """What was committed: a message's changes are taken whole, or lost whole."""

    def __init__(self) -> None:
        self.held: dict[tuple[Space, Key], Remembered] = {}
        self.left: tuple[Change, ...] = ()  # by the last message, when it failed
        self.variables: dict[str, str] = {}

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        return self.held.get((space, key))

    def take(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.remembered is None:
                self.held.pop((change.space, change.key), None)
            else:
                self.held[change.space, change.key] = change.remembered

    def scratch(self, number: int) -> Scratch:
        return Scratch(number, NOW_US, self)

    def merge(self, number: int, prior: Identifier, survivor: Identifier) -> bool:
        """Apply one merge as a message does; return whether it was held."""
        memory = self.scratch(number)
        try:
            merge(memory, prior, survivor, (("x",),))
        except HeldError:
            self.take(freezes(memory.changes()))
            return True
        self.take(memory.changes())
        return False

    def survivor(self, identifier: Identifier) -> Identifier:
        return chain_of(self.look_up, identifier).survivor

    def frozen(self) -> set[Identifier]:
        return {
            read_frozen(found)[0]
            for (space, _), found in self.held.items()
            if space is Space.FROZEN
        }


def mr(number: str) -> Identifier:
    return ("MERCY", "", "", "MR", number)


A, B, C, D = (mr(name) for name in "ABCD")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


# --- whose identifier -----------------------------------------------------------------------------


def cx(
    number: str = "7", authority: tuple[str, str, str] = ("MERCY", "", ""), kind: str = "MR"
) -> CX:
    return CX(number, authority, kind)


def test_an_identifier_counts_by_type_and_authority_and_its_number_is_normalised() -> None:
    assert IDENTITY.identifier(cx(" a7 ")) == ("MERCY", "", "", "MR", "A7")
    for other in (cx(""), cx('""'), cx(kind="AN"), cx(kind=""), cx(authority=("SSA", "", "")),
                  cx(authority=("", "", "")), cx(authority=("", "1.2", "ISO"))):  # fmt: skip
        assert IDENTITY.identifier(other) is None


def test_all_parts_of_the_authority_tell_identifiers_apart() -> None:
    plain, full = cx(), cx(authority=("MERCY", "1.2.3", "ISO"))
    assert IDENTITY.identifier(plain) != IDENTITY.identifier(full)


def test_what_senders_leave_out_counts_only_where_the_site_says_so() -> None:
    site = PatientIdentity(
        path=parse_path("PID-3"), type="MR", authority=("MERCY",),
        authority_default="MERCY", type_default="MR",
    )  # fmt: skip
    assert site.identifier(cx(authority=("", "", ""), kind="")) == mr("7")
    assert site.identifier(cx(authority=("", "1.2", "ISO"))) is None


# --- chains ---------------------------------------------------------------------------------------


def test_chains_are_followed_and_seen_from_both_ends(shelf: Shelf) -> None:
    shelf.merge(1, A, B)
    shelf.merge(2, B, C)
    shelf.merge(3, D, C)
    assert chain_of(shelf.look_up, A).identifiers == (A, B, C)
    assert merged_into(shelf.look_up, C) == (B, D)
    assert set(all_merged_into(shelf.look_up, C)) == {A, B, D}
    link = link_of(shelf.look_up, A)
    assert link is not None
    assert (link.to, link.message, link.at_us) == (B, 1, NOW_US)


def test_the_same_merge_again_changes_nothing(shelf: Shelf) -> None:
    shelf.merge(1, A, B)
    before = dict(shelf.held)
    assert not shelf.merge(9, A, B)
    shelf.merge(2, B, C)
    assert not shelf.merge(10, A, C)  # what it says is known by another way
    assert {**shelf.held, **before} == shelf.held
    assert link_of(shelf.look_up, A) is not None
    assert chain_of(shelf.look_up, A).identifiers == (A, B, C)


def test_a_chain_that_loops_all_the_same_ends_and_says_so(shelf: Shelf) -> None:
    shelf.merge(1, A, B)
    other = Shelf()
    other.merge(2, B, A)
    shelf.held.update(other.held)  # damaged
    assert chain_of(shelf.look_up, A).loops


# --- contradictions -------------------------------------------------------------------------------


def test_a_merge_that_reverses_another_freezes_both_and_is_held(shelf: Shelf) -> None:
    shelf.merge(1, A, B)
    assert shelf.merge(2, B, A)
    assert shelf.frozen() == {A, B}
    assert chain_of(shelf.look_up, A).identifiers == (A, B)


def test_merges_that_run_in_a_loop_freeze_all_that_are_in_it(shelf: Shelf) -> None:
    shelf.merge(1, A, B)
    shelf.merge(2, B, C)
    assert shelf.merge(3, C, A)
    assert shelf.frozen() == {A, B, C}


def test_only_what_lies_in_the_loop_is_frozen(shelf: Shelf) -> None:
    shelf.merge(1, C, B)
    shelf.merge(2, B, A)
    assert shelf.merge(3, B, C)
    assert shelf.frozen() == {B, C}


def test_two_survivors_for_one_freeze_it_alone(shelf: Shelf) -> None:
    shelf.merge(1, A, B)
    assert shelf.merge(2, A, C)
    assert shelf.frozen() == {A}
    assert shelf.survivor(A) == B


def test_a_merge_of_a_frozen_identifier_is_held_until_a_person_decides(shelf: Shelf) -> None:
    shelf.merge(1, A, B)
    shelf.merge(2, B, A)
    assert shelf.merge(3, C, B)
    assert shelf.survivor(C) == C
    memory = shelf.scratch(4)
    assert thaw(memory, A)
    assert thaw(memory, B)
    assert not thaw(memory, C)
    shelf.take(memory.changes())
    assert not shelf.merge(5, C, B)


def test_a_link_taken_back_leaves_the_others(shelf: Shelf) -> None:
    shelf.merge(1, A, B)
    shelf.merge(2, D, B)
    shelf.merge(3, B, C)
    memory = shelf.scratch(0)
    assert take_back(memory, A) is not None
    assert take_back(memory, C) is None
    shelf.take(memory.changes())
    assert [shelf.survivor(one) for one in (A, B, D)] == [A, C, C]
    assert merged_into(shelf.look_up, B) == (D,)
    memory = shelf.scratch(0)
    take_back(memory, D)
    shelf.take(memory.changes())
    assert merged_into(shelf.look_up, B) == ()


# --- histories against a model --------------------------------------------------------------------

NAMES = st.sampled_from([mr(name) for name in "ABCDEFG"])
HISTORY = st.lists(st.tuples(NAMES, NAMES).filter(lambda p: p[0] != p[1]), max_size=25)


class Model:
    """One patient a set, with the one that survived; everything else is a contradiction."""

    def __init__(self) -> None:
        self.next: dict[Identifier, Identifier] = {}
        self.frozen: set[Identifier] = set()

    def way(self, one: Identifier) -> list[Identifier]:
        way = [one]
        while way[-1] in self.next:
            way.append(self.next[way[-1]])
        return way

    def merge(self, prior: Identifier, survivor: Identifier) -> bool:
        way = self.way(survivor)
        if self.frozen & {prior, *way}:
            return True
        if prior in way:
            self.frozen |= set(way[: way.index(prior) + 1])
            return True
        if prior in self.next:
            if self.way(prior)[-1] == way[-1]:
                return False
            self.frozen.add(prior)
            return True
        self.next[prior] = survivor
        return False


@given(HISTORY, st.lists(st.booleans(), min_size=25, max_size=25))
def test_any_history_of_merges_gives_the_patients_of_a_plain_model(
    history: list[tuple[Identifier, Identifier]], crashes: list[bool]
) -> None:
    shelf, model = Shelf(), Model()
    for number, (prior, survivor) in enumerate(history, 1):
        if crashes[number - 1]:  # what was decided is lost before its commit, and decided again
            lost = shelf.scratch(number)
            try:
                merge(lost, prior, survivor, (("x",),))
            except HeldError:
                lost.changes()
        assert shelf.merge(number, prior, survivor) == model.merge(prior, survivor)
        assert shelf.frozen() == model.frozen
    for name in "ABCDEFG":
        chain = chain_of(shelf.look_up, mr(name))
        assert not chain.loops
        assert list(chain.identifiers) == model.way(mr(name))
        into = {one for one in model.next if mr(name) in model.way(one)[1:]}
        assert set(all_merged_into(shelf.look_up, mr(name))) == into


@given(HISTORY, NAMES)
def test_taking_a_link_back_is_as_if_it_had_never_been(
    history: list[tuple[Identifier, Identifier]], gone: Identifier
) -> None:
    shelf, model = Shelf(), Model()
    for number, (prior, survivor) in enumerate(history, 1):
        shelf.merge(number, prior, survivor)
        model.merge(prior, survivor)
    memory = shelf.scratch(99)
    assert (take_back(memory, gone) is not None) == (model.next.pop(gone, None) is not None)
    shelf.take(memory.changes())
    for name in "ABCDEFG":
        assert list(chain_of(shelf.look_up, mr(name)).identifiers) == model.way(mr(name))


# --- what is known --------------------------------------------------------------------------------


def adt(event: str, number: str = "A", name: str = "Fir", birth: str = "1980") -> Message:
    text = (
        f"MSH|^~\\&|A|B|C|D|20260105||ADT^{event}|1|P|2.5\r"
        f"PID|1||{number}^^^MERCY^MR~9^^^SSA^SS||{name}^Ada||{birth}|F\r"
    )
    return Message.parse(text.encode())


def watch(shelf: Shelf, message: Message, number: int, *, learns: bool = True) -> None:
    memory = shelf.scratch(number)
    observe(memory, message, IDENTITY, number, learns=learns)
    shelf.take(memory.changes())


@pytest.mark.parametrize("event", ["A01", "A04", "A05", "A28"])
def test_a_retired_identifier_that_is_registered_again_is_frozen(shelf: Shelf, event: str) -> None:
    shelf.merge(5, A, B)
    watch(shelf, adt(event), 4)  # received before the merge: it says nothing against it
    assert shelf.frozen() == set()
    watch(shelf, adt(event, "B"), 6)
    assert shelf.frozen() == set()
    watch(shelf, adt(event), 6, learns=False)
    assert shelf.frozen() == {A}


def test_an_update_under_a_retired_identifier_freezes_nothing(shelf: Shelf) -> None:
    shelf.merge(5, A, B)
    watch(shelf, adt("A08"), 6)
    assert shelf.frozen() == set()


def test_what_adt_messages_say_of_a_patient_is_known_and_empty_takes_nothing_away(
    shelf: Shelf,
) -> None:
    watch(shelf, adt("A01"), 1)
    watch(shelf, adt("A08", name="Oak", birth=""), 2)
    assert known_facts(shelf.look_up, A) == {
        "PID-5.1": "Oak", "PID-5.2": "Ada", "PID-7": "1980", "PID-8": "F",
    }  # fmt: skip
    watch(shelf, adt("A40", "C"), 3)
    watch(shelf, adt("A08", "D"), 3, learns=False)
    assert known_facts(shelf.look_up, C) is None
    assert known_facts(shelf.look_up, D) is None


def test_what_is_known_already_is_not_written_again(shelf: Shelf) -> None:
    memory = shelf.scratch(1)
    learn(memory, A, {"PID-8": "F"})
    shelf.take(memory.changes())
    memory = shelf.scratch(2)
    learn(memory, A, {"PID-8": "F"})
    assert memory.changes() == ()


@pytest.mark.parametrize(
    ("place", "one", "other", "said"),
    [
        ("PID-7", "19800215", "1980", False),
        ("PID-7", "198002151230", "19800215", False),
        ("PID-7", "19800215", "19800216", True),
        ("PID-5.1", "Fir ", "FIR", False),
        ("PID-8", "F", "M", True),
    ],
)
def test_values_differ_when_they_say_different_things(
    place: str, one: str, other: str, said: bool
) -> None:
    assert differs(place, one, other) is said


def test_an_identifier_is_written_whole_and_nothing_of_the_old_one_stays() -> None:
    text = r"MSH|^~\&|A|B|C|D|1||ADT^A40|1|P|2.5" "\r"
    text += "PID|1||7^1^M10^MERCY&1.2&ISO^MR^WEST&9&L^2020~8^^^X^MR^EAST^1999^2001\r"
    message = Message.parse(text.encode())
    parts = parts_at(message, 1, 3, 1, IDENTITY)
    write_parts(message, 1, 3, 2, parts)
    assert message.raw(1, 3, 2) == message.raw(1, 3, 1) == b"7^1^M10^MERCY&1.2&ISO^MR^WEST&9&L^2020"


def test_nothing_of_an_identifier_shows_in_a_representation(shelf: Shelf) -> None:
    shelf.merge(1, mr("SECRET"), mr("HIDDEN"))
    chain = chain_of(shelf.look_up, mr("SECRET"))
    told = repr(chain) + repr(chain.links[0])
    assert "SECRET" not in told
    assert "HIDDEN" not in told
