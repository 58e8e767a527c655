import os
from pathlib import Path

import pytest

from ifengine.errors import SealError
from ifengine.store.keys import FileKek, KeyFileError, KeyFileExistsError, KeyFileMissingError


def test_a_new_key_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "kek"
    old = os.umask(0)
    try:
        kek = FileKek.init_file(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert FileKek(path).kek_id == kek.kek_id
    assert len(kek.kek_id) == 8
    assert int(kek.kek_id, 16) >= 0


def test_what_one_load_wraps_the_next_unwraps(tmp_path: Path) -> None:
    wrapped = FileKek.init_file(tmp_path / "kek").wrap(bytes(32), b"context")
    kek = FileKek(tmp_path / "kek")
    assert kek.unwrap(wrapped, b"context") == bytes(32)
    assert bytes(32) not in wrapped
    with pytest.raises(SealError):
        kek.unwrap(wrapped, b"other context")
    with pytest.raises(SealError):
        kek.unwrap(b"", b"context")
    other = FileKek.init_file(tmp_path / "other")
    assert other.kek_id != kek.kek_id
    with pytest.raises(SealError):
        other.unwrap(wrapped, b"context")


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    FileKek.init_file(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileExistsError, match="kek"):
        FileKek.init_file(path)
    assert path.read_bytes() == before


def test_a_link_is_not_followed_when_a_key_is_made(tmp_path: Path) -> None:
    (tmp_path / "kek").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        FileKek.init_file(tmp_path / "kek")
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(KeyFileMissingError, match="kek") as caught:
        FileKek(tmp_path / "kek")
    assert caught.value.hint == "ifengine keys init"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "kek"
    FileKek.init_file(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="others"):
        FileKek(path)


def test_a_damaged_key_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    kek = FileKek.init_file(path)
    good = path.read_bytes()
    secret = good.splitlines()[1]
    assert secret.decode() not in repr(kek)
    for bad in (b"", good[:-10], good.replace(b"1\n", b"2\n", 1), secret, good[:-3] + b"!!\n"):
        path.write_bytes(bad)
        with pytest.raises(KeyFileError) as caught:
            FileKek(path)
        assert secret.decode()[:10] not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="cannot be"):
        FileKek.init_file(tmp_path / "file" / "kek")
    with pytest.raises(KeyFileError, match="cannot be read"):
        FileKek(tmp_path)
