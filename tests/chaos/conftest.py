"""The hooks of the process, which an engine takes over, are given back."""

import logging
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _process_hooks() -> Iterator[None]:
    hook, root = sys.excepthook, logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    sys.excepthook = hook
    root.handlers[:] = handlers
    root.setLevel(level)
