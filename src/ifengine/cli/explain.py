"""``ifengine explain``: a code, a step, a key, a path or a channel, in plain words."""

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ifengine.cli.failure import CommandError, usage
from ifengine.cli.main import nearest
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import print_line
from ifengine.cli.site import SITE_FILE, load

if TYPE_CHECKING:
    from ifengine.routes.config.sections import Key
    from ifengine.transforms.reading import Known
    from ifengine.transforms.step_row import StepRow

_CODE = re.compile(r"[EW][0-9]{3}", re.IGNORECASE)
_PATH = re.compile(r"[A-Z][A-Z0-9]{2}(?:\[[^\]]*\]|\([^)]*\))?(?:-.+)?")
_VERSION = "2.5.1"

Page = list[str]


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="WHAT")
@click.option("--version", "version", default=_VERSION, show_default=True, metavar="2.x",
              help="The HL7 version a path is explained by.")  # fmt: skip
@site_options
def explain(place: Place, what: tuple[str, ...], version: str) -> None:
    """Explain a code of check, a step, a key, a path or a channel.

    WHAT is a code (E110), a step (lookup), a key (order_by), a segment or field of the standard
    (PID-8), or a channel of this site. Where a word means several things all are explained;
    `explain step version` picks one of code, step, key, path and channel.
    """
    kinds: dict[str, Callable[[str], Page]] = {
        "code": _code,
        "step": _step,
        "key": _key,
        "path": lambda word: _path(word, version),
        "channel": lambda word: _channel(place, word),
    }
    word = what[-1]
    if len(what) > 2 or (len(what) == 2 and what[0] not in kinds):
        raise usage("explain takes one thing", f"or one of {', '.join(kinds)} and one thing")
    asked = [what[0]] if len(what) == 2 else list(kinds)
    pages = [page for kind in asked if (page := kinds[kind](word))]
    if not pages:
        raise usage(f"nothing here is called {word}", _suggestion(place, word))
    for number, page in enumerate(pages):
        if number:
            print_line()
        for line in page:
            print_line(line)


def _suggestion(place: Place, word: str) -> str:
    from ifengine.routes.config.explain_codes import CODES
    from ifengine.transforms.table_of_steps import BY_VERB

    known = [*BY_VERB, *CODES, *(row.name for _, rows in _tables() for row in rows)]
    return (
        nearest(word, [*dict.fromkeys(known), *_channel_names(place)]) or "ifengine explain --help"
    )


# --- codes and steps ----------------------------------------------------------------------------


def _code(word: str) -> Page:
    from ifengine.routes.config.explain_codes import CODES
    from ifengine.routes.config.explain_pages import PAGES

    name = word.upper()
    if not _CODE.fullmatch(name) or name not in CODES:
        return []
    severity = (
        "an error: serve does not start" if name.startswith("E") else "a warning: serve starts"
    )
    lines = [f"{name} is {severity}.", CODES[name]]
    page = PAGES.get(name)
    if page is not None:
        lines += ["", page.why, "", f"Instead of this, in {page.where.value}:", ""]
        lines += [f"    {line}" for line in page.wrong.splitlines()]
        lines += ["", "write this:", ""]
        lines += [f"    {line}" for line in page.right.splitlines()]
    return lines


def _step(word: str) -> Page:
    from ifengine.transforms.table_of_steps import BY_VERB, NOT_YET

    if word in NOT_YET:
        return [f"{word} is a step of the language that this release does not have yet."]
    row = BY_VERB.get(word)
    if row is None:
        return []
    lines = [f"{word} is a step: {row.meaning}.", ""]
    lines.append(f"It takes  {row.parameters}")
    lines += _parameters(row)
    if row.beside:
        lines.append(f"Beside it {', '.join(row.beside)}")
    lines += ["Any step  when: CONDITION, for_each: SEGMENT, name: NAME"]
    if row.ends:
        lines += ["", "It ends the message: steps behind it do not run."]
    lines += ["", "Example:", "", *_indented(f"- {row.example}")]
    if row.failing:
        lines += ["", "A usual mistake:", "", *_indented(f"- {row.failing}")]
        lines += ["", *_indented(_error_of(row.failing))]
    return lines


def _parameters(row: "StepRow") -> Iterator[str]:
    from ifengine.routes.config.schema_steps import takes

    whole = takes(row)
    for shape in whole.get("anyOf", [whole]):
        named = shape.get("properties", {})
        width = max((len(name) for name in named), default=0)
        for name, about in named.items():
            must = " (must be there)" if name in shape.get("required", ()) else ""
            yield f"    {name:<{width}}  {about['description']}{must}"


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


def _error_of(step: str) -> str:
    """Return what check says about a step, without its place."""
    from ifengine.routes.config.yaml_nodes import compose
    from ifengine.transforms.compile import compile_steps
    from ifengine.transforms.source import Problems

    problems = Problems()
    node = compose(f"- {step}\n", "step", problems)
    compile_steps(node, problems, _known())
    # the tables of this site are not known here
    found = [problem for problem in problems.found if problem.code != "E301"] or problems.found
    return "\n".join(
        f"{p.severity.value}[{p.code}]: {p.message}" + (f"\n  = {p.hint}" if p.hint else "")
        for p in found[:1]
    )


