"""``ifengine tally`` against a stand-in for the engine."""

from pathlib import Path
from typing import Any

import pytest

from cli.support import here, stand_in, write_site

EVEN: dict[str, Any] = {
    "at": "2026-11-21T11:41:07.120Z", "since": None, "even": True, "faults": 0,
    "rows": [
        {"channel": "adt", "destination": None, "total": 1203, "planned": 1201,
         "states": {"received": 2}, "residue": 0},
        {"channel": "adt", "destination": "lab", "total": 1201, "planned": None,
         "states": {"sent": 1200, "dead_letter": 1}, "residue": 0},
    ],
}  # fmt: skip
UNEVEN: dict[str, Any] = {
    **EVEN, "even": False, "faults": 1,
    "rows": [EVEN["rows"][0], {**EVEN["rows"][1], "residue": 1}],
    "named": [{"what": "behind the cursor without an end", "id": "77", "channel": "adt",
               "destination": "lab", "letter": "3/9"}],
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "s")


def test_a_table_has_a_column_for_each_state_that_occurs_and_the_residue(site: Path) -> None:
    with stand_in(site, tally=EVEN) as engine:
        done = here("tally", "--channel", "adt", "--site", str(site))
    assert done.code == 0
    assert engine.asked == [{"verb": "tally", "channel": "adt"}]
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "CHANNEL", "DESTINATION", "TOTAL", "RECEIVED", "DEAD", "LETTER", "SENT", "RESIDUE",
    ]  # fmt: skip
    assert lines[1].split() == ["adt", "-", "1,203", "2", "-", "-", "0"]
    assert lines[2].split() == ["adt", "lab", "1,201", "-", "1", "1,200", "0"]
    assert lines[3] == "even: everything is in exactly one state, at 2026-11-21T11:41:07.120Z"


def test_a_residue_ends_with_1_and_verify_names_the_records(site: Path) -> None:
    with stand_in(site, tally=UNEVEN) as engine:
        done = here("tally", "--verify", "--site", str(site))
    assert done.code == 1
    assert engine.asked == [{"verb": "tally", "verify": True}]
    assert "NOT EVEN: 1 record in no state or in two" in done.out
    assert "message 77, adt.lab, at 3/9: behind the cursor without an end" in done.out
    with stand_in(site, tally=UNEVEN):
        done = here("tally", "-o", "json", "--site", str(site))
    assert done.code == 1
    assert done.json() == UNEVEN
