"""Documents on disk: on stable storage when ``write`` returns, sealed, never replaced."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ifengine.errors import EngineError, SealError
from ifengine.routes import documents
from ifengine.routes.config.models import DocumentsConfig
from ifengine.routes.documents import (
    DocumentClashError,
    DocumentError,
    DocumentStore,
    DocumentsUnwritableError,
)
from ifengine.store.keys import FileKek
from ifengine.store.sealing import KeyRing
from ifengine.transforms.memory import Document

PDF = b"%PDF-1.4 about Ada Fir"
STORE_ID = b"0123456789abcdef"


class Place:
    """A folder for documents and the keys of a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kek = FileKek.init_file(folder / "kek")
        self.ring = KeyRing(STORE_ID, [], self.kek)
        self.rows = self.ring.start_keys(1, 0)
        self.open = self.store(self.ring)

    def store(self, ring: KeyRing) -> DocumentStore:
        return DocumentStore(
            {
                "plain": DocumentsConfig(
                    name="plain", directory=self.folder / "a" / "plain", encrypt=False
                ),
                "sealed": DocumentsConfig(name="sealed", directory=self.folder / "b" / "sealed"),
            },
            ring,
        )

    def restarted(self, *, lost_keys: bool) -> DocumentStore:
        """Return the store as the next process sees it; ``lost_keys``: a crash took the newest."""
        kept = [row for row in self.rows if row.purpose == "index"] if lost_keys else self.rows
        ring = KeyRing(STORE_ID, kept, self.kek)
        ring.new_content_key(2 if lost_keys else 9, 0)
        return self.store(ring)

    def path(self, store: str, name: str) -> Path:
        return self.folder / {"plain": "a", "sealed": "b"}[store] / store / name


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("store", ["plain", "sealed"])
def test_a_document_is_read_as_it_was_written_and_only_its_owner_may(
    place: Place, store: str
) -> None:
    place.open.write([Document(store, "7-1.pdf", PDF), Document(store, "7-2.pdf", b"")])
    assert place.open.read(store, "7-1.pdf") == PDF
    assert place.open.read(store, "7-2.pdf") == b""
    assert place.open.names(store) == ["7-1.pdf", "7-2.pdf"]
    path = place.path(store, "7-1.pdf")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(os.listdir(path.parent)) == ["7-1.pdf", "7-2.pdf"]  # nothing half-written
    assert (b"Ada" in path.read_bytes()) == (store == "plain")


@pytest.mark.parametrize("store", ["plain", "sealed"])
def test_the_same_document_again_changes_nothing_and_another_is_refused(
    place: Place, store: str
) -> None:
    place.open.write([Document(store, "7-1.pdf", PDF)])
    before = place.path(store, "7-1.pdf").read_bytes()
    place.open.write([Document(store, "7-1.pdf", PDF)])
    place.restarted(lost_keys=False).write([Document(store, "7-1.pdf", PDF)])
    with pytest.raises(DocumentClashError) as refused:
        place.open.write([Document(store, "7-1.pdf", PDF + b"!")])
    assert str(refused.value) == f"{store}/7-1.pdf is there with other content"
    assert place.path(store, "7-1.pdf").read_bytes() == before


def test_a_document_whose_key_a_crash_took_is_written_again_and_only_that_one(place: Place) -> None:
    place.open.write([Document("sealed", "7-1.pdf", PDF)])
    later = place.restarted(lost_keys=True)
    with pytest.raises(SealError):
        later.read("sealed", "7-1.pdf")
    with pytest.raises(DocumentClashError):
        later.write([Document("sealed", "7-1.pdf", b"another")])
    later.write([Document("sealed", "7-1.pdf", PDF)])
    assert later.read("sealed", "7-1.pdf") == PDF


