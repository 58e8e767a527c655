"""Code tables: keys, results, open rows, and what is wrong with a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.transforms.source import Problems, Severity
from ifengine.transforms.tables import Table, read_csv


def read(text: str) -> tuple[Table, Problems]:
    problems = Problems()
    return read_csv("t", text, "tables/t.csv", problems), problems


def test_a_table_has_key_columns_before_to_and_results_from_there() -> None:
    table, problems = read("code,system,to,text\nA, L ,1,one\nB,L,2,two\n")
    assert problems.found == []
    assert (table.keys, table.results) == (("code", "system"), ("to", "text"))
    assert table.lookup(("A", "L")) == ("1", "one")
    assert table.lookup(("A", "X")) is None
    assert (table.column("text"), table.column("code")) == (1, None)


def test_without_a_column_called_to_the_first_is_the_key() -> None:
    table, _ = read("ward,floor,name\n4W,4,West\n")
    assert (table.keys, table.results) == (("ward",), ("floor", "name"))
    assert table.lookup(("4W",)) == ("4", "West")


def test_open_rows_come_after_exact_ones_wherever_they_stand() -> None:
    table, _ = read("code,unit,to\n*,*,any\n*,kg,mass\nA,*,a\nA,kg,both\n")
    assert table.lookup(("A", "kg")) == ("both",)
    assert table.lookup(("B", "kg")) == ("mass",)
    assert table.lookup(("A", "g")) == ("a",)
    assert table.lookup(("B", "g")) == ("any",)


def test_a_table_contains_what_it_names_and_not_what_a_star_would_fit() -> None:
    table, _ = read("from,to\nA,1\n*,2\n")
    assert table.contains("A")
    assert not table.contains("B")
    assert not table.contains("*")
    assert table.lookup(("B",)) == ("2",)


def test_comments_blank_lines_quotes_and_line_ends_are_read() -> None:
    table, problems = read('\ufeff# a comment\r\n\r\nfrom,to\r\n#A,9\r\nA,"1,5"\r\n" B ",2')
    assert problems.found == []
    assert (table.lookup(("A",)), table.lookup(("B",))) == (("1,5",), ("2",))


@pytest.mark.parametrize(
    ("text", "code", "line", "rule"),
    [
        ("", "E401", 1, "no header"),
        ("# only this\n", "E401", 1, "no header"),
        ("from\nA\n", "E401", 1, "at least two"),
        ("from,from\nA,1\n", "E401", 1, "twice"),
        ("from,,to\nA,1,2\n", "E401", 1, "no name"),
        ("from,to\nA\n", "E402", 2, "1 cells"),
        ("from,to\nA,1\n#\nB,2\nA,3\n", "E403", 5, "same keys"),
        ("from,to\n*,1\n*,2\n", "E403", 3, "same keys"),
        ('from,to\nA,"1\n', "E404", 2, "not CSV"),
        ("from,to\nA,1\x0b2\n", "E404", 2, "control character"),
        ("from,to\n", "W401", 1, "no rows"),
    ],
)
def test_a_mistake_in_a_table_is_shown_at_its_line(
    text: str, code: str, line: int, rule: str
) -> None:
    _, problems = read(text)
    assert [(p.code, p.position.line) for p in problems.found] == [(code, line)]
    assert rule in problems.found[0].message
    assert problems.ok == (problems.found[0].severity is Severity.WARNING)


def test_the_first_of_two_equal_rows_is_named() -> None:
    _, problems = read("from,to\nA,1\nA,1\nA,2\n")
    assert [(p.position.line, p.hint) for p in problems.found] == [
        (3, "the first is on line 2"),
        (4, "the first is on line 2"),
    ]


@given(st.text(alphabet='abto,"\n\r#* \x0b', max_size=40))
def test_any_text_is_a_table_or_problems(text: str) -> None:
    table, _ = read(text)
    table.lookup(("a",) * len(table.keys))
    assert not table.contains("\x0b")


_CELLS = st.text(alphabet="abcxyz019", min_size=1, max_size=3)


@given(st.dictionaries(st.tuples(_CELLS, _CELLS), _CELLS, max_size=8))
def test_every_exact_row_is_found_by_its_own_keys(rows: dict[tuple[str, str], str]) -> None:
    text = "k1,k2,to\n" + "".join(f"{a},{b},{to}\n" for (a, b), to in rows.items())
    table, problems = read(text)
    assert problems.ok
    for keys, to in rows.items():
        assert table.lookup(keys) == (to,)
