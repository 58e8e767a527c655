"""The verbs that change values: what each does, what it leaves alone, and when it fails."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.message import Message
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import StepFailedError, StepScope
from ifengine.transforms.filters import title_case
from ifengine.transforms.memory import Blank, Change, Key, Remembered, Scratch, Space
from ifengine.transforms.source import Severity
from ifengine.transforms.steps.ascii_values import to_ascii
from ifengine.transforms.trace import Trace
from transforms.written import ADT, NOW_US, ORU, TABLES, compiled, field, run, scope_of, steps

REPORT = b"\r".join(
    [
        rb"MSH|^~\&|LAB|NORTH|EHR|SOUTH|20260105||ORU^R01^ORU_R01|1|P|2.5.1",
        b"PID|1||71^^^N^MR||Fir^Ada",
        b"OBR|1|P1||CHEST",
        b"OBX|1|TX|RPT^Report|1|first line~second||||||F",
        b"OBX|2|TX|RPT^Report|2|||||||F",
        rb"OBX|3|TX|RPT^Report|3|a \T\ b||||||F",
        b"OBR|2|P2||ABDOMEN",
        b'OBX|1|TX|RPT^Report|1|""||||||F',
        b"OBX|2|TX|RPT^Report|2|only line||||||F",
        b"",
    ]
)


def utf8(content: bytes) -> bytes:
    """Return a message that says that it is UTF-8 (MSH-18)."""
    return content.replace(b"|P|2.5.1", b"|P|2.5.1||||||UNICODE UTF-8")


CASES = [
    # swap: structure and repetitions go along, an empty node too, null is a value
    ("- swap: PID-5.1 -> PID-5.2", ADT, {"PID-5": "Ada^Fir ^Q~ Firth"}),
    ("- swap: PID-3 -> PID-13", ADT, {"PID-3": "555-01 47~555-02", "PID-13": "70^^^MERCY^MR~99^^^SSA^SS"}),
    ("- swap: 'PID-3[1] -> PID-3[2]'", ADT, {"PID-3": "99^^^SSA^SS~70^^^MERCY^MR"}),
    ("- swap: PID-8 -> PID-9", ADT, {"PID-8": "", "PID-9": "2"}),
    ("- swap: PID-16 -> PID-8", ADT, {"PID-8": '""', "PID-16": "2"}),
    ("- swap: PID-30 -> PID-31", ADT, {"PID-3": "70^^^MERCY^MR~99^^^SSA^SS"}),
    ("- swap: PID-3(where .5 = ZZ).1 -> PID-8", ADT, {"PID-8": "2"}),
    ("- swap: PID-3(where .5 = SS).1 -> PID-3(where .5 = MR).1", ADT,
     {"PID-3": "99^^^MERCY^MR~70^^^SSA^SS"}),
    ("- {for_each: AL1, swap: AL1-1 -> AL1-2}", ADT, {"AL1-1": "DA", "AL1[2]-2": "2"}),
    # title: every occurrence and leaf; sequences stay
    ("- title: PID-11", ADT.replace(b"12 Main^^Town", b"12 mAIN&x^^o'brien\\.br\\T-town"),
     {"PID-11": r"12 Main&X^^O'Brien\.br\T-Town"}),
    ("- title: [PID-16, PID-9]", ADT, {"PID-16": '""', "PID-9": ""}),
    # ascii
    ("- ascii: PID-5", utf8(ADT).replace(b"Fir ^Ada^Q~ Firth", "Grün^Zoë~Ørsted^Łukasz & Æ".encode()),
     {"PID-5": "Grun^Zoe~Orsted^Lukasz & AE"}),
    ("- ascii: NTE-3", utf8(ORU).replace(b"about the value", "≥5 µg\t \u2013 山\\.br\\x".encode()),
     {"NTE[2]-3": r">=5 ug - ?\.br\x"}),
    ("- ascii: PID-5.1", utf8(ADT).replace(b"Fir ^", "x…^".encode()), {"PID-5": "x...^Ada^Q~ Firth"}),
    ("- ascii: PID-5.1", ADT.replace(b"Fir ^", b"x\xe9^"), {"PID-5": "x?^Ada^Q~ Firth"}),
    ("- ascii: PID-16", ADT, {"PID-16": '""'}),
    # truncate: leaves; a sequence and an accent are not taken apart
    ("- truncate: {PID-5: 2, PID-13: 3}", ADT, {"PID-5": "Fi^Ad^Q~ F", "PID-13": "555~555"}),
    ("- truncate: {NTE-3: 8}", ORU.replace(b"about the value", rb"12345\.br\67"), {"NTE[2]-3": "12345"}),
    ("- truncate: {NTE-3: 10}", ORU.replace(b"about the value", rb"12345\.br\67"),
     {"NTE[2]-3": r"12345\.br" + "\\"}),
    ("- truncate: {PID-5.1: 2}", utf8(ADT).replace(b"Fir ^", "ae\u0301b^".encode()), {"PID-5": "a^Ada^Q~ F"}),
    ("- truncate: {PID-5.1: 3}", ADT.replace(b"Fir ^", "aéé^".encode()), {"PID-5": "aé^Ada^Q~ Fi"}),
    ("- truncate: {PID-5.1: 3}", ADT.replace(b"Fir ^", rb"a\S\b\T\c^"), {"PID-5": r"a\S\b^Ada^Q~ Fi"}),
    ("- truncate: {PID-16: 1, PID-40: 1}", ADT, {"PID-16": '""'}),
    # pad
    ("- pad: {in: PID-3.1, to: 6, with: '0'}", ADT, {"PID-3": "000070^^^MERCY^MR~000099^^^SSA^SS"}),
    ("- pad: {in: PID-8, to: 3, with: ' ', side: right}", ADT, {"PID-8": "2  "}),
    ("- pad: {in: PID-8, to: 3, with: '|'}", ADT, {"PID-8": r"\F\\F\2"}),
    ("- pad: {in: [PID-16, PID-9, PID-15], to: 3, with: x}", ADT,
     {"PID-16": '""', "PID-9": "", "PID-15": "ENG"}),
    # extract: the first match; a group that took no part leaves its field alone
    ("- extract: {from: PV1-3.1, pattern: '([0-9]+)([A-Z]+)', to: {1: PV1-3.2, 2: PV1-3.1}}", ADT,
     {"PV1-3": "WEST^4^A"}),
    ("- extract: {from: PV1-3.1, pattern: '/([a-z]+)/i', to: {1: PV1-3.2}}", ADT, {"PV1-3": "4WEST^WEST^A"}),
    ("- extract: {from: PV1-3.1, pattern: 'W(x)?E', to: {0: PV1-3.2, 1: PV1-3.3}}", ADT,
     {"PV1-3": "4WEST^WE^A"}),
    ("- extract: {from: PV1-3.1, pattern: '^(Q)', to: {1: PV1-3.2}}", ADT, {"PV1-3": "4WEST^401^A"}),
    ("- extract: {from: PID-16, pattern: '(.+)', to: {1: PID-9}}", ADT, {"PID-9": ""}),
    ("- extract: {from: PID-9, pattern: '(.*)', to: {1: PID-8}, missing: dead_letter}", ADT, {"PID-8": "2"}),
    ("- {for_each: AL1, extract: {from: AL1-3.2, pattern: '^(.)', to: {1: AL1-4}}}", ADT,
     {"AL1-4": "P", "AL1[2]-4": "N"}),
    ("- extract: {from: NTE-3, pattern: 'a(.)b', to: {1: PID-2}}",
     ORU.replace(b"about the order", rb"a\S\b"), {"PID-2": r"\S\ "[:-1]}),
    # split: the last takes the rest; an empty piece, or none, changes nothing
    ("- split: {from: PID-5.1, on: '-', to: [PID-5.1, PID-5.2]}", ADT.replace(b"Fir ^", b"A-B-C^"),
     {"PID-5": "A^B-C^Q~ Firth"}),
    ("- split: {from: PID-5.1, on: '-', to: [PID-5.2, PID-5.3, PID-5.4]}", ADT.replace(b"Fir ^", b"A--C^"),
     {"PID-5": "A--C^A^Q^C~ Firth"}),
    ("- split: {from: PID-5.1, on: ', ', to: [PID-2, PID-9]}", ADT, {"PID-2": "Fir ", "PID-9": ""}),
    ("- split: {from: PID-16, on: '\"', to: [PID-2, PID-9]}", ADT, {"PID-2": "", "PID-9": ""}),
    ("- split: {from: PID-50, on: x, to: [PID-2, PID-9]}", ADT, {"PID-2": ""}),
    # join of fields: empty and null ones are left out
    ("- join: {from: [PID-5.2, PID-5.1], with: ' ', to: PID-9.1}", ADT, {"PID-9": "Ada Fir "}),
    ("- join: {from: [PID-9, PID-16, PID-8], with: '/', to: PID-2}", ADT, {"PID-2": "2"}),
    ("- join: {from: [PID-9, PID-16], with: '/', to: PID-8}", ADT, {"PID-8": "2"}),
    ("- join: {from: ['PID-13[*]', PV1-2], with: '${br}', to: PID-2}", ADT,
     {"PID-2": r"555-01 47\.br\555-02\.br\I"}),
    ("- join: {from: ['AL1[*]-3.2'], with: ', ', to: ZPI-3}", ADT, {"ZPI-3": "Penicillin, Nuts"}),
    ("- join: {from: [PID-8, PID-15], with: null, to: PID-2}", ADT, {"PID-2": "2ENG"}),
    # join of segments: into the first, blank lines kept in text and left out in lists
    ("- join: {from: OBX-5, per: OBR, with: '${br}'}", REPORT,
     {"OBX-5": r"first line\.br\second\.br\\.br\a \T\ b", "OBX[2]-5": "", "OBX[4]-5": r"\.br\only line"}),
    ("- join: {from: OBX-5, per: OBR, with: ', '}", REPORT,
     {"OBX-5": r"first line, second, a \T\ b", "OBX[4]-5": '""', "OBX[5]-5": "only line"}),
    ("- join: {from: OBX-5, per: OBR, with: ' ', then: delete_rest}", REPORT,
     {"OBX-5": r"first line second a \T\ b", "OBX-1": "1", "OBR[2]-2": "P2"}),
    ("- join: {from: 'OBX(where OBX-4 > 1)-5', per: OBR, with: ';', to: 'OBX[1]-21'}", REPORT,
     {"OBX-21": r"a \T\ b", "OBX[4]-21": "only line"}),
    ("- {for_each: OBR, join: {from: OBX-3.1, with: '+', to: OBR-20}}", ORU,
     {"OBR-20": "718-7+2345-7", "OBR[2]-20": "2823-3"}),
    ("- join: {from: AL1-3.2, with: ' and '}", ADT, {"AL1-3": "^Penicillin and Nuts", "AL1[2]-3": "^Nuts"}),
    # number: decimal, halves away from zero, limits outwards
    ("- {for_each: OBX, number: {in: OBX-5, times: 0.1, decimals: 2}}", ORU,
     {"OBX-5": "1.31", "OBX[2]-5": "0.99", "OBX[3]-5": "0.40"}),
    ("- number: {in: OBX-5, decimals: 0}", ORU, {"OBX-5": "13", "OBX[2]-5": "10", "OBX[3]-5": "4"}),
    ("- number: {in: OBX-5, times: 10}", ORU.replace(b"13.1", b"0.1").replace(b"9.9", b">1,50"),
     {"OBX-5": "1.0", "OBX[2]-5": ">15.00", "OBX[3]-5": "40"}),
    ("- number: {in: OBX-5, decimals: 1}", ORU.replace(b"13.1", b"<0.04").replace(b"9.9", b">9.96"),
     {"OBX-5": "<0.1", "OBX[2]-5": ">9.9", "OBX[3]-5": "4.0"}),
    ("- number: {in: OBX-5, decimals: 1}", ORU.replace(b"13.1", b"-0.04~2.45").replace(b"9.9", b'""'),
     {"OBX-5": "0.0~2.5", "OBX[2]-5": '""'}),
    ("- number: {in: OBX-5, times: 2, bad: keep}", ORU.replace(b"13.1", b"1,500").replace(b"9.9", b"neg"),
     {"OBX-5": "1,500", "OBX[2]-5": "neg", "OBX[3]-5": "8"}),
    ("- number: {in: OBX-5, times: 0.00000001}", ORU.replace(b"13.1", b"1"), {"OBX-5": "0.00000001"}),
    # mask: every occurrence, every leaf, always as long; empty and null stay
    ("- mask: [PID-5, PID-13, PID-16, PID-9]", ADT,
     {"PID-5": "****^****^****~****", "PID-13": "****~****", "PID-16": '""', "PID-9": ""}),
    ("- {mask: [PID-13, PID-8], show_last: 4}", ADT, {"PID-13": "****1 47~****", "PID-8": "****"}),
    ("- {mask: AL1-3.2, show_last: 2}", ADT, {"AL1-3": "^****in", "AL1[2]-3": "^****ts"}),
    ("- {mask: PID-5.1, show_last: 2}", ADT.replace(b"Fir ^", rb"A\S\BCD\.br\^"),
     {"PID-5": "****CD^Ada^Q~****th"}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "content", "expected"), CASES)
def test_a_value_verb_does_what_its_row_says(
    written: str, content: bytes, expected: dict[str, str]
) -> None:
    message = run(written, content)
    assert {place: field(message, place) for place in expected} == expected


FAILING = [
    ("- swap: PID-3 -> PID-5.1", ADT, "PID-3 has parts that do not fit into PID-5.1"),
    ("- swap: PID-8 -> PV2-3", ADT, "there is no segment PV2"),
    ("- swap: PID-3(where .5 in [MR, SS]) -> PID-8", ADT, "fits several"),
    ("- swap: PID-3(where .5 = MR) -> PID-3[1].4", ADT, "overlap"),
    ("- extract: {from: PV1-3.1, pattern: '^x', to: {0: PID-2}, missing: dead_letter}", ADT,
     "PV1-3.1 does not match"),
    ("- extract: {from: PID-2, pattern: 'x', to: {0: PID-9}}",
     ADT.replace(b"PID|1||", b"PID|1|" + b"y" * 3000 + b"|"), "longer than"),
    ("- split: {from: PID-5.1, on: i, to: [PID-5.1, PV2-1]}", ADT, "there is no segment PV2"),
    ("- join: {from: [PID-5.1, PID-8], with: ' ', to: PV2-3}", ADT, "there is no segment PV2"),
    ("- join: {from: OBX-5, per: OBR, with: ' ', then: delete_rest}",
     REPORT.replace(b"3|a ", b"3|a ").replace(b"TX|RPT^Report|3|", b"TX|CODE^Other|3|"), "OBX-3 differs"),
    ("- join: {from: OBX-5, per: OBR, with: ' ', then: delete_rest}",
     REPORT.replace(b"|2|||||||F", b"|2|||||||C"), "OBX-11 differs"),
    ("- join: {from: OBX-5, per: OBR, with: ' ', then: delete_rest}",
     REPORT.replace(b"OBR|2", b"NTE|1||to line 3\rOBR|2"), "would stay without the segment"),
    ("- number: {in: OBX-5, times: 2}", ORU.replace(b"13.1", b"1,500"), "OBX-5 is not a number"),
    ("- number: {in: OBX-5, decimals: 2}", ORU.replace(b"13.1", b"10-20"), "OBX-5 is not a number"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "content", "reason"), FAILING)
def test_a_value_verb_that_cannot_be_done_says_why(
    written: str, content: bytes, reason: str
) -> None:
    with pytest.raises(StepFailedError) as caught:
        run(written, content)
    assert reason in caught.value.reason.safe
    assert caught.value.reason.full == caught.value.reason.safe


WRONG = [
    ("- swap: PID-5 -> PID-5[1]", "E306"),
    ("- swap: PID-5 -> PID-13[*]", "E306"),
    ("- swap: 'PID-13[*] -> PID-5'", "E306"),
    ("- swap: NK1-2 -> PID-5", "E305"),
    ("- swap: PID-5 -> NK1-2", "E305"),
    ("- swap: MSH-2 -> PID-5", "E306"),
    ("- truncate: {PID-5: 0}", "E104"),
    ("- truncate: {PID-5: '-1'}", "E104"),
    ("- truncate: [PID-5]", "E104"),
    ("- pad: {in: PID-5, to: 5, with: '\\'}", "E104"),
    ("- pad: {in: PID-5, to: 5, with: null}", "E104"),
    ("- pad: {in: PID-5, to: 5, with: x, side: both}", "E103"),
    ("- pad: {in: PID-5, to: many, with: x}", "E104"),
    ("- extract: {from: PID-5, pattern: '(a', to: {1: PID-9}}", "E110"),
    ("- extract: {from: PID-5, pattern: '(a)', to: {2: PID-9}}", "E103"),
    ("- extract: {from: PID-5, pattern: '(a)', to: PID-9}", "E104"),
    ("- extract: {from: PID-5, pattern: '(a)', to: {1: NTE-3}}", "E305"),
    ("- extract: {from: PID-5, pattern: '(a)', to: {1: PID-9}, missing: drop}", "E103"),
    ("- split: {from: PID-5, on: null, to: [PID-2, PID-9]}", "E104"),
    ("- split: {from: PID-5, on: x, to: [PID-2, OBX-3]}", "E305"),
    ("- join: {from: [PID-5], with: x}", "E102"),
    ("- join: {from: [PID-5], with: x, to: PID-2, per: OBR}", "E102"),
    ("- join: {from: [PID-5], with: x, to: PID-2, then: delete_rest}", "E102"),
    ("- join: {from: NTE-3, with: x}", "E305"),
    ("- join: {from: OBX-5, per: OBR, with: x, to: OBX-5}", "E305"),
    ("- join: {from: OBX-5, per: OBR-1, with: x}", "E306"),
    ("- join: {from: OBX-5, per: OBR, with: x, then: keep}", "E103"),
    ("- number: {in: OBX-5}", "E102"),
    ("- number: {in: OBX-5, times: 0}", "E104"),
    ("- number: {in: OBX-5, times: '-2'}", "E104"),
    ("- number: {in: OBX-5, times: '0,1'}", "E104"),
    ("- number: {in: OBX-5, decimals: 99}", "E104"),
    ("- {mask: PID-5, show_last: all}", "E104"),
    ("- mask: MSH-2", "E306"),
    ("- counter: {name: x, to: OBX-5}", "E305"),
    ("- counter: {name: x, to: PID-2, width: 0}", "E104"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "code"), WRONG)
def test_a_value_verb_written_wrongly_is_an_error_at_its_place(written: str, code: str) -> None:
    _, problems = compiled(written)
    errors = [problem for problem in problems.found if problem.severity is Severity.ERROR]
    assert [problem.code for problem in errors] == [code]
    assert errors[0].position.line == 1
    assert errors[0].position.column >= 3


def test_joined_segments_leave_only_the_first_of_each_group() -> None:
    message = run("- join: {from: OBX-5, per: OBR, with: '${br}', then: delete_rest}", REPORT)
    assert message.names() == ["MSH", "PID", "OBR", "OBX", "OBR", "OBX"]
    moved = run(
        "- join: {from: OBX-5, per: OBR, with: ' ', to: 'OBX[last]-5', then: delete_rest}", REPORT
    )
    assert [field(moved, f"OBX[{n}]-1") for n in (1, 2)] == ["3", "2"]
    assert field(moved, "OBX-5") == r"first line second a \T\ b"


def test_a_join_whose_target_fits_nothing_deletes_nothing() -> None:
    written = (
        "- join: {from: OBX-5, per: OBR, with: ' ', to: 'OBX(where OBX-3 = NO)-5',"
        " then: delete_rest}"
    )
    assert run(written, REPORT).encode() == REPORT


def test_a_line_break_is_written_with_the_escape_character_of_the_message() -> None:
    content = REPORT.replace(b"^~\\&", b"^~#&").replace(rb"\T" + b"\\", b"#T#")
    message = run("- join: {from: OBX-5, per: OBR, with: '${br}'}", content)
    assert field(message, "OBX-5") == "first line#.br#second#.br##.br#a #T# b"
    without = REPORT.replace(b"^~\\&", b"^~").replace(rb"\T" + b"\\", b"and")
    with pytest.raises(StepFailedError, match="no escape character"):
        run("- join: {from: OBX-5, per: OBR, with: '${br}'}", without)


def test_what_did_not_match_is_told_to_who_tries() -> None:
    trace = Trace()
    scope = scope_of(ADT, trace)
    steps("- extract: {from: PV1-3.1, pattern: '^x', to: {0: PID-2}}").run(scope)
    assert trace.records[0].notes == ("PV1-3.1 does not match: nothing was written",)


def test_steps_on_values_say_what_they_read_and_write() -> None:
    made = steps(
        "- swap: PID-5.1 -> PID-5.2\n"
        "- split: {from: PID-13.1, on: '-', to: [PID-13.6, PID-13.7]}\n"
        "- join: {from: OBX-5, per: OBR, with: '${x}', to: 'OBX[1]-6'}\n"
        "- counter: {name: n, to: MSH-13}\n"
    )
    assert {path.text for path in made.paths_read()} == {
        "PID-5.1", "PID-5.2", "PID-13.1", "OBX-5", "OBR",
    }  # fmt: skip
    assert {path.text for path in made.paths_written()} == {
        "PID-5.1", "PID-5.2", "PID-13.6", "PID-13.7", "OBX[1]-6", "MSH-13",
    }  # fmt: skip
    assert made.variables_read() == {"x"}
    assert [step.uses.remembers for step in made.steps] == [False, False, False, True]


# --- counter ----------------------------------------------------------------------------------


class Store:
    """What was remembered by the messages before."""

    def __init__(self) -> None:
        self.held: dict[tuple[Space, Key], Remembered | None] = {}

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        return self.held.get((space, key))

    def take(self, changes: tuple[Change, ...]) -> None:
        self.held.update({(c.space, c.key): c.remembered for c in changes})


def count(
    written: str, number: int, store: Store | Blank, *, replay: bool = False, place: str = ""
) -> tuple[Message, tuple[Change, ...]]:
    """Run steps on message ``number``; return it and what it leaves."""
    memory = Scratch(number, NOW_US, store, replay)
    at = StepScope(
        Message.parse(ADT), TABLES, NOW_US, str(number), memory=memory, channel="adt",
        destination=place,
    )  # fmt: skip
    steps(written).run(at)
    return at.message, memory.changes()


INVOICE = "- counter: {name: invoice, to: MSH-13, width: 6}"


def test_a_counter_goes_on_from_message_to_message() -> None:
    store = Store()
    for number, expected in ((7, "000001"), (9, "000002"), (12, "000003")):
        message, changes = count(INVOICE, number, store)
        assert field(message, "MSH-13") == expected
        store.take(changes)


def test_a_number_counts_only_once_its_message_is_planned() -> None:
    store = Store()
    for number in (7, 9):
        message, _ = count(INVOICE, number, store)  # what the first left was never taken
        assert field(message, "MSH-13") == "000001"


def test_a_replay_writes_the_numbers_that_the_message_had() -> None:
    store = Store()
    written = "- {for_each: AL1, counter: {name: line, to: AL1-1}}"
    for number in (1, 2):
        store.take(count(written, number, store)[1])
    message, changes = count(written, 1, store, replay=True)
    assert [field(message, f"AL1[{n}]-1") for n in (1, 2)] == ["1", "2"]
    assert changes == ()
    again, _ = count(written, 2, store)  # as a run that starts over
    assert [field(again, f"AL1[{n}]-1") for n in (1, 2)] == ["3", "4"]


def test_a_replay_of_a_message_without_number_draws_one_and_leaves_it_behind() -> None:
    store = Store()
    store.take(count(INVOICE, 1, store)[1])
    message, changes = count(INVOICE, 5, store, replay=True)
    assert field(message, "MSH-13") == "000002"
    assert {change.space for change in changes} == {Space.COUNTER}
    store.take(changes)
    assert field(count(INVOICE, 7, store)[0], "MSH-13") == "000003"
    assert field(count(INVOICE, 5, store, replay=True)[0], "MSH-13") == "000002"


def test_destinations_and_names_count_for_themselves() -> None:
    store = Store()
    for place in ("", "lab", "ehr"):
        message, changes = count(INVOICE, 1, store, place=place)
        store.take(changes)
        assert field(message, "MSH-13") == "000001"
    other, _ = count("- counter: {name: other, to: MSH-13}", 2, store)
    assert field(other, "MSH-13") == "1"


def test_a_counter_that_outgrows_its_width_stops() -> None:
    store = Store()
    store.take((Change(Space.COUNTER, ("adt", "", "n"), Remembered("99", 1, 0, 0)),))
    with pytest.raises(StepFailedError, match="more than 2 digits"):
        count("- counter: {name: n, to: MSH-13, width: 2}", 2, store)
    message, _ = count("- counter: {name: n, to: MSH-13}", 2, store)
    assert field(message, "MSH-13") == "100"


# --- properties -------------------------------------------------------------------------------

_WRITTEN = [written for written, *_ in (*CASES, *FAILING)]


@given(st.sampled_from(_WRITTEN), st.sampled_from([ADT, ORU, REPORT]), st.binary(max_size=12))
def test_no_value_verb_puts_a_value_into_a_reason_or_breaks_a_frame(
    written: str, content: bytes, noise: bytes
) -> None:
    noise = noise.translate(None, b"\r\n|")
    for value in (b"Fir", b"13.1", b"4WEST", b"first line", b"70^", b"about"):
        content = content.replace(value, b"CANARY" + noise)
    scope = scope_of(content)
    try:
        steps(written).run(scope)
    except StepFailedError as error:
        shown = f"{error} {error!r} {error.reason.safe} {error.reason.full} {error.__cause__}"
        assert "CANARY" not in shown
    again = Message.parse(scope.message.encode())
    assert again.names() == scope.message.names()


@given(st.text(st.sampled_from("aZ19é山^~&\\ \udcff"), min_size=1, max_size=12))
def test_nothing_of_a_value_is_seen_behind_its_mask(noise: str) -> None:
    content = utf8(ADT).replace(b"Fir ", noise.encode("utf-8", "surrogateescape"))
    masked = run("- mask: PID-5", content)
    assert set(masked.raw(2, 5)) <= set(b"*^~&")
    assert all(masked.text(i, 5) == Message.parse(content).text(i, 5) for i in (0, 1, 3, 4))


_IN_PLACE = {
    "truncate": "{{{path}: {n}}}",
    "pad": '{{in: {path}, to: {n}, with: "0"}}',
    "number": "{{in: {path}, decimals: {n}, bad: keep}}",
    "ascii": "{path}",
    "title": "{path}",
    "mask": "{path}",
}
_PATHS = st.sampled_from(
    ["PID-5", "PID-5.1", "'PID-3[2].4'", "PID-13", "AL1-3.2", "PV1-3", "ZPI-2", "PID-40"]
)
# letters, digits, every delimiter, accents, and lone surrogates: bytes of no character
_NOISE = st.text(st.sampled_from("aZ5,.-<> ^~&é\u0301山\t\udcff"), max_size=10)


@given(st.sampled_from([*_IN_PLACE]), _PATHS, st.integers(1, 12), _NOISE)
def test_an_in_place_verb_keeps_structure_and_changes_no_other_field(
    verb: str, path: str, n: int, noise: str
) -> None:
    content = ADT.replace(b"Fir ", noise.encode("utf-8", "surrogateescape") + b"x")
    message = Message.parse(content)
    wanted = parse_path(path.strip("'"))
    made = run(f"- {verb}: " + _IN_PLACE[verb].format(path=path, n=n), content)
    assert made.names() == message.names()
    touched = {(node.segment, node.field) for node in wanted.nodes(message, every=True)}
    for i in range(len(message.names())):
        for f in range(1, message.field_count(i) + 1):
            before, after = message.raw(i, f), made.raw(i, f)
            if (i, f) not in touched:
                assert after == before
            elif not (i == 0 and f <= 2):
                assert [after.count(sign) for sign in b"~^&"] == [before.count(s) for s in b"~^&"]


@given(_NOISE, st.integers(1, 12))
def test_what_was_cut_or_filled_has_the_length_that_was_asked_for(text: str, n: int) -> None:
    text = text.replace("^", "").replace("~", "").replace("&", "") + "x"
    content = utf8(ADT).replace(b"Fir ^", text.encode("utf-8", "surrogateescape") + b"^")
    cut = run(f"- truncate: {{PID-5.1: {n}}}", content)
    assert text.startswith(cut.text(2, 5, 1, 1))
    assert len(cut.text(2, 5, 1, 1)) <= n
    filled = run(f"- pad: {{in: PID-5.1, to: {n}, with: '0'}}", content).text(2, 5, 1, 1)
    assert filled == text.rjust(n, "0")


@given(st.decimals(-(10**9), 10**9, allow_nan=False, places=6), st.integers(0, 6))
def test_a_rounded_number_is_the_nearest_and_has_its_decimals(number: object, places: int) -> None:
    content = ORU.replace(b"13.1", f"{number:f}".encode())
    text = run(f"- {{number: {{in: 'OBX[1]-5', decimals: {places}}}}}", content).text(4, 5)
    assert re.fullmatch(r"-?[0-9]+" + (rf"\.[0-9]{{{places}}}" if places else ""), text)
    assert abs(type(number)(text) - number) * 2 <= type(number)(10) ** -places  # type: ignore[operator, call-arg]


@given(_NOISE.filter(lambda text: "x" not in text), st.sampled_from([", ", "-", "&", "~"]))
def test_what_was_split_and_joined_again_is_as_it_was(text: str, sign: str) -> None:
    pieces = [f"a{text}", f"b{text}".replace(sign, "_")]
    pieces[0] = pieces[0].replace(sign, "_")
    scope = scope_of(utf8(ADT))
    scope.message.set_text(2, 2, None, None, None, sign.join(pieces))
    steps(
        f"- split: {{from: PID-2, on: '{sign}', to: [PID-9, PID-12]}}\n"
        f"- join: {{from: [PID-9, PID-12], with: '{sign}', to: PID-18}}"
    ).run(scope)
    again = Message.parse(scope.message.encode())
    assert again.raw(2, 18) == again.raw(2, 2)


@given(st.text(max_size=20))
def test_ascii_is_ascii_and_loses_no_letter(text: str) -> None:
    made = to_ascii(text)
    assert made.isascii()
    assert all(character.isprintable() for character in made)
    assert to_ascii(made) == made
    assert len(made) >= sum(character.isalnum() for character in text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O'BRIEN", "O'Brien"),
        ("d\u2019angelo", "D\u2019Angelo"),
        ("don't", "Don't"),
        ("anna-maria VON der heide", "Anna-Maria Von Der Heide"),
        ("4west", "4West"),
        ("ÉMILE", "Émile"),
    ],
)
def test_title_knows_what_a_word_is(text: str, expected: str) -> None:
    assert title_case(text) == expected
