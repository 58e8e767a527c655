"""What receivers say later, in tests of channels: decided as in the engine, on a virtual clock."""

from pathlib import Path

import pytest

from ifengine.routes.application_waiting import MOST_OPEN
from ifengine.routes.channel_tests.coverage import coverage_of
from ifengine.routes.channel_tests.later_answers import LaterAnswers, Said
from ifengine.routes.config.loading import load_site
from ifengine.routes.config.models import ApplicationAck
from ifengine.routes.config.tests_beside import read_test_files
from ifengine.transforms.source import Severity
from routes.channel_tests.small import HEAD, results, site_of, write

TO_LAB = """\
to:
  lab:
    connection: out
    acks: accept+application
    application_ack: {on: same, within: 10m}
"""
ORR = """\
        MSH|^~\\&|LAB|ELM|ENG|ELM|20260105120000||ORR^O02|9|P|2.5.1
        MSA|AE||not in our catalogue
        ERR||PID^1^3|101^Required^HL70357|E
        ORC|UA|P900
"""


def with_tests(text: str) -> str:
    return HEAD + TO_LAB + "tests:\n" + text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("AA", "{state: sent, application: accepted}"),
        ("CA", "{state: sent, application: waiting}"),
        ("{first: CA, application: AA}", "{state: sent, application: accepted}"),
        (
            "{application: AE}",
            "{state: dead_letter, application: refused, reason: application refused AE}",
        ),
        ("{application: AR}", "{application: refused, count: 1, fields: {PID-5.1: Quill}}"),
        ("AE", "{state: dead_letter, reason: answered AE}"),
    ],
)
def test_a_second_answer_does_what_it_does_in_the_engine(
    tmp_path: Path, answer: str, expected: str
) -> None:
    channel = with_tests(
        f"  - {{name: a, given: {{sample: adt}}, answer: {{lab: {answer}}}, "
        f"expect: {{lab: {expected}}}}}\n"
    )
    assert results(tmp_path, channel) == []


def test_a_whole_message_answers_with_its_own_words_and_its_empty_msa_2_is_filled_in(
    tmp_path: Path,
) -> None:
    channel = with_tests(
        "  - name: a\n    given: {sample: adt}\n    answer:\n      lab:\n       application: |\n"
        + ORR
        + "    expect: {lab: {state: dead_letter, reason: 'application refused AE 101: not in our'}}\n"
        "  - name: of another message it is nobody's\n"
        "    given: {sample: adt}\n    answer:\n      lab:\n       application: |\n"
        + ORR.replace("MSA|AE|", "MSA|AE|OTHER")
        + "    expect: {lab: {state: sent, application: waiting}}\n"
    )
    assert results(tmp_path, channel) == []


def test_silence_is_missing_when_its_time_is_over_and_a_later_answer_still_counts(
    tmp_path: Path,
) -> None:
    channel = with_tests("""\
  - name: silence, then a no
    sequence:
      - {given: {sample: adt}, answer: {lab: CA}, expect: {lab: {application: waiting}}}
      - {after: 9m, expect: {}}
      - {after: 2m, expect: {lab: {state: sent, application: missing, count: 1}}}
      - {after: 3d, answer: {lab: {application: AE}}, expect: {lab: dead_letter}}
  - name: the clock stands still between the steps
    sequence:
      - {given: {sample: adt}, answer: {lab: CA}}
      - {after: 10m, expect: {lab: {application: missing}}}
      - {after: 1s, answer: {lab: {application: AA}}, expect: {lab: {application: accepted}}}
  - name: a yes comes too late to be one after a no
    sequence:
      - {given: {sample: adt}, answer: {lab: {application: AA}}}
      - {answer: {lab: {application: AE}}, expect: {lab: {state: dead_letter}}}
      - {answer: {lab: {application: AA}}, expect: {}}
""")
    assert results(tmp_path, channel) == []


def test_what_was_refused_later_holds_what_comes_after_it_in_its_key(tmp_path: Path) -> None:
    channel = with_tests("""\
  - name: the second of the patient waits, that of another does not
    sequence:
      - {given: {sample: adt}, answer: {lab: {application: AE}}, expect: {lab: dead_letter}}
      - given: {sample: adt, change: {MSH-10: C2}}
        expect: {lab: {state: queued, reason: behind an earlier message}}
      - {given: {sample: adt, change: {MSH-10: C3, PID-3.1: "7002"}}, expect: {lab: sent}}
""")
    assert results(tmp_path, channel) == []


def test_what_had_not_left_when_the_no_came_waits_behind_it(tmp_path: Path) -> None:
    channel = (
        (HEAD + TO_LAB).rstrip()
        + """
    retry: {first: 5m, max: 5m, factor: 1}
tests:
  - name: the second is tried again behind a dead letter
    sequence:
      - {given: {sample: adt}, answer: {lab: CA}, expect: {lab: {application: waiting}}}
      - {given: {sample: adt, change: {MSH-10: C2}}, answer: {lab: AR}, expect: {lab: retrying}}
      - {answer: {lab: {application: AE}}, expect: {lab: {state: dead_letter, count: 1}}}
      - {after: 1h, expect: {lab: {count: 0}}}
"""
    )
    assert results(tmp_path, channel) == []


