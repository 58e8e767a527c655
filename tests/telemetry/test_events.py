import ast
import json
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.telemetry import events, words
from ifengine.telemetry.events import Event, Name, name, shortened

SOURCE = Path(events.__file__).parents[1]
EVENTS = list(events.every_event().values())


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_an_event_has_no_field_that_could_hold_content(kind: type[Event]) -> None:
    allowed = {Name, int, float, bool}
    hints = get_type_hints(kind)
    types = {hints[field.name] for field in fields(kind)}
    # text that is neither a checked name nor a word of a closed list has no field to stand in
    assert {one for one in types if not is_closed_list(one)} <= allowed


def is_closed_list(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, StrEnum)


def test_every_event_is_told_somewhere_and_nowhere_but_by_its_class() -> None:
    made: set[str] = set()
    for module in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                made.add(node.func.id)
    assert {kind.__name__ for kind in EVENTS} - made == set()


def test_no_word_an_event_may_say_is_one_that_nothing_says() -> None:
    text = "\n".join(
        module.read_text(encoding="utf-8")
        for module in SOURCE.rglob("*.py")
        if module.name != "words.py"
    )
    for closed in (words.Drop, words.Refusal, words.StopReason, words.StorageFault):
        assert [str(one) for one in closed if f"{closed.__name__}.{one.name}" not in text] == []


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_event_of_a_fault_says_what_to_do(kind: type[Event]) -> None:
    assert (kind.__doc__ or "").endswith(".")
    assert kind.advice or kind.level is events.Level.INFO


def test_every_event_has_a_name_of_its_own() -> None:
    classes = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    }
    assert len(EVENTS) == len(classes) > 15
    assert all(name(kind.event) for kind in classes)


@pytest.mark.parametrize(
    "text", ["a\nb", "two words", "Müller", "\x1b[31m", "\x00", "a\rb", "x" * 101, '"', "{"]
)
def test_text_that_is_no_name_cannot_become_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a name$") as raised:
        name(text)
    assert text not in str(raised.value)
    with pytest.raises(ValueError, match="connection"):
        events.DestinationUp(connection=Name(text), down_seconds=1.0)


@given(st.text())
def test_a_shortened_name_is_always_a_name(text: str) -> None:
    made = shortened(text)
    assert name(made) == made
    assert json.dumps(made) == f'"{made}"'
