"""The schemas for editors, by themselves and under the language server that editors run."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ifengine.routes.config import keys_channel, keys_connection, keys_destination, keys_site
from ifengine.routes.config.loading import load_site
from ifengine.routes.config.schema import (
    CHANNEL_SCHEMA,
    FOLDER,
    SITE_SCHEMA,
    channel_schema,
    describe_key,
    modeline,
    schema_files,
    site_schema,
)
from ifengine.routes.config.schema_steps import PARAMETERS, steps_definitions, takes
from ifengine.routes.config.sections import Key, SectionKind, Status
from ifengine.transforms.source import Severity
from ifengine.transforms.table_of_steps import BY_VERB, NOT_YET, STEPS
from routes.config.language_server import WARNING, LanguageServer, language_server, names
from routes.config.small_site import CHANNEL, SITE

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT.parent / "shared" / "examples" / "site"
USED_CHANNEL_KEYS = {row.name for row in keys_channel.CHANNEL if row.status is not Status.LATER}


class Opened(NamedTuple):
    """A file that is open: where it is, and line (from 1) and text of each mark."""

    file: Path
    marks: list[tuple[int, str]]


class Editor:
    """A folder that is open in an editor; each text is a file of its own."""

    def __init__(self, folder: Path, server: LanguageServer) -> None:
        self.server = server
        self._folder = folder
        self._count = 0

    def channel(self, text: str) -> Opened:
        """Open a channel file whose first line names the schema: the text begins on line 2."""
        self._count += 1
        head = modeline(1, CHANNEL_SCHEMA)
        return self._open(self._folder / "channels" / f"c{self._count}.yaml", head, text)

    def site(self, text: str) -> Opened:
        """Open a site file in the same way."""
        self._count += 1
        return self._open(self._folder / f"s{self._count}.yaml", modeline(0, SITE_SCHEMA), text)

    def _open(self, file: Path, head: str, text: str) -> Opened:
        found = self.server.open(file, f"{head}\n{text}")
        marks = [
            (mark["range"]["start"]["line"] + 1, mark["message"])
            for mark in found
            if mark["severity"] <= WARNING  # not the greying of an anchor that nothing uses
        ]
        return Opened(file, marks)


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    folder = tmp_path_factory.mktemp("site")
    (folder / FOLDER).mkdir()
    for name, schema in schema_files().items():
        (folder / FOLDER / name).write_text(json.dumps(schema))
    with language_server(folder) as server:
        yield Editor(folder, server)


# --- under the language server ------------------------------------------------------------------


@pytest.mark.parametrize("site", [ROOT, EXAMPLES], ids=["ours", "examples"])
def test_the_editor_marks_no_line_that_check_does_not_refuse(
    site: Path, editor: Editor, tmp_path: Path
) -> None:
    if not site.is_dir():
        pytest.skip("the example site is not beside this repository")
    copy = tmp_path / "site"
    copy.mkdir()
    shutil.copy(site / "ifengine.yaml", copy)
    shutil.copytree(site / "channels", copy / "channels")
    refused = {
        (problem.position.file, problem.position.line)
        for problem in load_site(copy, environ={}).problems
        if problem.severity is Severity.ERROR
    }
    files = [copy / "ifengine.yaml", *sorted((copy / "channels").glob("*.yaml"))]
    assert len(files) > 1
    for file in files:
        name = file.relative_to(copy).as_posix()
        lines = file.read_text().splitlines(keepends=True)
        if lines[0].startswith("# yaml-language-server"):
            del lines[0]
            shift = 0
        else:
            shift = 1
        opened = (editor.site if name == "ifengine.yaml" else editor.channel)("".join(lines))
        false = [(line, said) for line, said in opened.marks if (name, line - shift) not in refused]
        assert false == [], name


def test_a_misspelt_key_is_marked_where_it_stands(editor: Editor) -> None:
    assert editor.channel(CHANNEL).marks == []
    marks = editor.channel(CHANNEL + "acept: MSH-9.1 = ADT\n").marks
    last = len(CHANNEL.splitlines()) + 2
    assert [(line, "acept" in said) for line, said in marks] == [(last, True)]
    steps = CHANNEL + "steps:\n  - uper: PID-5.1\n  - lookup: {tabel: ward, from: PV1-3.1}\n"
    found = " ".join(said for _, said in editor.channel(steps).marks)
    assert "uper" in found
    assert "tabel" in found


def test_every_key_of_a_channel_is_offered_at_its_top(editor: Editor) -> None:
    file = editor.channel("\n").file
    offered = names(editor.server.complete(file, 1, 0))
    assert offered >= USED_CHANNEL_KEYS


def test_every_verb_and_what_stands_beside_it_is_offered_in_a_step(editor: Editor) -> None:
    file = editor.channel("steps:\n  - \n").file
    offered = names(editor.server.complete(file, 2, 4))
    assert offered >= {*BY_VERB, "when", "for_each", "name", "for_each … do", "choose … otherwise"}
    assert not offered & set(NOT_YET)


def test_keys_words_and_a_snippet_are_offered_inside_a_destination(editor: Editor) -> None:
    text = "to:\n  lab:\n    order: \n    retry: \n  \n  ris:\n    \n"
    file = editor.channel(text).file
    assert names(editor.server.complete(file, 3, 11)) >= set(keys_destination.ORDERS)
    snippets = editor.server.complete(file, 4, 11)
    assert [item["insertText"] for item in snippets if item["label"] == "retry"] != []
    assert "on_in_doubt" in names(editor.server.complete(file, 7, 4))


def test_hovering_shows_what_a_verb_a_parameter_and_a_key_mean(editor: Editor) -> None:
    text = "order_by: patient\nsteps:\n  - lookup: {table: ward, from: PV1-3.1}\n"
    file = editor.channel(text).file
    assert "Messages with the same value never overtake each other" in plain(
        editor.server.hover(file, 1, 2)
    )
    verb = plain(editor.server.hover(file, 3, 6))
    assert BY_VERB["lookup"].meaning[1:] in verb
    assert BY_VERB["lookup"].example in verb
    assert "channels/tables" in plain(editor.server.hover(file, 3, 15))


def plain(markdown: str) -> str:
    return markdown.replace("\\", "").replace("&nbsp;", " ")


def test_every_verb_s_example_is_right_in_the_editor_too(editor: Editor) -> None:
    # what stands beside a verb belongs to the step: `for_each: OBX` alone has no `do`
    lines = "".join(f"  - {row.example}\n" for row in STEPS)
    assert editor.channel(f"{CHANNEL}steps:\n{lines}").marks == []


def of_table(rows: tuple[Key, ...]) -> dict[str, str]:
    return {row.name: row.example for row in rows if row.status is not Status.LATER}


def test_every_key_s_example_is_right_in_the_editor_too(editor: Editor) -> None:
    destination = of_table(keys_destination.DESTINATION)
    body = "".join(f"    {name}: {example}\n" for name, example in destination.items())
    channel = {**of_table(keys_channel.CHANNEL), "to": f"\n  lab:\n{body}", "tests": "[]"}
    text = "".join(f"{name}: {example}\n" for name, example in channel.items())
    assert editor.channel(text).marks == []

    site = of_table(keys_site.SITE)
    for name in ("listen", "send"):
        table = {
            "listen": keys_connection.LISTEN_CONNECTION,
            "send": keys_connection.SEND_CONNECTION,
        }
        body = "".join(f"    {n}: {e}\n" for n, e in of_table(table[name]).items())
        text = "".join(
            f"{n}: {e}\n" for n, e in {**site, "connections": f"\n  one:\n{body}"}.items()
        )
        assert editor.site(text).marks == [], name


def test_placeholders_may_stand_for_any_value_of_the_site(editor: Editor) -> None:
    filled = SITE.replace("host: lab.example, port: 6661", "host: '${env:H}', port: '${env:P:-1}'")
    filled = filled.replace(
        "listen: mllp,", "listen: '${env:KIND:-mllp}', idle_timeout: '${env:T}',"
    )
    assert filled.count("${") == 4
    assert editor.site(filled).marks == []


def test_numbers_yes_and_null_that_the_loader_keeps_as_text_are_not_marked(editor: Editor) -> None:
    text = CHANNEL + (
        "about: 2.10\nowner: null\nenabled: Yes\n"
        "steps:\n  - set: {PID-8: 0012, PID-9: null, PID-10: true}\n  - null: PID-19\n"
    )
    assert editor.channel(text).marks == []


@pytest.mark.parametrize(
    "line",
    [
        "enabled: perhaps",
        "channel: Not A Name",
        "dedupe: {window: 5}",
        "dedupe: {window: 5 minutes}",
        "types: [ADT_A01]",
        "no_match: forget",
        "steps: {upper: PID-5}",
        "order_by: {a: b}",
        "steps: [{choose: [{do: [{clear: PID-1}]}]}]",
        "steps: [{set: [PID-1]}]",
    ],
)
def test_a_value_of_the_wrong_kind_is_marked(line: str, editor: Editor) -> None:
    key = line.partition(":")[0]
    rest = "".join(
        kept for kept in CHANNEL.splitlines(keepends=True) if not kept.startswith(f"{key}:")
    )
    assert {place for place, _ in editor.channel(f"{line}\n{rest}").marks} == {2}


# --- by themselves ------------------------------------------------------------------------------


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


@pytest.mark.parametrize("schema", [channel_schema(), site_schema()], ids=["channel", "site"])
def test_the_schemas_are_draft_07_and_the_same_each_time(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert json.dumps(schema) in {json.dumps(channel_schema()), json.dumps(site_schema())}
    for inner in objects(schema):
        assert "$defs" not in inner
        reference = inner.get("$ref")
        if reference is not None:
            assert reference.removeprefix("#/definitions/") in schema["definitions"]


@pytest.mark.parametrize("schema", [channel_schema(), site_schema()], ids=["channel", "site"])
def test_every_key_says_what_it_means(schema: dict[str, Any]) -> None:
    silent = [
        name
        for inner in objects(schema)
        for name, value in inner.get("properties", {}).items()
        if isinstance(value, dict) and not value.get("description")
    ]
    assert silent == []


def tables(rows: tuple[Key, ...]) -> Iterator[Key]:
    for row in rows:
        yield row
        if isinstance(row.kind, SectionKind):
            yield from tables(row.kind.rows)


def test_a_key_of_a_later_release_is_left_out() -> None:
    for rows, schema in ((keys_channel.CHANNEL, channel_schema()), (keys_site.SITE, site_schema())):
        for row in rows:
            assert (row.name in schema["properties"]) is (row.status is not Status.LATER)


# anything may be written under it
OPEN = {"shared"}


def test_every_key_s_value_has_a_shape() -> None:
    shapeless = {
        name
        for schema in (channel_schema(), site_schema())
        for inner in objects(schema)
        for name, value in inner.get("properties", {}).items()
        if set(value) == {"description"} and "additionalProperties" in inner
    }
    parameters = {
        name
        for row in STEPS
        for shape in objects(takes(row))
        for name in shape.get("properties", {})
    }
    assert shapeless - parameters == OPEN


def test_what_a_verb_takes_is_what_its_reader_asks_for() -> None:
    assert takes(BY_VERB["upper"])["anyOf"][1]["type"] == "array"
    assert takes(BY_VERB["set"])["type"] == "object"
    lookup = takes(BY_VERB["lookup"])
    assert lookup["required"] == ["table"]
    assert {"table", "from", "keys", "to", "column", "missing"} <= set(lookup["properties"])
    assert lookup["additionalProperties"] is False
    assert all(takes(row) for row in STEPS)


def test_all_verbs_stand_in_one_object_with_what_may_stand_beside_them() -> None:
    step = steps_definitions()["step"]
    beside = {name for row in STEPS for name in row.beside}
    assert set(step["properties"]) == {*BY_VERB, *beside, "when", "name", "for_each"}
    assert step["additionalProperties"] is False


def test_a_key_s_description_names_its_default_and_an_example() -> None:
    enabled = next(row for row in keys_channel.CHANNEL if row.name == "enabled")
    assert describe_key(enabled).split("\n\n") == [
        "Off: it takes nothing.", "Default: yes", "Example: enabled: no"
    ]  # fmt: skip


def test_a_modeline_leads_from_the_file_to_the_schema() -> None:
    assert modeline(1, CHANNEL_SCHEMA) == (
        "# yaml-language-server: $schema=../.ifengine/channel.schema.json"
    )
    assert modeline(0, SITE_SCHEMA).endswith("=.ifengine/site.schema.json")


def test_every_parameter_of_a_step_has_a_meaning_that_is_its_own() -> None:
    known = {name.rpartition(".")[2] for name in PARAMETERS}
    asked = {
        name
        for row in STEPS
        for shape in takes(row).get("anyOf", [takes(row)])
        for name in shape.get("properties", {})
    }
    assert asked - known == set()
    verbs = {name.partition(".")[0] for name in PARAMETERS if "." in name}
    assert verbs <= {*BY_VERB, *NOT_YET}
