"""Steps done together do what they do one after the other: the same bytes, the same end, the same step."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ifengine.errors import EngineError
from ifengine.transforms.base import Steps, StepScope
from ifengine.transforms.together import Group
from transforms.written import ADT, scope_of, steps

# each has a short way; together in any order they meet what the one before left
STEPS = (
    "trim: [PID-5.1, PID-5.2]",
    "upper: [PID-5.1, PID-5.2]",
    "lower: [PID-5.1, PID-5.2]",
    "trim: [PID-5.3, NK1-2.1]",
    "lookup: {table: sex, from: PID-8, missing: U}",
    "lookup: {table: sex, from: PID-8, missing: keep, empty: N}",
    "lookup: {table: ward, from: PV1-3.1, missing: dead_letter}",
    "lookup: {table: ward, from: PV1-3.2, missing: 'no ward'}",
    "keep_repetitions: {in: PID-3, where: '.5 in [MR, PI]'}",
    "keep_repetitions: {in: PID-13, where: '.1 not in [MR, SS]'}",
    "drop_repetitions: {in: PID-3, where: '.5 = SS'}",
    "drop_repetitions: {in: PID-13, where: '.2.2 = b'}",
    "clear: [PID-19, PV1-2, NK1-9]",
    "clear: PID-13",
    "set: {PID-9: ABC, PID-40: X1}",
    "set: {MSH-5: LAB, MSH-6: X}",
    "copy: PID-3(where .5 = MR).1 -> PID-2",
    "copy: [PID-8 -> PID-19, PID-3 -> PID-4]",
    "copy: 'PID-5[2].1 -> PID-9'",
    "copy: PV1-3 -> PV1-6",
    "require: {PID-3(where .5 = MR).1: no number, PV1-2: no class}",
    "require: {'PID-5[2].2': no second name}",
    "require: {PV1-3.2: no room}",
)
WITHOUT = ("title: PID-5", "upper: PID-5", "trim: [PID-5, NK1-2.1]")
PART = st.sampled_from(
    ["", "", "MR", "PI", "SS", "M", "2", "\\X4D52\\", "4WEST", "ICU", '""', " Fir ", "o'Brien",
     "Ada", "a&b", "&",
     "&b", r"\T\x", "\\.br\\", "\\", "x\\H\\y", "#", "é", "ß", "\t z", "a b"]
)  # fmt: skip
FIELD = st.lists(st.lists(PART, min_size=1, max_size=6).map("^".join), min_size=1, max_size=3).map(
    "~".join
)
SEGMENT = st.tuples(st.sampled_from(["PID", "PV1", "NK1"]), st.lists(FIELD, max_size=20)).map(
    lambda pair: "|".join([pair[0], *pair[1]])
)
USUAL = (
    "PID|1||70^^^M^MR~9^^^S^SS||Fir ^Ada^Q||1980|2||||||555~x&b||||70|19",
    "PV1|1|I|4WEST^401^A",
    "NK1|1|Fir ^Eva",
)
HEADS = st.sampled_from([r"|^~\&", r"|^~\&#", "|^~", "|^", r"$*!%.", r"|.~\&"])
CHARSETS = st.sampled_from(["", "UNICODE UTF-8", "8859/1", "GB 18030-2000"])


def message_of(head: str, charset: str, body: list[str]) -> bytes:
    """Return a message, its usual delimiters turned into those of its head."""
    fields = f"|X|Y|LIS|LAB|2026||ADT^A01|1|P|2.5.1||||||{charset}"
    text = "\r".join([fields, *body, ""])
    own = head[0] + head[1:6].ljust(4, "\x00")
    turned = text.translate({ord(old): new for old, new in zip(r"|^~\&", own, strict=False)})
    turned = turned.replace("\x00", "")
    return ("MSH" + head[0] + head[1:] + turned).encode("utf-8" if "UTF" in charset else "latin-1")


def apart(made: Steps, scope: StepScope) -> None:
    """Run each step by itself, as a trace does."""
    for step in made.steps:
        step.run(scope)


def outcome(made: Steps, content: bytes, *, together: bool) -> tuple[object, ...]:
    """Return what is left of a message, or how it ended."""
    scope = scope_of(content)
    try:
        made.run(scope) if together else apart(made, scope)
        content = scope.message.encode()
    except EngineError as error:
        reason = getattr(error, "reason", None)
        return type(error), str(error), reason and reason.full, getattr(error, "step", "")
    return content, scope.message.touched, scope.message.header.receiving_application


@settings(max_examples=1500, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(STEPS + WITHOUT), min_size=2, max_size=8),
    head=HEADS,
    charset=CHARSETS,
    body=st.one_of(
        st.just(list(USUAL)),
        st.lists(SEGMENT, max_size=4),
        st.permutations(USUAL).map(lambda lines: lines[:2]),
        FIELD.map(lambda field: [USUAL[0].replace("Fir ^Ada^Q", field), *USUAL[1:]]),
        FIELD.map(lambda field: [USUAL[0].replace("70^^^M^MR~9^^^S^SS", field), *USUAL[1:]]),
    ),
)
@example(
    chosen=["trim: [PID-5.1, PID-5.2]", "upper: [PID-5.1, PID-5.2]"],
    head=r"|^~\&", charset="", body=["PID|1||||o'Brien \\.br\\^x"],
)  # fmt: skip
@example(  # what is written makes a character of the byte before it: not to be encoded
    chosen=["trim: [PID-5.1, PID-5.2]", "set: {PID-9: ABC, PID-40: X1}"],
    head=r"|^~\&", charset="GB 18030-2000", body=["PID||||||||||é"],
)  # fmt: skip
@example(
    chosen=["copy: [PID-8 -> PID-19, PID-3 -> PID-4]", "clear: PID-13"],
    head=r"|^~\&", charset="", body=["PID|1||A~B||||M||"],
)  # fmt: skip
def test_any_steps_on_any_message_do_the_same_together_and_apart(
    chosen: list[str], head: str, charset: str, body: list[str]
) -> None:
    made = steps("".join(f"- {{{one}}}\n" for one in chosen))
    content = message_of(head, charset, body)
    assert outcome(made, content, together=True) == outcome(made, content, together=False)


# fields that are plain, and all that makes one not plain
VALUES = (
    *("", "a", "a1^B", "a^B~c", "a~B^c", "a^B&c", "a&b", "^a", "a^", "a^ b^c", " a", "a.b^-"),
    *('""', '""^a', "a\\T\\b^c", "a^b\\T\\c", "é", "a^é", "\t^\x1f a"),
)


@pytest.mark.parametrize("names", [("PID",), ("PID", "PID"), ("OBX",)])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("parts", [("",), (".1", ".2"), (".2", ".1", ".3"), (".1.1",), (".2.2",)])
@pytest.mark.parametrize("verb", ["trim", "upper", "lower"])
def test_plain_values_change_in_place_as_all_others_do(
    names: tuple[str, ...], value: str, parts: tuple[str, ...], verb: str
) -> None:
    content = message_of(r"|^~\&", "", [f"{name}||{value}|{value}" for name in names])
    for field in (2, 3, 4):
        made = steps(f"- {verb}: [{', '.join(f'PID-{field}{part}' for part in parts)}]\n")
        assert outcome(made, content, together=True) == outcome(made, content, together=False)


@pytest.mark.parametrize("written", STEPS)
def test_every_step_of_this_table_has_a_short_way(written: str) -> None:
    assert steps(f"- {{{written}}}\n").steps[0].short, written


def test_steps_with_a_condition_or_without_a_short_way_part_the_groups() -> None:
    made = steps(
        "- trim: PID-5.1\n- upper: PID-5.1\n- clear: PID-19\n- title: PID-5\n- clear: PID-19\n"
        "- {when: PID-8 = 2, clear: PID-13}\n- clear: PID-30\n- clear: PID-31\n"
    )
    groups = [isinstance(action, Group) for action, _ in made._actions]
    assert groups == [True, False, True, False, True]


def test_the_step_that_fails_in_a_group_is_the_one_that_is_named() -> None:
    made = steps(
        "- set: {PID-9: A}\n- lookup: {table: ward, from: PID-19, missing: dead_letter}\n"
        "- require: {PID-30: nothing there}\n- clear: PID-9\n"
    )
    with pytest.raises(EngineError, match=r"^step 3 require: nothing there$"):
        made.run(scope_of(ADT))


def test_a_message_that_no_step_of_a_group_changes_keeps_its_very_bytes() -> None:
    scope = scope_of(ADT)
    steps(
        "- upper: PID-8\n- clear: PID-19\n- lookup: {table: ward, from: NK1-3, missing: keep}\n"
    ).run(scope)
    assert not scope.message.touched
    assert scope.message.encode() == ADT


def test_a_group_leaves_the_copy_of_another_destination_alone() -> None:
    scope = scope_of(ADT)
    other = scope.message.copy()
    steps("- set: {PID-9: A, MSH-5: B}\n- clear: PID-5\n").run(scope)
    assert other.encode() == ADT
    assert other.raw(2, 5) != b""
    assert scope.message.header.receiving_application == b"B"
