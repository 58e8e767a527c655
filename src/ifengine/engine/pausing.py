"""Why nothing is read from senders: several reasons may hold the intake at once."""

from collections import Counter

from ifengine.engine.building import Built
from ifengine.routes.file_source import FileSource


class IntakePause:
    """Stops and starts reading, from listeners and from folders."""

    def __init__(self) -> None:
        self.built: Built | None = None  # None: nothing is made yet
        self.ended = False  # the listeners are being closed: nothing is started again
        self.times: Counter[str] = Counter()  # how often each reason came
        self._reasons: set[str] = set()
        self._turn = 0  # which listener reads first when the intake goes on

    def is_on(self) -> bool:
        """Whether anything holds the intake."""
        return bool(self._reasons)

    def holds(self, why: str) -> bool:
        """Whether this reason holds it."""
        return why in self._reasons

    def set(self, why: str, paused: bool) -> None:
        """Let one reason hold, or end."""
        before = self.is_on()
        self.times[why] += paused and why not in self._reasons
        (self._reasons.add if paused else self._reasons.discard)(why)
        after = self.is_on()
        if before == after or self.ended or self.built is None:
            return
        listeners = self.built.listeners
        if after:
            for listener in listeners:
                listener.pause_reading()
        else:
            first = self._turn
            for number in range(first, first + len(listeners)):
                self._turn = number + 1  # whoever has no turn now has it the next time
                listeners[number % len(listeners)].resume_reading()
                if self.is_on():  # what it handed over filled the engine: all stand again
                    return
            self._turn = (first + 1) % max(1, len(listeners))
        for source in self.built.file_sources:
            source.paused = after

    def hold(self, source: FileSource) -> None:
        """Let a folder that is begun later stand still too, if the intake does."""
        source.paused = self.is_on()
