"""The page of guarantees says what the tests do: names, numbers, figures, seeded bugs."""

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from seeded.bugs import BUGS, PROMISES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(
    zip(
        re.findall(r"^## (G\d+): ", TEXT, re.MULTILINE),
        re.split(r"^## G\d+: ", TEXT, flags=re.MULTILINE)[1:],
        strict=True,
    )
)
TEST = re.compile(r"`tests/([\w/]+\.py)::(test_\w+)`")
COUNTS = re.compile(r"(\d[\d,]*), long\s+(\d[\d,]*)\s+\(`(IFENGINE_\w+)`\)")


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guarantees", ROOT / "docs" / "guarantees.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_every_promise_has_its_section_with_all_its_parts() -> None:
    assert list(SECTIONS) == list(PROMISES)
    for promise, text in SECTIONS.items():
        for part in (
            "**What would prove it wrong.**", "**Tests.**", "```sh make\n", "**What it does not show.**",
            f"<!-- figures {promise} -->", f"<!-- bugs {promise} -->",
        ):  # fmt: skip
            assert part in text, f"{promise}: {part}"
        assert TEST.search(text), promise
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](docs/guarantees.md)" in readme


def test_every_test_that_the_page_names_exists() -> None:
    named = set(TEST.findall(TEXT))
    assert len(named) > 30
    assert TEXT.count("`tests/") == len(TEST.findall(TEXT)), "a test that is written otherwise"
    for file, name in named:
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        found = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in found, f"{file}::{name}"


def test_the_numbers_of_trials_are_those_of_the_tests(writer: ModuleType) -> None:
    said = COUNTS.findall(TEXT)
    assert len(said) > 15
    assert len(said) == len(re.findall(r", long\s+\d", TEXT))
    assert {variable for *_, variable in said} <= set(writer.trials_of_tests())


def test_what_may_be_chosen_by_a_part_of_a_name_exists() -> None:
    names = "\n".join(
        path.stem + "\n" + path.read_text(encoding="utf-8")
        for path in (ROOT / "tests").rglob("test_*.py")
    )
    for chosen in re.findall(r"ONLY=(\w+)", TEXT):
        assert re.search(rf"\w*{chosen}\w*", names), chosen


def test_what_is_counted_stands_as_it_is_now(writer: ModuleType) -> None:
    assert writer.written(TEXT, writer.read()) == TEXT, "run: python docs/guarantees.py"
    for bug in BUGS:
        assert f"| `{bug.name}` |" in SECTIONS[bug.promise], bug.name


def test_a_campaign_is_taken_up_row_by_row_and_one_that_failed_is_refused(
    writer: ModuleType,
) -> None:
    first = {"promise": "G1", "what": "kills", "trials": 1000, "failures": 0, "found": "seed 1"}
    other = {**first, "promise": "G10", "what": "schedules"}
    before = writer.taken_up([], [other, first], "2026-01-05", "here")
    assert [one.promise for one in before] == ["G1", "G10"]
    after = writer.taken_up(before, [{**first, "trials": 2000}], "2026-01-06", "there")
    assert [(one.trials, one.date) for one in after] == [(2000, "2026-01-06"), (1000, "2026-01-05")]
    page = writer.written(TEXT, after)
    assert "| kills | 2,000 | < 0.150% | 2026-01-06 | seed 1 |" in page
    assert "here; there" in page
    with pytest.raises(ValueError, match="failed: kills"):
        writer.taken_up(before, [{**first, "failures": 1}], "2026-01-06", "there")
