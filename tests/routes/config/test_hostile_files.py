"""Whatever stands in a file: a problem at a place, soon, and never an exception."""

import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifengine.routes.config.loading import load_site
from ifengine.routes.config.render import problem_as_json, render_problem
from ifengine.routes.config.yaml_nodes import compose
from ifengine.transforms.source import Problems
from routes.config.small_site import write_site

REPOSITORY = Path(__file__).parents[3]
EXAMPLE = {
    name: (REPOSITORY / name).read_text("utf-8")
    for name in ("ifengine.yaml", "channels/adt-fanout.yaml", "channels/tables/sex.csv")
}
PIECES = [
    "", ":", ": ", "- ", "[", "]", "{", "}", "*a", "&a ", "!x ", "'", '"', "\t", "#", "|", ">", "%", "@",
    "null", "~", "<<", "\x00", "\ufeff", "\x85", "é", "💊", "${env:X}", "${secret:y}", "${", "}", ",",
    "steps", "to", "connection", "1", "-1", "PID-3", "PID-3[*].1", "(where .5 = MR)", "==", "\n", "\n  ",
]  # fmt: skip

HEAD = "ifengine: 1\nchannel: one\nfrom: in\nto: {lab: {connection: out}}\n"
BOMBS: dict[str, str | bytes] = {
    "a million brackets": "[" * 1_000_000,
    "maps in maps": "{a: " * 200_000,
    "a billion laughs": "shared:\n  a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"  {chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)),
    "directives": "%TAG !a! b\n" * 80_000,
    "a wide list": "a: [" + "x," * 500_000 + "]",
    "many keys": "".join(f"k{i}: v\n" for i in range(80_000)),
    "an open quote": "a: '" + "x\n" * 400_000,
    "dashes": "- " * 400_000,
    "colons": "a" + ":" * 900_000,
    "question marks": "? " * 400_000,
    "anchors": "a: " + "&x " * 300_000,
    "ten megabytes": "a: " + "x" * 10_000_000,
    "tabs": "\t" * 900_000,
    "a NUL": "about: a\x00b\n",
    "what is not UTF-8": b"about: \xff\xfe\n" * 1000,
    "a huge scalar": "about: " + "x" * 900_000 + "\n",
    "a huge text": "about: |\n" + "  x\n" * 250_000,
    "100,000 lines": "# c\n" * 100_000 + "ifengine: 1\n",
    "the keys of many channels": "to:\n" + "".join(f"  l{i}: {{}}\n" for i in range(70_000)),
    "very many steps": HEAD + "steps:\n" + "  - trim: PID-5.1\n" * 5_900,
    "very many branches": HEAD + "steps:\n  - choose:\n"
    + "".join(f"      - {{when: PV1-2 = A{i}, do: [{{trim: PID-5}}]}}\n" for i in range(1_900)),
    "very many destinations": "ifengine: 1\nchannel: one\nfrom: in\nto:\n"
    + "".join(f"  l{i}: {{connection: out}}\n" for i in range(4_900)),
    "very many wrong keys": HEAD + "".join(f"keey{i}: x\n" for i in range(9_900)),
    "very many wrong verbs": HEAD + "steps:\n" + "".join(f"  - trimm{i}: PID-5\n" for i in range(5_900)),
    "very many wrong paths": HEAD + "steps:\n" + "".join(f"  - trim: PDI.{i}\n" for i in range(5_900)),
    "very many equal keys": "ifengine: 1\n" + "a: x\n" * 9_900,
    "a long condition": HEAD + "accept: " + " and ".join(["PV1-2 = I"] * 60_000) + "\n",
    "a deep condition": HEAD + "accept: " + "(" * 100_000 + "PV1-2 = I" + ")" * 100_000 + "\n",
    "very many placeholders": HEAD + 'steps:\n  - set: {PID-5.1: "' + "${PID-5.1}" * 50_000 + '"}\n',
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_file_is_refused_without_being_worked_through(name, load) -> None:
    load()
    started = time.process_time()
    loaded = load({"channels/one.yaml": BOMBS[name]})
    # about 0.1 s on a quiet machine; the bound is wide, and what it forbids would take minutes
    assert time.process_time() - started < 10
    assert loaded.site is None
    assert all(len(p.message) < 300 for p in loaded.problems)


