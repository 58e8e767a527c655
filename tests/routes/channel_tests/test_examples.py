"""The language's own examples: five channels whose 21 tests are its first acceptance test."""

from pathlib import Path

import pytest

from ifengine.routes.channel_tests.coverage import coverage_of
from ifengine.routes.channel_tests.run import run_tests
from ifengine.routes.channel_tests.weak import weak_places
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.config.tests_beside import read_test_files
from routes.channel_tests.small import loaded, told

EXAMPLES = Path(__file__).parents[3] / ".." / "shared" / "examples" / "site"
TESTS = {
    "adt-fanout": 5,
    "identity-and-waiting": 4,
    "lab-results": 5,
    "radiology-orders": 6,
    "regional-batch": 1,
}


@pytest.fixture(scope="module")
def site() -> SiteConfig:
    if not EXAMPLES.is_dir():
        pytest.skip("the examples of the language are not beside this repository")
    found = loaded(EXAMPLES).site
    assert found is not None
    return found


def test_there_are_the_channels_that_are_known_here(site: SiteConfig) -> None:
    assert {c.name: len(c.tests) for c in site.channels} == TESTS
    assert sum(TESTS.values()) == 21


@pytest.mark.parametrize("name", TESTS)
def test_every_test_of_an_example_passes(site: SiteConfig, name: str) -> None:
    config = next(c for c in site.channels if c.name == name)
    report = run_tests(site, name, read_test_files(site.directory, config.tests))
    assert [(r.case.name, told(r)) for r in report.results if not r.passed] == []
    assert len(report.results) == TESTS[name]


def test_weak_finds_what_the_examples_do_not_test(site: SiteConfig) -> None:
    found = loaded(EXAMPLES)
    assert found.around is not None
    config = next(c for c in site.channels if c.name == "adt-fanout")
    files = read_test_files(site.directory, config.tests)
    weakness = weak_places(found.written["adt-fanout"], found.around, site, config, files)
    deleted = [s.mutant.place for s in weakness.survivors if s.is_deletion]
    assert ("", "clear", 23) in [(p.owner, p.verb, p.position.line) for p in deleted]
    # the sample already says LIS
    assert ("lab", "set", 30) in [(p.owner, p.verb, p.position.line) for p in deleted]
    assert "lookup" not in [p.verb for p in deleted]


def test_every_destination_of_the_examples_is_reached(site: SiteConfig) -> None:
    for config in site.channels:
        files = read_test_files(site.directory, config.tests)
        assert coverage_of(site, config, files).destinations == (), config.name
