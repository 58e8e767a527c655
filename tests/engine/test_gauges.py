"""What the gauges show: when a feed should be heard."""

import pytest

from engine.support import Receiver, Site, metric, running
from ifengine.engine.gauges import is_within


@pytest.mark.parametrize(
    ("between", "minute", "within"),
    [
        ("", 0, True),
        ("06:00-22:00", 359, False),
        ("06:00-22:00", 360, True),
        ("06:00-22:00", 1319, True),
        ("06:00-22:00", 1320, False),
        ("22:00-05:00", 1320, True),
        ("22:00-05:00", 100, True),
        ("22:00-05:00", 300, False),
        ("00:00-24:00", 1439, True),
    ],
)
def test_a_window_may_go_over_midnight(between: str, minute: int, within: bool) -> None:
    assert is_within(between, minute) is within


async def test_what_a_channel_expects_is_shown_and_follows_a_reload(
    site: Site, lab: Receiver
) -> None:
    site.head = "order_by: patient\nexpect: {every: 15m}"
    name = "ifengine_expected_interval_seconds"
    async with running(site) as engine:
        assert metric((await engine.ask("metrics"))["text"], name, channel="adt") == 900
        site.head = "order_by: patient\nexpect: {every: 1h}"
        site.write()
        assert (await engine.ask("config.reload"))["done"] is True
        assert metric((await engine.ask("metrics"))["text"], name, channel="adt") == 3600
        site.head = "order_by: patient"
        site.write()
        assert (await engine.ask("config.reload"))["done"] is True
        assert metric((await engine.ask("metrics"))["text"], name, channel="adt") == 0
