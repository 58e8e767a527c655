"""What a process tells in its log, kept for a test."""

import logging
from typing import TypeVar

from ifengine.telemetry.events import Event

E = TypeVar("E", bound=Event)


class Told(logging.Handler):
    """Keeps events in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; what is no event is no business of ours."""
        event = getattr(record, "ifengine_event", None)
        if isinstance(event, Event):
            self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]