def _known() -> "Known":
    """Return a site that has the files of the examples, and nothing else."""
    from ifengine.transforms.reading import Known
    from ifengine.transforms.site_files import PythonFile, Snippet
    from ifengine.transforms.source import Items, Position

    function = PythonFile("python/strange_lab.py", "", frozenset({"transform"}))
    snippet = Snippet(
        "snippets/us-phone.yaml",
        Items((), Position("snippets/us-phone.yaml", 1, 1)),
        frozenset({"field"}),
    )
    return Known(
        tables={},
        python_files={function.name: function},
        snippets={snippet.name: snippet},
    )


# --- keys ---------------------------------------------------------------------------------------


def _tables() -> Iterator[tuple[str, "Sequence[Key]"]]:
    """Yield every table of keys, and where it is written."""
    from ifengine.routes.config.keys_channel import CHANNEL
    from ifengine.routes.config.keys_connection import LISTEN_CONNECTION, SEND_CONNECTION
    from ifengine.routes.config.keys_destination import DESTINATION
    from ifengine.routes.config.keys_site import SITE
    from ifengine.routes.config.keys_tests import ANSWER, CHANGED, DETAILS, TEST
    from ifengine.routes.config.sections import NamedSections, SectionKind
    from ifengine.routes.config.sources import FROM

    waiting: list[tuple[str, Sequence[Key]]] = [
        ("a channel file", CHANNEL),
        ("from: of a channel", FROM),
        ("a destination, below to:", DESTINATION),
        ("ifengine.yaml", SITE),
        ("a connection that listens", LISTEN_CONNECTION),
        ("a connection that sends", SEND_CONNECTION),
        ("a test, below tests:", TEST),
        ("given: of a test", CHANGED),
        ("answer: of a test, below a destination", ANSWER),
        ("expect: of a test, below a destination", DETAILS),
    ]
    while waiting:
        where, rows = waiting.pop(0)
        yield where, rows
        for row in rows:
            if isinstance(row.kind, SectionKind | NamedSections):
                waiting.append((f"{row.name}: of {where}", row.kind.rows))


def _key(word: str) -> Page:
    from ifengine.routes.config.sections import Status

    pages: dict[tuple[str, ...], list[str]] = {}
    for where, rows in _tables():
        for row in rows:
            if row.name != word:
                continue
            if row.status is Status.LATER:
                told: tuple[str, ...] = ("It belongs to the language; this release refuses it.",)
            else:
                told = tuple(_about_key(row))
            pages.setdefault(told, []).append(where)
    lines: list[str] = []
    for told, places in pages.items():
        lines += ["", f"{word} is a key of {'; of '.join(places)}.", *told]
    return lines[1:]


def _about_key(row: "Key") -> Iterator[str]:
    from ifengine.routes.config.sections import NamedSections, SectionKind, Status

    yield row.meaning
    yield f"It takes  {row.kind.says}"
    if row.required:
        yield "It must be there."
    elif row.default:
        yield f"Default   {row.default}"
    if row.status is Status.NOTED:
        yield "It has no effect in this release."
    if row.example:
        yield f"Example   {row.name}: {row.example}"
    if isinstance(row.kind, SectionKind | NamedSections):
        inner = [key for key in row.kind.rows if key.status is not Status.LATER]
        width = max((len(key.name) for key in inner), default=0)
        yield "Its keys:"
        for key in inner:
            yield f"  {key.name:<{width}}  {key.meaning}"


# --- paths and channels -------------------------------------------------------------------------


def _path(word: str, version: str) -> Page:
    if not _PATH.fullmatch(word):
        return []
    from ifengine.errors import NotationError
    from ifengine.hl7.path import parse_path

    try:
        parse_path(word)
    except NotationError as error:
        raise usage(f"{word}: {error.message}", error.hint) from None
    described = _described(word, version)
    if described is None:
        raise CommandError("this release has no dictionary of the standard's fields")
    return described


def _described(word: str, version: str) -> Page | None:
    try:
        dictionary = importlib.import_module("ifengine.hl7.dictionary")
    except ModuleNotFoundError:
        return None
    describe: Callable[[str, str], Page] | None = getattr(dictionary, "describe", None)
    return None if describe is None else describe(word, version)


def _channel_names(place: Place) -> list[str]:
    folder = place.directory / "channels"
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.endswith("_test"))


def _channel(place: Place, word: str) -> Page:
    if not (place.directory / SITE_FILE).is_file() or word not in _channel_names(place):
        return []
    from ifengine.routes.config.explain_channel import explain_channel
    from ifengine.routes.config.yaml_nodes import compose
    from ifengine.transforms.source import Entries, Problems

    site = load(place)
    for channel in site.channels:
        if channel.name == word:
            text = (site.directory / channel.file).read_text("utf-8-sig")
            node = compose(text, channel.file, Problems())
            if isinstance(node, Entries):
                return explain_channel(site, channel, node)
    return []
