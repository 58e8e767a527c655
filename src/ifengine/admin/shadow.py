"""``shadow``: stored messages of a channel through a candidate configuration. Nothing is changed.

What leaves the engine are counts, paths, steps and states; never a value.
"""

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from ifengine.admin import acts, search
from ifengine.admin.masking import segment_name
from ifengine.admin.records import Look, MessageRecord, destination_name
from ifengine.admin.request import Caller, Params, RequestError, usage
from ifengine.admin.runtime import Runtime
from ifengine.errors import EngineError, SealError
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.header import read_header
from ifengine.hl7.message import Message
from ifengine.routes.channel import Channel, Decision, MessageContext, PlanTrace
from ifengine.routes.config.loading import load_site
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.config.render import render_problem
from ifengine.routes.gates import Gates
from ifengine.routes.outbox_loading import unseal_content
from ifengine.routes.shadow import (
    Difference,
    Outcome,
    Overlay,
    Tally,
    differences,
    outcomes_of,
    steps_behind,
)
from ifengine.store.base import ExceptionState, Fate, InboxKind, PlannedFate, Reader
from ifengine.transforms.base import CallNeededError
from ifengine.transforms.memory import Blank, Reply, Scratch
from ifengine.transforms.source import Severity

SHADOW = ("channel", "since_us", "until_us", "limit", "files", "env")
DEFAULT_LIMIT = 1000
MOST_MESSAGES = 10_000
MOST_FILES = 5_000
MOST_SHOWN = 20  # differing messages that are listed one by one
_NAME = re.compile(r"[A-Za-z0-9_. -]+(?:/[A-Za-z0-9_. -]+){0,3}")
_INDEX = re.compile(r"\[[0-9]+\]")


