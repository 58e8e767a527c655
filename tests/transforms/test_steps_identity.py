"""`merge_patient` and `resolve_patient` as an analyst writes them."""

import pytest

from ifengine.hl7.message import Message
from ifengine.transforms.base import HeldError, StepFailedError, StepScope
from ifengine.transforms.compile import Known, compile_steps
from ifengine.transforms.identity import (
    Identifier,
    chain_of,
    freeze,
    known_facts,
    learn,
    link_of,
)
from ifengine.transforms.memory import Scratch
from ifengine.transforms.source import Problems
from transforms.test_identity import A, B, C, Shelf, mr
from transforms.written import IDENTITY, NOW_US, TABLES, compiled, nodes, steps

MERGE = "- merge_patient: {keep: PID-3, retire: MRG-1}"
RESOLVE = "- resolve_patient: {in: PID-3(where .5 = MR), keep_old_in: PID-4}"


def message(event: str, *segments: str, kind: str = "ADT") -> bytes:
    head = rf"MSH|^~\&|A|B|C|D|20260105||{kind}^{event}|1|P|2.5"
    return "\r".join((head, f"EVN|{event}|20260105", *segments, "")).encode()


def group(keep: str, prior: str, name: str = "Fir^Ada") -> tuple[str, str]:
    return f"PID|1||{keep}||{name}||19800215|F", f"MRG|{prior}"


def cx(*numbers: str, authority: str = "MERCY", kind: str = "MR") -> str:
    return "~".join(f"{number}^^^{authority}^{kind}" for number in numbers)


def run(
    shelf: Shelf, text: str, content: bytes, number: int = 1, *, is_replay: bool = False
) -> Message:
    """Run steps over a message; what they remember counts when they do not fail."""
    memory = Scratch(number, NOW_US, shelf, is_replay)
    scope = StepScope(Message.parse(content), TABLES, NOW_US, str(number), memory=memory)
    scope.channel = "mpi"
    try:
        steps(text).run(scope)
    except (HeldError, StepFailedError):
        shelf.left = memory.changes()
        raise
    shelf.take(memory.changes())
    shelf.variables = scope.variables
    return scope.message


def survivors(shelf: Shelf, *numbers: str) -> list[str]:
    return [chain_of(shelf.look_up, mr(number)).survivor[4] for number in numbers]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


# --- merging --------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["A40", "A34", "A36", "A18", "A30", "A47"])
def test_the_survivor_is_in_pid_and_the_retired_one_in_mrg(shelf: Shelf, event: str) -> None:
    run(shelf, MERGE, message(event, *group(cx("A"), cx("B"))))
    assert survivors(shelf, "A", "B") == ["A", "A"]


def test_every_group_of_a_merge_is_walked(shelf: Shelf) -> None:
    content = message("A40", *group(cx("A"), cx("B")), *group(cx("C"), cx("D")))
    run(shelf, MERGE, content)
    assert survivors(shelf, "B", "D") == ["A", "C"]


def test_identifiers_go_together_by_type_and_every_part_of_the_authority(shelf: Shelf) -> None:
    keep = f"{cx('A')}~{cx('X', authority='NORTH')}~{cx('12', kind='AN')}~{cx('9', authority='SSA', kind='SS')}"
    prior = f"{cx('Y', authority='NORTH')}~{cx('B')}~{cx('9', authority='SSA', kind='SS')}"
    run(shelf, MERGE, message("A40", *group(keep, prior)))
    assert survivors(shelf, "B") == ["A"]
    link = link_of(shelf.look_up, ("NORTH", "", "", "MR", "Y"))
    assert link is not None
    assert link.to == ("NORTH", "", "", "MR", "X")


def test_several_prior_identifiers_go_into_one(shelf: Shelf) -> None:
    run(shelf, MERGE, message("A40", *group(cx("A"), cx("B", "C"))))
    assert survivors(shelf, "B", "C") == ["A", "A"]


PAIRLESS = {
    "MRG-1 is empty": group(cx("A"), ""),
    "no identifier of the site's definition": group(cx("A"), "B"),
    "no PID-3 has the type and assigning authority": group(cx("A"), cx("B", authority="NORTH")),
    "two PID-3 could be the survivor": group(cx("A", "C"), cx("B")),
    "are the same identifier": group(cx("A"), cx(" a")),
    "a PID has no MRG": ("PID|1||A^^^MERCY^MR",),
    "an MRG stands before any PID": ("MRG|B^^^MERCY^MR", "PID|1||A^^^MERCY^MR"),
}


