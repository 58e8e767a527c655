"""A site's directory to frozen models, or to every problem in it with its place."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ifengine.routes.config.assembly import build_site
from ifengine.routes.config.channel_file import (
    ChannelDraft,
    Surroundings,
    read_channel,
    tables_used,
)
from ifengine.routes.config.checks_ack import check_ack
from ifengine.routes.config.checks_channel import check_channel
from ifengine.routes.config.checks_promises import check_keeping, check_promises
from ifengine.routes.config.checks_results import check_results
from ifengine.routes.config.checks_site import check_site
from ifengine.routes.config.filled import FilledText
from ifengine.routes.config.inline import take_inline
from ifengine.routes.config.instances import Instance, instances, table_of
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.config.overlay import check_overlay, merge
from ifengine.routes.config.placeholders import Filler
from ifengine.routes.config.profile_file import read_profile
from ifengine.routes.config.scalars import ScalarError, parse_name
from ifengine.routes.config.sealed_secrets import sealed_secrets
from ifengine.routes.config.site_file import SiteDraft, read_site
from ifengine.routes.config.step_files import (
    fill_variables,
    import_used,
    read_python,
    read_snippet,
)
from ifengine.routes.config.tests_beside import ENDING, SAMPLES, read_beside
from ifengine.routes.config.yaml_nodes import MAX_FILE_BYTES, compose, split_lines
from ifengine.transforms.compile import Known
from ifengine.transforms.identity import UNREAD
from ifengine.transforms.site_files import PythonFile, Snippet
from ifengine.transforms.source import (
    Entries,
    Items,
    Node,
    Position,
    Problem,
    Problems,
    Severity,
    Text,
)
from ifengine.transforms.tables import Table, read_csv
from ifengine.transforms.tables_fhir import read_concept_map
from ifengine.transforms.validation_profile import Profile

SITE_FILE: Final = "ifengine.yaml"
MAX_TABLE_BYTES: Final = 16 * 1024 * 1024
_TABLE_FORMS: Final = ((".csv", read_csv), (".json", read_concept_map))
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came of reading a site.

    ``site`` is None when there is any error. ``unfilled`` are the ``${env:}``, ``${secret:}`` and
    ``${file:}`` that could not be filled: they stand in ``problems`` as warnings too, and the site
    then holds stand-ins, good to look at and to try a message with, never to run.
    """

    site: SiteConfig | None
    problems: tuple[Problem, ...]
    unfilled: tuple[Problem, ...]
    lines: Mapping[str, tuple[str, ...]] = field(repr=False)  # file as shown -> its lines
    written: Mapping[str, Entries] = field(default_factory=dict, repr=False)  # channel -> nodes
    around: Surroundings | None = field(default=None, repr=False)  # what channels are read with
    channel_count: int = 0
    table_count: int = 0

    @property
    def can_run(self) -> bool:
        """Whether this may be served: no error, and nothing left unfilled."""
        return self.site is not None and not self.unfilled


