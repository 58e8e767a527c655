import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.support import Receiver, Site
from engine.told import Told
from ifengine.telemetry.log import LOGGER


@pytest.fixture(autouse=True)
def _process_hooks() -> Iterator[None]:
    """The engine takes over the hooks of its process; a test gives them back."""
    hook, root = sys.excepthook, logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    sys.excepthook = hook
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def told() -> Iterator[Told]:
    """The events that are told while the test runs."""
    handler, level = Told(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    yield handler
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(level)


@pytest.fixture
async def lab() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
async def ward() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def site(tmp_path: Path, lab: Receiver) -> Site:
    return Site(tmp_path / "site", {"lab": lab})
