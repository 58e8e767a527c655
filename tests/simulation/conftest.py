"""The simulated site, written once."""

from pathlib import Path

import pytest

from simulation.site import Written, write


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The files of the site that is simulated."""
    folder: Path = tmp_path_factory.mktemp("simulated")
    return write(folder)