@pytest.mark.parametrize("reason", PAIRLESS)
def test_a_merge_that_does_not_say_who_is_who_is_a_dead_letter(shelf: Shelf, reason: str) -> None:
    with pytest.raises(StepFailedError, match=reason):
        run(shelf, MERGE, message("A40", *PAIRLESS[reason]))
    assert shelf.left == ()


def test_another_universal_id_is_another_authority(shelf: Shelf) -> None:
    content = message("A40", *group(cx("A"), cx("B", authority="MERCY&1.2&ISO")))
    with pytest.raises(StepFailedError, match="no PID-3 has the type"):
        run(shelf, MERGE, content)


def test_one_bad_group_stops_the_whole_merge(shelf: Shelf) -> None:
    content = message("A40", *group(cx("A"), cx("B")), *group(cx("C"), ""))
    with pytest.raises(StepFailedError):
        run(shelf, MERGE, content)
    assert shelf.left == ()
    content = message("A40", "PID|1||A^^^MERCY^MR", *group(cx("C"), cx("D")))
    with pytest.raises(StepFailedError, match="a PID has no MRG"):
        run(shelf, MERGE, content)


@pytest.mark.parametrize("event", ["A18", "A30"])
def test_an_event_that_does_not_say_which_identifier_changed_needs_exactly_one_pair(
    shelf: Shelf, event: str
) -> None:
    with pytest.raises(StepFailedError, match="does not say which identifier"):
        run(shelf, MERGE, message(event, *group(cx("A"), cx("B", "C"))))


@pytest.mark.parametrize(
    "event", ["A35", "A39", "A41", "A42", "A43", "A44", "A45", "A46", "A49", "A50", "A51"]
)
def test_a_move_or_a_change_of_an_account_or_visit_retires_no_patient(
    shelf: Shelf, event: str
) -> None:
    run(shelf, MERGE, message(event, *group(cx("A"), f"{cx('B')}||ACC1||V1")))
    assert shelf.held == {}


@pytest.mark.parametrize("event", ["A24", "A37", "A08", "A01"])
def test_what_is_no_merge_is_a_dead_letter_there(shelf: Shelf, event: str) -> None:
    with pytest.raises(StepFailedError, match="is no merge"):
        run(shelf, MERGE, message(event, *group(cx("A"), cx("B"))))


def test_a_contradiction_is_held_and_frozen(shelf: Shelf) -> None:
    run(shelf, MERGE, message("A40", *group(cx("A"), cx("B"))))
    with pytest.raises(HeldError, match="reverses another"):
        run(shelf, MERGE, message("A40", *group(cx("B"), cx("A"))), 2)
    shelf.take(shelf.left)
    assert shelf.frozen() == {A, B}


def test_the_survivor_of_a_merge_is_known_afterwards(shelf: Shelf) -> None:
    run(shelf, MERGE, message("A40", *group(cx("A"), cx("B"), "Oak^Eva")))
    assert known_facts(shelf.look_up, A) == {
        "PID-5.1": "Oak", "PID-5.2": "Eva", "PID-7": "19800215", "PID-8": "F",
    }  # fmt: skip


def test_an_unknown_survivor_is_held_where_the_step_says_so(shelf: Shelf) -> None:
    asks = MERGE.replace("}", ", unknown_keep: hold}")
    with pytest.raises(HeldError, match="never seen"):
        run(shelf, asks, message("A40", *group(cx("A"), cx("B"))))
    memory = shelf.scratch(1)
    learn(memory, A, {})
    learn(memory, A, {"PID-8": "F"})
    shelf.take(memory.changes())
    run(shelf, asks, message("A40", *group(cx("A"), cx("B"))))
    assert survivors(shelf, "B") == ["A"]
    run(shelf, asks, message("A47", *group(cx("C"), cx("D"))))  # new by its nature
    assert survivors(shelf, "D") == ["C"]


def test_a_replay_writes_nothing_and_waits_for_a_person_where_the_merge_is_not_known(
    shelf: Shelf,
) -> None:
    content = message("A40", *group(cx("A"), cx("B")))
    with pytest.raises(HeldError, match="replay does not write"):
        run(shelf, MERGE, content, is_replay=True)
    assert shelf.held == {}
    run(shelf, MERGE, content)
    before = dict(shelf.held)
    run(shelf, MERGE, content, 9, is_replay=True)
    assert shelf.held == before


