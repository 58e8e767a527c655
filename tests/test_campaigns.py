"""The table that ends `make crash` and `make chaos`."""

import json
from pathlib import Path

import pytest

from campaigns import Ledger, save, table, trials


def test_the_table_names_every_promise_in_order_with_its_bound() -> None:
    ledger = Ledger()
    ledger.record("G10", "schedules", trials=200, found="seed 7")
    ledger.record("G2", "flipped bytes", trials=1000, failures=1)
    ledger.record("G1", "kills", trials=1000)
    lines = table(ledger.rows)
    assert [line.split()[0] for line in lines] == ["promise", "G1", "G2", "G10"]
    assert "< 0.300%" in lines[1]
    assert "< " not in lines[2]
    assert "seed 7" in lines[3]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, 10),
        ({"IFENGINE_CAMPAIGN": "long"}, 1000),
        ({"IFENGINE_CAMPAIGN": "long", "IFENGINE_KILLS": "3"}, 3),
    ],
)
def test_a_campaign_tries_as_often_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: int
) -> None:
    monkeypatch.delenv("IFENGINE_CAMPAIGN", raising=False)
    monkeypatch.delenv("IFENGINE_KILLS", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert trials(10, 1000, "IFENGINE_KILLS") == expected


def test_the_rows_are_kept_for_the_page_of_guarantees(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.record("G1", "kills", trials=5, found="seed 1")
    save(ledger.rows, tmp_path / "tried.json")
    assert json.loads((tmp_path / "tried.json").read_text())[0]["trials"] == 5
