"""``ifengine parked`` against a stand-in for the engine."""

from pathlib import Path

import pytest

from cli.support import here, stand_in, write_site

ROW = {
    "id": "7", "channel": "results", "type": "ORU^R01", "fact": "order",
    "since": "2026-11-21T11:41:07.120Z", "until": "2026-11-21T12:11:07.120Z",
    "reason": "waiting for order", "step": "step 1 wait_for", "config_version": 3,
}  # fmt: skip
SHOWN = {
    "id": "7", "type": "ORU^R01", "state": "parked",
    "waits": [{"channel": "results", "fact": "order", "step": "step 1 wait_for",
               "since": "a", "until": "b", "detail": "••••••"}],
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "s")


def test_parked_messages_are_listed_with_the_end_of_their_time(site: Path) -> None:
    with stand_in(site, parked__list=[ROW]) as engine:
        done = here("parked", "list", "--fact", "order", "--site", str(site))
    assert done.code == 0
    assert engine.asked == [{"verb": "parked.list", "fact": "order", "limit": 100}]
    assert "order" in done.out
    assert "step 1 wait_for" in done.out
    with stand_in(site, parked__list=[ROW]):
        done = here("parked", "list", "--site", str(site), "-o", "name")
    assert done.out == "7\n"


def test_what_a_message_waits_for_is_shown_for_a_reason_only(site: Path) -> None:
    with stand_in(site, parked__show=SHOWN) as engine:
        assert here("parked", "show", "7", "--phi", "--site", str(site)).code == 2
        assert engine.asked == []
        done = here("parked", "show", "7", "--site", str(site))
        assert "until    b" in done.out
        done = here(
            "parked", "show", "7", "--phi", "--reason", "t 1", "--site", str(site), "-o", "json"
        )
    assert done.json() == SHOWN
    assert engine.asked[1] == {"verb": "parked.show", "id": "7", "phi": True, "reason": "t 1"}


@pytest.mark.parametrize("verb", ["release", "expire"])
def test_letting_go_wants_a_reason_and_says_what_was_not_parked(site: Path, verb: str) -> None:
    answer = {"going": ["7"], "gone": ["8"]}
    with stand_in(site, **{f"parked__{verb}": answer}) as engine:
        assert here("parked", verb, "7", "--site", str(site)).code == 2
        assert engine.asked == []
        done = here("parked", verb, "7", "8", "--reason", "on paper", "--site", str(site))
    assert done.code == 5
    assert done.out == "1 message on the way\n8  not parked\n"
    assert engine.asked == [{"verb": f"parked.{verb}", "ids": ["7", "8"], "reason": "on paper"}]
    with stand_in(site, **{f"parked__{verb}": {"going": ["7"], "gone": []}}):
        done = here("parked", verb, "7", "--reason", "on paper", "--site", str(site), "-o", "json")
    assert done.code == 0
    assert done.json() == {"going": ["7"], "gone": []}
