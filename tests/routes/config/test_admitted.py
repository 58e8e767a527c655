"""What is known of a channel's messages, and when nobody knows."""

import pytest

from ifengine.routes.config.admitted import segments_admitted, types_admitted, types_read
from ifengine.routes.config.keys_channel import CHANNEL
from ifengine.routes.config.sections import Section, read_section
from ifengine.routes.config.yaml_nodes import compose
from ifengine.transforms.source import Entries, Problems

HEAD = "ifengine: 1\nchannel: one\nfrom: in\nto: {lab: {connection: out}}\n"


def section(text: str) -> Section:
    problems = Problems()
    node = compose(HEAD + text, "channels/one.yaml", problems)
    assert isinstance(node, Entries)
    return read_section(CHANNEL, node, problems)


def admitted(text: str):
    read = section(text)
    types = tuple(pattern for pattern, _ in read.get("types", ()))
    return read, types


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("types: [ADT^A01, ADT^A02]", True),
        ("types: ADT^A01", True),
        ("types: [ADT^A01, ADT_A02]", False),
        ("types: {a: b}", False),
        ("type: ADT^A01", False),  # misspelt: something was meant
        ("about: nothing of types", True),
    ],
)
def test_types_are_known_only_where_all_of_them_could_be_read(written: str, known: bool) -> None:
    assert types_read(*admitted(written)) == known


@pytest.mark.parametrize(
    ("steps", "known"),
    [
        ("[]", True),
        ("[{when: MSH-9.2 = A01, trim: PID-5}]", True),
        ("[{set: {MSH-9.2: A08}}]", False),
        ("[{choose: [{when: PV1-2 = I, do: [{default: {MSH-9: x}}]}]}]", False),
        ("[{copy: EVN-1 -> MSH-9.2}]", False),
        ("[{lookup: {table: t, from: EVN-1, to: MSH-9.2, missing: keep}}]", False),
        ("[{python: {file: python/a.py}}]", False),
    ],
)
def test_types_are_known_only_where_no_step_changes_them(steps: str, known: bool) -> None:
    found = types_admitted(*admitted(f"types: [ADT^A01]\nsteps: {steps}"))
    assert found == ((("ADT", "A01"),) if known else None)


def test_segments_are_those_of_the_types_and_those_that_steps_add() -> None:
    added = "steps: [{add_segment: {name: MRG, after: PID}}]"
    assert "MRG" in (segments_admitted(*admitted("types: [ADT^A01]\n" + added)) or ())
    without = segments_admitted(*admitted("types: [ADT^A01]"))
    assert without is not None
    assert "PID" in without
    assert "MRG" not in without
    assert segments_admitted(*admitted("about: every type")) is None
    assert segments_admitted(*admitted("types: [ADT^A01]\nsteps: [{use: {file: a}}]")) is None
