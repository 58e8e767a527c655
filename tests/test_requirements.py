"""A missing requirement is never silent."""

import json
from pathlib import Path

import pytest

import requirements


def test_a_program_that_is_here_is_found() -> None:
    assert requirements.require("program:sh").name == "sh"


def test_an_absent_requirement_skips_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IFENGINE_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="program:no-such-program is not here"):
        requirements.require("program:no-such-program")


@pytest.mark.parametrize("demand", ["all", "program:other, program:no-such-program"])
def test_an_absent_requirement_that_is_demanded_fails(
    monkeypatch: pytest.MonkeyPatch, demand: str
) -> None:
    monkeypatch.setenv("IFENGINE_REQUIRE", demand)
    with pytest.raises(pytest.fail.Exception, match="program:no-such-program is not here"):
        requirements.require("program:no-such-program")


def test_an_npm_package_is_looked_for_where_make_puts_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("IFENGINE_REQUIRE", raising=False)
    monkeypatch.setattr(requirements, "NPM_PREFIX", tmp_path)
    monkeypatch.setattr(requirements.shutil, "which", lambda name: f"/bin/{name}")
    with pytest.raises(pytest.skip.Exception):
        requirements.require("npm:peer")
    package = tmp_path / "node_modules" / "peer" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"name": "peer"}))
    assert requirements.require("npm:peer") == package.parent


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such kind"):
        requirements.require("gem:peer")