def test_under_one_control_id_a_no_is_for_both_and_a_yes_for_neither(tmp_path: Path) -> None:
    both = """\
      - {given: {sample: adt}, answer: {lab: CA}}
      - {given: {sample: adt, change: {PV1-3: 5W}}, answer: {lab: CA}}
"""
    channel = with_tests(
        "  - name: no\n    sequence:\n"
        + both
        + "      - {answer: {lab: {application: AE}}, expect: {lab: {state: dead_letter, count: 2}}}\n"
        "  - name: yes\n    sequence:\n"
        + both
        + "      - {answer: {lab: {application: AA}}, expect: {}}\n"
        "      - {after: 11m, expect: {lab: {application: missing, count: 2}}}\n"
    )
    assert results(tmp_path, channel) == []


def test_a_step_with_a_message_answers_that_one_and_leaves_the_others_waiting(
    tmp_path: Path,
) -> None:
    channel = with_tests("""\
  - name: two
    sequence:
      - {given: {sample: adt}, answer: {lab: CA}}
      - given: {sample: adt, change: {MSH-10: C2, PID-3.1: "7002"}}
        answer: {lab: {application: AE}}
        expect: {lab: {state: dead_letter, count: 1, fields: {PID-3.1: "7002"}}}
      - {after: 11m, expect: {lab: {application: missing, count: 1}}}
""")
    assert results(tmp_path, channel) == []


def test_what_is_not_as_expected_is_told_by_its_name(tmp_path: Path) -> None:
    channel = with_tests("""\
  - {name: a, given: {sample: adt}, answer: {lab: CA}, expect: {lab: {application: refused}}}
  - {name: b, given: {sample: adt}, answer: {lab: timeout}, expect: {lab: {application: waiting}}}
  - {name: c, given: {sample: adt}, answer: {lab: {application: AE}}, expect: {lab: sent}}
""")
    assert results(tmp_path, channel) == [
        "lab application: refused, waiting",
        "lab application: waiting, nothing came here",
        "lab state: sent, dead_letter",
    ]


# ``¦`` stands before the character at which the problem points
MISTAKES = [
    ("E271", "answer: {lab: {¦application: AE}}", "no application acknowledgment is waited for"),
    ("E271", "expect: {lab: {state: sent, ¦application: missing}}", 'waited for at "lab"'),
    ("E103", "answer: {lab: {first: AA, ¦application: AE}}", "after AA: no second answer"),
    ("E103", "answer: {lab: {first: timeout, ¦application: AE}}", "after timeout"),
    ("E103", "answer: {lab: {application: ¦CA}}", '"CA" is not one of AA, AE, AR'),
    ("E103", "answer: {lab: {first: ¦YES}}", '"YES" is not one of'),
    ("E103", "answer: {lab: {application: ¦MSH|^~!&|A|B}}", "no acknowledgment that decides"),
    ("E101", "answer: {lab: {first: CA, ¦aplication: AE}}", '"aplication" is not known'),
    ("E102", "answer: {lab: ¦{}}", '"lab" answers nothing'),
    ("E103", "expect: {lab: {application: ¦lost}}", '"lost" is not one of waiting'),
    ("E201", "answer: {¦lap: {application: AE}}", 'no destination "lap"'),
]


@pytest.mark.parametrize(("code", "written", "message"), MISTAKES)
def test_a_mistake_is_shown_at_its_place(
    tmp_path: Path, code: str, written: str, message: str
) -> None:
    test = f"  - {{name: a, given: {{sample: adt}}, {written}}}\n"
    # the one thing that is wrong there is that nobody waits
    head = HEAD + (TO_LAB if code != "E271" else "to:\n  lab: {connection: out}\n")
    marked = head + "tests:\n" + test
    line = next(n for n, text in enumerate(marked.splitlines(), 1) if "¦" in text)
    column = marked.splitlines()[line - 1].index("¦") + 1
    write(tmp_path, marked.replace("¦", ""))
    found = [p for p in load_site(tmp_path, environ={}).problems if p.severity is Severity.ERROR]
    told = [(p.code, p.position.line, p.position.column) for p in found]
    assert told == [(code, line, column)], [str(p) for p in found]
    assert message in str(found[0])


def test_a_destination_that_could_not_be_read_may_wait(tmp_path: Path) -> None:
    channel = with_tests("  - {name: a, given: {sample: adt}, answer: {lab: {application: AE}}}\n")
    write(tmp_path, channel.replace("connection: out", "connection: nowhere"))
    found = [p for p in load_site(tmp_path, environ={}).problems if p.severity is Severity.ERROR]
    assert [p.code for p in found] == ["E201"]


def test_more_than_a_hundred_under_one_id_are_not_waited_for() -> None:
    later, rule = LaterAnswers(), ApplicationAck(within_seconds=60)
    given_up = [later.expect(rule, seq, "lab", b"1", "CA", 0)[1] for seq in range(1, MOST_OPEN + 3)]
    assert [seq for seq in given_up if seq] == [1, 2]
    assert later.next_us() == 60_000_000
    assert later.missing(59_999_999) == []
    assert len(later.missing(60_000_000)) == MOST_OPEN
    assert later.next_us() == 0
    assert len(list(later.came(Said("lab", "AE"), None))) == MOST_OPEN
    assert list(later.came(Said("lab", "AE"), None)) == []


def test_coverage_counts_a_destination_that_refused_it_later_as_reached(tmp_path: Path) -> None:
    channel = with_tests("  - {name: a, given: {sample: adt}, answer: {lab: {application: AE}}}\n")
    write(tmp_path, channel)
    site = site_of(tmp_path)
    files = read_test_files(tmp_path, site.channels[0].tests)
    assert coverage_of(site, site.channels[0], files).destinations == ()