@dataclass(slots=True)
class _Files:
    """Every file that was read, for the digest and for showing lines."""

    directory: Path
    given: Mapping[str, bytes] | None = None  # instead of what lies in the directory
    raw: dict[str, bytes] = field(default_factory=dict)
    lines: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self, name: str, limit: int, problems: Problems) -> str | None:
        """Return a file's text, or None after adding E004."""
        place = Position(name, 1, 1)
        try:
            raw = self._read(name, limit + 1)
        except OSError as error:
            problems.error("E004", place, f"cannot be read: {error.strerror or 'no such file'}")
            return None
        if len(raw) > limit:
            problems.error("E004", place, f"the file is larger than {limit // 1024} KiB")
            return None
        self.raw[name] = raw
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            problems.error(
                "E004", place._replace(line=line), "the file is not UTF-8", "save it as UTF-8"
            )
            return None
        self.lines[name] = tuple(split_lines(text))
        return text

    def _read(self, name: str, size: int) -> bytes:
        if self.given is None:
            with (self.directory / name).open("rb") as file:
                return file.read(size)
        if name not in self.given:
            raise FileNotFoundError
        return self.given[name][:size]

    def names(self, folder: str, ending: str) -> list[str]:
        """Return the files right below a folder, hidden ones left out, in order of name."""
        if self.given is not None:
            paths = [Path(name) for name in sorted(self.given)]
            found = [path for path in paths if path.parent == Path(folder)]
        else:
            try:
                found = sorted((self.directory / folder).iterdir())
            except OSError:
                return []
        return [
            f"{folder}/{path.name}"
            for path in found
            if path.name.endswith(ending) and not path.name.startswith(".")
        ]

    def digest(self) -> str:
        """Return the configuration's version: SHA-256 over names and bytes, in order of name."""
        total = hashlib.sha256()
        for name in sorted(self.raw):
            for part in (name.encode("utf-8"), self.raw[name]):
                total.update(len(part).to_bytes(8, "big"))
                total.update(part)
        return total.hexdigest()


def load_site(
    directory: Path,
    *,
    env: str | None = None,
    environ: Mapping[str, str],
    given: Mapping[str, bytes] | None = None,
) -> Loaded:
    """Read ``ifengine.yaml``, the overlay, every table and every channel below a directory.

    Args:
        directory: the site's; it becomes absolute.
        env: reads ``env/NAME.yaml`` over the site file.
        environ: the process's environment.
        given: files by name, read instead of those in the directory, to which relative paths
            and secrets still belong.

    Returns:
        Every problem at once, in the order of the files. Never raises for what files say.
    """
    directory = directory.absolute()
    problems = Problems()
    files = _Files(directory, given)
    filler = Filler(directory, environ)
    site = _load_site_file(files, env, filler, problems)
    tables, table_places = _load_tables(files, problems)
    variables = {} if site is None else site.vars
    around = _surroundings(files, site, tables, lambda text: filler.secret(text, problems))
    around = replace(around, known=_known_more(files, site, around.known, tables, problems))
    found = _load_channels(files, problems)
    made = _instances(found, variables, tables, problems)
    channels = [read_channel(one.node, one.file, around, problems, one.name) for one in made]
    _load_tests_beside(files, channels, around, problems)
    channel_files = _channel_files(files)
    _check(files, site, channels, problems)
    if problems.ok:
        used = [s for c in channels for s in (c.steps, *(d.steps for d in c.destinations))]
        import_used(around.known.python_files, used, problems)
    gone_over = {table_of(node) for node in found.values()}
    _check_unused_tables(files, channels, gone_over, table_places, problems)
    problems.found += filler.unfilled
    for name, content in filler.read_files.items():
        files.raw[f"file:{name}"] = content
    built = None
    if site is not None and problems.ok:
        built = build_site(site, channels, tables, files.digest())
    return Loaded(
        site=built,
        problems=_in_order(problems.found),
        unfilled=tuple(filler.unfilled),
        lines=files.lines,
        written={one.name: one.node for one in made},
        around=around,
        channel_count=len(channel_files) - len({one.file for one in made}) + len(made),
        table_count=len(tables),
    )


def _instances(
    found: Mapping[str, Entries],
    variables: Mapping[str, Text],
    tables: Mapping[str, Table],
    problems: Problems,
) -> list[Instance]:
    """Return every channel: one a file, or one for each row that a file's `for` names."""
    made: list[Instance] = []
    for name, node in found.items():
        made += instances(_with_variables(node, variables, problems), name, tables, problems)
    return made


def _known_more(
    files: _Files,
    site: SiteDraft | None,
    known: Known,
    tables: Mapping[str, Table],
    problems: Problems,
) -> Known:
    """Add what steps need from files of their own: profiles, snippets, functions."""
    known = replace(known, profiles=_load_profiles(files, tables, problems))
    variables = {} if site is None else site.vars
    known = _with_step_files(files, known, variables, problems)
    if site is None:
        return known
    return replace(known, allows_python=site.section.get("python", True))