def test_a_replay_of_a_frozen_merge_is_held(shelf: Shelf) -> None:
    content = message("A40", *group(cx("A"), cx("B")))
    run(shelf, MERGE, content)
    frozen(shelf, A)
    with pytest.raises(HeldError, match="frozen"):
        run(shelf, MERGE, content, is_replay=True)


# --- resolving ------------------------------------------------------------------------------------


def oru(pid3: str, name: str = "Fir^Ada", birth: str = "19800215", pid4: str = "") -> bytes:
    return message("R01", f"PID|1||{pid3}|{pid4}|{name}||{birth}|F", "OBR|1", kind="ORU")


def field(found: Message, f: int) -> str:
    return found.raw(found.first("PID"), f).decode()


def merged(shelf: Shelf, keep: str, prior: str, number: int = 1) -> None:
    run(shelf, MERGE, message("A40", *group(keep, prior)), number)


def frozen(shelf: Shelf, *identifiers: Identifier) -> None:
    memory = shelf.scratch(1)
    freeze(memory, identifiers, "a test")
    shelf.take(memory.changes())


def test_a_retired_identifier_is_rewritten_whole_and_the_old_one_kept(shelf: Shelf) -> None:
    merged(shelf, "A^1^M10^MERCY^MR^WEST", cx("B"))
    found = run(shelf, RESOLVE, oru(f"{cx('9', authority='SSA', kind='SS')}~{cx('B')}^EAST^1999"))
    assert field(found, 3) == "9^^^SSA^SS~A^1^M10^MERCY^MR^WEST"
    assert field(found, 4) == "B^^^MERCY^MR^EAST^1999"
    assert shelf.variables["retired"] == "yes"


def test_the_old_one_joins_what_its_field_holds_and_is_not_kept_twice(shelf: Shelf) -> None:
    merged(shelf, cx("A"), cx("B"))
    found = run(shelf, RESOLVE, oru(cx("B"), pid4="Q^^^OLD"))
    assert field(found, 4) == "Q^^^OLD~B^^^MERCY^MR"
    found = run(shelf, RESOLVE, oru(cx("B"), pid4=cx("B")))
    assert field(found, 4) == "B^^^MERCY^MR"


def test_chains_are_followed_to_the_last(shelf: Shelf) -> None:
    merged(shelf, cx("B"), cx("C"))
    merged(shelf, cx("A"), cx("B"), 2)
    assert field(run(shelf, RESOLVE, oru(cx("C"))), 3) == "A^^^MERCY^MR"


def test_an_identifier_that_was_not_retired_leaves_the_bytes_as_they_came(shelf: Shelf) -> None:
    merged(shelf, cx("A"), cx("B"))
    found = run(shelf, RESOLVE, oru(cx("A")))
    assert not found.touched
    assert "retired" not in shelf.variables


def test_several_that_fit_are_each_rewritten_and_none_stands_twice(shelf: Shelf) -> None:
    merged(shelf, cx("A"), cx("B"))
    merged(shelf, cx("X", authority="NORTH"), cx("Y", authority="NORTH"))
    found = run(shelf, RESOLVE, oru(f"{cx('B')}~{cx('Y', authority='NORTH')}"))
    assert field(found, 3) == "A^^^MERCY^MR~X^^^NORTH^MR"
    found = run(shelf, RESOLVE, oru(f"{cx('B')}~{cx('A')}~{cx('Z', authority='NORTH')}"))
    assert field(found, 3) == "A^^^MERCY^MR~Z^^^NORTH^MR"
    assert field(found, 4) == "B^^^MERCY^MR"


def test_two_retired_ones_of_one_patient_become_one(shelf: Shelf) -> None:
    merged(shelf, cx("A"), cx("B", "C"))
    found = run(shelf, RESOLVE, oru(cx("B", "C")))
    assert field(found, 3) == "A^^^MERCY^MR"
    assert set(field(found, 4).split("~")) == {"B^^^MERCY^MR", "C^^^MERCY^MR"}


@pytest.mark.parametrize("pid3", ["", cx("1", kind="AN"), "7", cx("7", authority="OTHER")])
def test_a_message_whose_identifier_is_nobodys_is_a_dead_letter(shelf: Shelf, pid3: str) -> None:
    with pytest.raises(StepFailedError, match="no identifier"):
        run(shelf, RESOLVE, oru(pid3))


