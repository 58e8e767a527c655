"""What no test reached: destinations, branches and steps with a condition, rows of tables. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ifengine.routes.channel import Channel
from ifengine.routes.channel_tests.run import Bench, traced_worlds
from ifengine.routes.channel_tests.world import World, no_workers
from ifengine.routes.config.models import ChannelConfig, SiteConfig
from ifengine.routes.config.tests_beside import TestFiles
from ifengine.transforms.base import CompiledStep, Steps
from ifengine.transforms.memory import Call, Reply
from ifengine.transforms.tables import Table

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Unreached:
    """A place that no test reached. ``line`` 0: a row of a table, which ``what`` names."""

    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the tests of one channel did not reach."""

    channel: str
    file: str
    destinations: tuple[Unreached, ...]
    branches: tuple[Unreached, ...]
    rows: tuple[Unreached, ...]

    def parts(self) -> tuple[tuple[str, tuple[Unreached, ...]], ...]:
        """Return all of it with the kind of each."""
        return (
            ("destination", self.destinations),
            ("branch", self.branches),
            ("row", self.rows),
        )


class _Noting(dict[tuple[str, ...], V]):
    """Rows of a table that note which keys were found."""

    def __init__(self, rows: Mapping[tuple[str, ...], V], found: set[tuple[str, ...]]) -> None:
        super().__init__(rows)
        self._found = found

    def get(self, key: tuple[str, ...], default: Any = None) -> Any:
        """Return a row's results, and note its keys."""
        if key in self:
            self._found.add(key)
        return super().get(key, default)


def coverage_of(
    site: SiteConfig,
    config: ChannelConfig,
    files: TestFiles,
    *,
    call: Callable[[Call], Reply] = no_workers,
) -> Coverage:
    """Run the tests of a channel and say what they did not reach.

    Args:
        site: loaded without errors.
        config: the channel.
        files: the samples and golden files that its tests name.
        call: does the work of ``python:`` steps.
    """
    found: dict[str, set[tuple[str, ...]]] = {name: set() for name in site.tables}
    watched = replace(
        site,
        tables={
            name: replace(
                table,
                rows=_Noting(table.rows, found[name]),
                timed=_Noting(table.timed, found[name]),
            )
            for name, table in site.tables.items()
        },
    )
    bench = Bench(watched, Channel(config, watched), files, call)
    worlds = traced_worlds(bench, config.tests)
    sent = {name for world in worlds for name in world.reached}
    ran = _numbers_that_ran(worlds)
    branches: list[Unreached] = [*_branches(config.steps, "", ran)]
    for destination in config.destinations:
        branches += _branches(destination.steps, destination.name, ran)
    return Coverage(
        config.name,
        config.file,
        tuple(
            Unreached(d.line, d.name)
            for d in config.destinations
            if d.enabled and d.name not in sent
        ),
        tuple(branches),
        tuple(_rows(config, site.tables, found)),
    )


def _numbers_that_ran(worlds: Sequence[World]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for world in worlds:
        for trace in world.traces.values():
            found.update(("", r.number) for r in trace.channel.records if r.ran)
            for name, own in trace.destinations.items():
                found.update((name, r.number) for r in own.records if r.ran)
    return found


def _branches(steps: Steps, owner: str, ran: set[tuple[str, str]]) -> Iterator[Unreached]:
    """Yield the branches that never ran, and the steps whose condition never held."""
    for step in steps.steps:
        if (owner, step.number) not in ran:
            yield Unreached(step.line, _named(owner, f"{step.label} {step.detail}".strip()))
            continue  # what is inside it is not told again
        for number, inner in enumerate(step.inner, 1):
            if inner.steps and _is_choice(step) and not _any_ran(inner, owner, ran):
                what = "otherwise" if number == len(step.inner) else f"branch {number}"
                line = inner.steps[0].line
                yield Unreached(line, _named(owner, f"{step.label}, {what}"))
            else:
                yield from _branches(inner, owner, ran)


def _is_choice(step: CompiledStep) -> bool:
    return step.verb == "choose"


def _any_ran(steps: Steps, owner: str, ran: set[tuple[str, str]]) -> bool:
    return any((owner, step.number) in ran for step in steps.all())


def _named(owner: str, what: str) -> str:
    return f"{owner}: {what}" if owner else what


def _rows(
    config: ChannelConfig, tables: Mapping[str, Table], found: Mapping[str, set[tuple[str, ...]]]
) -> Iterator[Unreached]:
    used = set(config.steps.table_names())
    for destination in config.destinations:
        used |= destination.steps.table_names()
    for name in sorted(used & set(tables)):
        for keys in tables[name].rows:
            if keys not in found[name]:
                yield Unreached(0, f"{name}: {','.join(keys)}")
