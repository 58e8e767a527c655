"""A channel file's nodes to a draft: everything read, nothing yet compared with its neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ifengine.hl7.condition import Condition
from ifengine.hl7.groups import is_group_head, repeats
from ifengine.hl7.path import Path as Hl7Path
from ifengine.routes.collecting import VARIABLES
from ifengine.routes.combining import CombineConfig
from ifengine.routes.config.admitted import segments_admitted, types_admitted, types_read
from ifengine.routes.config.cases import Case
from ifengine.routes.config.combine_keys import read_combine
from ifengine.routes.config.dedupe_keys import read_dedupe
from ifengine.routes.config.filled import shorten
from ifengine.routes.config.keys_answers import check_answers
from ifengine.routes.config.keys_channel import CHANNEL
from ifengine.routes.config.keys_common import NAME
from ifengine.routes.config.keys_destination import DESTINATION
from ifengine.routes.config.kinds import (
    BAD,
    ListOf,
    PathKind,
    nearest,
)
from ifengine.routes.config.models import (
    DEFAULT_ON_NAK,
    FilesSource,
    FilesTarget,
    NakReaction,
    Order,
    RetryConfig,
    TypePattern,
)
from ifengine.routes.config.placeholders import refuse_placeholders
from ifengine.routes.config.sections import Section, Status, read_section
from ifengine.routes.config.site_file import on_nak_from, resolve, retry_from
from ifengine.routes.config.sources import inline_name, read_sources
from ifengine.routes.config.tests_shape import read_tests
from ifengine.routes.dedupe import DedupeConfig
from ifengine.transforms.base import Steps
from ifengine.transforms.compile import Known, compile_steps
from ifengine.transforms.facts_written import facts_of
from ifengine.transforms.known_paths import check_place
from ifengine.transforms.reaching import check_condition
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text
from ifengine.transforms.table_of_steps import BY_VERB, NOT_YET

# names that would be taken for something else where destinations are named
RESERVED: Final = ("unmatched", "ack", "ack-text")
# tests are not run with them, `shared` counts where it is used, later keys say enough by E190
_LEFT_ALONE: Final = frozenset(
    {"tests", "shared", "fhir"}
    | {row.name for row in (*CHANNEL, *DESTINATION) if row.status is Status.LATER}
)
_SECRETS: Final = {verb: row.secrets for verb, row in BY_VERB.items() if row.secrets}
MOST_DESTINATIONS: Final = 200
_KEYED_CODES: Final = ("ADT", "ORM", "ORU", "SIU")


@dataclass(slots=True, kw_only=True)
class DestinationDraft:
    """One destination as far as it could be read."""

    name: str
    position: Position
    section: Section
    enabled: bool
    connection: str | None
    files: FilesTarget | None
    channel: str | None
    types: tuple[TypePattern, ...]
    accept: Condition | None
    steps: Steps
    retry: RetryConfig
    on_nak: Mapping[str, NakReaction]
    order: Order
    lanes: int
    settle: str


@dataclass(slots=True, kw_only=True)
class ChannelDraft:
    """One channel as far as it could be read."""

    name: str
    file: str
    position: Position  # of its name
    section: Section
    enabled: bool
    sources: tuple[str, ...]
    files_source: FilesSource | None
    inline: Section | None = None  # the connection that `from:` itself describes
    from_channels: bool
    types: tuple[TypePattern, ...]
    accept: Condition | None
    steps: Steps
    order_by: str | tuple[Hl7Path, ...] | None
    order_by_text: tuple[str, ...]  # as written, to compare
    dedupe: DedupeConfig | None = None
    combine: CombineConfig | None = None
    destinations: list[DestinationDraft] = field(default_factory=list)
    cases: tuple[Case, ...] = ()

    @property
    def knows_types(self) -> bool:
        """Whether all that `types` says could be read: else nobody knows what may come."""
        return types_read(self.section, self.types)


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What a channel file is read with."""

    directory: Path
    known: Known
    samples: frozenset[str]
    retry: RetryConfig = field(default_factory=RetryConfig)
    on_nak: Mapping[str, NakReaction] = field(default_factory=lambda: DEFAULT_ON_NAK)
    enabled: Mapping[str, tuple[bool, Text]] = field(default_factory=dict)


