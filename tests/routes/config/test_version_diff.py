"""Two versions of a configuration: what they say differently."""

from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.config.kept_files import pack, unpack
from ifengine.routes.config.loading import Loaded
from ifengine.routes.config.version_diff import diff_versions

OLD = {
    "ifengine.yaml": ("ifengine: 1", "site: river"),
    "channels/adt.yaml": ("channel: adt", "steps:", "  - set: {MSH-8: A}"),
    "channels/tables/ward.csv": ("code,to", "1,A", "2,B"),
    "channels/python/f.py": ("one", "two"),
}


def told(new: dict[str, tuple[str, ...]]) -> list[tuple[str, str | None, str | None]]:
    return [(c.path, c.before, c.after) for c in diff_versions(OLD, new)]


def test_a_changed_value_is_told_with_its_path_and_both_sides_and_its_line() -> None:
    new = {**OLD, "channels/adt.yaml": ("channel: adt", "steps:", "", "  - set: {MSH-8: B}")}
    [change] = diff_versions(OLD, new)
    assert change.path == "channels.adt.steps[1].set.MSH-8"
    assert (change.before, change.after) == ("A", "B")
    assert change.place_after is not None
    assert change.place_after[:2] == ("channels/adt.yaml", 4)


def test_what_is_only_written_differently_is_no_difference() -> None:
    new = {**OLD, "ifengine.yaml": ("# said otherwise", "ifengine: 1", 'site: "river"')}
    assert told(new) == []


def test_rows_of_tables_and_lines_of_functions_are_counted() -> None:
    new = {
        **OLD,
        "channels/tables/ward.csv": ("code,to", "1,A", "2,C", "3,D"),
        "channels/python/f.py": ("one",),
    }
    assert told(new) == [
        ("channels/python/f.py", "1 lines gone", "0 lines new"),
        ("channels/tables/ward.csv", "1 rows gone", "2 rows new"),
    ]


def test_a_file_in_one_version_only_is_told_as_new_or_gone() -> None:
    without = {name: lines for name, lines in OLD.items() if "adt" not in name}
    [(path, before, after)] = told(without)
    assert path == "channels.adt"
    assert before is not None
    assert after is None
    assert told({**OLD, "channels/tables/x.csv": ("a",)}) == [
        ("channels/tables/x.csv", None, "1 rows new")
    ]


LINES = st.lists(st.text("ab :0\t{é", max_size=8), max_size=5).map(tuple)
NAMES = st.from_regex(r"[a-z]{1,5}(/[a-z 0-9]{0,3}[a-z])?\.yaml", fullmatch=True)


@given(files=st.dictionaries(NAMES, LINES, max_size=5))
def test_what_is_packed_comes_out_as_it_was(files: dict[str, tuple[str, ...]]) -> None:
    loaded = Loaded(site=None, problems=(), unfilled=(), lines=files)
    assert unpack(pack(loaded)) == files
