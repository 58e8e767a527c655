"""What a test expects, each key exactly: what holds, and what is told when it does not."""

from pathlib import Path

import pytest

from routes.channel_tests.small import ADT, HEAD, TO_LAB, report, results

STEPS = """\
steps:
  - set: {PID-5.1: "${PID-5.1 | upper}"}
  - clear: PID-8
"""


def differences(directory: Path, expected: str, *, steps: str = "", to: str = TO_LAB) -> list[str]:
    tests = f"tests:\n  - name: a\n    given: {{sample: adt}}\n    expect:\n      lab: {expected}\n"
    return results(directory, HEAD + steps + to + tests)


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("{state: sent, fields: {PID-5.1: QUILL, PID-5.2: Ada, PID-8: null}}", []),
        ("{fields: {PID-5.1: Quill}}", ["lab PID-5.1: Quill, QUILL"]),
        ("{fields: {PID-5.2: null}}", ["lab PID-5.2: (empty), Ada"]),
        ("{fields: {PID-19: x}}", ["lab PID-19: x, (empty)"]),
        ("{fields: {ZZZ-1: null}}", []),
        # a component that was not expected is not overlooked
        ("{fields: {PID-5: QUILL}}", ["lab PID-5: QUILL, QUILL^Ada"]),
        ('{fields: {"PID-3[2].1": 99, "PID-3[3]": null}}', []),
        # empty means every repetition
        ("{fields: {PID-3: null}}", ["lab PID-3: (empty), 7001^^^ELM^MR~99^^^ELM^PI"]),
        ('{fields: {"PID-3(where .5 = PI).1": 99}}', []),
        ("{absent: [ZPI, PID-8, NK1]}", []),
        (
            "{absent: [PV1, PID-3]}",
            ["lab PV1: absent, there once", "lab PID-3: absent, 7001^^^ELM^MR"],
        ),
        ("{segments: [PV1, PID, EVN, MSH]}", []),
        ("{segments: [MSH, PID, PV1]}", ["lab EVN: absent, once"]),
        ("{segments: [MSH, EVN, PID, PV1, AL1]}", ["lab AL1: once, absent"]),
        ("{segments: [MSH, EVN, PID, PID, PV1]}", ["lab PID: 2 times, once"]),
        ("{contains: QUILL^Ada, not_contains: [Quill, SSN]}", []),
        ("{contains: Quill^Ada}", ['lab content: contains "Quill^Ada", does not']),
        (
            "{not_contains: ELM^PI}",
            [
                'lab content: does not contain "ELM^PI", PID|1||7001^^^ELM^MR~99^^^ELM^PI||QUILL^Ada||19700101'
            ],
        ),
        ("{count: 1}", []),
        ("{count: 2}", ["lab count: 2, 1"]),
        ("{count: 0}", ["lab count: 0, 1"]),
        ("filtered", ["lab state: filtered, sent"]),
        ("{state: dead_letter, fields: {PID-8: x}}", ["lab state: dead_letter, sent"]),
        ("{reason: why}", ["lab reason: why, (empty)"]),
    ],
)
def test_a_destination_is_held_to_what_is_written(
    tmp_path: Path, expected: str, told: list[str]
) -> None:
    found = [line.rstrip() for line in differences(tmp_path, expected, steps=STEPS)]
    assert [line.rstrip("|F\r") if "not contain" in line else line for line in found] == told


def test_fields_hold_for_every_message_that_was_delivered(tmp_path: Path) -> None:
    head = HEAD.replace("from: in", "from:\n  files: {dir: i, done: d, bad: b}\nunbatch: {}")
    batch = ADT + ADT.replace("|C1|", "|C2|").replace("|I|", "|O|")
    tests = """\
tests:
  - name: a
    given: {sample: two}
    expect: {lab: {state: sent, fields: {PV1-2: I}}}
"""
    found = results(tmp_path, head + TO_LAB + tests, {"channels/samples/two.hl7": batch})
    assert found == ["lab PV1-2: I, O"]