def _check(
    files: _Files, site: SiteDraft | None, channels: Sequence[ChannelDraft], problems: Problems
) -> None:
    """Check what site and channels say together."""
    if site is None:
        return
    check_keeping(site, problems)
    take_inline(site, channels, problems)
    whole = {channel.file for channel in channels} == set(_channel_files(files))
    check_site(site, channels, problems, complete=whole)
    for channel in channels:
        together = [c for c in channels if c.enabled and set(c.sources) & set(channel.sources)]
        check_channel(channel, site, together or [channel], problems)
        check_ack(channel, site, problems)
        check_promises(channel, site, problems)
        check_results(channel, problems)


def _in_order(found: list[Problem]) -> tuple[Problem, ...]:
    # the site file first, then env/, then channels; the same mistake is told once
    unique = dict.fromkeys(found)
    return tuple(
        sorted(
            unique,
            key=lambda p: (p.position.file.count("/"), p.position, p.severity is Severity.WARNING),
        )
    )


def _load_site_file(
    files: _Files, env: str | None, filler: Filler, problems: Problems
) -> SiteDraft | None:
    base = _mapping(files, SITE_FILE, problems)
    over = None if env is None else _load_overlay(files, env, problems)
    if base is None:
        return None
    merged = base if over is None else merge(base, over)
    filler.sources = _sources(merged)
    if "sealed" in filler.sources:
        filler.sealed = sealed_secrets(files.directory, merged, filler)
    filled = filler.fill(merged, problems)
    if not isinstance(filled, Entries):
        return None
    return read_site(filled, files.directory, problems)


def _load_overlay(files: _Files, env: str, problems: Problems) -> Entries | None:
    try:
        parse_name(env)
    except ScalarError as error:
        problems.error("E004", Position(SITE_FILE, 1, 1), f"--env {error.message}", error.hint)
        return None
    node = _mapping(files, f"env/{env}.yaml", problems)
    return None if node is None else check_overlay(node, problems)


def _sources(merged: Entries) -> tuple[str, ...]:
    node = merged.get("secrets")
    if node is None:
        return ("systemd",)
    nodes = node.items if isinstance(node, Items) else (node,)
    return tuple(n.value for n in nodes if isinstance(n, Text) and not isinstance(n, FilledText))


def _mapping(files: _Files, name: str, problems: Problems) -> Entries | None:
    text = files.text(name, MAX_FILE_BYTES, problems)
    if text is None:
        return None
    before = len(problems.found)
    node: Node | None = compose(text, name, problems)
    if isinstance(node, Entries):
        return node
    if len(problems.found) == before:
        what = "is empty" if node is None else "does not hold a map of keys"
        problems.error("E001", Position(name, 1, 1), f"the file {what}", 'begin with "ifengine: 1"')
    return None


def _channel_files(files: _Files) -> list[str]:
    # NAME_test.yaml holds tests only
    names = files.names("channels", ".yaml")
    return [name for name in names if not name.endswith(ENDING)]


def _load_tables(files: _Files, problems: Problems) -> tuple[dict[str, Table], dict[str, Position]]:
    tables: dict[str, Table] = {}
    places: dict[str, Position] = {}
    for ending, read in _TABLE_FORMS:
        for name in files.names("channels/tables", ending):
            text = files.text(name, MAX_TABLE_BYTES, problems)
            if text is None:
                continue
            stem, place = Path(name).stem, Position(name, 1, 1)
            if stem in tables:
                message = f'there are two tables "{stem}"'
                problems.error("E002", place, message, f"the other is {places[stem].file}")
                continue
            tables[stem] = read(stem, text, name, problems)
            places[stem] = place
    return tables, places


