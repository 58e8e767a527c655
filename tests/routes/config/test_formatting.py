"""``fmt`` moves lines and nothing else: what it writes means the same, with the same comments."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifengine.routes.config.formatting import INDENT, format_text, meaning
from ifengine.routes.config.yaml_nodes import compose
from ifengine.transforms.source import Problems

ROOT = Path(__file__).resolve().parents[3]


def formatted(text: str) -> str:
    done = format_text(text, "a.yaml")
    assert done.problems == ()
    assert done.text is not None
    return done.text


def test_each_level_is_two_blanks_and_comments_go_with_their_lines() -> None:
    assert formatted(
        """\
# top
ifengine:   1
to:
    # about lab
    lab:
          connection: x      # aligned
          # inner end
    # end of to
steps:
-   upper: PID-5
    when:  PID-8 = F
# below, of the list
-
      lower: [PID-5,
          PID-6]
# last
"""
    ) == (
        """\
# top
ifengine:   1
to:
  # about lab
  lab:
    connection: x      # aligned
    # inner end
  # end of to
steps:
  - upper: PID-5
    when:  PID-8 = F
  # below, of the list
  -
    lower: [PID-5,
        PID-6]
# last
"""
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b \t\nc: d  # e \n", "a: b\nc: d  # e\n"),
        ("a: 'b  \n   c'  \n", "a: 'b  \n   c'\n"),  # not inside quotes
        ("a: b  \n   c  \n", "a: b\n   c\n"),
        ("a:\r\n     b: c \r\n", "a:\r\n  b: c\r\n"),
        ("\ufeffa:\n    b: c\n", "\ufeffa:\n  b: c\n"),
        ("a:\n - b\n", "a:\n  - b\n"),
        ("a:\n    - b: c\n      d: e", "a:\n  - b: c\n    d: e"),
        ("- - a\n  -   - b\n", "- - a\n  - - b\n"),
        ("-     a: b\n      c: d\n", "- a: b\n  c: d\n"),
        ("a: {b: c,\n  d: e}\n", "a: {b: c,\n  d: e}\n"),
        ("a:\n      b: {c: d,\n        e: f}\n", "a:\n  b: {c: d,\n    e: f}\n"),
        ("\n\na: b\n\n\n", "\n\na: b\n\n\n"),
        ("---\na:\n    b: c\n", "---\na:\n  b: c\n"),
    ],
)
def test_only_indentation_and_trailing_blanks_change(text: str, expected: str) -> None:
    assert formatted(text) == expected


def test_block_text_keeps_every_blank_of_its_own() -> None:
    text = (
        "a:\n      b: |\n          one  \n            two\n         \n          three\n      c: d\n"
    )
    done = formatted(text)
    assert done == "a:\n  b: |\n      one  \n        two\n     \n      three\n  c: d\n"
    folded = "a:\n   b: >-\n      one\n\n      # no comment\n   c: d\n"
    assert formatted(folded) == "a:\n  b: >-\n     one\n\n     # no comment\n  c: d\n"
    indented = "a:\n    b: |2\n         one\n    c: d\n"
    assert formatted(indented) == "a:\n  b: |2\n       one\n  c: d\n"


def test_a_file_with_problems_is_left_alone_and_says_them() -> None:
    done = format_text("a: b\n\tc: d\n", "x.yaml")
    assert done.text is None
    assert [(p.position.file, p.code) for p in done.problems] == [("x.yaml", "E001")]
    twice = format_text("a: b\na:   c\n", "x.yaml")
    assert twice.text is None
    assert [p.code for p in twice.problems] == ["E002"]


def test_round_brackets_of_an_index_are_suggested_and_stay() -> None:
    text = "upper: [PID-3(2).1, PID-3(where .5 = MR).1]\nOBX(last)-5: 'x'\n"
    done = format_text(text, "x.yaml")
    assert done.text == text
    assert [(s.position.line, s.position.column, s.message) for s in done.suggestions] == [
        (1, 9, "PID-3(2) may be written PID-3[2]"),
        (2, 1, "OBX(last) may be written OBX[last]"),
    ]


def test_the_files_of_the_site_are_as_fmt_writes_them() -> None:
    files = [ROOT / "ifengine.yaml", *sorted((ROOT / "channels").glob("*.yaml"))]
    examples = ROOT.parent / "shared" / "examples" / "site"
    files += sorted(examples.rglob("*.yaml"))
    assert len(files) > 1
    for file in files:
        text = file.read_text()
        assert formatted(text) == text, file.name


# --- for any shape of file ----------------------------------------------------------------------

WORDS = st.sampled_from(
    ["a", "PID-5.1", "two words", "'quoted  text'", '"x # y"', "[p, q]", "{k: v}"]
)
LEAF = WORDS | st.sampled_from(
    ["|\x00one\x00  two", ">-\x00fold\x00ed", "plain\x00more", "'q\x00r'"]
)
KEYS = st.sampled_from(["k1", "k2", "k3", "PID-3", "'k 5'"])
TREES = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(KEYS, inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Write a tree as people do: each block indented as it likes, with comments and stray blanks."""
    lines: list[str] = []

    def stray() -> str:
        return draw(st.sampled_from(["", "", " ", "   "]))

    def remark(column: int) -> None:
        if draw(st.integers(0, 4)) == 0:
            lines.append(f"{' ' * column}# remark {len(lines)}{stray()}")

    def leaf(head: str, column: int, value: str) -> None:
        first, *rest = value.split("\x00")
        is_open = first in ("|", ">-") or rest
        lines.append(f"{head} {first}" + ("" if is_open else stray()))
        deeper = column + draw(st.integers(1, 5))
        lines.extend(" " * deeper + line for line in rest)

    def write(tree: object, head: str, column: int) -> None:
        # `head` is the line so far, a key or a dash; what follows is deeper than `column`
        if isinstance(tree, str):
            leaf(head, column, tree)
            return
        in_list = head.endswith("-")
        may_join = in_list and draw(st.booleans())
        least = 0 if isinstance(tree, list) and not in_list else 1
        inner = column + draw(st.integers(least, 5))
        if may_join:
            inner = len(head) + draw(st.integers(1, 4))
        else:
            lines.append(head + stray())
        entries = (
            [("-", value) for value in tree]
            if isinstance(tree, list)
            else [(f"{key}:", value) for key, value in tree.items()]  # type: ignore[attr-defined]
        )
        for number, (sign, value) in enumerate(entries):
            if number or not may_join:
                remark(inner)
            lead = head.ljust(inner) if may_join and number == 0 else " " * inner
            write(value, lead + sign, inner)

    for key, value in draw(st.dictionaries(KEYS, TREES, min_size=1, max_size=3)).items():
        remark(0)
        write(value, f"{key}:", 0)
    return "\n".join(lines) + "\n"


@settings(max_examples=300)
@given(files())
def test_the_same_is_meant_and_every_block_is_indented_alike(text: str) -> None:
    problems = Problems()
    before = compose(text, "a", problems)
    assert before is not None, (text, problems.found)
    done = format_text(text, "a")
    assert done.text is not None, (text, done.problems)
    after = compose(done.text, "a", Problems())
    assert after is not None
    assert meaning(after) == meaning(before)
    assert formatted(done.text) == done.text
    old, new = text.splitlines(), done.text.splitlines()
    assert [" ".join(line.split()) for line in new] == [" ".join(line.split()) for line in old]
    for line in new:
        bare = line.lstrip(" ")
        if bare.startswith(("- ", "k1:", "k2:", "k3:", "PID-3:")):
            assert (len(line) - len(bare)) % INDENT == 0, line
