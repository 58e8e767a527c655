"""Runs the tests of one channel: ``ifengine test``, and ``reload`` before it switches. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.errors import EngineError
from ifengine.routes.channel import Channel
from ifengine.routes.channel_tests.explain import explain
from ifengine.routes.channel_tests.given import content_of
from ifengine.routes.channel_tests.verdicts import (
    Difference,
    chosen,
    differences,
    golden_bytes,
)
from ifengine.routes.channel_tests.world import World
from ifengine.routes.config.cases import Case, Turn
from ifengine.routes.config.models import ChannelConfig, SiteConfig
from ifengine.routes.config.tests_beside import TestFiles
from ifengine.routes.worker_process import call_now
from ifengine.transforms.memory import Call, Reply


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one test. ``fault``: it could not be run at all."""

    case: Case
    differences: tuple[Difference, ...] = ()
    fault: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.differences and not self.fault


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """What became of the tests of one channel."""

    channel: str
    file: str
    results: tuple[CaseResult, ...] = ()

    @property
    def passed(self) -> int:
        """How many tests passed."""
        return sum(result.passed for result in self.results)

    @property
    def ok(self) -> bool:
        """Whether all of them passed."""
        return self.passed == len(self.results)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the tests of one channel are run with. ``call`` does the work of ``python:`` steps."""

    site: SiteConfig
    channel: Channel
    files: TestFiles = field(default_factory=TestFiles)
    call: Callable[[Call], Reply] = field(default=call_now, repr=False)


def run_tests(
    site: SiteConfig,
    channel: str,
    files: TestFiles,
    *,
    call: Callable[[Call], Reply] = call_now,
    chosen_by: Callable[[Case], bool] | None = None,
) -> ChannelReport:
    """Run the tests of a channel.

    Args:
        site: loaded without errors.
        channel: its name.
        files: the samples and golden files that its tests name (``read_test_files``).
        call: does the work of ``python:`` steps.
        chosen_by: which tests; None: all.

    Raises:
        LookupError: the site has no such channel.
    """
    config = channel_named(site, channel)
    bench = Bench(site, Channel(config, site), files, call)
    cases = [case for case in config.tests if chosen_by is None or chosen_by(case)]
    return ChannelReport(channel, config.file, tuple(run_case(bench, case) for case in cases))


def channel_named(site: SiteConfig, name: str) -> ChannelConfig:
    """Return a channel of the site.

    Raises:
        LookupError: there is none of that name.
    """
    for config in site.channels:
        if config.name == name:
            return config
    raise LookupError(name)


def run_case(bench: Bench, case: Case, *, explained: bool = True) -> CaseResult:
    """Run one test; a failed one runs again with every step recorded, to say what led to it."""
    found, fault, world = _run(bench, case, traced=False)
    if explained and found:
        found, fault, world = _run(bench, case, traced=True)
        if world is not None:
            explain(found, world.traces, bench.channel)
    return CaseResult(case, tuple(found), fault)


def passes(bench: Bench, cases: Iterable[Case]) -> bool:
    """Whether all these tests pass; ends at the first that does not."""
    return all(run_case(bench, case, explained=False).passed for case in cases)


def traced_worlds(bench: Bench, cases: Iterable[Case]) -> list[World]:
    """Run tests with every step recorded, whether they pass or not."""
    worlds = [_run(bench, case, traced=True)[2] for case in cases]
    return [world for world in worlds if world is not None]


def _run(bench: Bench, case: Case, *, traced: bool) -> tuple[list[Difference], str, World | None]:
    world = World(bench.site, bench.channel, call=bench.call, traced=traced)
    found: list[Difference] = []
    try:
        world.start(case)
        for turn in case.turns:
            found += _play(bench, world, turn)
    except EngineError as error:
        return found, str(error), world
    return found, "", world


def _play(bench: Bench, world: World, turn: Turn) -> list[Difference]:
    content = None
    if turn.given is not None:
        content = content_of(turn.given, bench.files.samples, world.charset)
    seen = world.play(turn.after_us, content, turn.answers)
    return [*differences(turn, seen, world.charset, bench.files.golden)]


class Golden(NamedTuple):
    """A golden file as it should be."""

    name: str  # below channels/
    content: bytes

    def __repr__(self) -> str:
        return f"<Golden {self.name}>"


def golden_files(bench: Bench, cases: Iterable[Case]) -> list[Golden]:
    """Return every golden file that tests name, with what is delivered now.

    A test whose message does not arrive leaves its file as it is.
    """
    made: dict[str, bytes] = {}
    for case in cases:
        world = World(bench.site, bench.channel, call=bench.call)
        try:
            world.start(case)
            for turn in case.turns:
                made.update(_golden_of(bench, world, turn))
        except EngineError:
            continue  # it cannot be run: its report says so
    return [Golden(name, content) for name, content in made.items()]


def _golden_of(bench: Bench, world: World, turn: Turn) -> Mapping[str, bytes]:
    content = None
    if turn.given is not None:
        content = content_of(turn.given, bench.files.samples, world.charset)
    seen = world.play(turn.after_us, content, turn.answers)
    made = {}
    for expected in turn.expected:
        here = [d for d in seen.deliveries if d.destination == expected.destination]
        found = chosen(expected, here)
        if expected.same_as and found:
            made[expected.same_as] = golden_bytes(found)
    return made
