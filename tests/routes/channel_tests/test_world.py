"""What becomes of messages in the world of a channel's tests: as in the engine, on a virtual clock."""

from pathlib import Path

import pytest

from routes.channel_tests.small import ADT, HEAD, TO_LAB, report, results

RETRY = (
    "to:\n  lab: {connection: out, retry: {first: 10s, max: 1m, refused: 3}, on_nak: {AR: retry}}\n"
)
WAIT = """\
steps:
  - choose:
      - when: MSH-9.1 = ADT
        do: [{remember: {fact: order, key: PV1-3}}]
    otherwise:
      - wait_for: {fact: order, per: OBR, key: OBR-2, up_to: 30m, then: dead_letter}
"""


def good(directory: Path, channel: str) -> None:
    assert results(directory, channel) == []


def test_a_message_is_sent_and_its_sender_gets_aa(tmp_path: Path) -> None:
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {ack: AA, lab: sent}}\n"
    good(tmp_path, HEAD + TO_LAB + tests)


def test_the_gates_of_the_listener_decide_before_the_channel(tmp_path: Path) -> None:
    good(
        tmp_path,
        HEAD
        + TO_LAB
        + """\
tests:
  - name: another type has no channel
    given: {sample: adt, change: {MSH-9.1: SIU, MSH-9.2: S12}}
    expect: {ack: AA, lab: unrouted}
  - name: what is not for this channel may be called filtered
    given: {sample: adt, change: {MSH-9.1: SIU, MSH-9.2: S12}}
    expect: {lab: filtered}
  - name: a training message is refused
    given: {sample: adt, change: {MSH-11: T}}
    expect: {ack: AR, ack_text: processing id, lab: {state: rejected, reason: processing id}}
  - name: no control id
    given: {sample: adt, change: {MSH-10: null}}
    expect: {ack: AE, lab: rejected}
  - name: enhanced mode asks for a commit answer
    given: {sample: adt, change: {MSH-15: AL, MSH-16: NE}}
    expect: {ack: CA, lab: sent}
  - name: a sender that wants no answer gets none
    given: {sample: adt, change: {MSH-15: NE, MSH-16: NE}}
    expect: {ack: none, lab: sent}
  - name: an acknowledgment is never answered
    given: {sample: adt, change: {MSH-9.1: ACK}}
    expect: {ack: none}
""",
    )


def test_the_retransmission_guard_looks_at_the_latest_content_of_an_id(tmp_path: Path) -> None:
    good(
        tmp_path,
        HEAD
        + "dedupe: {window: 1h}\n"
        + TO_LAB
        + """\
tests:
  - name: a, a, b, a, and a after the window
    sequence:
      - {given: {sample: adt}, expect: {lab: {state: sent, count: 1}}}
      - {given: {sample: adt}, expect: {ack: AA, lab: {state: dropped, reason: duplicate}}}
      - {given: {sample: adt, change: {PV1-2: O}}, expect: {lab: sent}}
      - {given: {sample: adt}, expect: {lab: sent}}
      - {after: 59m, given: {sample: adt}, expect: {lab: dropped}}
      - {after: 2m, given: {sample: adt}, expect: {lab: sent}}
  - name: every test begins with nothing
    given: {sample: adt}
    expect: {lab: sent}
""",
    )


