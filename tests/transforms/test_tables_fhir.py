"""Tables from FHIR ConceptMaps: R4 and R5, what is unmapped, and mistakes at their line and path."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.config.loading import load_site
from ifengine.transforms.json_places import path_text, places_of
from ifengine.transforms.source import Position, Problems
from ifengine.transforms.tables import Table
from ifengine.transforms.tables_fhir import read_concept_map

R4: dict[str, Any] = {
    "resourceType": "ConceptMap",
    "status": "active",
    "group": [
        {
            "source": "urn:lab:local",
            "target": "http://loinc.org",
            "element": [
                {
                    "code": "GLU",
                    "target": [
                        {"code": "2345-7", "display": "Glucose", "equivalence": "equivalent"}
                    ],
                },
                {"code": "HB", "target": [{"code": "718-7", "equivalence": "wider"}]},
                {"code": "NONE", "target": [{"equivalence": "unmatched"}]},
                {"code": "LATER"},
            ],
        }
    ],
}
R5: dict[str, Any] = {
    "resourceType": "ConceptMap",
    "group": [
        {
            "source": "http://terminology.hl7.org/CodeSystem/v2-0001|2.9",
            "target": "http://hl7.org/fhir/administrative-gender",
            "element": [
                {"code": "M", "target": [{"code": "male", "relationship": "equivalent"}]},
                {"code": "A", "noMap": True},
                {"code": "N", "target": [{"code": "other", "relationship": "not-related-to"}]},
            ],
        }
    ],
}


def read(document: object) -> tuple[Table, Problems]:
    text = document if isinstance(document, str) else json.dumps(document, indent=1)
    problems = Problems()
    return read_concept_map("t", text, "channels/tables/t.json", problems), problems


def changed(document: dict[str, Any], *path: str | int, value: object) -> dict[str, Any]:
    made = copy.deepcopy(document)
    at: Any = made
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return made


ELEMENT = ("group", 0, "element")


def test_a_map_of_r4_is_a_table_that_translate_can_use() -> None:
    table, problems = read(R4)
    assert problems.found == []
    assert (table.keys, table.results) == (("from",), ("to", "text", "to_system", "relation"))
    assert table.lookup(("GLU",)) == ("2345-7", "Glucose", "LN", "equivalent")
    assert table.lookup(("HB",)) == ("718-7", "", "LN", "wider")
    assert [table.lookup((code,)) for code in ("NONE", "LATER", "X")] == [None, None, None]
    assert table.contains("GLU")
    assert not table.contains("NONE")


def test_a_map_of_r5_is_read_too() -> None:
    table, problems = read(R5)
    assert problems.found == []
    gender = "http://hl7.org/fhir/administrative-gender"
    assert table.lookup(("M",)) == ("male", "", gender, "equivalent")
    assert table.lookup(("A",)) is None
    assert table.lookup(("N",)) is None


@pytest.mark.parametrize(
    ("unmapped", "expected"),
    [
        ({"mode": "fixed", "code": "U", "display": "unknown"}, ("U", "unknown", "LN", "")),
        ({"mode": "provided"}, ("XYZ", "", "urn:lab:local", "")),
        ({"mode": "use-source-code"}, ("XYZ", "", "urn:lab:local", "")),
    ],
)
def test_what_is_unmapped_is_a_row_for_every_other_code(
    unmapped: dict[str, str], expected: tuple[str, ...]
) -> None:
    table, problems = read(changed(R4, "group", 0, "unmapped", value=unmapped))
    assert problems.found == []
    assert table.lookup(("XYZ",)) == expected
    assert table.lookup(("GLU",)) == ("2345-7", "Glucose", "LN", "equivalent")
    # the map names this code and says that it has no target
    assert table.lookup(("NONE",)) is None
    assert not table.contains("XYZ")


def test_several_coding_systems_are_a_second_key() -> None:
    second = {**R5["group"][0], "unmapped": {"mode": "provided"}}
    table, problems = read({**R4, "group": [*R4["group"], second]})
    assert problems.found == []
    assert table.keys == ("code", "system")
    assert table.lookup(("GLU", "urn:lab:local")) == ("2345-7", "Glucose", "LN", "equivalent")
    assert table.lookup(("GLU", "HL70001")) == ("GLU", "", "HL70001", "")
    assert table.lookup(("GLU", "LN")) is None


def test_a_target_that_says_more_is_a_warning() -> None:
    for document, key, word in (
        (R4, "equivalence", "narrower"),
        (R5, "relationship", "source-is-broader-than-target"),
    ):
        table, problems = read(changed(document, *ELEMENT, 0, "target", 0, key, value=word))
        assert [p.code for p in problems.found] == ["W407"]
        assert problems.ok
        assert len(table.rows) == len(read(document)[0].rows)


@pytest.mark.parametrize(
    ("path", "value", "code", "message"),
    [
        (("resourceType",), "ValueSet", "E407", "resourceType: this is no ConceptMap"),
        (("group",), {}, "E407", "group: this is a list"),
        (("group", 0), 7, "E407", "group[0]: this is an object"),
        (("group", 0, "target"), 7, "E407", "group[0].target: target is not a text"),
        ((*ELEMENT, 1, "code"), "", "E407", "group[0].element[1].code: code is not a text"),
        ((*ELEMENT, 1, "code"), "GLU", "E403", "group[0].element[1].target[0].code: two rows"),
        ((*ELEMENT, 1, "code"), "*", "E407", 'the code "*" cannot be told'),
        ((*ELEMENT, 0, "target", 0, "code"), None, "E407", "target[0].code: code is missing"),
        ((*ELEMENT, 0, "target", 0, "code"), "*", "E407", 'the code "*" cannot be told'),
        ((*ELEMENT, 0, "target", 0, "display"), "a\x0bb", "E404", "display: display holds a control"),
        ((*ELEMENT, 0, "target", 0, "equivalence"), "same", "E407", '"same" is no equivalence'),
        ((*ELEMENT, 0, "target", 0, "dependsOn"), [{}], "E407", "dependsOn is not followed"),
        ((*ELEMENT, 0, "valueSet"), "x", "E407", "valueSet: value sets are not expanded"),
        (("group", 0, "unmapped"), "U", "E407", "unmapped: this is an object"),
        (("group", 0, "unmapped"), {"mode": "other-map"}, "E407", "another map is not followed"),
        (("group", 0, "unmapped"), {"mode": "any"}, "E407", '"any" is no mode of unmapped'),
        (("group", 0, "unmapped"), {"mode": "fixed"}, "E407", "unmapped: code is missing"),
        (("group", 0, "unmapped"), {"mode": "fixed", "code": "*"}, "E407", 'the code "*"'),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_at_its_line_with_its_path(
    path: tuple[str | int, ...], value: object, code: str, message: str
) -> None:
    document = changed(R4, *path, value=value)
    _, problems = read(document)
    assert [p.code for p in problems.found] == [code]
    assert message in problems.found[0].message
    line = json.dumps(document, indent=1).split("\n")[problems.found[0].position.line - 1]
    last = problems.found[0].message.split(":")[0].rpartition(".")[2].partition("[")[0]
    assert last in line or line.strip()[0] in "{7"
    assert problems.found[0].position.column > 1


def test_two_rows_for_every_other_code_are_one_too_many() -> None:
    group = {**R4["group"][0], "unmapped": {"mode": "provided"}}
    other = {**group, "element": []}
    _, problems = read({**R4, "group": [group, other]})
    assert [p.code for p in problems.found] == ["E403"]
    assert problems.found[0].hint == "the first is group[0].unmapped"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{\n "a": tru }', "not JSON"),
        ("[]", "no ConceptMap"),
        ('{"a": 1, "a": 2}', '"a" stands twice'),
        ("[" * 100_000, "too deep"),
        ('{"a": ' + "9" * 5000 + "}", "too long"),
    ],
)
def test_what_is_no_map_is_an_error(text: str, message: str) -> None:
    table, problems = read(text)
    assert [p.code for p in problems.found] == ["E407"]
    assert message in problems.found[0].message
    assert table.lookup(("x",)) is None
    if "tru" in text:
        assert problems.found[0].position == Position("channels/tables/t.json", 2, 7)


def test_a_map_without_rows_is_a_warning() -> None:
    _, problems = read({"resourceType": "ConceptMap"})
    assert [p.code for p in problems.found] == ["W401"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(_JSON, st.sampled_from([None, 1, 4]))
def test_every_place_in_a_file_is_found(document: Any, indent: int | None) -> None:
    text = json.dumps(document, indent=indent)
    paths = dict(_paths(document, ()))
    places = places_of(text, paths, "f")
    lines = text.split("\n")
    for path, value in paths.items():
        _, line, column = places[path]
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert json.JSONDecoder().raw_decode(rest)[0] == value


def _paths(document: Any, here: tuple[str | int, ...]) -> Any:
    yield here, document
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _paths(value, (*here, key))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from _paths(value, (*here, number))


@given(_JSON)
def test_any_json_is_a_table_or_problems(document: Any) -> None:
    for made in (document, changed(R4, "group", 0, "element", value=document)):
        table, _ = read(made)
        table.lookup(("a",) * len(table.keys))


def test_a_path_is_written_as_a_person_writes_it() -> None:
    assert path_text(("group", 0, "element", 12, "code")) == "group[0].element[12].code"


def test_a_site_loads_maps_beside_its_other_tables(tmp_path: Path) -> None:
    tables = tmp_path / "channels" / "tables"
    tables.mkdir(parents=True)
    (tmp_path / "ifengine.yaml").write_text("ifengine: 1\nsite: x\nconnections: {}\n")
    (tables / "lab.json").write_text(json.dumps(R4))
    (tables / "sex.csv").write_text("from,to\n1,F\n")
    loaded = load_site(tmp_path, environ={})
    assert loaded.table_count == 2
    assert loaded.around is not None
    assert loaded.around.known.tables["lab"].lookup(("GLU",)) is not None
    (tables / "sex.json").write_text(json.dumps(R5))
    double = [p for p in load_site(tmp_path, environ={}).problems if p.code == "E002"]
    assert [(p.position.file, p.hint) for p in double] == [
        ("channels/tables/sex.json", "the other is channels/tables/sex.csv")
    ]