def test_a_sealed_file_opens_under_its_own_name_and_unchanged_only(place: Place) -> None:
    place.open.write([Document("sealed", "7-1.pdf", PDF)])
    path = place.path("sealed", "7-1.pdf")
    path.with_name("8-1.pdf").write_bytes(path.read_bytes())
    with pytest.raises(SealError, match=r"sealed/8-1\.pdf: does not open"):
        place.open.read("sealed", "8-1.pdf")
    whole = path.read_bytes()
    for at in range(len(whole) - 1, 0, -7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        if at >= len(documents.MAGIC) + 16:
            with pytest.raises(SealError):
                place.open.read("sealed", "7-1.pdf")
    path.write_bytes(b"%PDF never sealed")
    with pytest.raises(SealError, match="is not a sealed document"):
        place.open.read("sealed", "7-1.pdf")
    with pytest.raises(DocumentClashError):
        place.open.write([Document("sealed", "7-1.pdf", b"%PDF never sealed")])


def test_what_a_crash_left_half_written_is_in_nobodys_way(place: Place) -> None:
    place.open.write([Document("plain", "6-1.pdf", b"x")])
    left = place.path("plain", ".7-1.pdf.part")
    left.write_bytes(b"a long beginning of something")
    assert place.open.names("plain") == ["6-1.pdf"]
    place.open.write([Document("plain", "7-1.pdf", PDF)])
    assert not left.exists()
    assert place.open.read("plain", "7-1.pdf") == PDF


def test_file_and_folders_reach_stable_storage_before_write_returns(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(documents.os, "fsync", fsync)
    place.open.write([Document("plain", "7-1.pdf", PDF)])
    folder = place.path("plain", "7-1.pdf").parent
    assert synced == [
        str(place.folder.parent), str(place.folder), str(folder.parent),
        str(folder / ".7-1.pdf.part"), str(folder),
    ]  # fmt: skip
    synced.clear()
    # the crash may have come before the first writer's own syncs
    place.open.write([Document("plain", "7-1.pdf", PDF)])
    assert synced == [str(folder / "7-1.pdf"), str(folder)]


def test_a_failed_write_leaves_no_file_and_says_why_without_content(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    place.open.write([Document("plain", "6-1.pdf", b"x")])
    monkeypatch.setattr(documents.os, "fsync", full)
    with pytest.raises(DocumentsUnwritableError) as failed:
        place.open.write([Document("plain", "7-1.pdf", PDF)])
    assert str(failed.value) == "documents plain cannot be written: No space left on device"
    assert isinstance(failed.value, EngineError)
    assert os.listdir(place.path("plain", "6-1.pdf").parent) == ["6-1.pdf"]


def test_no_name_leads_out_of_the_folder_and_no_link_is_followed(place: Place) -> None:
    for name in ("../x.pdf", "a/b.pdf", ".hidden", "", "a\nb.pdf", "x" * 101):
        with pytest.raises(DocumentError, match="not safe"):
            place.open.write([Document("plain", name, PDF)])
        with pytest.raises(DocumentError, match="not safe"):
            place.open.read("plain", name)
    place.open.write([Document("plain", "6-1.pdf", b"x")])
    outside = place.folder / "outside.pdf"
    outside.write_bytes(PDF)
    place.path("plain", "7-1.pdf").symlink_to(outside)
    with pytest.raises(DocumentError):
        place.open.write([Document("plain", "7-1.pdf", PDF)])
    with pytest.raises(DocumentError):
        place.open.read("plain", "7-1.pdf")
    assert outside.read_bytes() == PDF


def test_a_store_or_a_document_that_is_not_there_is_said_so(place: Place) -> None:
    with pytest.raises(DocumentError, match="there is no other"):
        place.open.write([Document("other", "7-1.pdf", PDF)])
    with pytest.raises(DocumentError, match=r"plain/7-1\.pdf is not there"):
        place.open.read("plain", "7-1.pdf")
    assert place.open.names("plain") == []


def test_many_threads_may_write_and_one_content_counts(place: Place) -> None:
    def write(number: int) -> str:
        try:
            place.open.write(
                [
                    Document("sealed", f"{number}-1.pdf", PDF),
                    Document("sealed", "one.pdf", b"%d" % number),
                ]
            )
        except DocumentClashError:
            return "clash"
        return "written"

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(write, range(12)))
    assert sorted(ended) == ["clash"] * 11 + ["written"]
    assert place.open.read("sealed", "one.pdf") == b"%d" % ended.index("written")
    assert all(place.open.read("sealed", f"{n}-1.pdf") == PDF for n in range(12))
