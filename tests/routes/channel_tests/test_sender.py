"""What the sender is told: `ack: delivered` and the answers that are passed back."""

from dataclasses import replace
from pathlib import Path

import pytest

from ifengine.routes.channel_tests.run import run_tests
from ifengine.routes.config.models import AckConfig
from ifengine.routes.config.tests_beside import read_test_files
from routes.channel_tests.small import HEAD, TO_LAB, site_of, told, write

ACK = AckConfig(source="lab", timeout_seconds=25.0)


def good(directory: Path, channel: str, ack: AckConfig = ACK) -> None:
    write(directory, channel)
    site = site_of(directory)
    config = replace(site.channels[0], ack=ack)
    site = replace(site, channels=(config,))
    report = run_tests(site, "one", read_test_files(directory, config.tests))
    assert [line for result in report.results for line in told(result)] == []
    assert report.results


@pytest.mark.parametrize(
    ("answer", "code", "state"),
    [
        ("AA", "AA", "sent"),
        ("CA", "AA", "sent"),
        ("AE", "AE", "rejected"),
        ("CE", "AE", "rejected"),
        ("AR", "AR", "rejected"),
        ("timeout", "AR", "in_doubt"),
        ("garbage", "AR", "in_doubt"),
        ("refused", "AR", "rejected"),
    ],
)
def test_the_destination_s_answer_is_the_sender_s(
    tmp_path: Path, answer: str, code: str, state: str
) -> None:
    tests = (
        f"tests:\n  - {{name: a, given: {{sample: adt}}, answer: {{lab: {answer}}},"
        f" expect: {{ack: {code}, lab: {state}}}}}\n"
    )
    good(tmp_path, HEAD + TO_LAB + tests)


def test_the_words_of_the_destination_reach_the_sender(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: a
    given: {sample: adt}
    answer:
      lab: |
        MSH|^~\\&|LAB|X|||20260105||ACK|9|P|2.5.1
        MSA|AE|C1|no such ward
    expect: {ack: AE, ack_text: no such ward, lab: {state: rejected, reason: no such ward}}
"""
    good(tmp_path, HEAD + TO_LAB + tests)


def test_a_timeout_may_mean_no_answer_at_all(tmp_path: Path) -> None:
    tests = "tests:\n  - {name: a, given: {sample: adt}, answer: {lab: timeout}, expect: {ack: none, lab: in_doubt}}\n"
    good(tmp_path, HEAD + TO_LAB + tests, replace(ACK, on_timeout="none"))


def test_what_the_sender_was_refused_is_not_tried_again_and_may_come_again(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: a
    sequence:
      - {given: {sample: adt}, answer: {lab: AR}, expect: {ack: AR, lab: rejected}}
      - {after: 1h, expect: {lab: {count: 0}}}
      - {given: {sample: adt}, expect: {ack: AA, lab: {state: sent, count: 1}}}
      - {given: {sample: adt}, answer: {lab: AE}, expect: {ack: AA, lab: {state: dropped, reason: duplicate}}}
"""
    good(tmp_path, HEAD + TO_LAB + tests)


def test_a_refusal_by_a_step_is_told_while_the_sender_waits(tmp_path: Path) -> None:
    steps = "steps:\n  - require: {PV1-19: no visit number}\n"
    tests = """\
tests:
  - name: a
    given: {sample: adt}
    expect: {ack: AE, ack_text: no visit number, lab: {state: rejected, reason: no visit number}}
"""
    good(tmp_path, HEAD + steps + TO_LAB + tests)


def test_what_is_not_sent_is_answered_as_the_channel_says(tmp_path: Path) -> None:
    to = "to:\n  lab: {connection: out, accept: PV1-2 = O}\n  ward: {connection: out-2}\n"
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {ack: %s, lab: filtered, ward: sent}}\n"
    good(tmp_path, HEAD + to + tests % "AA", replace(ACK, not_sent="AA"))
    good(tmp_path, HEAD + to + tests % "AR", replace(ACK, not_sent="AR"))


def test_a_business_duplicate_gets_the_first_positive_answer(tmp_path: Path) -> None:
    dedupe = "dedupe: {key: PID-3.1, window: 10m, on_repeat: reack_same}\n"
    tests = """\
tests:
  - name: told again
    sequence:
      - {given: {sample: adt}, answer: {lab: AA}, expect: {ack: AA, lab: sent}}
      - given: {sample: adt, change: {MSH-10: C2}}
        answer: {lab: AR}
        expect: {ack: AA, lab: {state: dropped, reason: duplicate}}
      - {after: 11m, given: {sample: adt, change: {MSH-10: C3}}, expect: {ack: AA, lab: sent}}
  - name: a refusal is not remembered
    sequence:
      - {given: {sample: adt}, answer: {lab: AR}, expect: {ack: AR, lab: rejected}}
      - {given: {sample: adt, change: {MSH-10: C2}}, expect: {ack: AA, lab: sent}}
"""
    good(tmp_path, HEAD + dedupe + TO_LAB + tests)