def test_every_occurrence_is_asked_for_with_a_star(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: a
    given: {sample: oru}
    expect: {lab: {fields: {"OBX[*]-11": F, "OBX[*]-8": H, "OBX[last]-3.1": K}}}
"""
    assert results(tmp_path, HEAD + TO_LAB + tests) == ["lab OBX[*]-8: H, N, H"]


def test_filtered_holds_only_if_nothing_else_happened_there(tmp_path: Path) -> None:
    to = "to:\n  lab: {connection: out, accept: PV1-2 = I}\n"
    head = HEAD.replace("from: in", "from:\n  files: {dir: i, done: d, bad: b}\nunbatch: {}")
    batch = ADT + ADT.replace("|C1|", "|C2|").replace("|I|", "|O|")
    tests = """\
tests:
  - name: one of two
    given: {sample: two}
    expect: {lab: filtered}
  - name: sent as well
    given: {sample: two}
    expect: {lab: {state: sent, count: 1}}
"""
    found = results(tmp_path, head + to + tests, {"channels/samples/two.hl7": batch})
    assert found == ["lab state: filtered, sent"]


def test_the_answer_is_told_with_its_code_and_text(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: a
    given: {sample: adt}
    expect: {ack: AR, ack_text: nonsense}
  - name: nothing came in, so nobody was answered
    sequence: [{after: 1m, expect: {ack: none}}, {after: 1m, expect: {ack: AA}}]
"""
    assert results(tmp_path, HEAD + TO_LAB + tests) == [
        "answer ack: AR, AA",
        "answer ack_text: nonsense, (empty)",
        "answer ack: AA, none",
    ]


def test_a_destination_where_nothing_happened_is_in_no_state(tmp_path: Path) -> None:
    tests = "tests:\n  - {name: a, sequence: [{after: 1m, expect: {lab: sent, unmatched: dead_letter}}]}\n"
    assert results(tmp_path, HEAD + TO_LAB + tests) == [
        "lab state: sent, nothing came here",
        "unmatched state: dead_letter, nothing came here",
    ]
    tests = "tests:\n  - {name: a, sequence: [{after: 1m, expect: {lab: {fields: {PID-8: F}}}}]}\n"
    assert results(tmp_path, HEAD + TO_LAB + tests) == ["lab content: a message, nothing came here"]


def test_a_golden_file_fixes_everything_but_what_is_ignored(tmp_path: Path) -> None:
    golden = ADT.replace("20260105120000||ADT", "20200101||ADT")
    written = {"channels/golden/a.hl7": golden}
    assert differences(tmp_path, "{same_as: golden/a.hl7, ignore: [MSH-7]}") == [
        "lab golden/a.hl7: this message, there is no such file; --update writes it"
    ]
    tests = (
        "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: {same_as: golden/a.hl7%s}}}\n"
    )
    ignoring = HEAD + TO_LAB + tests % ", ignore: [MSH-7]"
    assert results(tmp_path, ignoring, written) == []
    assert results(tmp_path, HEAD + TO_LAB + tests % "", written) == [
        "lab MSH-7: 20200101, 20260105120000"
    ]
    changed = {"channels/golden/a.hl7": golden.replace("Quill", "Quince") + "ZZZ|1\n"}
    assert results(tmp_path, ignoring, changed) == [
        "lab PID-5.1: Quince, Quill",
        "lab ZZZ: 1, (empty)",
    ]


def test_a_failure_names_the_steps_that_touched_the_place_or_should_have(tmp_path: Path) -> None:
    steps = """\
steps:
  - upper: PID-5.1
  - when: PV1-2 = O
    set: {PV1-3.1: OUT}
"""
    to = """\
to:
  lab:
    connection: out
    steps:
      - set: {MSH-5: LIS}
      - trim: PV1-3.1
"""
    tests = """\
tests:
  - name: a
    given: {sample: adt}
    expect:
      lab:
        fields: {PID-5.1: Quill, PV1-3.1: OUT, MSH-5: X, EVN-2: x}
"""
    (result,) = report(tmp_path, HEAD + steps + to + tests).results
    assert [(d.place, d.notes) for d in result.differences] == [
        ("PID-5.1", ["after step 1 upper"]),
        (
            "PV1-3.1",
            [
                'after step 2 set: skipped, "when" was false',
                "after lab step 2 trim: ran, changed nothing there",
            ],
        ),
        ("MSH-5", ["after lab step 1 set"]),
        ("EVN-2", []),
    ]
    assert result.differences[0].position.line == 22
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: sent}}\n"
    stop = "steps:\n  - require: {PV1-19: no visit number}\n"
    (result,) = report(tmp_path, HEAD + stop + TO_LAB + tests).results
    assert result.differences[0].notes == ["dead_letter at step 1 require: no visit number"]