def _load_profiles(
    files: _Files, tables: Mapping[str, Table], problems: Problems
) -> dict[str, Profile]:
    found: dict[str, Profile] = {}
    for name in files.names("channels/profiles", ".yaml"):
        node = _mapping(files, name, problems)
        if node is not None:
            stem = Path(name).stem
            found[stem] = read_profile(node, stem, tables, problems)
    return found


def _with_step_files(
    files: _Files, known: Known, variables: Mapping[str, Text], problems: Problems
) -> Known:
    """Return what steps can name, with Python files and snippets: by path below ``channels``."""
    python: dict[str, PythonFile] = {}
    for name in files.names("channels/python", ".py"):
        text = files.text(name, MAX_FILE_BYTES, problems)
        file = None if text is None else read_python(text, name, problems)
        if file is not None:
            python[name.removeprefix("channels/")] = file
    snippets: dict[str, Snippet] = {}
    for name in files.names("channels/snippets", ".yaml"):
        text = files.text(name, MAX_FILE_BYTES, problems)
        node = None if text is None else compose(text, name, problems)
        snippet = None
        if text is not None and (node is not None or problems.ok):
            snippet = read_snippet(node, name, variables, problems)
        if snippet is not None:
            snippets[name.removeprefix("channels/")] = snippet
    # what the environment filled in counts for the version, as what is written does
    for key, value in variables.items():
        files.raw[f"vars:{key}"] = value.value.encode()
    return replace(known, python_files=python, snippets=snippets)


def _with_variables(node: Entries, variables: Mapping[str, Text], problems: Problems) -> Entries:
    filled = fill_variables(node, variables, problems)
    return filled if isinstance(filled, Entries) else node


def _load_channels(files: _Files, problems: Problems) -> dict[str, Entries]:
    names = _channel_files(files)
    if not names:
        problems.warning(
            "W223",
            Position(SITE_FILE, 1, 1),
            "there is no channel",
            "a channel is channels/NAME.yaml",
        )
    found = {name: _mapping(files, name, problems) for name in names}
    return {name: node for name, node in found.items() if node is not None}


def _load_tests_beside(
    files: _Files, channels: Sequence[ChannelDraft], around: Surroundings, problems: Problems
) -> None:
    for name in files.names("channels", ENDING):
        node = _mapping(files, name, problems)
        if node is not None:
            read_beside(node, name, channels, around.samples, problems)


def _surroundings(
    files: _Files,
    site: SiteDraft | None,
    tables: Mapping[str, Table],
    secret: Callable[[Text], str],
) -> Surroundings:
    directory = files.directory
    samples = frozenset(Path(name).stem for name in files.names(SAMPLES, ".hl7"))
    if site is None:
        # the site file is broken: its channels are still read, for their own mistakes
        return Surroundings(
            directory=directory,
            known=Known(tables=tables, identity=UNREAD),
            samples=samples,
        )
    return Surroundings(
        directory=directory,
        known=Known(
            tables=tables,
            facts=site.facts,
            documents=site.document_names,
            secret=secret,
            identity=site.identity or (UNREAD if site.says_identity else None),
        ),
        retry=site.retry,
        on_nak=site.on_nak,
        enabled=site.enabled,
        samples=samples,
    )


def _check_unused_tables(
    files: _Files,
    channels: Sequence[ChannelDraft],
    gone_over: set[str],
    places: Mapping[str, Position],
    problems: Problems,
) -> None:
    used = gone_over | {name for channel in channels for name in tables_used(channel)}
    if not problems.ok:
        # what could not be read may use a table: a word that looks like its name is enough
        for name, lines in files.lines.items():
            if name.startswith("channels/") and name.endswith(".yaml"):
                used.update(word for line in lines for word in _WORD.findall(line))
    for name, lines in files.lines.items():  # a function asks for a table by its name
        if name.endswith(".py"):
            used.update(word for line in lines for word in _WORD.findall(line))
    for name, place in places.items():
        if name not in used:
            problems.warning(
                "W203", place, f'no channel uses the table "{name}"', "delete it, or use it"
            )
