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
        # two open rows that leave equally much open and fit the same keys
        ("a,b,to\nX,*,1\n#\n*,kg,2\n", "E405", 4, "on line 2 can fit the same keys"),
        ("a,b,c,to\nX,*,3,1\n*,Y,3,2\n", "E405", 3, "on line 2"),
        # days
        ("from,to,valid_from\nA,1,someday\n", "E406", 2, "valid_from is not a date"),
        ("from,to,valid_to\nA,1,20260101+0100\n", "E406", 2, "valid_to is not a date"),
        ("from,to,valid_from,valid_to\nA,1,2027,2026\n", "E406", 2, "before valid_from"),
        ("from,to,valid_to,valid_from\nA,1,2026,\nA,2,,2026\n", "E403", 3, "same keys"),
        ("from,valid_to\n", "E401", 1, "at least two"),
        ("a,b,to,valid_to\nX,*,1,2026\n*,kg,2,\nX,kg,3,2025\n", "E405", 3, "on line 2"),
        # factors
        ("from,to,factor\ng,mg,many\n", "E406", 2, "factor is not a number"),
        ("from,to,factor\ng,mg,0\n", "E406", 2, "factor is not a number"),
        ("from,to,factor\ng,mg,1e99\n", "E406", 2, "factor is not a number"),
        ("from,to,factor\ng,mg,1/0\n", "E406", 2, "factor is not a number"),
        ("from,to,factor\ng,mg,NaN\n", "E406", 2, "factor is not a number"),
        ("from,to,factor,offset\ng,mg,1,x\n", "E406", 2, "offset is not a number"),
    ],
)
def test_a_mistake_in_a_table_is_shown_at_its_line(
    text: str, code: str, line: int, rule: str
) -> None:
    _, problems = read(text)
    assert [(p.code, p.position.line) for p in problems.found] == [(code, line)]
    assert rule in problems.found[0].message
    assert problems.ok == (problems.found[0].severity is Severity.WARNING)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,to\nX,*,1\n*,kg,2\nX,kg,3\n",  # a row for exactly both says which counts
        "a,b,to\nX,*,1\nY,*,2\n*,*,3\n",
        "a,b,c,to\nX,*,3,1\n*,Y,4,2\n",
        "a,b,to,valid_to,valid_from\nX,*,1,2025,\n*,kg,2,,2026\n",
        "from,to,valid_from,valid_to\nA,1,,202512\nA,2,202601,202601\nA,3,202602,\n",
        "from,to,factor,offset\n[degF],Cel,5/9,-17.8\nCel,[degF],1.8,32\ng,mg,1000,\n",
    ],
)
def test_rows_of_which_only_one_can_answer_are_no_mistake(text: str) -> None:
    assert read(text)[1].found == []


def test_a_table_of_factors_has_all_before_the_factor_as_keys() -> None:
    table, _ = read("code,from,to,factor\nGLU,mg/dL,mmol/L,0.0555\n")
    assert (table.keys, table.results) == (("code", "from", "to"), ("factor",))
    assert table.lookup(("GLU", "mg/dL", "mmol/L")) == ("0.0555",)


def test_open_rows_of_a_table_with_days_come_after_exact_ones_of_that_day() -> None:
    table, problems = read(
        "code,to,valid_from,valid_to\n*,any,,\nA,old,,2025\nA,new,2026,\n*,other,2030,\n"
    )
    assert [p.code for p in problems.found] == ["E403"]
    assert [table.lookup(("A",), day) for day in ("2025", "20260101", "", "x")] == [
        ("old",), ("new",), ("any",), ("any",),
    ]  # fmt: skip
    assert table.lookup(("B",), "2025") == ("any",)
    assert table.cells(0) == {"any", "old", "new"}


def test_many_open_rows_that_meet_are_told_without_taking_long() -> None:
    rows = "".join(f"A{n},*,1\n*,B{n},2\n" for n in range(2000))
    _, problems = read("a,b,to\n" + rows)
    assert {p.code for p in problems.found} == {"E405"}
    assert len(problems.found) == 2000


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
