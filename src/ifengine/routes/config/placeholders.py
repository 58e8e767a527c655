"""``${env:}``, ``${secret:}`` and ``${file:}`` in the site file, filled after parsing.

A filled value is text in one scalar: it can never add YAML, and it is never shown.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ifengine.errors import EngineError
from ifengine.routes.config.filled import FilledText
from ifengine.transforms.source import Entries, Items, Node, Problem, Problems, Severity, Text

PLACEHOLDER = re.compile(r"\$\{\s*(env|secret|file)\s*:([^}]*)\}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_BYTES = 64 * 1024


@dataclass(slots=True)
class Filler:
    """Fills the scalars of one site.

    Args:
        directory: the site's; relative paths start there.
        environ: the environment, given so that tests own it.
        sources: what ``secrets:`` lists, ``systemd``, ``dir:PATH`` and ``sealed``, in order.
        sealed: returns a secret of the engine's own store, None where it has none of that name;
            raises EngineError where it does not open.
    """

    directory: Path
    environ: Mapping[str, str]
    sources: Sequence[str] = ("systemd",)
    sealed: Callable[[str], str | None] | None = None
    unfilled: list[Problem] = field(default_factory=list)
    read_files: dict[str, bytes] = field(default_factory=dict)
    file_keys: frozenset[str] = frozenset({"cert", "key", "ca"})

    def fill(self, node: Node, problems: Problems) -> Node:
        """Return the node with every placeholder filled; what is missing becomes a warning."""
        match node:
            case Text():
                return self._text(node, problems)
            case Items():
                return Items(tuple(self.fill(item, problems) for item in node), node.position)
            case Entries():
                entries = tuple((key, self._entry(key, value, problems)) for key, value in node)
                return Entries(entries, node.position)

    def _entry(self, key: Text, value: Node, problems: Problems) -> Node:
        if key.value in self.file_keys and isinstance(value, Text):
            whole = PLACEHOLDER.fullmatch(value.value)
            if whole is not None and whole[1] in ("file", "secret"):
                return self._as_path(value, whole[1], whole[2], problems)
        return self.fill(value, problems)

    def secret(self, text: Text, problems: Problems) -> str:
        """Return what the only placeholder of a text stands for; a stand-in where it is missing."""
        filled = self._text(text, problems)
        missing = isinstance(filled, FilledText) and filled.missing
        return f"a stand-in for {text.value}" if missing else filled.value

    def _text(self, text: Text, problems: Problems) -> Text:
        if "${" not in text.value:
            return text
        parts: list[str] = []
        end, missing, any_found = 0, False, False
        for found in PLACEHOLDER.finditer(text.value):
            any_found = True
            parts.append(text.value[end : found.start()])
            end = found.end()
            value = self._value(text, found[1], found[2].strip(), found.start(), problems)
            missing = missing or value is None
            parts.append(value or "")
        if not any_found:
            return text
        parts.append(text.value[end:])
        return FilledText(
            "".join(parts), text.position, False, False, written=text.value, missing=missing
        )

    def _value(
        self, text: Text, what: str, name: str, offset: int, problems: Problems
    ) -> str | None:
        match what:
            case "env":
                return self._env(text, name, offset, problems)
            case "secret":
                return self._secret(text, name, offset, problems)
            case _:
                path = self.directory / name
                content = self._content(text, path, offset, f"${{file:{name}}}")
                if content is not None:
                    self.read_files[name] = content.encode("utf-8")
                return content

    def _env(self, text: Text, body: str, offset: int, problems: Problems) -> str | None:
        name, dash, default = body.partition(":-")
        if not _ENV_NAME.fullmatch(name.strip()):
            problems.error(
                "E110",
                text.at(offset),
                "${env:…} names no environment variable",
                "as in ${env:LIS_HOST} or ${env:LIS_PORT:-6661}",
            )
            return None
        value = self.environ.get(name.strip(), "")
        if value:
            return value
        if dash:
            return default
        self._missing(text, offset, f"the environment variable {name.strip()} is not set")
        return None

    def _secret(self, text: Text, name: str, offset: int, problems: Problems) -> str | None:
        """Return a secret's value, from the first source that has it."""
        if _SECRET_NAME.fullmatch(name):
            for source in self.sources:
                folder = self._folder(source)
                if folder is not None and (folder / name).is_file():
                    return self._content(text, folder / name, offset)
                if source == "sealed" and self.sealed is not None:
                    try:
                        value = self.sealed(name)
                    except EngineError as error:
                        self._missing(text, offset, str(error), error.hint)
                        return None
                    if value is not None:
                        return value
        self._secret_file(text, name, offset, problems)  # says what is missing
        return None

    def _secret_file(self, text: Text, name: str, offset: int, problems: Problems) -> Path | None:
        if not _SECRET_NAME.fullmatch(name):
            problems.error(
                "E110",
                text.at(offset),
                "${secret:…} names no secret",
                "letters, digits, dots, hyphens; no folder",
            )
            return None
        for source in self.sources:
            folder = self._folder(source)
            if folder is not None and (folder / name).is_file():
                return folder / name
        where = ", ".join(self.sources) or "nowhere"
        # certificates and keys are read as files, again at each start: one cannot be sealed here
        self._missing(text, offset, f"the secret {name} was not found", f"looked in: {where}")
        return None

    def _folder(self, source: str) -> Path | None:
        if source == "systemd":
            given = self.environ.get("CREDENTIALS_DIRECTORY", "")
            return Path(given) if given else None
        if source.startswith("dir:"):
            return self.directory / source.removeprefix("dir:")
        return None

    def _content(self, text: Text, path: Path, offset: int, shown: str = "") -> str | None:
        shown = shown or "the secret's file"
        try:
            with path.open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
            if len(raw) <= _MAX_BYTES:
                return raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
            why = f"{shown} is larger than {_MAX_BYTES // 1024} KiB"
        except (OSError, ValueError):  # a null byte in a name, bytes that are not UTF-8
            why = f"{shown} cannot be read as text"
        self._missing(text, offset, why)
        return None

    def _as_path(self, text: Text, what: str, name: str, problems: Problems) -> Text:
        # certificates stay files: a rotated one is read again, and no key is copied
        name = name.strip()
        if what == "file":
            return FilledText(name, text.position, False, False, written=text.value)
        found = self._secret_file(text, name, 0, problems)
        return FilledText(
            str(found or ""), text.position, False, False, written=text.value, missing=found is None
        )

    def _missing(self, text: Text, offset: int, message: str, hint: str = "") -> None:
        self.unfilled.append(
            Problem(
                text.at(offset),
                Severity.WARNING,
                "W230",
                message,
                hint or "serve refuses to start without it",
            )
        )


