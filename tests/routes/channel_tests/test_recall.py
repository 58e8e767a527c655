"""What a test remembers: facts and patients to start from, documents, and other processes' work."""

from pathlib import Path

import pytest

from ifengine.errors import EngineError
from ifengine.routes.channel_tests.recall import Recall
from ifengine.routes.channel_tests.world import START_US
from ifengine.transforms.memory import Change, Document, Remembered, Space
from routes.channel_tests.small import HEAD, ORU, SITE, TO_LAB, results

MERGE = """\
ifengine: 1
channel: one
from: in
types: [ADT^*, ORU^R01]
order_by: patient
steps:
  - choose:
      - when: MSH-9.2 = A40
        do: [{merge_patient: {keep: PID-3, retire: MRG-1, unknown_keep: create}}]
      - when: MSH-9.2 in [A18, A24, A30, A34, A35, A36, A37, A39, A41, A42, A43, A44, A45, A46, A47, A49, A50, A51]
        do: [{fail: a person must look}]
      - when: MSH-9.1 = ORU
        do:
          - resolve_patient: {in: PID-3(where .5 = MR), keep_old_in: PID-4}
          - when: OBX[1]-11 = F
            wait_for: {fact: order, per: OBR, key: OBR-2, up_to: 30m}
"""
A40 = (
    "MSH|^~\\&|REG|ELM|ENG|ELM|20260105||ADT^A40^ADT_A39|M1|P|2.5.1\n"
    "PID|1||7001^^^ELM^MR||Quill^Ada\nMRG|7009^^^ELM^MR\n"
)
FILES = {"channels/samples/a40.hl7": A40}


def test_patients_are_known_from_the_start(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: a retired number gives way
    patients: {"7009": "7001", 7008^^^ELM^MR: "7009"}
    fact: {order: P900}
    sequence:
      - given: {sample: oru, change: {PID-3.1: "7009"}}
        expect: {lab: {state: sent, fields: {PID-3.1: "7001", PID-4.1: "7009"}}}
      - given: {sample: oru, change: {MSH-10: L2, PID-3.1: "7008"}}
        expect: {lab: {state: sent, fields: {PID-3.1: "7001"}}}
  - name: nothing is known in the next test
    fact: {order: P900}
    given: {sample: oru, change: {PID-3.1: "7009"}}
    expect: {lab: {state: sent, fields: {PID-3.1: "7009"}}}
"""
    assert results(tmp_path, MERGE + TO_LAB + tests, FILES) == []


def test_patients_of_no_definition_are_told(tmp_path: Path) -> None:
    tests = 'tests:\n  - {name: a, patients: {"1^^^OAK^MR": "2"}, given: {sample: oru}}\n'
    found = results(tmp_path, MERGE + TO_LAB + tests)
    assert found == ["patients: not an identifier of the site's definition"]


def test_a_merge_lets_what_is_parked_of_its_patients_start_over(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: the number of a parked result is retired, and its order comes later
    sequence:
      - {given: {sample: oru, change: {PID-3.1: "7009"}}, expect: {lab: parked}}
      - {after: 1m, given: {sample: a40}, expect: {lab: {state: sent, count: 1}}}
      - {after: 29m, expect: {lab: {state: sent, fields: {PID-3.1: "7001", PID-4.1: "7009"}}}}
"""
    assert results(tmp_path, MERGE + TO_LAB + tests, FILES) == []


def test_what_is_remembered_once_delivered_counts_only_then(tmp_path: Path) -> None:
    steps = """\
steps:
  - choose:
      - when: MSH-9.1 = ADT
        do: [{remember: {fact: order, key: PV1-3, once: delivered}}]
    otherwise: [{wait_for: {fact: order, per: OBR, key: OBR-2, up_to: 30m, then: dead_letter}}]
"""
    to = "to:\n  lab: {connection: out, types: [ADT^A01]}\n  ehr: {connection: out-2, types: [ORU^R01]}\n"
    tests = """\
tests:
  - name: the lab takes it at the second try
    sequence:
      - {given: {sample: oru}, expect: {ehr: parked}}
      - given: {sample: adt, change: {PV1-3: P900}}
        answer: {lab: timeout}
        expect: {lab: in_doubt, ehr: filtered}
      - {after: 1m, expect: {lab: sent, ehr: sent}}
"""
    assert results(tmp_path, HEAD + steps + to + tests) == []


def test_a_fact_lasts_as_long_as_it_is_said(tmp_path: Path) -> None:
    steps = "steps:\n  - {when: MSH-9.1 = ORU, wait_for: {fact: order, per: OBR, key: OBR-2, up_to: 1h}}\n"
    tests = """\
tests:
  - name: a
    fact: {order: {P900: {visit: V1}}}
    sequence:
      - {after: 89d, given: {sample: oru}, expect: {lab: sent}}
      - {after: 2d, given: {sample: oru, change: {MSH-10: L2}}, expect: {lab: parked}}
"""
    assert results(tmp_path, HEAD + steps + TO_LAB + tests) == []


def test_documents_are_kept_by_name_and_never_replaced() -> None:
    recall = Recall()
    first = Document("papers", "1-1.pdf", b"one")
    recall.keep([first, Document("scans", "1-1.pdf", b"two")])
    recall.keep([first])  # the same again, after a message started over
    with pytest.raises(EngineError, match="other content"):
        recall.keep([first._replace(content=b"three")])


def test_a_document_leaves_the_message_in_a_test_too(tmp_path: Path) -> None:
    steps = """\
steps:
  - extract_document: {from: OBX(where OBX-2 = ED)-5, save_to: papers, name: "${msg.id}", leave: pointer}
"""
    site = SITE + "documents: {papers: {dir: var/papers, encrypt: yes}}\n"
    oru = ORU + "OBX|3|ED|PDF^Report||A^AP^PDF^Base64^JVBERi0xLjQKJUVPRgo=||||||F\r"
    tests = """\
tests:
  - name: a pointer goes out
    given: {sample: paper}
    expect: {lab: {state: sent, not_contains: JVBERi0, fields: {"OBX[3]-2": RP}}}
"""
    files = {"ifengine.yaml": site, "channels/samples/paper.hl7": oru}
    assert results(tmp_path, HEAD + steps + TO_LAB + tests, files) == []
    assert not (tmp_path / "var").exists()


def test_a_claim_can_be_given_back_and_other_spaces_stay() -> None:
    recall = Recall()
    kept = Remembered("x", 7, START_US, 0)
    recall.write([Change(Space.DEDUPE, ("a",), kept), Change(Space.FACT, ("a",), kept)])
    recall.write([Change(Space.DEDUPE, ("b",), kept._replace(message=8))])
    recall.release(Space.DEDUPE, 7)
    assert recall.look_up(Space.DEDUPE, ("a",)) is None
    assert recall.look_up(Space.DEDUPE, ("b",)) is not None
    assert recall.look_up(Space.FACT, ("a",)) == kept
    assert "x" not in repr(recall.look_up(Space.FACT, ("a",)))
