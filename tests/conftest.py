"""What all tests share: the ledger of campaigns, printed as a table at the end."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from campaigns import Ledger, save, table
from ifengine.form import FORM

LEDGER = pytest.StashKey[Ledger]()


# a busy machine decides no test: Hypothesis measures no example, and not how fast it finds them
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Open an empty ledger."""
    config.stash[LEDGER] = Ledger()
    config.addinivalue_line("markers", "campaign_only: left out, as nothing asks for it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a campaign does, and in the compiled form what puts fakes into its classes."""
    left_out = [
        item
        for item in items
        if item.get_closest_marker("campaign_only") or (FORM == "compiled" and is_faking(item))
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def is_faking(item: pytest.Item) -> bool:
    """Whether a test hands compiled code what is not of its type, or changes its methods."""
    fixtures = getattr(item, "fixturenames", ())
    return "monkeypatch" in fixtures or item.get_closest_marker("interpreted") is not None


@pytest.fixture
def ledger(pytestconfig: pytest.Config) -> Ledger:
    """Where a campaign writes down what it tried."""
    return pytestconfig.stash[LEDGER]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table of what was tried."""
    rows = config.stash[LEDGER].rows
    if not rows:
        return
    terminalreporter.section("what was tried")
    for line in table(rows):
        terminalreporter.write_line(line)
    wanted = os.environ.get("IFENGINE_CAMPAIGN_FILE")
    if wanted:
        save(rows, Path(wanted))
