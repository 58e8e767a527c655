"""Reading the parameters of steps: every mistake becomes a problem at its place, nothing raises."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ifengine.errors import NotationError
from ifengine.hl7 import groups
from ifengine.hl7.condition import Condition, parse_condition
from ifengine.hl7.path import Path, parse_path
from ifengine.transforms.base import Action, Steps, Uses
from ifengine.transforms.fact_placeholder import FactValue
from ifengine.transforms.identity import PatientIdentity
from ifengine.transforms.known_paths import check_place
from ifengine.transforms.reaching import Types, check_condition
from ifengine.transforms.site_files import PythonFile, Snippet
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text
from ifengine.transforms.tables import Table
from ifengine.transforms.template import Template, parse_template
from ifengine.transforms.together import Short
from ifengine.transforms.validation_profile import Profile

NAME = re.compile(r"[a-z][a-z0-9-]*")
SECRET = re.compile(r"\$\{\s*secret\s*:[^}]*\}")
DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d|y)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "y": 365.25 * 86_400.0}
BARE_PATH = re.compile(r"[A-Z][A-Z0-9]{2}(\[[^]]*\]|\([^)]*\))?-[0-9]")
YES = frozenset({"yes", "true", "on"})
NO = frozenset({"no", "false", "off"})


def _stand_in(text: Text) -> str:
    return f"a stand-in for {text.value}"


@dataclass(frozen=True, slots=True)
class Known:
    """What the site has. ``variables`` are those that earlier steps made; None: do not check."""

    tables: Mapping[str, Table]
    variables: frozenset[str] | None = None
    facts: Mapping[str, float] = field(
        default_factory=dict
    )  # shared by the site: seconds they last
    # those that this channel remembers, with the names of what they carry; None: do not check
    own_facts: Mapping[str, frozenset[str]] | None = None
    # segments that the channel's types can have; None where nobody knows
    segments: frozenset[str] | None = None
    types: Types | None = None  # that the channel or destination takes, likewise
    destination: str = ""  # whose steps these are; "": the channel's own
    documents: frozenset[str] | None = None  # stores for documents; None: do not check
    # what `${secret:NAME}` stands for; a stand-in where a channel is only looked at
    secret: Callable[[Text], str] = field(default=_stand_in, repr=False)
    identity: PatientIdentity | None = None  # None: the site has no definition of a patient
    profiles: Mapping[str, Profile] = field(default_factory=dict)  # of `validate`
    python_files: Mapping[str, PythonFile] = field(default_factory=dict)  # by path below channels
    allows_python: bool = True
    snippets: Mapping[str, Snippet] = field(default_factory=dict)  # by path below channels


class Built(NamedTuple):
    """A verb with its parameters read."""

    action: Action
    uses: Uses = Uses()
    detail: str = ""
    inner: tuple[Steps, ...] = ()
    short: tuple[Short, ...] = ()  # see ``together``; all that the action does, or nothing


@dataclass(slots=True)
class Room:
    """How many steps may still be read; less than none once one too many was asked for."""

    left: int = 1

    def take(self) -> bool:
        """Return whether there is room for one more."""
        self.left -= 1
        return self.left >= 0

    def __bool__(self) -> bool:
        return self.left >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a step stands while it is read."""

    problems: Problems
    known: Known
    verb: str
    at: Position
    number: str = ""
    loops: tuple[str, ...] = ()  # segments of the `for_each` around, from the outside in
    depth: int = 1
    options: Mapping[str, Node] = field(default_factory=dict)  # keys beside the verb
    variables: set[str] = field(default_factory=set)  # made by `let` so far
    room: Room = field(default_factory=Room)
    snippets: tuple[str, ...] = ()  # of the `use` around, from the outside in
    compile_list: "Callable[[Node, Context, str], Steps]"

    def error(self, code: str, at: Position, message: str, hint: str = "") -> None:
        """Report a mistake."""
        self.problems.error(code, at, message, hint)

    def flag(self, key: str) -> bool:
        """Return a yes or no that stands beside the verb."""
        node = self.options.get(key)
        if node is None:
            return False
        if isinstance(node, Text) and node.value in YES | NO:
            return node.value in YES
        self.error("E103", node.position, f"{key} is yes or no")
        return False

    # --- shapes -----------------------------------------------------------------------------

    def text(self, node: Node, what: str) -> Text | None:
        """Return a node as text."""
        if isinstance(node, Text):
            return node
        self.error("E104", node.position, f"{what} is text here")
        return None

    def texts(self, node: Node, what: str) -> list[Text]:
        """Return one or a list of texts."""
        nodes = list(node) if isinstance(node, Items) else [node]
        found = [text for item in nodes if (text := self.text(item, what)) is not None]
        if not nodes:
            self.error("E104", node.position, f"{self.verb} needs at least one {what}")
        return found

    def pairs(self, node: Node, example: str) -> list[tuple[Text, Text]]:
        """Return a mapping of texts, such as ``{PID-5.1: text}``."""
        if not isinstance(node, Entries):
            self.error("E104", node.position, f"{self.verb} takes a mapping", example)
            return []
        if not node.entries:
            self.error("E104", node.position, f"{self.verb} has nothing to do", example)
        read = [(key, self.text(value, key.value)) for key, value in node]
        return [(key, value) for key, value in read if value is not None]

    def parameters(
        self, node: Node, *, required: Iterable[str], optional: Iterable[str] = (), example: str
    ) -> dict[str, Node] | None:
        """Return named parameters; None where one is missing or unknown."""
        if not isinstance(node, Entries):
            self.error("E104", node.position, f"{self.verb} takes named parameters", example)
            return None
        required = tuple(required)
        allowed = (*required, *optional)
        found: dict[str, Node] = {}
        misspelt: list[str] = []
        for key, value in node:
            if key.value in allowed:
                found[key.value] = value
                continue
            free = [name for name in allowed if node.get(name) is None]
            near = difflib.get_close_matches(key.value, free, 1)
            misspelt += near
            hint = f'did you mean "{near[0]}"?' if near else f"{self.verb}: {', '.join(allowed)}"
            self.error("E101", key.position, f'"{key.value}" is not known here', hint)
        for name in required:
            # a misspelt key was reported: do not report it missing as well
            if name not in found and name not in misspelt:
                self.error("E102", self.at, f'{self.verb} needs "{name}"', example)
        complete = not misspelt and all(name in found for name in required)
        return found if complete else None

    def name(self, node: Node, what: str) -> str | None:
        """Return a name of the configuration."""
        text = self.text(node, what)
        if text is None:
            return None
        if not NAME.fullmatch(text.value):
            hint = "small letters, digits and -, a letter first"
            self.error("E103", text.position, f'"{text.value}" cannot name a {what}', hint)
            return None
        return text.value

    def word(
        self, node: Node | None, what: str, words: tuple[str, ...], default: str
    ) -> str | None:
        """Return one of some words; the default where nothing is written."""
        if node is None:
            return default
        text = self.text(node, what)
        if text is None or text.value in words:
            return None if text is None else text.value
        near = difflib.get_close_matches(text.value, words, 1)
        hint = f'did you mean "{near[0]}"?' if near else ""
        listed = ", ".join(words)
        self.error("E103", text.position, f'"{text.value}" is not one of {listed}', hint)
        return None

    def duration(self, node: Node, what: str) -> tuple[str, float] | None:
        """Return a duration as written, and in seconds."""
        text = self.text(node, what)
        if text is None:
            return None
        match = DURATION.fullmatch(text.value)
        if match is None or not float(match[1]):
            self.error("E104", text.position, f"{what} takes a duration", "as in 30m: ms s m h d y")
            return None
        return text.value, float(match[1]) * SECONDS[match[2]]

    def secret(self, node: Node, what: str, *, is_used: bool = True) -> str | None:
        """Return what ``${secret:NAME}`` stands for; it is not looked up where it has no effect.

        A secret that stands in the file itself, where everybody reads it, is a mistake.
        """
        text = self.text(node, what)
        if text is None:
            return None
        if not SECRET.fullmatch(text.value):
            message = f"{what} is a secret: it does not stand in a channel"
            self.error("E332", text.position, message, f'as in {what}: "${{secret:NAME}}"')
            return None
        return self.known.secret(text) if is_used else ""

    def any_text(self, node: Node, what: str) -> Template | None:
        """Return text with placeholders; a bare path is read as one, `PID-3.1` as `${PID-3.1}`."""
        text = self.text(node, what)
        if text is None:
            return None
        if text.plain and BARE_PATH.match(text.value):
            path = self.path(text)
            return (
                None if path is None else self.template(replace(text, value=f"${{{text.value}}}"))
            )
        return self.template(text)

    @property
    def is_destination(self) -> bool:
        """Whether these are the steps of a destination."""
        return bool(self.known.destination)

    # --- notations --------------------------------------------------------------------------

    def notation(self, text: Text, error: NotationError) -> None:
        """Report a mistake in a path, condition or placeholder."""
        self.error("E110", text.at(error.offset), error.message, error.hint)

    def template(self, text: Text) -> Template | None:
        """Return text with placeholders; plain ``null`` means empty."""
        try:
            made = parse_template("" if text.is_null else text.value, facts=self.known.facts)
        except NotationError as error:
            self.notation(text, error)
            return None
        for path in made.paths():
            self.warn_unsaid(path, text)
            self._check_place(path, text)
        for name in made.tables():
            self.table(name, text, keys=1, timed=False)
        self.check_variables(made.variables(), text)
        for fact in made.facts():
            self._check_fact(fact, text)
        return made

    def _check_fact(self, read: FactValue, text: Text) -> None:
        """Report a fact that nobody remembers, or a value that it does not carry."""
        own = self.known.own_facts
        if own is None or (read.is_shared and read.fact not in own):
            return  # another channel remembers it
        place = text.at(max(text.value.find(f"fact.{read.fact}"), 0))
        if read.fact not in own:
            near = difflib.get_close_matches(read.fact, [*own, *self.known.facts], 1)
            hint = f'did you mean "{near[0]}"?' if near else f"remember: {{fact: {read.fact}, …}}"
            message = f'no step of this channel remembers "{read.fact}"'
            self.error("E333", place, f"{message}, and the site shares none of this name", hint)
        elif not read.is_shared and read.value not in own[read.fact]:
            kept = ", ".join(name or "one text" for name in sorted(own[read.fact])) or "nothing"
            self.error("E333", place, f'"{read.fact}" carries no such value', f"it carries {kept}")

    def condition(self, text: Text, *, relative: bool = False) -> Condition | None:
        """Return a condition."""
        try:
            made = parse_condition(text.value, relative=relative)
        except NotationError as error:
            self.notation(text, error)
            return None
        for warning in made.warnings:
            self.problems.warning("W213", text.at(warning.offset), warning.message, warning.hint)
        for path in made.unsaid_paths():
            self.warn_unsaid(path, text)
        for path in made.paths():
            self._check_place(path, text)
        for name in made.table_names():
            self.table(name, text)
        self.check_variables(made.variables(), text)
        if not relative:
            check_condition(made, text, self.known.types, self.problems)
        return made

    def check_variables(self, names: Iterable[str], text: Text) -> None:
        """Report a variable that no ``let`` made."""
        if self.known.variables is None:
            return
        known = self.known.variables | self.variables
        for name in names:
            if name not in known and not name.startswith("msg."):
                near = difflib.get_close_matches(name, known, 1)
                hint = f'did you mean "{near[0]}"?' if near else "a `let` before this step makes it"
                place = text.at(max(text.value.find(name), 0))
                self.error("E302", place, f'there is no variable "{name}" here', hint)

    def table(
        self, name: str, text: Text, *, keys: int | None = None, timed: bool | None = None
    ) -> Table | None:
        """Return a table by name.

        ``keys`` is how many key columns it must have; ``timed`` whether the step says for which
        time (``at:``), None where only its names are asked for.
        """
        table = self.known.tables.get(name)
        at = text.at(max(text.value.find(name), 0))
        if table is None:
            near = difflib.get_close_matches(name, self.known.tables, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"put it into tables/{name}.csv"
            self.error("E301", at, f'there is no table "{name}"', hint)
        elif keys is not None and len(table.keys) != keys:
            listed = ", ".join(table.keys)
            self.error("E308", at, f'table "{name}" has {len(table.keys)} key columns', listed)
            return None
        elif timed is not None and bool(table.timed) != timed:
            what = "has no valid_from or valid_to" if timed else "holds for a time only"
            hint = "leave out at:" if timed else "a lookup with at: PATH asks it for a time"
            self.error("E308", at, f'table "{name}" {what}', hint)
            return None
        return table

    # --- paths ------------------------------------------------------------------------------

    def path(self, text: Text) -> Path | None:
        """Return a path, whatever it is for."""
        try:
            path = parse_path(text.value)
        except NotationError as error:
            self.notation(text, error)
            return None
        name = path.segment
        if name != "Z*" and not groups.is_known_segment(name):
            near = []
            if self.problems.takes_hints:
                near = difflib.get_close_matches(name, groups.STANDARD_SEGMENTS, 1, 0.6)
            hint = (
                f'did you mean "{near[0]}"?'
                if near
                else "own segments begin with Z; a text that looks like a path is quoted"
            )
            self.problems.warning("W303", text.at(0), f"{name} is no segment of HL7", hint)
        return path

    def _check_place(self, path: Path, text: Text, *, is_read: bool = True) -> None:
        at = text.at(max(text.value.find(path.text), 0))
        check_place(path, at, self.known.segments, self.problems, is_read=is_read)

    def field(self, text: Text, *, written: bool) -> Path | None:
        """Return a path to a field, which may be written."""
        path = self.path(text)
        if path is None:
            return None
        if path.field is None:
            hint = f"{path.head}-1"
            if self.verb in ("clear", "move"):
                hint = f"delete_segments: {path.head}"
            self.error("E306", text.at(0), f"{self.verb} works on fields", hint)
            return None
        if written and path.segment == "MSH" and path.field <= 2:
            self.error("E306", text.at(0), "the delimiters of a message cannot be changed")
            return None
        self._check_place(path, text, is_read=not written)
        return path

    def reads(self, text: Text) -> Path | None:
        """Return a path that is read: the first occurrence, with a warning where there are more."""
        path = self.field(text, written=False)
        if path is not None:
            self.warn_unsaid(path, text)
        return path

    def writes(self, text: Text) -> Path | None:
        """Return a path that is written: it must say which segment (safety-rules.md 10)."""
        path = self.field(text, written=True)
        return None if path is None or self.is_unsaid(path, text) else path

    def in_place(self, text: Text) -> Path | None:
        """Return a path whose every occurrence is changed."""
        return self.field(text, written=True)

    def is_unsaid(self, path: Path, text: Text) -> bool:
        """Report a bare segment that may be there several times."""
        name = path.segment
        if not self.is_ambiguous(path):
            return False
        hint = f"{name}[1]-{path.field}, or for_each: {name}"
        message = f'"{name}" may be there several times: say which'
        self.error("E305", text.at(0), message, hint)
        return True

    def warn_unsaid(self, path: Path, text: Text) -> None:
        """Warn about a bare repeating segment where a read means the first."""
        name = path.segment
        if self.is_ambiguous(path) and not groups.is_group_head(name):
            place = text.at(max(text.value.find(path.text), 0))
            hint = (
                f"{name}[1]-{path.field or 1}, any {name}-{path.field or 1} = …, for_each: {name}"
            )
            if path.field is not None:
                self.problems.warning(
                    "W305", place, f'"{name}" may repeat: this reads the first', hint
                )

    def is_ambiguous(self, path: Path) -> bool:
        """Whether nothing says which of several segments a path means."""
        name = path.segment
        if path.head.index is not None or path.is_relative or not groups.repeats(name):
            return False
        if path.parent is not None:
            return True
        return not any(loop == name or groups.stands_under(loop, name) for loop in self.loops)