def read_channel(
    node: Entries, file: str, around: Surroundings, problems: Problems, instance: str = ""
) -> ChannelDraft:
    """Read the nodes of one channel; ``instance`` is its name where a file makes several."""
    cleaned = refuse_placeholders(node, problems, _LEFT_ALONE | frozenset(NOT_YET), _SECRETS)
    section = read_section(CHANNEL, cleaned if isinstance(cleaned, Entries) else node, problems)
    stem = Path(file).stem
    name: str = section.get("channel", stem)
    if section.says("channel") and name != stem:
        problems.error(
            "E222", section.at("channel"), f'"{name}" is not the file\'s name', f"channel: {stem}"
        )
    stem = instance or stem
    order_by, order_by_text = _order_by(section, problems)
    enabled = section.get("enabled", True)
    if stem in around.enabled:
        enabled = around.enabled[stem][0]
    types = tuple(pattern for pattern, _ in section.get("types", ()))
    sources = read_sources(section, around.directory, problems)
    own = facts_of((node, *(snippet.steps for snippet in around.known.snippets.values())))
    known = replace(
        around.known,
        segments=segments_admitted(section, types),
        types=types_admitted(section, types),
        own_facts=own,
    )
    around = replace(around, known=known)
    first = replace(around.known, variables=frozenset())  # what is known before the steps
    said: Section | None = section.get("combine")
    made = frozenset[str]() if said is None else VARIABLES
    until = None if said is None else _condition(said, first, problems, "until")
    draft = ChannelDraft(
        name=stem,
        file=file,
        position=section.at("channel"),
        section=section,
        enabled=enabled,
        sources=sources.connections if sources.mllp is None else (inline_name(stem),),
        inline=sources.mllp,
        files_source=sources.files,
        from_channels=sources.channels,
        types=types,
        accept=_condition(section, first, problems),
        steps=_steps(section, replace(around.known, variables=made), problems),
        order_by=order_by,
        order_by_text=order_by_text,
        dedupe=read_dedupe(section, types, around.known, problems),
        combine=read_combine(section, until, around.known, problems),
    )
    draft.destinations = _destinations(section, draft, around, problems)
    # a key that stands twice hides what is under its second one: tests may well speak of that
    doubled = any(p.code == "E002" and p.position.file == file for p in problems.found)
    if "tests" in section.nodes and not doubled:
        draft.cases = read_tests(section.nodes["tests"], answering(draft), around.samples, problems)
    return draft


def answering(draft: ChannelDraft) -> dict[str, bool]:
    """Return the destinations: whether an application acknowledgment is waited for there.

    Those that could not be read are among them, and may wait.
    """
    node = draft.section.nodes.get("to")
    written = [key.value for key, _ in node] if isinstance(node, Entries) else []
    read = {d.name: d.section.says("application_ack") for d in draft.destinations}
    return {**dict.fromkeys(written, True), **read}


def _condition(
    section: Section, known: Known, problems: Problems, name: str = "accept"
) -> Condition | None:
    condition: Condition | None = section.get(name)
    node = section.nodes.get(name)
    if not isinstance(node, Text):
        return condition
    if condition is None:
        return None
    for warned in condition.warnings:
        problems.warning("W213", node.at(warned.offset), warned.message, warned.hint)
    for path in condition.unsaid_paths():
        if repeats(path.segment) and not is_group_head(path.segment):
            problems.warning(
                "W305",
                node.at(max(node.value.find(path.text), 0)),
                f'"{path.segment}" repeats; this reads the first',
                f"say which: {path.segment}[1]-…, any {path.text} = …",
            )
    for path in condition.paths():
        at = node.at(max(node.value.find(path.text), 0))
        check_place(path, at, known.segments, problems)
    for table in condition.table_names():
        if table not in known.tables:
            at = node.at(max(node.value.rfind(table), 0))
            problems.error("E301", at, f'no table "{table}"', nearest(table, list(known.tables)))
    for variable in condition.variables():
        if known.variables is not None and variable not in known.variables:
            at = node.at(max(node.value.find(f"${variable}"), 0))
            problems.error(
                "E302",
                at,
                f"${variable} is not known here",
                "`let` in the channel's steps makes it",
            )
    check_condition(condition, node, known.types, problems)
    return condition


def _steps(section: Section, known: Known, problems: Problems) -> Steps:
    node = section.nodes.get("steps")
    if isinstance(node, Text) and node.is_null:
        node = None
    return compile_steps(node, problems, known)


def _order_by(
    section: Section, problems: Problems
) -> tuple[str | tuple[Hl7Path, ...] | None, tuple[str, ...]]:
    node = section.nodes.get("order_by")
    if node is None:
        return None, ()
    if isinstance(node, Text) and node.value == "patient":
        return "patient", ("patient",)
    read = ListOf(PathKind("patient, or a path")).read("order_by", node, problems)
    if read is BAD:
        return None, ("?",)
    paths = tuple(path for path, _ in read)
    for path, written in read:
        if path.is_bare and repeats(path.segment):
            problems.error(
                "E234",
                written.position,
                f'"{path.segment}" repeats, and order_by wants one value',
                f"say which: {path.segment}[1], {path.segment}[last] …",
            )
    return paths, tuple(path.text for path in paths)