def test_a_chain_of_merges_cannot_grow_beyond_the_budget(load) -> None:
    keys = ", ".join(f"k{i}: v" for i in range(900))
    text = f"shared:\n  a: &a {{{keys}}}\n" + "".join(f"  m{i}: {{<<: *a}}\n" for i in range(200))
    assert "E004" in {p.code for p in load({"channels/one.yaml": text}).problems}


def test_no_tag_is_ever_looked_up(load, tmp_path, channel_text) -> None:
    mark = tmp_path / "pwned"
    text = channel_text.replace(
        "from: in", f"from: in\nabout: !!python/object/apply:os.system ['touch {mark}']"
    )
    assert "E003" in {p.code for p in load({"channels/one.yaml": text}).problems}
    assert not mark.exists()


def _mutated(text: str, edits: list[tuple[float, int, str]]) -> str:
    for where, cut, piece in edits:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + cut :]
    return text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("very many steps", "more than 500 steps"),
        ("very many branches", "more than 500 steps"),
        ("very many destinations", "more than 200 destinations"),
        ("a long condition", "longer than 4096 characters"),
        ("very many placeholders", "more than 200 placeholders"),
        ("the keys of many channels", "more than 20,000 values"),
    ],
)
def test_too_much_is_told_once(name: str, says: str, load) -> None:
    loaded = load({"channels/one.yaml": BOMBS[name]})
    assert len([p for p in loaded.problems if says in p.message]) == 1


def test_a_snippet_cannot_multiply_steps_without_end(load) -> None:
    files = {
        "channels/snippets/a.yaml": "[{trim: PID-5}, {trim: PID-6}]\n".replace("[", "steps: [")
    }
    files["channels/one.yaml"] = HEAD + "steps:\n" + "  - use: {file: snippets/a.yaml}\n" * 600
    found = [p for p in load(files).problems if "more than 500 steps" in p.message]
    assert [p.code for p in found] == ["E004"]


def test_similar_words_are_sought_for_the_first_mistakes_only(load) -> None:
    wrong = [f"aboutt{i}: x" for i in range(1, 700)]
    problems = load({"channels/one.yaml": HEAD + "\n".join(wrong) + "\n"}).problems
    told = [p.hint for p in problems if p.code == "E101"]
    assert len(told) == len(wrong)
    assert told[0] == 'did you mean "about"?'
    assert told[-1] == ""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(EXAMPLE)),
    edits=st.lists(
        st.tuples(
            st.floats(0, 1), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=4)
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_any_change_of_the_example_gives_problems_at_places_or_a_site(name, edits) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        files = dict(EXAMPLE)
        files[name] = _mutated(files[name], edits)
        encoded = {n: t.encode("utf-8", "surrogatepass") for n, t in files.items()}
        write_site(directory, {**encoded, "channels/one.yaml": None})
        started = time.process_time()
        loaded = load_site(directory, environ={})
        assert time.process_time() - started < 0.5
        errors = [p for p in loaded.problems if p.severity == "error"]
        assert (loaded.site is None) == bool(errors)
        for problem in loaded.problems:
            lines = loaded.lines.get(problem.position.file, ())
            assert problem.position.line >= 1
            assert problem.position.line <= max(1, len(lines))
            assert problem.position.column >= 1
            assert render_problem(problem, lines)
            assert problem_as_json(problem)["code"] == problem.code


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t<~0${}"), max_size=60))
def test_no_text_makes_the_composer_raise(text) -> None:
    problems = Problems()
    node = compose(text, "x.yaml", problems)
    assert node is not None or not problems.ok or not text.strip() or "#" in text or "-" in text


@pytest.mark.parametrize("text", ["{a:\t", "[a, {b: ", "a: [\n", "- {x:\t\r\n"])
def test_what_is_missing_at_the_end_is_told_in_the_file(text: str) -> None:
    problems = Problems()
    assert compose(text, "x.yaml", problems) is None
    lines = text.replace("\r\n", "\n").split("\n")
    place = problems.found[0].position
    assert 1 <= place.line <= len(lines)
    assert 1 <= place.column <= len(lines[place.line - 1]) + 1


def test_a_second_byte_order_mark_is_refused_where_it_stands() -> None:
    for text, place in (("\ufeff\ufeff - |\n", (1, 1)), ("a: b\nc: \ufeffd\n", (2, 4))):
        problems = Problems()
        assert compose(text, "x.yaml", problems) is None
        assert [p.position[1:] for p in problems.found] == [place]
