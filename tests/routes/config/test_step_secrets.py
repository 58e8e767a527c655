"""``${secret:}`` in the one place of a channel that may have it, and the stores of documents."""

from pathlib import Path

import pytest

from ifengine.hl7.message import Message
from ifengine.routes.channel import Channel, MessageContext
from ifengine.routes.config.loading import Loaded
from ifengine.transforms.memory import Document
from routes.config.small_site import CHANNEL, SAMPLE, SITE

KEY = "0123456789abcdef"
EXTRACT = "extract_document: {from: OBX-5, save_to: documents, name: '${msg.id}'}"


def with_step(step: str) -> dict[str, str]:
    return {"channels/one.yaml": CHANNEL.replace("to:\n", f"steps:\n  - {step}\nto:\n")}


def with_key(
    step: str = 'deidentify: {profile: pseudonym, key: "${secret:deid}"}',
) -> dict[str, str]:
    secrets = {"ifengine.yaml": SITE + 'secrets: ["dir:hidden"]\n', "hidden/deid": KEY + "\n"}
    return {**with_step(step), **secrets}


def output(loaded: Loaded) -> bytes:
    assert loaded.site is not None
    decision = Channel(loaded.site.channels[0], loaded.site).process(
        Message.parse(SAMPLE.encode()), MessageContext("7", 1_767_607_200_000_000)
    )
    content = decision.plan[0].content
    assert content is not None
    return content


def test_the_key_of_a_step_is_the_sites_secret(load) -> None:
    loaded = load(with_key())
    assert loaded.problems == ()
    assert loaded.can_run
    first = output(loaded)
    assert first == output(load(with_key()))
    assert first != output(load({**with_key(), "hidden/deid": KEY[::-1]}))
    assert KEY not in repr(loaded)


def test_without_its_secret_a_channel_can_be_looked_at_and_not_run(load) -> None:
    loaded = load({**with_key(), "hidden/deid": None})
    assert [problem.code for problem in loaded.problems] == ["W230"]
    assert loaded.problems[0].position[:2] == ("channels/one.yaml", 7)
    assert not loaded.can_run
    assert b"1^^^A" not in output(loaded)


def test_safe_harbor_needs_no_secret_although_one_is_written(load) -> None:
    step = 'deidentify: {profile: safe-harbor, key: "${secret:deid}"}'
    loaded = load({**with_key(step), "hidden/deid": None})
    assert loaded.problems == ()
    assert loaded.can_run


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (f"deidentify: {{profile: pseudonym, key: {KEY}}}", "E332"),
        ('deidentify: {profile: pseudonym, key: "${env:KEY}"}', "E332"),
        ('deidentify: {profile: pseudonym, key: "${secret:../deid}"}', "E110"),
        ('deidentify: {profile: "${secret:deid}", key: "${secret:deid}"}', "E231"),
        ('set: {PID-2: "${secret:deid}"}', "E231"),
        ('let: {key: "${secret:deid}"}', "E231"),
    ],
)
def test_a_secret_anywhere_else_or_in_the_open_is_an_error(load, step: str, code: str) -> None:
    loaded = load(with_key(step))
    assert code in [problem.code for problem in loaded.problems]
    assert loaded.site is None
    assert all(KEY not in problem.message + problem.hint for problem in loaded.problems)


def test_a_secret_that_is_too_short_is_refused_without_being_shown(load) -> None:
    loaded = load({**with_key(), "hidden/deid": "abc123"})
    assert [problem.code for problem in loaded.problems] == ["E332"]
    assert "abc123" not in str(loaded.problems)


def test_a_store_for_documents_is_a_folder_of_the_site(load, tmp_path: Path) -> None:
    stores = (
        "documents:\n  documents: {dir: var/documents}\n  open: {dir: /srv/open, encrypt: no}\n"
    )
    loaded = load({**with_step(EXTRACT), "ifengine.yaml": SITE + stores})
    assert loaded.problems == ()
    assert loaded.site is not None
    found = loaded.site.documents
    assert {name: (c.directory, c.encrypt) for name, c in found.items()} == {
        "documents": (tmp_path / "var" / "documents", True),
        "open": (Path("/srv/open"), False),
    }
    report = SAMPLE + "OBR|1\rOBX|1|ED|X||A^AP^PDF^Base64^JVBERi0x\r"
    decision = Channel(loaded.site.channels[0], loaded.site).process(
        Message.parse(report.encode()), MessageContext("7", 1_767_607_200_000_000)
    )
    assert decision.documents == (Document("documents", "7-1.pdf", b"%PDF-1"),)


@pytest.mark.parametrize(
    ("stores", "codes"),
    [
        ("", ["E201"]),
        ("documents: {others: {dir: var/x}}\n", ["E201"]),
        ("documents: {documents: {}}\n", ["E102"]),  # named, and its own mistake is enough
        ("documents: var/x\n", ["E104"]),
    ],
)
def test_a_store_that_is_not_there_is_an_error(load, stores: str, codes: list[str]) -> None:
    loaded = load({**with_step(EXTRACT), "ifengine.yaml": SITE + stores})
    assert [problem.code for problem in loaded.problems] == codes