def test_charges_are_tagged_and_never_dropped_as_repeats(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: the same charge twice
    sequence:
      - {given: {sample: adt, change: {MSH-9.1: DFT, MSH-9.2: P03}}, expect: {lab: sent}}
      - {given: {sample: adt, change: {MSH-9.1: DFT, MSH-9.2: P03}}, expect: {lab: sent}}
"""
    to = "to:\n  lab: {connection: out, on_in_doubt: resend}\n"
    good(tmp_path, HEAD.replace("ORM^O01", "DFT^P03") + to + tests)


def test_a_reused_control_id_is_a_dead_letter_where_the_channel_says_so(tmp_path: Path) -> None:
    good(
        tmp_path,
        HEAD
        + "dedupe: {on_reuse: dead_letter}\n"
        + TO_LAB
        + """\
tests:
  - name: other content under one id
    sequence:
      - {given: {sample: adt}, expect: {lab: sent}}
      - given: {sample: adt, change: {PV1-2: O}}
        expect: {lab: {state: dead_letter, reason: reused}}
""",
    )


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("AA", "sent"),
        ("CA", "sent"),
        ("AE", "dead_letter"),
        ("CE", "dead_letter"),
        ("AR", "retrying"),
        ("CR", "retrying"),
        ("timeout", "in_doubt"),
        ("garbage", "in_doubt"),
        ("refused", "queued"),
    ],
)
def test_a_receiver_s_answer_is_judged_as_the_engine_judges_it(
    tmp_path: Path, answer: str, state: str
) -> None:
    tests = (
        f"tests:\n  - {{name: a, given: {{sample: adt}}, answer: {{lab: {answer}}},"
        f" expect: {{ack: AA, lab: {state}}}}}\n"
    )
    good(tmp_path, HEAD + TO_LAB + tests)


def test_a_whole_message_may_answer_and_err_3_is_read_first(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: a reject that is an error
    given: {sample: adt}
    answer:
      lab: |
        MSH|^~\\&|LAB|X|||20260105||ACK|9|P|2.5.1
        MSA|AR|C1|no such ward
        ERR|||204^Unknown key^HL70357|E
    expect: {lab: {state: dead_letter, reason: no such ward}}
  - name: an answer to another message leaves this one in doubt
    given: {sample: adt}
    answer: {lab: "MSH|^~\\\\&|LAB|X|||20260105||ACK|9|P|2.5.1\\rMSA|AA|OTHER"}
    expect: {lab: in_doubt}
"""
    good(tmp_path, HEAD + TO_LAB + tests)


def test_retries_fire_as_the_clock_passes_and_give_up_after_three_refusals(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: accepted at the second try
    sequence:
      - {given: {sample: adt}, answer: {lab: AR}, expect: {lab: {state: retrying, reason: answered AR}}}
      - {after: 9s, expect: {lab: {state: sent, count: 0}}}
  - name: the third refusal ends it
    sequence:
      - {given: {sample: adt}, answer: {lab: AR}, expect: {lab: retrying}}
      - {after: 10s, answer: {lab: AR}, expect: {lab: retrying}}
      - {after: 20s, answer: {lab: AR}, expect: {lab: dead_letter}}
  - name: nobody there, then there again
    sequence:
      - {given: {sample: adt}, answer: {lab: refused}, expect: {lab: queued}}
      - {after: 10s, answer: {lab: refused}, expect: {lab: {state: queued, reason: no connection}}}
      - {after: 20s, expect: {lab: sent}}
"""
    found = report(tmp_path, HEAD + RETRY + tests)
    assert [result.passed for result in found.results] == [False, True, True]
    (early,) = found.results[0].differences
    assert (early.place, early.expected, early.got) == ("state", "sent", "nothing came here")


def test_what_is_stuck_holds_its_own_patient_only(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: one patient waits, the other does not
    sequence:
      - {given: {sample: adt}, answer: {lab: timeout}, expect: {lab: in_doubt}}
      - given: {sample: adt, change: {MSH-10: C2, PV1-2: O}}
        expect: {lab: {state: queued, reason: behind}}
      - given: {sample: adt, change: {MSH-10: C3, "PID-3[1].1": "7002"}}
        expect: {lab: {state: sent, count: 1, fields: {PID-3.1: "7002"}}}
      - {after: 10s, expect: {lab: {state: sent, count: 2, fields: {PID-3.1: "7001"}}}}
  - name: a dead letter holds what comes after it
    sequence:
      - {given: {sample: adt}, answer: {lab: AE}, expect: {lab: dead_letter}}
      - {given: {sample: adt, change: {MSH-10: C2}}, expect: {lab: queued}}
"""
    good(tmp_path, HEAD + RETRY + tests)


def test_a_parked_message_leaves_by_its_fact_or_by_its_time(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: the order comes in time
    sequence:
      - {given: {sample: oru}, expect: {ack: AA, lab: {state: parked, reason: waiting for order P900}}}
      - {after: 29m, given: {sample: adt, change: {PV1-3: P900}}, expect: {lab: {state: sent, count: 2}}}
  - name: it comes too late
    sequence:
      - {given: {sample: oru}}
      - {after: 30m, expect: {lab: {state: dead_letter, reason: no order P900 within 30m}}}
  - name: it was there before
    fact: {order: [P899, P900]}
    given: {sample: oru}
    expect: {lab: sent}
  - name: two that wait for one leave in their order
    sequence:
      - {given: {sample: oru}}
      - {given: {sample: oru, change: {MSH-10: L2}}, expect: {lab: parked}}
      - given: {sample: adt, change: {PV1-3: P900}}
        expect: {lab: {count: 3, same_as: golden/order.hl7}}
"""
    golden = "MSH|1\n\nMSH|2\n"  # wrong on purpose: what came is shown
    write_golden = {"channels/golden/order.hl7": golden}
    found = results(tmp_path, HEAD + WAIT + TO_LAB + tests)
    assert found == [
        "lab golden/order.hl7: this message, there is no such file; --update writes it"
    ]
    assert "lab golden/order.hl7: 2 messages, 3 messages" in results(
        tmp_path, HEAD + WAIT + TO_LAB + tests, write_golden
    )


def test_an_archived_message_is_held_unless_the_channel_takes_them(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: an archive
    given: {sample: adt, change: {MSH-11.2: A}}
    expect: {lab: {state: held, reason: processing mode}}
"""
    good(tmp_path, HEAD + TO_LAB + tests)
    good(
        tmp_path,
        HEAD
        + "accept_mode: [A]\n"
        + TO_LAB
        + tests.replace("{state: held, reason: processing mode}", "sent"),
    )


def test_another_channel_of_the_connection_may_take_the_type(tmp_path: Path) -> None:
    head = HEAD.replace("types: [ADT^*, ORU^R01, ORM^O01]", "types: [ORU^R01]")
    two = HEAD.replace("channel: one", "channel: two").replace("ADT^*, ORU^R01, ORM^O01", "ADT^*")
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {ack: AA, lab: {state: filtered, reason: two takes}}}\n"
    files = {"channels/two.yaml": two + "to:\n  ward: {connection: out-2}\n"}
    assert results(tmp_path, head + TO_LAB + tests, files) == []


def test_what_no_destination_accepts_shows_as_unmatched(tmp_path: Path) -> None:
    to = "to:\n  lab: {connection: out, accept: PV1-2 = O}\n"
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: filtered, unmatched: filtered}}\n"
    good(tmp_path, HEAD + to + tests)
    tests = """\
tests:
  - name: a
    given: {sample: adt}
    expect: {lab: filtered, unmatched: {state: dead_letter, count: 1, reason: no destination accepts I}}
"""
    good(tmp_path, HEAD + "no_match: dead_letter\n" + to + tests)


