"""Folders for files and documents on a full disk: never half a file, tried again until there is room."""

from pathlib import Path
from typing import Any

import pytest

from campaigns import Ledger
from crash.small_disk import SmallDisk
from engine.support import Receiver, Site, adt, running, sender, until
from engine.test_documents import STEP, report
from ifengine.routes.documents import DocumentStore, DocumentsUnwritableError
from ifengine.routes.endpoints import files as endpoint

PAPER = b"%PDF-1.4\n" + b"z" * 60_000 + b"\n%%EOF"
FILES = """\
ifengine: 1
channel: filed
from: in
types: [ADT^A01]
ignore_types: {identity: none come here}
order_by: patient
to:
  folder:
    files: {dir: small/out, name: "${msg.id}.hl7"}
    retry: {first: 50ms, factor: 1, max: 50ms}
"""
MESSAGES = 8
TIMES = 2


@pytest.fixture
async def lab() -> Any:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.crash
async def test_on_a_full_disk_files_and_documents_are_whole_or_not_there_and_come_by_themselves(
    tmp_path: Path, lab: Receiver, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: set[str] = set()
    write_file, write_documents = endpoint.write_once, DocumentStore.write

    def noting_file(directory: Path, name: str, content: bytes) -> bool:
        try:
            return write_file(directory, name, content)
        except OSError:
            failed.add("file")
            raise

    def noting_documents(self: DocumentStore, documents: Any) -> None:
        try:
            write_documents(self, documents)
        except DocumentsUnwritableError:
            failed.add("document")
            raise

    monkeypatch.setattr(endpoint, "write_once", noting_file)
    monkeypatch.setattr(DocumentStore, "write", noting_documents)
    folder = tmp_path / "site"
    folder.mkdir()
    with SmallDisk(folder / "small", 8) as disk:
        site = Site(folder, {"lab": lab}, head=STEP.replace("steps:", "types: [ORU^R01]\nsteps:"))
        site.facts = "documents: {papers: {dir: small/papers, encrypt: no}}\n"
        site.channels["filed"] = FILES
        sent: list[bytes] = []
        async with running(site), sender(site) as his:
            for turn in range(TIMES):
                # room for one file and a half, so that the next is met in its middle
                disk.fill(leave=100_000 if turn else 0)
                for number in range(MESSAGES):
                    content = report(f"M{turn}-{number}", PAPER, patient=f"{number}")
                    assert await his.send(content) == "AA"
                    extra = "ZZZ|1|" + "z" * len(PAPER) + "\r"
                    sent.append(adt(f"A{turn}-{number}", patient=f"{number}", extra=extra))
                    assert await his.send(sent[-1]) == "AA"
                before = len(lab.received)

                failed.clear()
                await until(lambda: failed >= {"file", "document"}, 30)
                for name in ("out", "papers"):
                    for path, content in files_of(disk.folder / name).items():
                        assert not path.startswith("."), "half a file was left"
                        assert len(content) >= len(PAPER)
                assert len(lab.received) - before < MESSAGES
                disk.free()
                await until(lambda: len(lab.received) == len(sent), 60)
                await until(lambda: len(files_of(disk.folder / "out")) == len(sent), 60)
            papers = files_of(disk.folder / "papers")
            ledger.record(
                "G8", "files and documents on a full disk", trials=2 * len(sent),
                failures=sum(content != PAPER for content in papers.values()),
            )  # fmt: skip
            assert list(papers.values()) == [PAPER] * len(sent)
            assert sorted(files_of(disk.folder / "out").values()) == sorted(sent)


def files_of(folder: Path) -> dict[str, bytes]:
    return files(folder) if folder.is_dir() else {}