def test_a_frozen_identifier_anywhere_on_the_way_holds_the_message(shelf: Shelf) -> None:
    merged(shelf, cx("B"), cx("C"))
    merged(shelf, cx("A"), cx("B"), 2)
    frozen(shelf, B)
    for number in ("B", "C"):
        with pytest.raises(HeldError, match="frozen") as held:
            run(shelf, RESOLVE, oru(cx(number)))
        assert number not in str(held.value).split()
    run(shelf, RESOLVE, oru(cx("A")))
    frozen(shelf, A)
    with pytest.raises(HeldError, match="frozen"):
        run(shelf, RESOLVE, oru(cx("A")))


def test_a_patient_who_looks_like_somebody_else_holds_the_message(shelf: Shelf) -> None:
    merged(shelf, cx("A"), cx("B"))
    with pytest.raises(HeldError, match=r"PID-5\.1 differs") as held:
        run(shelf, RESOLVE, oru(cx("B"), name="Oak^Ada"))
    assert "Oak" not in str(held.value)
    with pytest.raises(HeldError, match="PID-7 differs"):
        run(shelf, RESOLVE, oru(cx("B"), birth="19810215"))
    # what is empty on either side says nothing, and nobody looks where nothing is rewritten
    run(shelf, RESOLVE, oru(cx("B"), name="", birth='""'))
    run(shelf, RESOLVE, oru(cx("A"), name="Oak"))


def test_what_is_compared_is_a_choice_and_passing_is_another(shelf: Shelf) -> None:
    merged(shelf, cx("A"), cx("B"))
    for more in ("same: PID-7", "same: [PID-7, PID-8]", "differ: pass"):
        text = RESOLVE.replace("}", f", {more}}}")
        assert field(run(shelf, text, oru(cx("B"), name="Oak")), 3) == "A^^^MERCY^MR"


def test_a_bare_field_means_every_identifier_in_it(shelf: Shelf) -> None:
    merged(shelf, cx("A"), cx("B"))
    text = "- resolve_patient: {in: PID-3}"
    found = run(shelf, text, oru(f"{cx('9', authority='SSA', kind='SS')}~{cx('B')}"))
    assert field(found, 3) == "9^^^SSA^SS~A^^^MERCY^MR"
    assert field(found, 4) == ""


def test_a_replay_reads_the_cross_reference(shelf: Shelf) -> None:
    merged(shelf, cx("A"), cx("B"))
    before = dict(shelf.held)
    found = run(shelf, RESOLVE, oru(cx("B")), is_replay=True)
    assert field(found, 3) == "A^^^MERCY^MR"
    assert shelf.held == before


# --- as it is written -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("- merge_patient: {keep: MRG-1, retire: PID-3}", "E306"),
        ("- merge_patient: {keep: PID-3.1, retire: MRG-1}", "E306"),
        ("- merge_patient: {keep: PID-3}", "E102"),
        ("- merge_patient: {keep: PID-3, retire: MRG-1, unknown_keep: maybe}", "E103"),
        ("- resolve_patient: {in: PID-3.1}", "E306"),
        ("- resolve_patient: {in: PID-3, keep_old_in: PID-4.1}", "E306"),
        ("- resolve_patient: {in: PID-3, keep_old_in: 'PID-4[2]'}", "E306"),
        ("- resolve_patient: {in: PID-3, same: PID-11}", "E103"),
        ("- resolve_patient: {in: PID-3, differ: no}", "E103"),
        ("- resolve_patient: {keep_old_in: PID-4}", "E102"),
    ],
)
def test_mistakes_are_errors(text: str, code: str) -> None:
    _, problems = compiled(text)
    assert [problem.code for problem in problems.found][:1] == [code] * 1
    assert not problems.ok


def test_both_need_the_sites_definition_of_a_patient() -> None:
    for text in (MERGE, RESOLVE):
        problems = Problems()
        compile_steps(nodes(text), problems, Known(TABLES))
        assert [(p.code, bool(p.hint)) for p in problems.found] == [("E340", True)]


def test_merging_stands_in_the_channels_steps() -> None:
    _, problems = compiled(MERGE, destination="lab")
    assert [problem.code for problem in problems.found] == ["E309"]
    assert compiled(RESOLVE, destination="lab")[1].ok


def test_they_say_what_they_do() -> None:
    merge, resolve = steps(f"{MERGE}\n{RESOLVE}").steps
    assert merge.uses.merges
    assert merge.uses.remembers
    assert not merge.uses.resolves
    assert resolve.uses.resolves
    assert not resolve.uses.remembers
    assert {path.text for path in resolve.uses.writes} == {"PID-3(where .5 = MR)", "PID-4"}
    assert IDENTITY.type == "MR"
    assert C != A
