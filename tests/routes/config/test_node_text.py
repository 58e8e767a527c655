"""A node written on one line is read again as the same node."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.config.formatting import meaning
from ifengine.routes.config.node_text import flow_text, scalar_text
from ifengine.routes.config.yaml_nodes import compose
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text

AT = Position("", 1, 1)
ALPHABET = st.characters(
    exclude_categories=("Cs", "Cc", "Cn"),
    exclude_characters="\u2028\u2029\ufeff",
    max_codepoint=0xFFFD,
) | st.sampled_from("\n\t:#,[]{}\"'\\-?&*!|>%@` ")
PLAIN = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 .^=()]{0,12}[A-Za-z0-9]", fullmatch=True)
TEXTS = st.builds(lambda value, plain: Text(value, AT, plain), PLAIN, st.booleans()) | st.builds(
    lambda value: Text(value, AT, plain=False), st.text(ALPHABET, max_size=12)
)
NULL = st.just(Text("null", AT))
NODES: st.SearchStrategy[Node] = st.recursive(
    TEXTS | NULL,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: Items(tuple(items), AT))
        | st.dictionaries(PLAIN, inner, max_size=3).map(
            lambda pairs: Entries(tuple((Text(key, AT), value) for key, value in pairs.items()), AT)
        )
    ),
    max_leaves=6,
)


def said(node: Node) -> object:
    """Return what a node says; quotes count only where they make null a text."""
    match node:
        case Text():
            return None if node.is_null else node.value
        case Items():
            return [said(item) for item in node]
        case Entries():
            return {key.value: said(value) for key, value in node}


@given(NODES)
def test_one_line_says_the_same(node: Node) -> None:
    written = flow_text(node)
    assert "\n" not in written
    problems = Problems()
    again = compose(f"key: {written}\n", "", problems)
    assert isinstance(again, Entries), (written, problems.found)
    assert said(again) == {"key": said(node)}, written


@pytest.mark.parametrize(
    ("value", "plain", "written"),
    [
        ("PID-5.1", True, "PID-5.1"),
        ("PID-5.1", False, "PID-5.1"),
        ("PV1-2 = I", True, "PV1-2 = I"),
        ("null", True, "null"),
        ("null", False, '"null"'),
        ("", False, '""'),
        ("", True, "null"),
        ("a: b", False, '"a: b"'),
        ("PID-3[1]", False, '"PID-3[1]"'),
        ("-5", True, "-5"),
        ("- 5", False, '"- 5"'),
        ("one\ntwo", False, '"one\\ntwo"'),
    ],
)
def test_a_text_is_quoted_where_it_has_to_be(value: str, plain: bool, written: str) -> None:
    assert scalar_text(Text(value, AT, plain)) == written


def test_two_files_that_mean_the_same_are_equal_and_others_are_not() -> None:
    read = [
        compose(text, "", Problems())
        for text in ("a: {b: c}\n", "a:\n  b: c  # c\n", "a: {b: 'null'}\n", "a: {b: null}\n")
    ]
    meant = [meaning(node) for node in read if node is not None]
    assert meant[0] == meant[1]
    assert meant[2] != meant[3]
