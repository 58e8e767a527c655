"""What the process takes from its environment."""

import dataclasses
from pathlib import Path

import pytest

from engine.support import Receiver, Site
from ifengine.errors import SettingsError
from ifengine.settings import STORE_VARIABLE, read_settings


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site", {"lab": Receiver()})


def test_without_a_word_the_store_is_the_durable_one(site: Site) -> None:
    settings = read_settings(site.settings().site, {})
    assert settings.store_kind == "sqlite"
    assert settings.stop_grace_seconds > 30  # longer than a usual ack_timeout


def test_a_store_that_forgets_is_for_test_sites_only(site: Site) -> None:
    loaded = site.settings().site
    environ = {STORE_VARIABLE: "memory"}
    assert read_settings(loaded, environ).store_kind == "memory"
    for environment in ("production", "staging"):
        real = dataclasses.replace(loaded, environment=environment)
        with pytest.raises(SettingsError, match="forgets every message"):
            read_settings(real, environ)


def test_an_unknown_store_is_refused_without_its_name(site: Site) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(site.settings().site, {STORE_VARIABLE: "postgres-secret"})
    assert "postgres-secret" not in str(caught.value)
    assert "sqlite" in caught.value.hint


def test_the_key_file_is_found_below_its_scheme(site: Site) -> None:
    settings = site.settings()
    assert settings.kek_path.is_absolute()
    assert f"file:{settings.kek_path}" == settings.site.kek
    assert settings.kek_path.exists()
