"""Tests outside the channel file: ``NAME_test.yaml`` beside the channels, samples, golden files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ifengine.errors import EngineError
from ifengine.routes.config.cases import Case
from ifengine.routes.config.channel_file import ChannelDraft, answering
from ifengine.routes.config.keys_tests import BESIDE
from ifengine.routes.config.kinds import nearest
from ifengine.routes.config.sections import read_section
from ifengine.routes.config.tests_shape import read_tests
from ifengine.transforms.source import Entries, Position, Problems

ENDING: Final = "_test.yaml"
SAMPLES: Final = "channels/samples"
MAX_SAMPLE_BYTES: Final = 16 * 1024 * 1024


def read_beside(
    node: Entries,
    file: str,
    channels: Iterable[ChannelDraft],
    samples: frozenset[str],
    problems: Problems,
) -> None:
    """Read a file that holds tests only, and give them to its channel."""
    section = read_section(BESIDE, node, problems)
    name = section.get("channel", Path(file).name.removesuffix(ENDING))
    drafts = {draft.name: draft for draft in channels}
    draft = drafts.get(name)
    if draft is None:
        at = section.at("channel") if section.says("channel") else Position(file, 1, 1)
        hint = nearest(name, sorted(drafts)) or "name it with channel:"
        problems.error("E201", at, f'no channel "{name}"', hint)
        return
    if "tests" not in section.nodes:
        return
    cases = read_tests(section.nodes["tests"], answering(draft), samples, problems)
    known = {case.name: case for case in draft.cases}
    for case in cases:
        first = known.get(case.name)
        if first is not None:
            where = f"first one at {first.position.file}:{first.position.line}"
            problems.error("E002", case.position, f'"{case.name}" names two tests', where)
    draft.cases += cases


@dataclass(frozen=True, slots=True)
class TestFiles:
    """What tests name: samples by name, golden files by their path below channels/."""

    __test__ = False  # no test class of pytest

    samples: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    golden: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def read_test_files(directory: Path, cases: Iterable[Case]) -> TestFiles:
    """Read the samples and golden files that some tests name; a golden file may be missing.

    Raises:
        EngineError: a file cannot be read, or is too large; the text names it.
    """
    samples: dict[str, bytes] = {}
    golden: dict[str, bytes] = {}
    for case in cases:
        for turn in case.turns:
            name = "" if turn.given is None else turn.given.sample
            if name and name not in samples:
                samples[name] = _read(directory, f"{SAMPLES}/{name}.hl7")
            for expected in turn.expected:
                wanted = expected.same_as
                if wanted and wanted not in golden and (directory / "channels" / wanted).is_file():
                    golden[wanted] = _read(directory, f"channels/{wanted}")
    return TestFiles(samples, golden)


def _read(directory: Path, name: str) -> bytes:
    try:
        with (directory / name).open("rb") as file:
            content = file.read(MAX_SAMPLE_BYTES + 1)
    except OSError as error:
        raise EngineError(f"{name}: cannot be read ({error.strerror or 'no such file'})") from None
    if len(content) > MAX_SAMPLE_BYTES:
        raise EngineError(f"{name}: larger than {MAX_SAMPLE_BYTES // 1024 // 1024} MiB")
    return content
