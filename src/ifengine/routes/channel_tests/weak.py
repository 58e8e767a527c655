"""What no test would miss: each mutant of a channel that passes all its tests. Pure."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ifengine.routes.channel import Channel
from ifengine.routes.channel_tests.mutants import BRANCH, CONDITION, STEP, Mutant, mutants_of
from ifengine.routes.channel_tests.run import Bench, passes, traced_worlds
from ifengine.routes.channel_tests.world import World, no_workers
from ifengine.routes.config.assembly import build_channel
from ifengine.routes.config.channel_file import Surroundings, read_channel
from ifengine.routes.config.models import ChannelConfig, SiteConfig
from ifengine.routes.config.tests_beside import TestFiles
from ifengine.transforms.memory import Call, Reply
from ifengine.transforms.source import Entries, Problems
from ifengine.transforms.trace import Record

_MOST_PLACES = 3  # named in a hint


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that no test notices, and what a test would have to look at."""

    mutant: Mutant = field(repr=False)
    hint: str

    @property
    def is_deletion(self) -> bool:
        """Whether a step or branch was left out."""
        return self.mutant.kind in (STEP, BRANCH)


@dataclass(frozen=True, slots=True)
class Weakness:
    """What the tests of one channel do not hold. Mutants that ``check`` refuses do not count."""

    channel: str
    file: str
    steps: int
    changes: int  # conditions and values
    survivors: tuple[Survivor, ...]


def weak_places(
    written: Entries,
    around: Surroundings,
    site: SiteConfig,
    config: ChannelConfig,
    files: TestFiles,
    *,
    call: Callable[[Call], Reply] = no_workers,
) -> Weakness:
    """Run the tests of a channel on each of its mutants.

    Args:
        written: the nodes of the channel's file.
        around: what it was read with.
        site: loaded without errors.
        config: the channel, whose tests pass.
        files: the samples and golden files that its tests name.
        call: does the work of ``python:`` steps.
    """
    bench = Bench(site, Channel(config, site), files, call)
    worlds = traced_worlds(bench, config.tests)
    steps = changes = 0
    survivors: list[Survivor] = []
    for mutant in mutants_of(written):
        if _is_told(mutant, survivors):
            continue
        other = _compiled(mutant, config, around)
        if other is None:
            continue
        if mutant.kind in (STEP, BRANCH):
            steps += 1
        else:
            changes += 1
        if passes(Bench(site, Channel(other, site), files, call), config.tests):
            survivors.append(Survivor(mutant, _hint(mutant, worlds)))
    return Weakness(config.name, config.file, steps, changes, tuple(survivors))


def _is_told(mutant: Mutant, survivors: Iterable[Survivor]) -> bool:
    """Whether this is inside a step that could be deleted as a whole: once is enough."""
    place = mutant.place
    return any(
        survivor.is_deletion
        and survivor.mutant.place.owner == place.owner
        and f"{place.number}.".startswith(f"{survivor.mutant.place.number}.")
        for survivor in survivors
    )


def _compiled(mutant: Mutant, config: ChannelConfig, around: Surroundings) -> ChannelConfig | None:
    """Return the mutant's channel; None where ``check`` would tell of it."""
    if not isinstance(mutant.node, Entries):
        return None
    problems = Problems()
    draft = read_channel(mutant.node, config.file, around, problems)
    return build_channel(draft) if problems.ok else None


def _hint(mutant: Mutant, worlds: Sequence[World]) -> str:
    place = mutant.place
    if mutant.kind == CONDITION:
        return "no test shows the difference: add one on each side of it"
    if mutant.kind == BRANCH:
        inner = [
            r for r in _records(worlds, place.owner) if r.number.startswith(f"{place.number}.")
        ]
        if not any(record.ran for record in inner):
            return "no test comes here"
        return "no test looks at what it does"
    records = [r for r in _records(worlds, place.owner) if r.number == place.number]
    if not any(record.ran for record in records):
        return "no test comes here"
    paths = dict.fromkeys(change.path for record in records for change in record.changes)
    if mutant.subject:
        paths = dict.fromkeys(path for path in paths if _is_at(path, mutant.subject))
    if not paths:
        return _unchanged(place.verb)
    shown = ", ".join([*paths][:_MOST_PLACES])
    return f"no test looks at {shown}: expect it under fields:"


def _is_at(path: str, subject: str) -> bool:
    """Whether a changed place is one that a step names: PID-3[2] for PID-3, NK1 for NK1."""
    return _bare(path) == _bare(subject) or _bare(path).startswith((f"{subject}-", f"{subject}."))


def _bare(path: str) -> str:
    head, _, rest = path.partition("(where")
    return re.sub(r"\[[^]]*\]", "", head + rest.partition(")")[2])


def _unchanged(verb: str) -> str:
    if verb in ("keep_segments", "keep_repetitions", "drop_repetitions"):
        return "no test looks at what stays and what goes"
    if verb in ("require", "validate", "reject", "fail", "drop"):
        return "no test gives a message that it stops"
    if verb in ("for_each", "choose", "use"):
        return "no test looks at what it does"
    if verb in ("remember", "wait_for", "latest_only", "merge_patient", "resolve_patient"):
        return "no test has a message for which it matters"
    return "the samples already say so"


def _records(worlds: Iterable[World], owner: str) -> list[Record]:
    """Return what the steps of the channel, or of a destination, did in all tests."""
    found: list[Record] = []
    for world in worlds:
        for trace in world.traces.values():
            own = trace.channel if not owner else trace.destinations.get(owner)
            found += [] if own is None else own.records
    return found