async def shadow(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``shadow``."""
    name = params.needed("channel")
    limit = params.number("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MOST_MESSAGES:
        raise usage(f"limit: must be 1 to {MOST_MESSAGES}")
    files = _files(params)
    site = await _candidate(runtime, files, params.text("env") or None)
    config = next((c for c in site.channels if c.name == name and c.enabled), None)
    if config is None:
        raise RequestError("not_found", "the candidate has no enabled channel of that name")
    where = replace(
        search.MessageFilter(channel=name),
        since_us=params.moment("since_us"),
        until_us=params.moment("until_us"),
    )
    look = Look(runtime)
    records: list[MessageRecord] = []
    async for record in search.matching(runtime, look, where):
        if record.row.kind is InboxKind.MESSAGE and record.plans:
            records.append(record)
        if len(records) == limit:
            break
    await acts.record(runtime, caller, "shadow", object_name=f"{name}: {len(records)} messages")
    run = _Run(runtime, site, Channel(config, site), look)
    for record in reversed(records):
        await run.message(record)
    return run.answer()


def _files(params: Params) -> dict[str, bytes]:
    """Return the candidate's files: alternating names and texts, all below the site."""
    given = params.texts("files")
    if not given or len(given) % 2 or len(given) > 2 * MOST_FILES:
        raise usage("files: must be names and texts in turn")
    found: dict[str, bytes] = {}
    for name, text in zip(given[::2], given[1::2], strict=True):
        if not _NAME.fullmatch(name) or ".." in PurePosixPath(name).parts:
            raise usage("files: a name is not that of a file below the site")
        found[name] = text.encode("utf-8", "surrogateescape")
    return found


async def _candidate(runtime: Runtime, files: Mapping[str, bytes], env: str | None) -> SiteConfig:
    directory = runtime.site.directory
    loaded = await asyncio.get_running_loop().run_in_executor(
        None, lambda: load_site(directory, env=env, environ=os.environ, given=files)
    )
    errors = [p for p in loaded.problems if p.severity is Severity.ERROR]
    if loaded.site is None or errors:
        told = [render_problem(p, loaded.lines.get(p.position.file, ())) for p in errors[:5]]
        raise RequestError("usage", "\n".join(told), hint="ifengine check")
    return loaded.site


@dataclass(slots=True)
class _Run:
    """One shadow run: messages in their order, one after the other."""

    runtime: Runtime
    site: SiteConfig
    channel: Channel
    look: Look
    tally: Tally = field(default_factory=Tally)
    same: int = 0
    different: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    kinds: dict[tuple[str, str, str], int] = field(default_factory=dict)
    shown: list[dict[str, object]] = field(default_factory=list)
    overlay: Overlay = field(init=False)

    def __post_init__(self) -> None:
        self.overlay = Overlay(self.runtime.memories or Blank())

    async def message(self, record: MessageRecord) -> None:
        """Compare one message, and keep what its steps leave for those behind it."""
        if self.channel.config.combine is not None:
            self._leave_out("combine: what was sent is made of several messages")
            return
        body = self.look.body(record.row)
        if body is None:
            self._leave_out("its content is not kept")
            return
        before = await self.runtime.read(lambda reader: self._planned(reader, record, body))
        self.overlay.message = record.row.inbox_id
        decision = Decision(())
        try:
            decision, _ = await self._decide(record, body, traced=False)
        except EngineError as error:
            dead = Outcome("dead_letter", step="channel", reason=str(error))
            after = {(d.name, 0): dead for d in self.channel.destinations}
        else:
            after = outcomes_of(decision, body)
        if before is None:
            self._leave_out("a person decided about it since")
        else:
            trace = PlanTrace()
            if any(after.get(key) != old for key, old in before.items()) and after:
                trace = await self._traced(record, body)
            found = differences(before, after, lambda name, part: steps_behind(trace, name, part))
            self._count(record, [_masked(one) for one in found])
        self.overlay.take(decision.changes, is_whole=decision.waiting is None)

    async def _traced(self, record: MessageRecord, body: bytes) -> PlanTrace:
        try:
            return (await self._decide(record, body, traced=True))[1]
        except EngineError:
            return PlanTrace()  # told as a dead letter already

    async def _decide(
        self, record: MessageRecord, body: bytes, *, traced: bool
    ) -> tuple[Decision, PlanTrace]:
        """Run the candidate's channel over one message, its functions in the engine's workers."""
        row = record.row
        header = read_header(body)
        connection = self.site.listeners.get(self.runtime.names.name(row.listener))
        decided = Gates(connection, [self.channel.config]).decide(header)
        if decided.kind is not InboxKind.MESSAGE:
            return Decision(()), PlanTrace()
        charset = CharsetPolicy()
        if connection is not None:
            charset = CharsetPolicy(connection.charset_forced, connection.charset_default)
        replies: dict[int, Reply] = {}
        while True:
            trace = PlanTrace()
            message = Message.parse(body, charset=charset, header=header)
            memory = Scratch(row.inbox_id, row.received_us, self.overlay)
            context = MessageContext(str(row.inbox_id), row.received_us, memory, replies)
            try:
                wanted = trace if traced else None
                return self.channel.process(message, context, trace=wanted), trace
            except CallNeededError as needed:
                replies[needed.call.number] = await self.runtime.call(needed.call)

    # --- what was planned ---------------------------------------------------------------------

    def _planned(
        self, reader: Reader, record: MessageRecord, body: bytes
    ) -> dict[tuple[str, int], Outcome] | None:
        """Return what the first run gave each destination; None where a person decided since."""
        plan = record.plans[0]
        found: dict[tuple[str, int], Outcome] = {}
        for planned in plan.fates:
            name = destination_name(self.runtime.names, plan.channel, planned.destination)
            if planned.fate is not Fate.QUEUED:
                found[name, 0] = Outcome(planned.fate.name.lower(), reason=planned.reason)
                continue
            entry = reader.outbox_entry(planned.outbox, planned.seq)
            if entry is None:
                return None
            fate = self._fate(reader, planned)
            if fate is None:
                return None
            content = body
            if fate is Fate.QUEUED and entry.copy_id:
                try:
                    content = unseal_content(
                        reader, self.runtime.ring, entry.inbox_id, entry.copy_id
                    )
                except SealError:
                    return None
                if self._is_files(name):
                    content = content.partition(b"\0")[2]
            kept = content if fate is Fate.QUEUED else None
            found[name, entry.part] = Outcome(fate.name.lower(), kept)
        return found

    @staticmethod
    def _fate(reader: Reader, planned: PlannedFate) -> Fate | None:
        row = reader.exception(planned.outbox, planned.seq)
        if row is not None and row.stage == "steps":
            return Fate.DEAD_LETTER if row.state is ExceptionState.DEAD_LETTER else Fate.HELD
        outcome = reader.outcome(planned.outbox, planned.seq)
        if outcome is not None and not outcome.attempts and outcome.fate is not Fate.SENT:
            return None  # discarded or replayed: whether its steps had failed is not known any more
        return Fate.QUEUED

    def _is_files(self, name: str) -> bool:
        running = next((c for c in self.runtime.site.channels if c.name == self.channel.name), None)
        destinations = () if running is None else running.destinations
        return any(d.name == name and d.files is not None for d in destinations)

    # --- counting -----------------------------------------------------------------------------

    def _leave_out(self, why: str) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + 1

    def _count(self, record: MessageRecord, found: Sequence[Difference]) -> None:
        if not found:
            self.same += 1
            return
        self.different += 1
        number = str(record.row.inbox_id)
        self.tally.add(number, [_counted(one) for one in found])
        for one in found:
            key = (one.destination, one.was, one.now)
            self.kinds[key] = self.kinds.get(key, 0) + 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append({"id": number, "differences": [_shown(one) for one in found]})

    def answer(self) -> dict[str, object]:
        """Return counts, rules and the first messages that differ."""
        return {
            "compared": self.same + self.different,
            "same": self.same,
            "different": self.different,
            "left_out": self.left_out,
            "kinds": [
                {"destination": name, "was": was, "now": now, "messages": count}
                for (name, was, now), count in sorted(self.kinds.items())
            ],
            "rules": self.tally.rows(),
            "messages": self.shown,
        }


def _masked(one: Difference) -> Difference:
    """Hide what stands where a segment's name should: a broken message may hold text there."""
    places = tuple(
        place._replace(path=segment_name(place.path[:3]) + place.path[3:] if place.path else "")
        if _is_path(place.path)
        else place._replace(path="???")
        for place in one.places
    )
    return replace(one, places=places)


_PATH = re.compile(r"(?:.{3}(?:\[[0-9]+\])?(?:-[0-9]+(?:\[[0-9]+\])?(?:\.[0-9]+)?)?)?", re.DOTALL)


def _is_path(path: str) -> bool:
    return _PATH.fullmatch(path) is not None


def _counted(one: Difference) -> Difference:
    places = {place._replace(path=_INDEX.sub("", place.path)) for place in one.places}
    return replace(one, places=tuple(places))


def _shown(one: Difference) -> dict[str, object]:
    return {
        "destination": one.destination,
        "was": one.was,
        "now": one.now,
        "step": one.step,
        "reason": one.reason,
        "changes": [
            {"kind": place.kind, "path": place.path, "step": place.step} for place in one.places
        ],
    }
