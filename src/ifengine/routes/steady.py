"""One time for every span that outlives a message: nobody who sets the wall clock moves it.

The machine's monotonic clock carries it through a run. Over a stop of the process it goes on by the
time since the machine was booted, which nobody sets; over a boot by the wall clock, as far as that
is believed. ADR 0029.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from ifengine.clock import MICROSECONDS, Clock
from ifengine.store.base import Batch, InboxFilter, Reader

STEADY_SETTING = "steady_clock"
BELIEVED_US = (
    24 * 3600 * MICROSECONDS
)  # the wall clock may be this far off before a person is asked
NOTICED_US = 1 * MICROSECONDS  # what the wall clock must move by to be called set
MOST_OFFSETS = 256  # of these the oldest are forgotten: it takes a clock that is set all day
MARK_SECONDS = 1.0  # between marks, where something is committed anyway


class Kept(NamedTuple):
    """The mark in the store: what all three clocks showed, and how the offset went."""

    steady_us: int
    boot: str
    boot_seconds: float
    believed_us: int
    offsets: list[tuple[int, int]]

    def text(self) -> str:
        """Return it as it stands in the store."""
        return json.dumps(self)

    @classmethod
    def read(cls, text: str) -> "Kept":
        """Read what ``text`` wrote."""
        steady_us, boot, boot_seconds, believed_us, offsets = json.loads(text)
        table = [(int(since), int(offset)) for since, offset in offsets]
        return cls(int(steady_us), str(boot), float(boot_seconds), int(believed_us), table)


class Steady:
    """Microseconds that only go on. Where no clock was ever set they are those of the wall clock.

    The offset between both is kept by the first message that came under it: the time of receipt of
    every message is known on this scale too.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_us = clock.now_us()
        self._began = clock.monotonic()
        self._offsets: list[tuple[int, int]] = [(0, 0)]  # message id, steady minus wall
        self._believed_us = 0
        self._marked = -math.inf
        self._is_new = False
        self.jumps = 0
        self.jumped: Callable[[], None] = _nothing

    def now_us(self) -> int:
        """Return the steady time."""
        return self._start_us + int((self._clock.monotonic() - self._began) * MICROSECONDS)

    @property
    def offset_us(self) -> int:
        """How far it is ahead of the wall clock."""
        return self.now_us() - self._clock.now_us()

    def shown_us(self, steady_us: int) -> int:
        """Return what the wall clock shows at a steady time, for people."""
        return max(0, steady_us - self._offsets[-1][1])

    # --- messages -------------------------------------------------------------------------------

    def stamp(self, inbox_id: int) -> int:
        """Return the wall clock for a message that comes in now; note where that was set."""
        return self.stamped(inbox_id)[0]

    def stamped(self, inbox_id: int) -> tuple[int, int]:
        """Return the wall clock and the steady time of a message that comes in now, as ``stamp``."""
        wall_us, steady_us = self._clock.now_us(), self.now_us()
        offset_us = steady_us - wall_us
        if not -NOTICED_US <= offset_us - self._offsets[-1][1] <= NOTICED_US:
            self._note(inbox_id, offset_us)
        return wall_us, steady_us

    def of(self, inbox_id: int, received_us: int) -> int:
        """Return when a message came, from its id and what the wall clock showed. Any thread may ask."""
        offsets = self._offsets
        since, offset_us = offsets[-1]
        if inbox_id < since:
            at = bisect_right(offsets, (inbox_id, math.inf)) - 1
            offset_us = offsets[max(0, at)][1]
        return received_us + offset_us

    def _note(self, inbox_id: int, offset_us: int) -> None:
        offsets = [known for known in self._offsets if known[0] < inbox_id]
        offsets.append((inbox_id, offset_us))
        if len(offsets) > MOST_OFFSETS:
            del offsets[1]
        self._offsets = offsets
        self._is_new = True
        self.jumps += 1
        self.jumped()

    # --- belief ---------------------------------------------------------------------------------

    @property
    def is_doubtful(self) -> bool:
        """Whether the wall clock is more than a day from where it was believed."""
        return abs(self.offset_us - self._believed_us) > BELIEVED_US

    @property
    def doubt_us(self) -> int:
        """How far the wall clock is from where it was believed; ahead is positive."""
        return self._believed_us - self.offset_us

    def look(self, next_id: int) -> None:
        """Look at the wall clock; called once a second. ``next_id``: of the next message."""
        if abs(self.offset_us - self._offsets[-1][1]) > NOTICED_US:
            self._note(next_id, self.offset_us)
        if not self.is_doubtful:
            self._believed_us = self.offset_us

    def accept(self, *, time_passed: bool) -> None:
        """A person says that the wall clock is right.

        ``time_passed``: and that the time it is ahead by did pass, with the engine off; then spans
        end accordingly. Else they keep what was left of them.
        """
        if time_passed:
            self._start_us += max(0, self.doubt_us)
        self._believed_us = self.offset_us
        self._is_new = True

    # --- the store ------------------------------------------------------------------------------

    def mark(self, batch: Batch) -> None:
        """Add the mark to a batch that is about to be committed, now and then."""
        now = self._clock.monotonic()
        if self._is_new or now - self._marked >= MARK_SECONDS:
            self._marked, self._is_new = now, False
            boot, seconds = self._clock.since_boot()
            kept = Kept(self.now_us(), boot, seconds, self._believed_us, self._offsets)
            batch.settings[STEADY_SETTING] = kept.text()

    def resume(self, reader: Reader) -> None:
        """Go on from the mark of the last run."""
        text = reader.setting(STEADY_SETTING)
        if not text:
            return
        kept = Kept.read(text)
        now_us, self._began = self._clock.now_us(), self._clock.monotonic()
        self._believed_us, self._offsets = kept.believed_us, kept.offsets
        newest = reader.inbox_newest(InboxFilter(), 1)
        last_us = max([kept.steady_us, *(self.of(r.inbox_id, r.received_us) for r in newest)])
        boot, seconds = self._clock.since_boot()
        if boot and boot == kept.boot and seconds >= kept.boot_seconds:
            passed_us = int((seconds - kept.boot_seconds) * MICROSECONDS)
        else:
            # what the wall clock showed at the mark, had it been where it was believed
            passed_us = now_us - (kept.steady_us - kept.believed_us)
            if passed_us > BELIEVED_US:
                passed_us = 0
        self._start_us = max(last_us, kept.steady_us + max(0, passed_us))


def _nothing() -> None:
    return None