def test_files_are_split_and_nobody_is_answered(tmp_path: Path) -> None:
    head = """\
ifengine: 1
channel: one
from:
  files: {dir: var/in, done: var/done, bad: var/bad}
unbatch: {check_counts: true}
types: [ADT^A01]
ignore_types: {identity: none}
order_by: patient
"""
    batch = "FHS|^~\\&|A\nBHS|^~\\&|A\n{0}{1}BTS|2\nFTS|1\n"
    whole = batch.format(ADT, ADT.replace("|C1|", "|C2|").replace("7001", "7002"))
    tests = """\
tests:
  - name: both
    given: {sample: batch}
    expect: {ack: none, lab: {state: sent, count: 2}}
  - name: a change is made to every message
    given: {sample: batch, change: {PV1-2: O}}
    expect: {lab: {count: 2, fields: {PV1-2: O}}}
  - name: a wrong count stops the file
    given: {sample: short}
    expect: {lab: {state: dead_letter, count: 1, reason: BTS-1 does not agree}}
  - name: what a listener would refuse is a dead letter
    given: {sample: batch, change: {MSH-11: T}}
    expect: {lab: {state: dead_letter, count: 2}}
"""
    files = {
        "channels/samples/batch.hl7": whole,
        "channels/samples/short.hl7": whole.replace("BTS|2", "BTS|3"),
    }
    assert results(tmp_path, head + TO_LAB + tests, files) == []


def test_a_file_destination_gets_files_whatever_the_answers(tmp_path: Path) -> None:
    to = 'to:\n  lab: {files: {dir: var/out, name: "${msg.id}-${MSH-10}.hl7"}}\n'
    tests = """\
tests:
  - name: a
    given: {sample: adt}
    expect: {lab: {state: sent, file: {name: 1-C1.hl7}}}
  - name: b
    given: {sample: adt}
    expect: {lab: {file: {name: 2.hl7}}}
"""
    assert results(tmp_path, HEAD + to + tests) == ["lab file name: 2.hl7, 1-C1.hl7"]


def test_each_part_of_a_message_that_is_split_is_delivered_by_itself(tmp_path: Path) -> None:
    good(
        tmp_path,
        HEAD
        + "split_message: {by: OBR}\n"
        + "steps:\n  - {when: OBR-4 = BAD, fail: not this one}\n"
        + "to:\n  lab: {connection: out}\n"
        + """\
tests:
  - name: two of them
    given: {sample: adt, append: ["OBR|1|||A", "OBR|2|||B"]}
    expect: {ack: AA, lab: {state: sent, count: 2}}
  - name: one of them
    given: {sample: adt, append: ["OBR|1|||A", "OBR|2|||BAD"]}
    expect: {ack: AA, lab: {state: dead_letter, reason: not this one}}
""",
    )


