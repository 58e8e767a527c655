"""Who reads when the intake goes on: nobody is left out, and nobody reads over the bound."""

from types import SimpleNamespace
from typing import Any, cast

from ifengine.engine.pausing import IntakePause


class Fills:
    """A listener whose senders fill the engine as soon as they are read."""

    def __init__(self, name: str, pause: IntakePause, order: list[str]) -> None:
        self.name, self.pause, self.order, self.reads = name, pause, order, True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True
        self.order.append(self.name)
        self.pause.set("backlog", True)


def test_a_listener_that_fills_the_engine_again_stops_the_next_ones_and_they_are_first_then() -> (
    None
):
    pause, order = IntakePause(), list[str]()
    listeners = [Fills(name, pause, order) for name in "abc"]
    source = SimpleNamespace(paused=False)
    pause.built = cast(Any, SimpleNamespace(listeners=listeners, file_sources=[source]))
    pause.set("backlog", True)
    for _ in range(6):
        pause.set("backlog", False)
        assert pause.is_on()
        assert [one.reads for one in listeners] == [False, False, False]
        assert source.paused
    assert order == list("abcabc")


def test_when_nobody_fills_it_all_read_again() -> None:
    pause, order = IntakePause(), list[str]()
    listeners = [Fills(name, IntakePause(), order) for name in "ab"]
    source = SimpleNamespace(paused=False)
    pause.built = cast(Any, SimpleNamespace(listeners=listeners, file_sources=[source]))
    pause.set("backlog", True)
    pause.set("disk", True)
    pause.set("backlog", False)
    assert order == []
    pause.set("disk", False)
    assert order == ["a", "b"]
    assert not source.paused
