"""`ifengine shadow` and versions of `config diff`: what is asked, what is printed, how it ends."""

from pathlib import Path
from typing import Any

import pytest

from cli.support import here, stand_in, write_site

RULE = {
    "destination": "lab", "kind": "~", "path": "PID-5.1", "step": "step 1 upper", "messages": 2,
    "examples": ["7", "9"],
}  # fmt: skip


def answer(different: int) -> dict[str, Any]:
    return {
        "compared": 5, "same": 5 - different, "different": different,
        "left_out": {"its content is not kept": 1}, "kinds": [],
        "rules": [RULE] if different else [], "messages": [],
    }  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "s")


@pytest.mark.parametrize(
    ("different", "options", "code"),
    [(2, (), 0), (2, ("--fail-on-difference",), 1), (0, ("--fail-on-difference",), 0)],
)
def test_a_difference_fails_only_where_that_is_asked_for(
    site: Path, different: int, options: tuple[str, ...], code: int
) -> None:
    with stand_in(site, shadow=answer(different)):
        done = here("shadow", "--channel", "adt", *options, "--site", str(site))
    assert done.code == code
    assert "not compared: 1 message, its content is not kept" in done.out
    assert f"{5 - different} the same, {different} different" in done.out
    assert ("PID-5.1" in done.out and "(7, 9)" in done.out) is (different > 0)


def test_the_candidate_s_files_go_to_the_engine_and_samples_by_name_alone(
    site: Path, tmp_path: Path
) -> None:
    other = write_site(tmp_path / "other")
    (other / "channels" / "samples").mkdir(exist_ok=True)
    (other / "channels" / "samples" / "real.hl7").write_bytes(b"MSH|a message")
    (other / "channels" / "tables").mkdir()
    (other / "channels" / "tables" / "ward.csv").write_text("code,to\n1,A\n")
    with stand_in(site, shadow=answer(0)) as engine:
        done = here(
            "shadow", "--channel", "adt", "--against", str(other), "--site", str(site), "-o", "json"
        )
    assert done.json() == answer(0)
    [asked] = engine.asked
    files = dict(zip(asked["files"][::2], asked["files"][1::2], strict=True))
    assert files["channels/samples/real.hl7"] == ""
    assert files["channels/tables/ward.csv"] == "code,to\n1,A\n"
    assert files["ifengine.yaml"] == (other / "ifengine.yaml").read_text()
    assert (asked["channel"], asked["limit"]) == ("adt", 1000)


def test_a_candidate_that_is_too_large_or_not_there_is_told_before_anything_is_asked(
    site: Path, tmp_path: Path
) -> None:
    done = here("shadow", "--channel", "a", "--against", str(tmp_path), "--site", str(site))
    assert done.code == 2
    (site / "channels" / "tables").mkdir()
    (site / "channels" / "tables" / "big.csv").write_text("1234567,a\n" * 400_000)
    done = here("shadow", "--channel", "a", "--site", str(site))
    assert done.code == 2
    assert "small tables" in done.err


def test_two_versions_are_compared_by_their_numbers(site: Path) -> None:
    change = {
        "path": "channels.adt.steps[1]", "before": "a", "after": "b", "place_before": None,
        "place_after": {"file": "channels/adt.yaml", "line": 4},
    }  # fmt: skip
    found = {"old": 3, "new": 4, "changes": [change]}
    with stand_in(site, config__diff=found) as engine:
        done = here("config", "diff", "3", "--site", str(site))
        assert done.code == 1
        assert done.out == "~ channels.adt.steps[1]: a -> b  # channels/adt.yaml:4\n"
        assert "version 3 to 4: 1 difference" in done.err
        here("config", "diff", "3", "4", "--site", str(site))
    assert engine.asked == [
        {"verb": "config.diff", "old": "3"},
        {"verb": "config.diff", "old": "3", "new": "4"},
    ]
    with stand_in(site, config__diff={**found, "changes": []}):
        assert here("config", "diff", "3", "4", "--site", str(site)).code == 0
