"""``${fact.order(OBR-2).visit}``: what an earlier message said, read by its key."""

import pytest

from ifengine.errors import NotationError
from ifengine.transforms.base import StepFailedError
from ifengine.transforms.compile import Known as Site
from ifengine.transforms.compile import compile_steps
from ifengine.transforms.facts_written import facts_of
from ifengine.transforms.source import Problems
from ifengine.transforms.template import parse_template
from transforms.test_steps_memory import ORM, ORU, Known, left, scope
from transforms.written import FACTS, NOW_US, TABLES, nodes, steps

REMEMBER = "- remember: {fact: %s, per: ORC, key: ORC-2.1, value: {visit: PID-3.1, ward: 4west}}"


def known(fact: str = "order") -> Known:
    at = scope(ORM)
    steps(REMEMBER % fact).run(at)
    return Known(*left(at))


def rendered(text: str, memory: Known, *, fact: str = "order") -> list[str]:
    """Return what a text becomes in each group."""
    at = scope(ORU, memory)
    steps(f"- for_each: OBR\n  do:\n    - set: {{OBR-20: '{text}'}}").run(at)
    return [at.message.raw(i, 20).decode() for i in at.message.indexes("OBR")]


def test_each_group_reads_the_values_of_its_own_fact() -> None:
    content = ORM.replace(b"ORC|NW|P2", b"ORC|NW|P3")
    at = scope(content)
    steps(REMEMBER % "order").run(at)
    visit = at.message.text(at.message.indexes("PID")[0], 3, 1, 1, 1)
    assert visit
    memory = Known(*left(at))
    assert rendered("${fact.order(OBR-2).visit}", memory) == [visit, ""]
    assert rendered("w ${fact.order( OBR-2.1 ).ward | upper}", memory) == ["w 4WEST", "w "]
    assert rendered('${fact.order(OBR-2).visit | default("none")}', memory) == [visit, "none"]
    assert rendered("${fact.order(OBR-2).other}", memory) == ["", ""]


def test_a_fact_that_the_site_shares_is_read_as_shared_and_another_is_not() -> None:
    assert "visit" in FACTS
    assert all(rendered("${fact.visit(OBR-2).ward}", known("visit")))
    assert not any(rendered("${fact.order(OBR-2).ward}", known("visit")))
    assert not any(rendered("${fact.visit(OBR-2).ward}", known("order")))


def test_one_text_and_a_key_of_several_parts_are_read_as_they_were_remembered() -> None:
    at = scope(ORM)
    steps("- remember: {fact: order, per: ORC, key: [ORC-2.1, ORC-1], value: W}").run(at)
    memory = Known(*left(at))
    at = scope(ORU.replace(b"||K", b"|NW|K"), memory)
    steps("- let: {ward: '${fact.order(OBR[1]-2, OBR[1]-3)}'}\n- set: {MSH-8: $ward}").run(at)
    assert at.variables["ward"] in ("", "W")
    at = scope(ORM, memory)
    steps("- let: {ward: '${fact.order(ORC[1]-2, ORC[1]-1)}'}").run(at)
    assert at.variables["ward"] == "W"
    steps("- let: {ward: '${fact.order(ORC[1]-1, ORC[1]-2)}'}").run(at)
    assert at.variables["ward"] == ""


def test_without_a_key_or_after_its_time_there_is_nothing() -> None:
    empty = ORU.replace(b"OBR|1|P1", b"OBR|1|").replace(b"OBR|2|P2", b"OBR|2|")
    at = scope(empty, known())
    steps("- set: {MSH-8: '${fact.order(OBR[1]-2).ward}'}").run(at)
    assert at.message.raw(0, 8) == b""
    gone = Known(*(c._replace(remembered=c.remembered._replace(until_us=NOW_US - 1))
                   for c in left(_remembering()) if c.remembered))  # fmt: skip
    assert rendered("${fact.order(OBR-2).ward}", gone) == ["", ""]


def _remembering():  # type: ignore[no-untyped-def]
    at = scope(ORM)
    steps(REMEMBER % "order").run(at)
    return at


def test_a_message_reads_what_it_remembered_itself() -> None:
    at = scope(ORM)
    steps(REMEMBER % "order" + "\n- set: {MSH-8: '${fact.order(ORC[1]-2).ward}'}").run(at)
    assert at.message.raw(0, 8) == b"4west"


def test_the_paths_of_the_key_count_as_read_and_the_text_tells_no_value() -> None:
    made = parse_template("${fact.order(OBR-2, PID-3(where .5 = MR).1).visit | upper}", facts=())
    assert [path.text for path in made.paths()] == ["OBR-2", "PID-3(where .5 = MR).1"]
    (read,) = made.facts()
    assert (read.fact, read.value, read.is_shared) == ("order", "visit", False)
    assert not made.is_constant
    assert made.variables() == ()


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("${fact.order}", 2),
        ("${fact.order.visit(OBR-2)}", 2),
        ("${fact.Order(OBR-2)}", 2),
        ("${fact.order(OBR-2}", 2),
        ("${fact.order()}", 13),
        ("${fact.order(OBR)}", 13),
        ("${fact.order(OBR-2, OBR-x)}", 24),
        ("${fact.order(OBR-2).}", 2),
    ],
)
def test_a_fact_that_is_not_written_so_is_an_error_at_its_place(text: str, offset: int) -> None:
    with pytest.raises(NotationError) as error:
        parse_template(text, facts=())
    assert error.value.offset == offset


def test_where_nothing_is_remembered_a_fact_is_refused_with_the_way_out() -> None:
    with pytest.raises(NotationError, match="not read here") as error:
        parse_template("${fact.order(OBR-2).visit}")
    assert "let" in error.value.hint


CHANNEL = REMEMBER % "order" + "\n- when: MSH-9.1 = ORU\n  set: {MSH-8: '%s'}"


@pytest.mark.parametrize(
    ("read", "hint"),
    [
        ("${fact.ordr(OBR[1]-2).visit}", 'did you mean "order"?'),
        ("${fact.order(OBR[1]-2).visitt}", "it carries visit, ward"),
        ("${fact.order(OBR[1]-2)}", "it carries visit, ward"),
        ("${fact.vist(OBR[1]-2)}", 'did you mean "visit"?'),
    ],
)
def test_a_fact_or_a_value_that_nobody_remembers_is_an_error(read: str, hint: str) -> None:
    found = checked(CHANNEL % read)
    assert [(p.code, p.hint) for p in found] == [("E333", hint)]


def test_facts_of_this_channel_and_of_the_site_are_known() -> None:
    assert checked(CHANNEL % "${fact.order(OBR[1]-2).visit}") == []
    assert checked(CHANNEL % "${fact.visit(OBR[1]-2).anything}") == []  # another channel's
    # a later step, in a branch: it may have run for an earlier message
    later = (
        "- set: {MSH-8: '${fact.late(OBR[1]-2)}'}\n- choose:\n    - when: MSH-9.1 = ORM\n"
        "      do: [{remember: {fact: late, key: PID-3.1, value: x}}]"
    )
    assert checked(later) == []


def checked(text: str) -> list[object]:
    problems = Problems()
    node = nodes(text)
    site = Site(TABLES, facts=FACTS, own_facts=facts_of([node]))
    compile_steps(node, problems, site)
    return list(problems.found)


def test_a_step_that_reads_a_fact_fails_by_its_filter_without_the_value() -> None:
    at = scope(ORU, known())
    with pytest.raises(StepFailedError) as failed:
        steps("- set: {MSH-8: '${fact.order(OBR[1]-2).ward | table(ward)}'}").run(at)
    assert "4west" not in str(failed.value)
