"""`--weak`: what could be deleted or changed, and which test would have to look where."""

from pathlib import Path

from ifengine.routes.channel_tests.mutants import mutants_of
from ifengine.routes.channel_tests.run import run_tests
from ifengine.routes.channel_tests.weak import Weakness, weak_places
from ifengine.routes.config.tests_beside import read_test_files
from ifengine.transforms.source import Entries
from routes.channel_tests.small import HEAD, TO_LAB, loaded, write
from transforms.written import nodes


def weak(directory: Path, channel: str) -> Weakness:
    write(directory, channel, {"channels/tables/sex.csv": "from,to\nF,W\nM,M\n"})
    found = loaded(directory)
    assert found.site is not None
    assert found.around is not None
    config = found.site.channels[0]
    files = read_test_files(directory, config.tests)
    assert run_tests(found.site, config.name, files).ok
    return weak_places(found.written["one"], found.around, found.site, config, files)


def told(weakness: Weakness) -> list[tuple[str, str, str]]:
    return [
        (f"{s.mutant.place.owner} {s.mutant.place.number}".strip(), s.mutant.change, s.hint)
        for s in weakness.survivors
    ]


STEPS = """\
steps:
  - upper: PID-5.1
  - clear: PID-19
  - lookup: {table: sex, from: PID-8, missing: dead_letter}
"""
ALL_BUT_ONE = """\
tests:
  - name: a
    given: {sample: adt}
    expect: {lab: {state: sent, fields: {PID-5.1: QUILL, PID-8: W}}}
  - name: b
    given: {sample: adt, change: {PID-8: X}}
    expect: {lab: dead_letter}
"""


def test_a_step_without_a_test_is_found_and_the_tested_ones_are_not(tmp_path: Path) -> None:
    found = weak(tmp_path, HEAD + STEPS + TO_LAB + ALL_BUT_ONE)
    assert told(found) == [("2", "deleted", "the samples already say so")]
    assert (found.steps, found.changes) == (3, 1)
    assert found.survivors[0].mutant.place.position.line == 9


def test_the_hint_names_what_no_test_looks_at(tmp_path: Path) -> None:
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: sent}}\n"
    assert told(weak(tmp_path, HEAD + STEPS + TO_LAB + tests)) == [
        ("1", "deleted", "no test looks at PID-5.1: expect it under fields:"),
        ("2", "deleted", "the samples already say so"),
        ("3", "deleted", "no test looks at PID-8: expect it under fields:"),
    ]


def test_conditions_are_turned_round_and_taken_apart(tmp_path: Path) -> None:
    to = "to:\n  lab:\n    connection: out\n    accept: PV1-2 in [I, E] and PID-8 = F\n"
    tests = """\
tests:
  - {name: a, given: {sample: adt}, expect: {lab: sent}}
  - {name: b, given: {sample: adt, change: {PV1-2: O}}, expect: {lab: filtered}}
"""
    assert [change for _, change, _ in told(weak(tmp_path, HEAD + to + tests))] == [
        "without E",
        "without PID-8 = F",
    ]
    tests += """\
  - {name: c, given: {sample: adt, change: {PV1-2: E}}, expect: {lab: sent}}
  - {name: d, given: {sample: adt, change: {PID-8: M}}, expect: {lab: filtered}}
"""
    assert told(weak(tmp_path, HEAD + to + tests)) == []


def test_branches_and_what_is_inside_them_are_tried_one_by_one(tmp_path: Path) -> None:
    steps = """\
steps:
  - choose:
      - when: PV1-2 = I
        do:
          - set: {MSH-5: IN}
          - set: {MSH-6: HERE}
      - when: PV1-2 = E
        do: [{set: {MSH-5: ER}}]
    otherwise:
      - set: {MSH-5: OUT}
"""
    tests = """\
tests:
  - {name: a, given: {sample: adt}, expect: {lab: {fields: {MSH-5: IN}}}}
  - {name: b, given: {sample: adt, change: {PV1-2: O}}, expect: {lab: {fields: {MSH-5: OUT}}}}
"""
    assert told(weak(tmp_path, HEAD + steps + TO_LAB + tests)) == [
        ("1.1.2", "deleted", "no test looks at MSH-6: expect it under fields:"),
        ("1.2", "branch left out", "no test comes here"),
    ]


