"""`--coverage`: destinations, branches and rows that no test reached."""

from pathlib import Path

from ifengine.routes.channel_tests.coverage import Coverage, coverage_of
from ifengine.routes.config.tests_beside import read_test_files
from routes.channel_tests.small import HEAD, site_of, write

TABLES = {
    "channels/tables/sex.csv": "from,to\nF,W\nM,M\n",
    "channels/tables/code.csv": "code,unit,to\nGLU,mmol/L,14749-6\nGLU,*,2345-7\nK,*,2823-3\n",
}
CHANNEL = (
    HEAD
    + """\
steps:
  - choose:
      - when: MSH-9.1 = ADT
        do: [{lookup: {table: sex, from: PID-8, missing: keep}}]
      - when: MSH-9.1 = ORM
        do: [{set: {MSH-6: ORD}}]
    otherwise:
      - for_each: OBX
        do:
          - lookup: {table: code, keys: {code: OBX-3.1, unit: OBX-6}, to: OBX-3.1, missing: keep}
          - when: OBX-8 = HH
            set: {OBX-8: H}
to:
  lab:
    connection: out
    steps:
      - {set: {MSH-5: LIS}, when: PV1-2 = E}
  ward: {connection: out-2, accept: PV1-2 = E}
"""
)


def covered(directory: Path, tests: str) -> Coverage:
    write(directory, CHANNEL + tests, TABLES)
    site = site_of(directory)
    config = site.channels[0]
    return coverage_of(site, config, read_test_files(directory, config.tests))


def names(coverage: Coverage) -> tuple[list[str], list[str], list[str]]:
    found = (coverage.destinations, coverage.branches, coverage.rows)
    destinations, branches, rows = ([one.what for one in part] for part in found)
    return destinations, branches, rows


def test_what_no_test_reached_is_named(tmp_path: Path) -> None:
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: sent}}\n"
    found = covered(tmp_path, tests)
    assert names(found)[:2] == (
        ["ward"],
        ["step 1 choose, branch 2", "step 1 choose, otherwise", "lab: step 1 set"],
    )
    assert sorted(names(found)[2]) == ["code: GLU,*", "code: GLU,mmol/L", "code: K,*", "sex: M"]
    assert found.destinations[0].line == 24
    assert found.branches[0].line == 12


def test_what_a_test_reached_is_not_named(tmp_path: Path) -> None:
    tests = """\
tests:
  - {name: a, given: {sample: adt, change: {PV1-2: E}}, expect: {lab: sent, ward: sent}}
  - {name: b, given: {sample: adt, change: {PID-8: M}}, expect: {lab: sent}}
  - {name: c, given: {sample: oru, change: {"OBX[2]-6": g}}, expect: {lab: sent}}
  - {name: d, given: {sample: oru, change: {MSH-9.1: ORM, MSH-9.2: O01}}, expect: {lab: sent}}
"""
    assert names(covered(tmp_path, tests)) == (
        [],
        ["step 1.3.1.2 set"],
        ["code: GLU,*"],
    )
