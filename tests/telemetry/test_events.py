import json
from dataclasses import fields
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.telemetry import events
from ifengine.telemetry.events import Event, Name, name, shortened

EVENTS = [
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)
]


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_an_event_has_no_field_that_could_hold_content(kind: type[Event]) -> None:
    allowed = {Name, int, float, bool}
    hints = get_type_hints(kind)
    assert {hints[field.name] for field in fields(kind)} <= allowed


def test_every_event_has_a_name_of_its_own() -> None:
    names = [kind.event for kind in EVENTS if kind is not Event]
    assert len(set(names)) == len(names) > 15
    assert all(names)


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