def test_values_that_land_in_a_message_are_changed(tmp_path: Path) -> None:
    steps = """\
steps:
  - set: {MSH-5: LIS, MSH-6: "${PV1-3}"}
  - when: PV1-2 = I
    default: {PV1-4: X}
  - trim: [PID-5.1, PID-5.2]
  - require: {PV1-2: no class, PV1-3: no ward}
"""
    tests = """\
tests:
  - name: a
    given: {sample: adt, change: {PID-5.1: " Quill ", PID-5.2: " Ada"}}
    expect: {lab: {fields: {MSH-5: LIS, PID-5.1: Quill, PV1-4: X}}}
  - {name: b, given: {sample: adt, change: {PV1-2: null}}, expect: {lab: dead_letter}}
  - {name: c, given: {sample: adt, change: {PV1-2: O}}, expect: {lab: {fields: {PV1-4: null}}}}
"""
    assert told(weak(tmp_path, HEAD + steps + TO_LAB + tests)) == [
        ("1", "MSH-6: ${PV1-3} -> ${PV1-3}X", "no test looks at MSH-6: expect it under fields:"),
        ("3", "without PID-5.2", "no test looks at PID-5.2: expect it under fields:"),
        ("4", "without PV1-3", "no test gives a message that it stops"),
    ]


def test_what_check_would_refuse_is_no_mutant(tmp_path: Path) -> None:
    steps = 'steps:\n  - let: {ward: "${PV1-3}"}\n  - set: {MSH-6: "${ward}"}\n'
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: {fields: {MSH-6: 4W}}}}\n"
    found = weak(tmp_path, HEAD + steps + TO_LAB + tests)
    assert told(found) == []
    assert found.steps == 1  # without `let` the variable is not known


def test_the_time_that_a_message_waits_and_what_then_happens_are_values(tmp_path: Path) -> None:
    steps = """\
steps:
  - when: MSH-9.1 = ORU
    wait_for:
      fact: order
      per: OBR
      key: OBR-2
      up_to: 30m
      then: deliver
      never_wait: any OBX-8 in [HH, LL]
"""
    tests = """\
tests:
  - {name: a, given: {sample: oru}, expect: {lab: parked}}
  - {name: b, given: {sample: adt}, expect: {lab: sent}}
"""
    changes = [change for _, change, _ in told(weak(tmp_path, HEAD + steps + TO_LAB + tests))]
    assert changes == [
        "up_to: 30m -> 300m",
        "then: deliver -> dead_letter",
        "without HH",
        "without LL",
    ]
    tests += """\
  - name: c
    sequence:
      - {given: {sample: oru}}
      - {after: 31m, expect: {lab: sent}}
  - {name: d, given: {sample: oru, change: {"OBX[1]-8": HH}}, expect: {lab: sent}}
  - {name: e, given: {sample: oru, change: {"OBX[1]-8": LL}}, expect: {lab: sent}}
"""
    assert told(weak(tmp_path, HEAD + steps + TO_LAB + tests)) == []


def test_mutants_keep_everything_else_as_it_was_written() -> None:
    channel = nodes(HEAD + STEPS + TO_LAB + ALL_BUT_ONE)
    assert isinstance(channel, Entries)
    for mutant in mutants_of(channel):
        assert isinstance(mutant.node, Entries)
        before = {key.value: value for key, value in channel}
        after = {key.value: value for key, value in mutant.node}
        assert {key for key in before if before[key] != after.get(key)} == {"steps"}
