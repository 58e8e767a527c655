"""What all tests share: the ledger of campaigns, printed as a table at the end."""

import os
from pathlib import Path

import pytest

from campaigns import Ledger, save, table

LEDGER = pytest.StashKey[Ledger]()


def pytest_configure(config: pytest.Config) -> None:
    """Open an empty ledger."""
    config.stash[LEDGER] = Ledger()


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
