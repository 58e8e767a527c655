"""Every target by name: what promise it tries, and how much one example may cost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fuzz import beside, contents, language, ports, rules, storage, values, wire
from fuzz.messages import samples

CASES = Path(__file__).parent / "cases"
CORPUS = Path(__file__).parents[2] / ".." / "shared" / "corpus"
_SEED_FILES = (".hl7", ".txt", ".er7")
_MOST_SEED_BYTES = 4000


class Target(NamedTuple):
    """One thing to try. ``run`` raises where something is wrong, whatever the bytes."""

    promise: str
    run: Callable[[bytes], None]
    examples: int  # under `make test`; ten times as many under `make chaos`
    options: bytes | None = None  # choices before "any message"; None: it takes no message

    @property
    def what(self) -> str:
        """The first words of what the target says of itself."""
        return (self.run.__doc__ or "").split(".")[0]


TARGETS: dict[str, Target] = {
    "framer": Target("G2", wire.framer, 400),
    "header": Target("G2", wire.header, 400, b""),
    "answers": Target("G6", wire.answers, 400, b"\0\0"),
    "ack_reader": Target("G6", wire.ack_reader, 400, b"\0"),
    "batches": Target("G2", wire.batches, 400, b"\1"),
    "view": Target("G2", contents.view, 300, bytes(12)),
    "writing": Target("G2", contents.writing, 300, bytes(7)),
    "escapes": Target("G2", contents.escapes, 300),
    "charsets": Target("G2", contents.charsets, 300),
    "paths": Target("G2", language.paths, 300, b"\0\1\0"),
    "conditions": Target("G2", language.conditions, 300),
    "templates": Target("G13", language.templates, 300),
    "patterns": Target("G2", language.patterns, 300),
    "yaml_text": Target("G2", language.yaml_text, 300),
    "sites": Target("G2", language.sites, 25),
    "times": Target("G2", values.times, 400),
    "quantities": Target("G2", values.quantities, 400),
    "channels": Target("G13", rules.channels, 200, b"\0\0"),
    "steps": Target("G13", rules.steps_of_the_language, 300, b"\0\0\0\0"),
    "validation": Target("G13", rules.validation, 100, b"\0"),
    "deidentify": Target("G13", rules.deidentify, 150, b"\0"),
    "segment_groups": Target("G2", rules.segment_groups, 150),
    "worker": Target("G2", beside.worker, 300, bytes(14)),
    "tables": Target("G2", beside.tables, 300),
    "scalar_values": Target("G2", beside.scalar_values, 300),
    "sealed": Target("G14", storage.sealed, 400),
    "audit": Target("G14", storage.audit, 400),
    "key_file": Target("G14", storage.key_file, 100),
    "packed_rows": Target("G2", storage.packed_rows, 300),
    "admin": Target("G13", ports.admin, 300),
    "http": Target("G13", ports.http, 60),
}


def cases(name: str) -> list[Path]:
    """Return what once failed, and must not again."""
    return sorted((CASES / name).glob("*")) if (CASES / name).is_dir() else []


def seeds(target: Target) -> Iterator[bytes]:
    """Yield messages in the form a target takes: the repository's, and a corpus where one is."""
    if target.options is None:
        return
    before = target.options + b"\0"  # then: any message, as it stands
    for whole in samples():
        yield before + whole
    if not CORPUS.is_dir():
        return
    for path in sorted(CORPUS.rglob("*")):
        if path.suffix not in _SEED_FILES or not path.is_file():
            continue
        if path.stat().st_size <= _MOST_SEED_BYTES:
            yield before + path.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")
