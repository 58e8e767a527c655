"""``secrets set``, ``list`` and ``remove``."""

from pathlib import Path

import pytest

from cli.support import SITE, here, write_site
from ifengine.store.keys import FileKek
from ifengine.store.secrets import FOLDER, SecretStore

VALUE = "opensesame-canary"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    write_site(folder)
    assert here("keys", "init", "--site", str(folder)).code == 0
    return folder


def value(site: Path, name: str) -> str:
    kek = FileKek(site / "var" / "keys" / "kek")
    return SecretStore(site / FOLDER).get(name, kek)


def test_a_value_is_read_from_standard_input_without_its_line_end(site: Path) -> None:
    done = here("secrets", "set", "db", "--site", str(site), given=f"{VALUE}\r\n")
    assert (done.code, done.out) == (0, "sealed db\n")
    assert value(site, "db") == VALUE
    again = here("secrets", "set", "db", "--site", str(site), given="other\n\n")
    assert again.out == "replaced db\n"
    assert value(site, "db") == "other\n"


def test_list_shows_names_and_no_value(site: Path) -> None:
    for name in ("web", "db"):
        assert here("secrets", "set", name, "--site", str(site), given=VALUE).code == 0
    shown = here("secrets", "list", "--site", str(site))
    assert shown.out == "db\nweb\n"
    listed = here("secrets", "list", "--site", str(site), "-o", "json")
    assert listed.json() == ["db", "web"]
    assert VALUE not in shown.out + listed.out


def test_remove_asks_and_where_nobody_can_be_asked_wants_yes(site: Path) -> None:
    here("secrets", "set", "db", "--site", str(site), given=VALUE)
    refused = here("secrets", "remove", "db", "--site", str(site))
    assert refused.code == 4
    assert value(site, "db") == VALUE
    assert here("secrets", "remove", "db", "--yes", "--site", str(site)).code == 0
    assert here("secrets", "list", "--site", str(site)).out == ""
    gone = here("secrets", "remove", "db", "--yes", "--site", str(site))
    assert gone.code == 1
    assert "no secret db" in gone.err


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [("db", "", "bytes"), ("../db", VALUE, "name"), ("db", b"\xff\xfe", "UTF-8")],
)
def test_what_cannot_be_a_secret_is_refused_and_not_shown(
    site: Path, name: str, given: str | bytes, told: str
) -> None:
    done = here("secrets", "set", name, "--site", str(site), given=given)
    assert done.code == 1
    assert told in done.err
    assert VALUE not in done.out + done.err
    assert here("secrets", "list", "--site", str(site)).out == ""


def test_without_a_key_it_says_how_to_make_one(tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    write_site(folder)
    done = here("secrets", "set", "db", "--site", str(folder), given=VALUE)
    assert done.code == 1
    assert "ifengine keys init" in done.err


def test_check_runs_with_a_sealed_secret(site: Path) -> None:
    text = SITE.replace("host: 127.0.0.1", 'host: "${secret:lab-host}"') + "secrets: [sealed]\n"
    write_site(site, site=text)
    args = ("check", "--strict", "--site", str(site))
    before = here(*args)
    assert "W230" in before.out + before.err
    here("secrets", "set", "lab-host", "--site", str(site), given="127.0.0.1")
    after = here(*args)
    assert "W230" not in after.out + after.err


def test_programs_get_json(site: Path) -> None:
    args = ("--site", str(site), "-o", "json")
    made = here("secrets", "set", "db", *args, given=VALUE)
    assert made.json() == {"secret": "db", "is_new": True}
    assert here("secrets", "remove", "db", "--yes", *args).json() == {"removed": "db"}
