"""A plugin of pytest that writes down how each test ended: by an assertion, or by anything else."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

TOLD = "IFENGINE_SEEDED_TOLD"  # the file, one line a test


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def is_finding(error: BaseException) -> bool:
    """Return whether a test says that something is wrong, rather than breaking on its way there."""
    return all(isinstance(one, AssertionError | pytest.fail.Exception) for one in _leaves(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Write one line for each phase that failed or was skipped, and for each test that passed."""
    report = yield
    failed = call.excinfo is not None and report.failed
    if failed or report.skipped or call.when == "call":
        error = call.excinfo.value if call.excinfo is not None else None
        line = {
            "test": item.nodeid,
            "phase": call.when,
            "outcome": report.outcome,
            "finding": failed and error is not None and is_finding(error),
            "error": "" if error is None else f"{type(error).__name__}: {error}"[:300],
        }
        with open(os.environ[TOLD], "a", encoding="utf-8") as told:
            told.write(json.dumps(line) + "\n")
    return report