def test_what_goes_to_another_channel_is_sent(tmp_path: Path) -> None:
    (tmp_path / "channels").mkdir()
    (tmp_path / "channels/two.yaml").write_text(
        "ifengine: 1\nchannel: two\nfrom: channels\norder_by: patient\n" + TO_LAB
    )
    good(
        tmp_path,
        HEAD
        + "to:\n  next: {channel: two}\n"
        + "tests:\n  - {name: a, given: {sample: adt}, expect: {ack: AA, next: sent}}\n",
    )


BATCH = """\
      BHS|^~\\&|HUB|ELM|ENG|ELM|20260105||n||B1
      MSH|^~\\&|REG|ELM|ENG|ELM|20260105120000||ADT^A01^ADT_A01|C1|P|2.5.1
      PID|1||7001^^^ELM^MR
      MSH|^~\\&|REG|ELM|ENG|ELM|20260105120000||ADT^A01^ADT_A01|C2|T|2.5.1
      PID|1||7002^^^ELM^MR
"""


def test_a_batch_at_a_listener_is_split_or_refused_whole(tmp_path: Path) -> None:
    good(
        tmp_path,
        HEAD
        + "unbatch: {check_counts: yes}\n"
        + TO_LAB
        + "tests:\n  - name: one is refused alone\n    given: |\n"
        + BATCH
        + "      BTS|2\n    expect: {lab: {contains: C1}}\n"
        + "  - name: a wrong count\n    given: |\n"
        + BATCH
        + "      BTS|3\n    expect: {ack: AE, ack_text: BTS-1 does not agree, lab: rejected}\n",
    )


COMBINE = (
    HEAD
    + "combine: {by: OBX, key: OBR-3, until: OBR-25 = F, count: 3, up_to: 10m}\n"
    + "steps:\n  - {when: $waited_out = yes, set: {MSH-8: LATE}}\n"
    + "  - {when: $collected = 3, set: {MSH-8: THREE}}\n"
    + TO_LAB
)


def test_messages_of_one_key_are_collected_into_one_over_the_turns_of_a_sequence(
    tmp_path: Path,
) -> None:
    good(
        tmp_path,
        COMBINE
        + """\
tests:
  - name: a condition makes it whole
    sequence:
      - given: {sample: oru, change: {MSH-10: A}}
        expect: {ack: AA, lab: {state: parked, reason: the rest}}
      - given: {sample: oru, change: {MSH-10: A}}
        expect: {ack: AA, lab: {state: dropped, reason: duplicate}}
      - after: 5m
        given: {sample: oru, change: {MSH-10: B, OBR-25: F}}
        expect:
          lab:
            state: sent
            fields: {MSH-10: B, "OBX[4]-1": "4", "OBX[2]-3.1": K, MSH-8: null}
      - given: {sample: oru, change: {MSH-10: C}}
        expect: {lab: parked}
  - name: a number makes it whole
    sequence:
      - {given: {sample: oru, change: {MSH-10: A}}, expect: {lab: parked}}
      - {given: {sample: oru, change: {MSH-10: B}}, expect: {lab: parked}}
      - given: {sample: oru, change: {MSH-10: C}}
        expect: {lab: {state: sent, fields: {MSH-8: THREE}}}
  - name: the time of the first ends it
    sequence:
      - {given: {sample: oru, change: {MSH-10: A}}, expect: {lab: parked}}
      - {after: 6m, given: {sample: oru, change: {MSH-10: B}}, expect: {lab: parked}}
      - after: 5m
        expect: {lab: {state: sent, fields: {MSH-8: LATE, MSH-10: B, "OBX[4]-1": "4"}}}
  - name: another patient goes to the dead letters alone
    sequence:
      - {given: {sample: oru, change: {MSH-10: A}}, expect: {lab: parked}}
      - given: {sample: oru, change: {MSH-10: B, PID-3.1: "7002", OBR-25: F}}
        expect: {lab: {state: dead_letter, reason: PID-3 is not that}}
      - given: {sample: oru, change: {MSH-10: C, OBR-25: F}}
        expect: {lab: {state: sent, fields: {"OBX[4]-1": "4"}}}
""",
    )
