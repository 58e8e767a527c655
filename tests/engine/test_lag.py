"""The longest stand of the loop is shown for a while: it stops everybody, and lasts a moment."""

import time

from engine.support import Receiver, Site, metric, running, until
from ifengine.engine.lag import LoopLag


def test_the_longest_stand_is_shown_for_a_minute_at_least_and_two_at_most() -> None:
    lag = LoopLag(100.0)
    lag.note(0.4, 101.0)
    for now in range(102, 160):
        lag.note(0.001, float(now))
    assert lag.seconds == 0.4
    lag.note(0.002, 160.0)  # another minute begins, and the last still counts
    lag.note(0.003, 219.0)
    assert lag.seconds == 0.4
    lag.note(0.001, 220.0)
    assert lag.seconds == 0.003


async def test_a_loop_that_stood_still_shows_in_the_metrics_afterwards(
    site: Site, lab: Receiver
) -> None:
    name = "ifengine_event_loop_lag_seconds"
    async with running(site) as engine:

        async def shown() -> bool:
            text = (await engine.ask("metrics"))["text"]
            return metric(text, name) >= 0.4

        time.sleep(0.6)  # the loop of the engine is this one
        await until(shown)
