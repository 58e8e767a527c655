"""``ifengine patients`` against a stand-in: a number is never an argument, a list is never lost."""

import stat
from pathlib import Path
from typing import Any

import pytest

from cli.support import Refusal, here, stand_in, write_site

SHOWN = {
    "identifier": "••••••", "retired": True, "survivor": "••••••",
    "chain": [{"to": "••••••", "by": "7", "at": "2026-11-21T11:41:07.120Z"}],
    "merged_into_it": ["••••••"], "frozen": "merges run in a loop", "known": {"PID-7": "••••••"},
}  # fmt: skip
FROZEN = {
    "identifier": "••••••", "why": "a merge reverses another", "by": "9",
    "at": "2026-11-21T11:41:07.120Z",
}  # fmt: skip
ROWS = [
    {"id": str(n), "received_at": "x", "channel": "results", "destination": "ehr", "state": "sent"}
    for n in range(11, 33)
]
PREVIEW = {
    "dry_run": True, "removed": False, "by": "7", "at": "2026-11-21T11:41:07.120Z",
    "messages": ROWS,
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "s")


def unmerged(request: dict[str, Any]) -> dict[str, Any]:
    return PREVIEW | {"dry_run": request["dry_run"], "removed": not request["dry_run"]}


@pytest.mark.parametrize(
    "args",
    [
        ["show", "700999"],
        ["resolve", "700999", "--reason", "x"],
        ["merge", "-", "700999", "--reason", "x"],
        ["unmerge", "700999", "--reason", "x", "--yes"],
    ],
)
def test_a_number_on_the_command_line_is_refused_and_not_repeated(
    site: Path, args: list[str]
) -> None:
    with stand_in(site) as engine:
        done = here("patients", *args, "--site", str(site), given="700123\n")
    assert done.code == 2
    assert "700999" not in done.out + done.err
    assert engine.asked == []


def test_show_asks_with_the_number_of_standard_input_and_prints_what_became_of_it(
    site: Path,
) -> None:
    with stand_in(site, patients__show=[SHOWN]) as engine:
        done = here("patients", "show", "-", "--site", str(site), given="700999\n")
    assert done.code == 0
    assert engine.asked == [{"verb": "patients.show", "number": "700999"}]
    assert "retired" in done.out
    assert "by message 7" in done.out
    assert "FROZEN    merges run in a loop" in done.out
    assert "700999" not in done.out + done.err
    with stand_in(site, patients__show=[SHOWN]) as engine:
        done = here(
            "patients", "show", "-", "--site", str(site), "-o", "json", "--phi", "--reason", "t 1",
            given="700999\n",
        )  # fmt: skip
    assert done.json() == [SHOWN]
    assert engine.asked[0]["reason"] == "t 1"


def test_only_frozen_numbers_are_listed(site: Path) -> None:
    done = here("patients", "list", "--site", str(site))
    assert done.code == 2
    with stand_in(site, patients__list=[FROZEN]):
        done = here("patients", "list", "--frozen", "--site", str(site))
    assert "a merge reverses another" in done.out
    with stand_in(site, patients__list=[]):
        done = here("patients", "list", "--frozen", "--site", str(site))
    assert (done.code, done.out) == (0, "")
    assert "no number is frozen" in done.err


@pytest.mark.parametrize("args", [["resolve", "-"], ["merge", "-", "-"], ["unmerge", "-", "--yes"]])
def test_a_decision_needs_a_reason(site: Path, args: list[str]) -> None:
    with stand_in(site) as engine:
        done = here("patients", *args, "--site", str(site), given="1\n2\n")
    assert done.code == 2
    assert "--reason" in done.err
    assert engine.asked == []


def test_resolve_says_what_it_was(site: Path) -> None:
    answer = {"resolved": True, "was": "merges run in a loop"}
    with stand_in(site, patients__resolve=answer) as engine:
        done = here("patients", "resolve", "-", "--reason", "r", "--site", str(site), given="7\n")
    assert engine.asked == [{"verb": "patients.resolve", "number": "7", "reason": "r"}]
    assert "merges run in a loop" in done.out
    assert "dlq replay" in done.err


def test_merge_reads_both_numbers_one_a_line(site: Path) -> None:
    with stand_in(site, patients__merge={"merged": True}) as engine:
        done = here(
            "patients", "merge", "-", "-", "--reason", "r", "--site", str(site), given="7\n8\n"
        )
    assert done.out == "merged\n"
    assert engine.asked == [
        {"verb": "patients.merge", "number": "7", "survivor": "8", "reason": "r"}
    ]
    with stand_in(site, patients__merge=Refusal("refused", "a merge reverses another", "")):
        done = here(
            "patients", "merge", "-", "-", "--reason", "r", "--site", str(site), given="7\n8\n"
        )
    assert done.code == 4


def test_unmerge_shows_what_is_concerned_and_does_nothing_on_a_dry_run(
    site: Path, tmp_path: Path
) -> None:
    with stand_in(site, patients__unmerge=unmerged) as engine:
        done = here("patients", "unmerge", "-", "--dry-run", "--site", str(site), given="7\n",
                    cwd=tmp_path)  # fmt: skip
    assert done.code == 0
    assert "22 messages went through this merge" in done.out
    assert "  and 2 more" in done.out
    assert engine.asked == [{"verb": "patients.unmerge", "number": "7", "dry_run": True}]
    assert list(tmp_path.glob("*.tsv")) == []


def test_unmerge_writes_the_list_before_the_link_goes(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "unmerge-7.tsv"

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        assert request["dry_run"] or path.exists()
        return unmerged(request)

    with stand_in(site, patients__unmerge=answer) as engine:
        done = here("patients", "unmerge", "-", "--reason", "r", "--yes", "--site", str(site),
                    given="7\n", cwd=tmp_path)  # fmt: skip
    assert done.code == 0
    assert [request["dry_run"] for request in engine.asked] == [True, False]
    lines = path.read_text().splitlines()
    assert lines[:2] == ["id\tchannel\tdestination\tstate", "11\tresults\tehr\tsent"]
    assert len(lines) == 23
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # what is there is not written over, and then nothing is taken back
    with stand_in(site, patients__unmerge=unmerged) as engine:
        done = here("patients", "unmerge", "-", "--reason", "r", "--yes", "--site", str(site),
                    given="7\n", cwd=tmp_path)  # fmt: skip
    assert done.code == 2
    assert [request["dry_run"] for request in engine.asked] == [True]


def test_unmerge_without_anybody_to_ask_is_refused(site: Path) -> None:
    with stand_in(site, patients__unmerge=unmerged) as engine:
        done = here("patients", "unmerge", "-", "--reason", "r", "--site", str(site), given="7\n")
    assert done.code == 4
    assert engine.asked == []


def test_unmerge_prints_one_document_for_programs(site: Path, tmp_path: Path) -> None:
    with stand_in(site, patients__unmerge=unmerged):
        done = here("patients", "unmerge", "-", "--reason", "r", "--yes", "--site", str(site),
                    "-o", "json", "--list", "here.tsv", given="7\n", cwd=tmp_path)  # fmt: skip
    assert done.json()["list"] == "here.tsv"
    assert done.json()["removed"]
