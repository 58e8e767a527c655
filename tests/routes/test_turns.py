"""Senders are served before the steps of what they sent, and no backlog grows without end."""

from ifengine.routes.turns import FEW, SHORT_BACKLOG, SLICE, share


def test_little_is_planned_while_senders_wait_and_the_backlog_is_short() -> None:
    assert 0 < FEW < SLICE
    assert share(1, receiving=True) == FEW
    assert share(SHORT_BACKLOG - 1, receiving=True) == FEW


def test_nothing_holds_back_the_steps_when_nobody_waits_or_the_backlog_is_long() -> None:
    assert share(1, receiving=False) == SLICE
    assert share(SHORT_BACKLOG, receiving=True) == SLICE
