"""Documents of messages: on stable storage before the plan that speaks of them."""

import asyncio
import base64
import os
from pathlib import Path

import pytest

from engine.support import Receiver, Site, adt, running, sender, until
from ifengine.routes.documents import DocumentStore, DocumentsUnwritableError

PDF = b"%PDF-1.4\n%%EOF"
STEP = """\
order_by: patient
steps:
  - extract_document: {from: OBX(where OBX-2 = ED)-5, save_to: papers, name: "${msg.id}", leave: pointer}
"""


def report(control: str, paper: bytes = PDF, patient: str = "700") -> bytes:
    encoded = base64.b64encode(paper).decode()
    obx = f"OBR|1|P1\rOBX|1|ED|R||LAB^AP^PDF^Base64^{encoded}||||||F\r"
    return adt(control, extra=obx, event="R01", message_type="ORU", patient=patient)


@pytest.fixture
async def lab():  # type: ignore[no-untyped-def]
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def site(tmp_path: Path, lab: Receiver) -> Site:
    return Papers(tmp_path / "site", {"lab": lab}, head=STEP)


class Papers(Site):
    def write(self) -> None:
        super().write()
        file = self.folder / "ifengine.yaml"
        file.write_text(file.read_text() + "documents: {papers: {dir: papers, encrypt: no}}\n")


def papers(site: Site) -> dict[str, bytes]:
    folder = site.folder / "papers"
    return {n: (folder / n).read_bytes() for n in os.listdir(folder)} if folder.exists() else {}


async def test_a_document_is_a_file_and_the_message_points_to_it(site: Site, lab: Receiver) -> None:
    async with running(site), sender(site) as his:
        assert await his.send(report("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        assert list(papers(site).values()) == [PDF]
        (name,) = papers(site)
        assert name == "1-1.pdf"
        assert b"|RP|" in lab.received[0]
        assert b"1-1.pdf" in lab.received[0]


async def test_several_messages_keep_their_order_and_each_its_document(
    site: Site, lab: Receiver
) -> None:
    async with running(site), sender(site) as his:
        for number in range(12):
            await his.send(report(f"M{number}", PDF + b"%d" % number))
        await until(lambda: len(lab.received) == 12)
        assert lab.ids == [f"M{number}" for number in range(12)]
        assert len(papers(site)) == 12


async def test_a_folder_that_cannot_be_written_makes_the_channel_wait_and_costs_nothing(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = DocumentStore.write
    failing = True

    def full(self: DocumentStore, documents: object) -> None:
        if failing:
            raise DocumentsUnwritableError("documents papers cannot be written: disk full")
        write(self, documents)  # type: ignore[arg-type]

    monkeypatch.setattr(DocumentStore, "write", full)
    monkeypatch.setattr("ifengine.engine.keeping.AGAIN_SECONDS", 0.05)
    async with running(site) as engine, sender(site) as his:
        assert await his.send(report("M1")) == "AA"
        assert await his.send(adt("M2")) == "AA"
        await asyncio.sleep(0.3)
        assert lab.ids == []
        assert await engine.letters() == []
        failing = False
        await until(lambda: lab.ids == ["M1", "M2"])


async def test_a_document_that_cannot_be_decoded_is_a_dead_letter(
    site: Site, lab: Receiver
) -> None:
    broken = report("M1").replace(base64.b64encode(PDF), b"@@@not base64@@@")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(broken) == "AA"
        assert await his.send(report("M2", patient="701")) == "AA"
        await until(lambda: lab.ids == ["M2"])
        (group,) = await engine.letters()
        assert group["count"] == 1
        assert list(papers(site)) == ["2-1.pdf"]


async def test_a_stop_while_documents_wait_loses_nothing(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: DocumentStore, documents: object) -> None:
        raise DocumentsUnwritableError("documents papers cannot be written: disk full")

    with monkeypatch.context() as patched:
        patched.setattr(DocumentStore, "write", full)
        patched.setattr("ifengine.engine.keeping.AGAIN_SECONDS", 0.05)
        async with running(site) as engine, sender(site) as his:
            assert await his.send(report("M1")) == "AA"
            await asyncio.sleep(0.1)
            assert await engine.stop() == 0
    assert papers(site) == {}
    async with running(site):
        await until(lambda: lab.ids == ["M1"])
        assert list(papers(site)) == ["1-1.pdf"]