def _destinations(
    section: Section, channel: ChannelDraft, around: Surroundings, problems: Problems
) -> list[DestinationDraft]:
    node = section.nodes.get("to")
    if node is None:
        return []
    if not isinstance(node, Entries) or not node.entries:
        problems.error(
            "E104",
            node.position,
            '"to" takes a map of destinations',
            "as in to: {lab: {connection: lis-adt}}",
        )
        return []
    if len(node.entries) > MOST_DESTINATIONS:
        many = node.entries[MOST_DESTINATIONS][0]
        problems.error("E004", many.position, f"more than {MOST_DESTINATIONS} destinations")
        return []
    found = []
    for name, body in node:
        good = NAME.read("to", name, problems) is not BAD
        if name.value in RESERVED:
            problems.error("E103", name.position, f'"{name.value}" cannot name a destination')
        if not isinstance(body, Entries):
            problems.error(
                "E104",
                body.position,
                f'"{shorten(name.value)}" takes a map of keys',
                "as in {connection: lis-adt}",
            )
            continue
        inner = read_section(DESTINATION, body, problems)
        inner.position = name.position
        destination = _destination(name.value, inner, body, channel, around, problems)
        if good:
            found.append(destination)
    return found


def _destination(
    name: str,
    inner: Section,
    body: Entries,
    channel: ChannelDraft,
    around: Surroundings,
    problems: Problems,
) -> DestinationDraft:
    _one_target(name, inner, body, problems)
    check_answers(name, inner, problems)
    known = _known_after(name, channel, around)
    types = tuple(pattern for pattern, _ in inner.get("types", ()))
    if types and known.types is not None and types_read(inner, types):
        known = replace(known, types=tuple((pattern.code, pattern.event) for pattern in types))
    files = _files(inner, around.directory, problems)
    said = inner.get("order")
    return DestinationDraft(
        name=name,
        position=inner.position,
        section=inner,
        enabled=inner.get("enabled", True),
        connection=inner.get("connection")
        if inner.get("mllp") is None
        else inline_name(channel.name, name),
        channel=inner.get("channel"),
        files=files,
        types=types,
        accept=_condition(inner, known, problems),
        steps=_steps(inner, known, problems),
        retry=retry_from(inner.get("retry"), around.retry, problems),
        on_nak=on_nak_from(inner.get("on_nak"), around.on_nak),
        order=Order(said) if said else default_order(channel, types),
        lanes=inner.get("lanes", 1),
        settle=inner.get("settle", "batched"),
    )


def default_order(channel: ChannelDraft, types: tuple[TypePattern, ...]) -> Order:
    """Return what an unsettled message holds where the file does not say it.

    Source: safety-rules.md 17.
    """
    if channel.order_by is None:
        return Order.SKIP_DEAD
    effective = types or channel.types
    keyed = not effective or any(
        pattern.code in ("*", *_KEYED_CODES) or pattern.code.startswith("OM")
        for pattern in effective
    )
    return Order.HOLD_KEY if keyed else Order.SKIP_DEAD


def _known_after(name: str, channel: ChannelDraft, around: Surroundings) -> Known:
    """Return what a destination can use: variables of the channel's steps too.

    Steps that could not all be read may make others: then none is called unknown.
    """
    written = len(step_nodes(channel.section))
    whole = len(channel.steps.steps) == written
    made = VARIABLES if channel.section.says("combine") else frozenset[str]()
    return replace(
        around.known,
        variables=channel.steps.variables_set() | made if whole else None,
        destination=name,
    )


def _one_target(name: str, inner: Section, body: Entries, problems: Problems) -> None:
    kinds = ("connection", "mllp", "files", "channel", "fhir")
    targets = [key for key in kinds if inner.says(key)]
    if len(targets) > 1:
        problems.error(
            "E102",
            inner.keys[targets[1]].position,
            f'"{name}" has both {targets[0]} and {targets[1]}',
        )
    elif not targets and not _close_to_target(body):
        problems.error(
            "E102",
            inner.position,
            f'"{name}" has neither connection nor files',
            "as in connection: lis-adt",
        )


def _close_to_target(body: Entries) -> bool:
    # a misspelt `conection` is already reported; its absence is not a second mistake
    return any(nearest(key.value, ["connection", "files", "channel"]) for key, _ in body)


def _files(inner: Section, directory: Path, problems: Problems) -> FilesTarget | None:
    target: Section | None = inner.get("files")
    if target is None:
        return None
    folder, name = target.get("dir"), target.get("name")
    if folder is None or name is None:
        return None
    return FilesTarget(directory=resolve(directory, folder), name=name)


def step_nodes(section: Section) -> tuple[Node, ...]:
    """Return the steps of a channel or destination as written."""
    node = section.nodes.get("steps")
    return node.items if isinstance(node, Items) else ()


def tables_used(channel: ChannelDraft) -> set[str]:
    """Return the names of the tables that a channel reads."""
    used: set[str] = set()
    parts = [(channel.accept, channel.steps), *((d.accept, d.steps) for d in channel.destinations)]
    for accept, steps in parts:
        used.update(steps.table_names())
        used.update(() if accept is None else accept.table_names())
    for destination in channel.destinations:
        if destination.files is not None:
            used.update(destination.files.name.tables())
    return used
