"""``ifengine clock`` against a stand-in for the engine."""

from pathlib import Path
from typing import Any

import pytest

from cli.support import here, stand_in, write_site

BELIEVED: dict[str, Any] = {
    "wall": "2026-11-21T11:41:07.120Z", "steady": "2026-11-21T11:41:07.120Z",
    "believed": True, "ahead_seconds": 0, "times_set": 1,
}  # fmt: skip
DOUBTED: dict[str, Any] = {
    **BELIEVED, "wall": "2036-11-18T11:41:07.120Z", "believed": False,
    "ahead_seconds": 3650 * 86_400,
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "s")


def test_a_clock_that_is_believed_ends_with_0(site: Path) -> None:
    with stand_in(site, **{"clock.show": BELIEVED}):
        done = here("clock", "show", "--site", str(site))
    assert done.code == 0
    assert "believed; set 1 time in this run" in done.out


def test_a_clock_that_is_not_believed_ends_with_1_and_says_what_to_do(site: Path) -> None:
    with stand_in(site, **{"clock.show": DOUBTED}):
        done = here("clock", "show", "--site", str(site))
    assert done.code == 1
    assert "NOT BELIEVED: 87,600.0 hours ahead of where it was; nothing is purged" in done.out
    assert "ifengine clock accept --reason" in done.out
    with stand_in(site, **{"clock.show": {**DOUBTED, "ahead_seconds": -90_000}}):
        done = here("clock", "show", "-o", "json", "--site", str(site))
    assert done.code == 1
    assert done.json()["ahead_seconds"] == -90_000


def test_accepting_takes_a_reason(site: Path) -> None:
    with stand_in(site, **{"clock.accept": BELIEVED}) as engine:
        assert here("clock", "accept", "--site", str(site)).code == 2
        done = here("clock", "accept", "--reason", "new board", "--site", str(site))
        here("clock", "accept", "--time-passed", "--reason", "the move", "--site", str(site))
    assert done.code == 0
    assert engine.asked == [
        {"verb": "clock.accept", "reason": "new board"},
        {"verb": "clock.accept", "reason": "the move", "time_passed": True},
    ]
