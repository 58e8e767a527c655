"""The engine's own store of secrets: what opens, what does not, and that no text shows a value."""

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.store.keys import FileKek
from ifengine.store.secrets import MOST_BYTES, SecretError, SecretStore

VALUE = "opensesame-canary"


@pytest.fixture(scope="module")
def kek(tmp_path_factory: pytest.TempPathFactory) -> FileKek:
    return FileKek.init_file(tmp_path_factory.mktemp("keys") / "kek")


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(tmp_path / "secrets")


@given(st.text(min_size=1, max_size=200).filter(lambda t: t.isprintable()))
def test_what_was_put_is_what_is_got(kek: FileKek, tmp_path_factory, value: str) -> None:
    store = SecretStore(tmp_path_factory.mktemp("s"))
    assert store.put("db", value, kek)
    assert store.get("db", kek) == value


def test_a_second_value_replaces_the_first(store: SecretStore, kek: FileKek) -> None:
    assert store.put("db", "one", kek) is True
    assert store.put("db", "two", kek) is False
    assert store.get("db", kek) == "two"
    assert store.names() == ["db"]


def test_the_file_is_private_and_holds_nothing_of_the_value(
    store: SecretStore, kek: FileKek, tmp_path: Path
) -> None:
    store.put("db", VALUE, kek)
    (path,) = (tmp_path / "secrets").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    raw = path.read_bytes()
    assert VALUE.encode() not in raw + base64.b64decode(raw.splitlines()[1])


def test_a_renamed_file_does_not_open(store: SecretStore, kek: FileKek, tmp_path: Path) -> None:
    store.put("db", VALUE, kek)
    (tmp_path / "secrets" / "db.sealed").rename(tmp_path / "secrets" / "web.sealed")
    with pytest.raises(SecretError, match="web does not open") as caught:
        store.get("web", kek)
    assert VALUE not in str(caught.value)


def test_another_key_does_not_open_it(store: SecretStore, kek: FileKek, tmp_path: Path) -> None:
    store.put("db", VALUE, kek)
    with pytest.raises(SecretError, match="does not open"):
        store.get("db", FileKek.init_file(tmp_path / "other"))


@pytest.mark.parametrize("damage", [b"", b"x", b"ifengine sealed secret 1\n!!\n"])
def test_a_damaged_file_does_not_open(
    store: SecretStore, kek: FileKek, tmp_path: Path, damage: bytes
) -> None:
    store.put("db", VALUE, kek)
    (tmp_path / "secrets" / "db.sealed").write_bytes(damage)
    with pytest.raises(SecretError, match="does not open"):
        store.get("db", kek)


def test_a_file_that_others_may_read_is_refused(
    store: SecretStore, kek: FileKek, tmp_path: Path
) -> None:
    store.put("db", VALUE, kek)
    (tmp_path / "secrets" / "db.sealed").chmod(0o644)
    with pytest.raises(SecretError, match="others than its owner"):
        store.get("db", kek)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a" * 129, "a\n", "é"])
def test_what_is_no_name_is_refused_everywhere(store: SecretStore, kek: FileKek, name: str) -> None:
    for act in (lambda: store.put(name, "v", kek), lambda: store.get(name, kek)):
        with pytest.raises(SecretError, match="name"):
            act()
    with pytest.raises(SecretError, match="name"):
        store.remove(name)


def test_a_removed_secret_is_gone_and_cannot_be_removed_twice(
    store: SecretStore, kek: FileKek
) -> None:
    store.put("db", VALUE, kek)
    store.remove("db")
    assert store.names() == []
    with pytest.raises(SecretError, match="no secret db"):
        store.remove("db")


@pytest.mark.parametrize("value", ["", "x" * (MOST_BYTES + 1)])
def test_a_value_has_a_size(store: SecretStore, kek: FileKek, value: str) -> None:
    with pytest.raises(SecretError, match="bytes"):
        store.put("db", value, kek)
    assert store.names() == []
