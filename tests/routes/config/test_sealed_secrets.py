"""`secrets: [sealed]` in a site file: what is filled, in which order, and what is said without it."""

from pathlib import Path

import pytest

from ifengine.store.keys import FileKek
from ifengine.store.secrets import FOLDER, SecretStore
from routes.config.small_site import SITE

SEALED = SITE.replace("lab.example", '"${secret:lab-host}"')
VALUE = "lab-from-the-seal.example"


def site(sources: str, more: str = "") -> dict[str, str]:
    return {"ifengine.yaml": f"{SEALED}secrets: {sources}\n{more}"}


def seal(folder: Path, kek: str = "var/keys/kek") -> None:
    path = folder / kek
    key = FileKek(path) if path.exists() else FileKek.init_file(path)
    SecretStore(folder / FOLDER).put("lab-host", VALUE, key)


def host(found) -> str:  # type: ignore[no-untyped-def]
    assert found.can_run, found.problems
    return str(found.site.senders["out"].host)


def test_a_sealed_secret_fills_its_place(load, tmp_path: Path) -> None:
    seal(tmp_path)
    assert host(load(site("[systemd, sealed]"))) == VALUE


@pytest.mark.parametrize(
    ("sources", "expected"),
    [("[dir:there, sealed]", "from-the-folder"), ("[sealed, dir:there]", VALUE)],
)
def test_the_first_source_that_has_it_counts(
    load, tmp_path: Path, sources: str, expected: str
) -> None:
    seal(tmp_path)
    assert host(load({**site(sources), "there/lab-host": "from-the-folder"})) == expected


def test_the_key_is_the_one_that_the_site_names(load, tmp_path: Path) -> None:
    seal(tmp_path, "elsewhere/kek")
    assert host(load(site("[sealed]", 'keys: {kek: "file:elsewhere/kek"}\n'))) == VALUE


def test_a_secret_that_is_not_there_is_missing(load) -> None:
    found = load(site("[sealed]"))
    assert [(p.code, p.position.line) for p in found.unfilled] == [("W230", 6)]
    assert "sealed" in found.unfilled[0].hint


def test_a_secret_that_does_not_open_says_so_and_nothing_runs(load, tmp_path: Path) -> None:
    seal(tmp_path)
    (tmp_path / "var/keys/kek").unlink()
    FileKek.init_file(tmp_path / "var/keys/kek")
    found = load(site("[sealed]"))
    assert not found.can_run
    assert "does not open" in found.unfilled[0].message


def test_a_secret_without_its_key_says_what_is_missing(load, tmp_path: Path) -> None:
    seal(tmp_path)
    (tmp_path / "var/keys/kek").unlink()
    (problem,) = load(site("[sealed]")).unfilled
    assert "key cannot be used" in problem.message
    assert problem.hint == "ifengine keys init"


def test_a_certificates_key_is_not_looked_up_there(load, tmp_path: Path) -> None:
    seal(tmp_path)
    tls = 'tls: {t: {cert: c.pem, key: "${secret:lab-host}"}}\n'
    found = load({**site("[sealed]", tls), "c.pem": "x"})
    assert [p.code for p in found.unfilled] == ["W230"]
