"""Sites for tests: a small one without any problem, and what a test puts over it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ifengine.routes.config.loading import Loaded, load_site
from routes.config.small_site import CHANNEL, SITE, write_site

LoadSite = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> LoadSite:
    """Return a function that writes and loads the small site."""

    def write_and_load(
        files: Mapping[str, str | bytes | None] | None = None,
        *,
        env: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Loaded:
        write_site(tmp_path, files or {})
        return load_site(tmp_path, env=env, environ=environ or {})

    return write_and_load


@pytest.fixture
def site_text() -> str:
    return SITE


@pytest.fixture
def channel_text() -> str:
    return CHANNEL
