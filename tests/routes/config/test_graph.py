"""The graph of a site: what is joined to what, and the four ways it is drawn."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.config.graph import (
    Column,
    Graph,
    GraphNode,
    as_ascii,
    as_dot,
    as_mermaid,
    graph_of,
)
from ifengine.routes.config.graph_svg import as_svg
from ifengine.routes.config.loading import load_site
from ifengine.routes.config.models import SiteConfig
from routes.config.small_site import write_site

SITE = """\
ifengine: 1
site: small
connections:
  in: {listen: mllp, port: 2575, plaintext: a test}
  also: {listen: mllp, port: 2576, plaintext: a test}
  spare: {listen: mllp, port: 2577, plaintext: a test}
  out: {send: mllp, host: lab.example, port: 6661, plaintext: a test}
  unused: {send: mllp, host: lab.example, port: 6662, plaintext: a test}
enabled: {two: no}
"""
ONE = """\
ifengine: 1
channel: one
from: in
types: [ORU^R01, ADT^A01, ORU^R30]
ignore_types: {identity: a test}
to:
  lab: {connection: out, accept: 'PV1-2 in [I, E] and PID-8 <> F'}
  archive: {files: {dir: var/archive, name: "${msg.id}.hl7"}, enabled: no}
"""
TWO = """\
ifengine: 1
channel: two
from: also
to:
  lab: {connection: out}
"""


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    files = {
        "ifengine.yaml": SITE,
        "channels/one.yaml": ONE.replace("<>", "!="),
        "channels/two.yaml": TWO,
    }
    write_site(tmp_path, files)
    loaded = load_site(tmp_path, environ={})
    assert loaded.site is not None, loaded.problems
    return loaded.site


def joined(graph: Graph) -> set[tuple[str, str]]:
    names = {node.key: node.name for node in graph.nodes}
    return {(names[start], names[end]) for start, end in graph.arrows}


def test_everything_that_is_joined_is_in_the_graph(site: SiteConfig) -> None:
    graph = graph_of(site)
    assert joined(graph) == {
        ("in", "one"), ("one", "lab"), ("lab", "out"), ("one", "archive"),
        ("archive", "var/archive/"), ("also", "two"), ("two", "lab"),
    }  # fmt: skip
    assert len([node for node in graph.nodes if node.name == "lab"]) == 2
    assert {node.name for node in graph.nodes} >= {"spare", "unused"}
    off = {(node.column, node.name) for node in graph.nodes if not node.enabled}
    assert off == {
        (Column.DESTINATION, "archive"), (Column.CHANNEL, "two"), (Column.DESTINATION, "lab")
    }  # fmt: skip


def test_one_channel_is_drawn_with_what_belongs_to_it_alone(site: SiteConfig) -> None:
    graph = graph_of(site, ["two"])
    assert [node.name for node in graph.nodes] == ["two", "also", "lab", "out"]


def test_the_text_is_a_tree_for_each_listener(site: SiteConfig) -> None:
    assert as_ascii(graph_of(site)).splitlines() == [
        "in ──▶ one ─┬▶ lab ──▶ out",
        "            └▶ archive (off) ──▶ var/archive/",
        "also ──▶ two (off) ──▶ lab (off) ──▶ out",
        "spare  (goes nowhere)",
        "unused  (nothing is sent there)",
    ]


def test_a_fork_in_the_middle_keeps_its_lines_apart(tmp_path: Path) -> None:
    graph = Graph()
    for name, column in (("a", 0), ("b", 1), ("c", 1), ("d", 2), ("e", 2), ("f", 2)):
        graph.add(GraphNode((name,), Column(column), name))
    graph.arrows = [(("a",), ("b",)), (("a",), ("c",)), (("b",), ("d",)), (("b",), ("e",))]
    graph.arrows.append((("c",), ("f",)))
    assert as_ascii(graph).splitlines() == [
        "a ─┬▶ b ─┬▶ d  (goes nowhere)",
        "   │     └▶ e  (goes nowhere)",
        "   └▶ c ──▶ f  (goes nowhere)",
    ]


SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_the_picture_holds_every_name_and_needs_nothing_else(site: SiteConfig) -> None:
    graph = graph_of(site)
    svg = as_svg(graph, "small")
    shown = texts(svg)
    for node in graph.nodes:
        assert node.name in shown or f"{node.name} (off)" in shown
    assert "ORU^R01 R30, ADT^A01" in shown
    assert svg.count('marker-end="url(#tip)"') == len(graph.arrows)
    assert re.findall(r'(?:href|src)="|@import|url\((?!#)', svg) == []
    assert svg == as_svg(graph_of(site), "small")


def test_no_box_of_the_picture_lies_over_another(site: SiteConfig) -> None:
    root = ElementTree.fromstring(as_svg(graph_of(site), "small"))
    boxes = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
    ]
    assert len(boxes) == len(graph_of(site).nodes)
    for number, (x, y, width, height) in enumerate(boxes):
        assert x + width <= float(root.attrib["width"])
        assert y + height <= float(root.attrib["height"])
        for x2, y2, width2, height2 in boxes[:number]:
            apart = x >= x2 + width2 or x2 >= x + width or y >= y2 + height2 or y2 >= y + height
            assert apart


HOSTILE = """</text><script>"'&amp;\\`]]>"""


def one_box(name: str, detail: str) -> Graph:
    graph = Graph()
    graph.add(GraphNode(("one",), Column.SOURCE, name, detail))
    return graph


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_of_the_configuration_ends_the_picture_or_adds_to_it(
    name: str, detail: str
) -> None:
    for text in (name + HOSTILE, HOSTILE + name):
        root = ElementTree.fromstring(as_svg(one_box(text, detail), HOSTILE))
        assert {element.tag for element in root.iter()} == {
            SVG + tag for tag in ("svg", "title", "style", "defs", "marker", "path", "text", "g", "rect")
        }  # fmt: skip


def test_no_text_of_the_configuration_ends_a_label() -> None:
    dot = as_dot(one_box('a"]; b [label="', "c\\"))
    assert 'n0 [label="a\\"]; b [label=\\"\\nc\\\\", style="rounded"];' in dot
    mermaid = as_mermaid(one_box('a"]) --> b[("', "<script>"))
    assert mermaid.count('"') == 2
    assert "<script>" not in mermaid


def test_the_other_two_forms_name_every_node_and_arrow(site: SiteConfig) -> None:
    graph = graph_of(site)
    for text, arrow in ((as_mermaid(graph), " --> "), (as_dot(graph), " -> ")):
        assert text.count(arrow) == len(graph.arrows)
        for node in graph.nodes:
            assert node.name in text
    assert "class n" in as_mermaid(graph)
    assert as_dot(graph).count("dashed") == 3