def refuse_placeholders(
    node: Node,
    problems: Problems,
    skip: frozenset[str],
    secrets: Mapping[str, tuple[str, ...]] | None = None,
) -> Node:
    """Add E231 for every env, secret or file placeholder in a channel.

    What was tested is what runs, so a channel says the same in every environment; and a secret
    must not reach a message, a file name, a metric or a log.

    Args:
        node: a part of a channel file; its depth is bounded by the loader.
        problems: gets the errors.
        skip: keys whose values are left alone: tests, verbs and keys of later releases.
        secrets: by verb, the parameters that are secrets: the step asks for them and keeps them.

    Returns:
        The node with each such placeholder blanked, so that it is not reported twice.
    """
    match node:
        case Text():
            return _refused_text(node, problems) if "${" in node.value else node
        case Items():
            items = tuple(refuse_placeholders(item, problems, skip, secrets) for item in node)
            return Items(items, node.position)
        case Entries():
            entries = tuple(
                (key, value)
                if key.value in skip
                else (key, _refused(key.value, value, problems, skip, secrets or {}))
                for key, value in node
            )
            return Entries(entries, node.position)


def _refused(
    key: str,
    value: Node,
    problems: Problems,
    skip: frozenset[str],
    secrets: Mapping[str, tuple[str, ...]],
) -> Node:
    own = secrets.get(key)
    if own and isinstance(value, Entries):
        return refuse_placeholders(value, problems, skip | frozenset(own), secrets)
    return refuse_placeholders(value, problems, skip, secrets)


def _refused_text(text: Text, problems: Problems) -> Text:
    for found in PLACEHOLDER.finditer(text.value):
        what = "a secret" if found[1] == "secret" else f"${{{found[1]}:…}}"
        problems.error(
            "E231",
            text.at(found.start()),
            f"{what} cannot stand in a channel",
            "secrets and places belong into ifengine.yaml",
        )
    return replace(text, value=PLACEHOLDER.sub(lambda found: "x" * len(found[0]), text.value))
