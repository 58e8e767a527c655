"""``deidentify``: nothing that is not declared safe survives, and what is linked stays linked."""

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.groups import STANDARD_SEGMENTS
from ifengine.hl7.message import Message
from ifengine.hl7.times import parse_time
from ifengine.routes.config.message_types import required_segments
from ifengine.routes.config.models import TypePattern
from ifengine.transforms.base import StepFailedError, Steps, StepScope
from ifengine.transforms.compile import Known, compile_steps
from ifengine.transforms.deidentify_fields import FEW_PEOPLE, IDENTIFIERS, SAFE, TREATED, Rule
from ifengine.transforms.deidentify_names import LETTERS
from ifengine.transforms.deidentify_rules import TREATMENTS
from ifengine.transforms.memory import Change, Key, Remembered, Scratch, Space
from ifengine.transforms.source import Problems, Text
from transforms.written import ADT, NOW_US, ORU, TABLES, compiled, field, nodes, scope_of, steps

KEY = '"${secret:one}"'
SAFE_HARBOR = "- deidentify: {profile: safe-harbor}"
PSEUDONYM = f"- deidentify: {{profile: pseudonym, key: {KEY}}}"
NAMED = re.compile(f"[{LETTERS}]{{20}}")

PERSON = b"\r".join(
    [
        rb"MSH|^~\&|LAB|NORTH|IFE|MERCY|20260105010101||ORU^R01^ORU_R01|B1|P|2.5.1",
        b"PID|1||11^^^NORTH^MR||Ray^Ann^^^^^L||19420311|F|||9 Elm St^^Dayton^OH^45402^USA"
        b"||9375550100",
        b"NK1|1|Ray^Bob|SPO",
        b"OBR|1|P900^CPOE|F1|GLU^Glucose^L|||20260104093000",
        b"OBX|1|NM|GLU^Glucose^L||5.1|mmol/L|3.9-5.6||||F|||20260104100000",
        b"NTE|1||Called Dr Wu at 937-555-0100",
        b"OBX|2|TX|C^Comment^L||Ann felt well||||||F",
        b"ZPI|1|Ann",
        b"",
    ]
)


class Held:
    """What was remembered before, as the store would know it."""

    def __init__(self) -> None:
        self.held: dict[tuple[Space, Key], Remembered] = {}

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        return self.held.get((space, key))

    def take(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            assert change.remembered is not None
            self.held[change.space, change.key] = change.remembered


def after(
    text: str,
    content: bytes,
    held: Held | None = None,
    *,
    replay: bool = False,
    now_us: int = NOW_US,
) -> Message:
    """Return a message after some steps, read again from its bytes; ``held`` learns what is left."""
    held = held or Held()
    memory = Scratch(1, now_us, held, replay)
    scope = StepScope(Message.parse(content), TABLES, now_us, "1", memory=memory)
    steps(text).run(scope)
    held.take(memory.changes())
    return Message.parse(scope.message.encode())


# --- canaries -----------------------------------------------------------------------------------

TYPES = {
    "ADT^A01": "EVN PID PD1 ARV ROL NK1 PV1 PV2 DB1 OBX AL1 DG1 DRG PR1 GT1 IN1 IN2 IN3 ACC UB1 UB2 PDA",
    "ADT^A02": "SFT EVN PID PD1 PV1 PV2 DB1 OBX PDA",
    "ADT^A03": "EVN PID PD1 ROL NK1 PV1 PV2 DG1 PR1 OBX GT1 IN1",
    "ADT^A04": "EVN PID PD1 NK1 PV1 PV2 AL1 GT1 IN1 IN2",
    "ADT^A08": "UAC EVN PID PD1 NK1 PV1 PV2 AL1 IAM DG1 GT1 IN1 ZPD ZIN",
    "ADT^A11": "EVN PID PV1",
    "ADT^A28": "EVN PID PD1 NK1 PV1 AL1 PRT",
    "ADT^A31": "EVN PID PD1 NK1 PV1 IAM",
    "ADT^A40": "EVN PID PD1 MRG PV1",
    "ADT^A34": "EVN PID PD1 MRG",
    "BAR^P01": "EVN PID PV1 PV2 DG1 PR1 GT1 NK1 IN1 ACC",
    "DFT^P03": "EVN PID PV1 FT1 PR1 DG1 GT1 IN1",
    "MDM^T02": "EVN PID PV1 ORC TQ1 OBR TXA OBX NTE",
    "OML^O21": "NTE PID PD1 PV1 AL1 ORC TQ1 OBR TCD NTE DG1 OBX SPM SAC",
    "OMG^O19": "PID PV1 GT1 ORC TQ1 OBR CTD OBX SPM",
    "ORM^O01": "NTE PID NTE PV1 AL1 ORC OBR NTE DG1 OBX CTI BLG",
    "ORR^O02": "MSA ERR PID ORC OBR",
    "ORU^R01": "PID PD1 NTE PV1 ORC OBR NTE TQ1 CTD OBX NTE FT1 SPM DSC",
    "OUL^R22": "PID PV1 SPM SAC OBR ORC OBX INV",
    "RAS^O17": "PID AL1 PV1 ORC RXO RXR RXC RXA OBX CTI",
    "RDE^O11": "PID PV1 AL1 ORC TQ1 RXO RXE RXR RXC OBX",
    "RDS^O13": "PID PV1 ORC RXO RXE RXD RXR RXC OBX FT1",
    "RGV^O15": "PID PV1 ORC RXE RXG RXR RXC OBX NTE",
    "REF^I12": "RF1 AUT CTD PRD PID NK1 GT1 IN1 ACC DG1 AL1 PR1 OBR OBX PV1",
    "SIU^S12": "SCH TQ1 NTE PID PV1 OBX DG1 RGS AIS AIG AIL AIP NTE",
    "VXU^V04": "PID PD1 NK1 PV1 GT1 IN1 ORC RXA RXR OBX NTE RXV",
    "PPR^PC1": "PID PV1 PRB NTE VAR ROL PTH OBX GOL",
    "MFN^M02": "MFI MFE STF PRA ORG AFF LAN EDU CER",
    "QBP^Q22": "QPD RCP QRD QRF",
    "ACK^A01": "MSA ERR",
    "CRM^C01": "PID PV1 CSR CSP",
}
EVERY_SEGMENT = "ZZ1 QQQ PID " + " ".join(sorted(STANDARD_SEGMENTS - {"MSH", "PID"}))
TYPES_BY_CODE = {
    "ADT": ["*", *(f"A{number:02}" for number in range(1, 63))],
    **dict.fromkeys(("ORM", "ORU", "OML", "OMG", "RDE", "SIU", "MDM", "DFT", "BAR", "VXU"), ("*",)),
}
FIELDS, COMPONENTS, SUBCOMPONENTS = 40, 9, 3
_TYPES = "NM SN ST CE CWE CNE IS ID CQ DT TS DTM DR TM TX FT ED RP XPN XAD XTN CX EI NA MA FX"
VALUE_TYPES = _TYPES.split()
STAYS_BY_TYPE = {
    "NM": {1}, "SN": {1, 2, 3, 4}, "ST": {1}, "IS": {1}, "ID": {1}, "CQ": {1, 2},
    "CE": set(range(1, 9)), "CWE": set(range(1, 9)), "CNE": set(range(1, 9)),
}  # fmt: skip
# the components of which the text itself may stay, by rule: every other is dropped or made new
STAYS = {
    Rule.NUMBER: {1}, Rule.SUB_ID: {1}, Rule.WORD: {1}, Rule.WORDS: {1, 2}, Rule.TYPE: {1, 2, 3},
    Rule.CODED: set(range(1, 9)), Rule.UNIT: set(range(1, 9)), Rule.QUANTITY: {1, 2},
    Rule.RANGE: {1}, Rule.CHARSET: {1}, Rule.PATIENT: {5}, Rule.VISIT: {5}, Rule.ADDRESS: {4, 6},
}  # fmt: skip
Place = tuple[str, int, int, int]


def shapes(dice: random.Random) -> Iterator[str]:
    """Yield texts that nothing else of the message holds; each message has one kind of them."""
    kind = dice.randrange(5)
    for number in range(1_000_000):
        if kind == 0:  # a code
            yield f"QX{number:05X}"
        elif kind == 1:  # a number: MSH-10, telephone, record number
            yield f"8{number:06}"
        elif kind == 2:  # a name, free text
            yield f"Ada Qx{number:05X} Fir"
        elif kind == 3:  # a social security number
            yield f"9{number % 97:02}-{number // 97 % 89:02}-{number:04}"
        else:  # shorter than any limit
            yield f"Q{number:X}x"


def with_canaries(seed: int, segments: str = "") -> tuple[bytes, dict[str, Place]]:
    """Return a message with another text in each component, and where each of them stands."""
    dice = random.Random(seed)
    kinds = sorted(TYPES)
    kind = kinds[seed % len(kinds)]
    canary = shapes(dice)
    placed: dict[str, Place] = {}

    def part(segment: str, f: int, c: int, s: int) -> str:
        text = next(canary)
        placed[text] = (segment, f, c, s)
        return text

    def a_field(segment: str, f: int) -> str:
        if dice.random() < 0.02:
            return ""
        many = 2 if dice.random() < 0.2 else 1
        deep = SUBCOMPONENTS if dice.random() < 0.5 else 1
        return "~".join(
            "^".join(
                "&".join(part(segment, f, c, s) for s in range(1, deep + 1))
                for c in range(1, COMPONENTS + 1)
            )
            for _ in range(many)
        )

    lines = []
    for segment in ["MSH", *(segments or TYPES[kind]).split()]:
        start = 3 if segment == "MSH" else 1
        given = {n: a_field(segment, n) for n in range(start, FIELDS + 1)}
        if segment == "MSH":
            given[9], given[12] = kind, "2.5.1"
            given[18] = ""  # an unknown set would make every text opaque
        value = dice.choice(VALUE_TYPES)
        if segment == "OBX":
            given[2] = value
        head = segment if start == 1 else r"MSH|^~\&"
        lines.append("|".join([head, *given.values()]))
        if dice.random() < 0.1:
            lines.append(part("stray", 0, 0, 0))
    return "\r".join([*lines, ""]).encode(), placed


def survivors(seed: int, text: str, segments: str = "") -> tuple[list[Place], Message]:
    """Return where canaries stood that are in the output although no rule lets them stay."""
    content, placed = with_canaries(seed, segments)
    before = Message.parse(content)
    made = after(text, content)
    output = made.encode().decode()
    types = {before.text(i, 2, 1, 1, 1) for i in before.indexes("OBX")}
    found = []
    for canary, (segment, f, c, s) in placed.items():
        if canary not in output:
            continue
        rule = SAFE.get(segment, {}).get(f)
        allowed = STAYS.get(rule, set()) if rule is not None else set()
        if rule is Rule.VALUE:
            allowed = set().union(*(STAYS_BY_TYPE.get(name, set()) for name in types))
        if s != 1 or c not in allowed:
            found.append((segment, f, c, s))
    return found, made


@pytest.mark.parametrize("text", [SAFE_HARBOR, PSEUDONYM], ids=["safe-harbor", "pseudonym"])
def test_of_a_text_in_every_component_only_what_is_declared_safe_survives(text: str) -> None:
    assert len(TYPES) > 30
    for seed in range(5 * len(TYPES)):
        found, made = survivors(seed, text)
        assert found == [], seed
        assert set(made.names()) <= set(SAFE)


def test_of_every_segment_of_the_standard_and_of_unknown_ones_only_what_is_declared_survives() -> (
    None
):
    found, made = survivors(3, SAFE_HARBOR, EVERY_SEGMENT)
    assert found == []
    assert set(made.names()) == set(SAFE) - {"NTE"}


def test_the_canaries_see_a_field_that_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TREATMENTS, Rule.ADDRESS, TREATMENTS[Rule.CODED])  # type: ignore[index]
    assert any(survivors(seed, SAFE_HARBOR)[0] for seed in range(len(TYPES)))


def test_every_rule_is_known_to_these_tests_and_every_field_is_of_a_segment_of_the_standard() -> (
    None
):
    assert set(STAYS) | TREATED | {Rule.SITE} == set(Rule)
    assert set(SAFE) <= STANDARD_SEGMENTS
    assert set(IDENTIFIERS) <= STANDARD_SEGMENTS
    for segment, numbers in IDENTIFIERS.items():
        assert not numbers & {f for f, rule in SAFE.get(segment, {}).items() if rule not in TREATED}


def test_what_the_structures_require_stays_so_that_a_receiver_can_read_the_copy() -> None:
    for code, events in TYPES_BY_CODE.items():
        for event in events:
            required = required_segments(TypePattern(code=code, event=event))
            assert set(required) <= set(SAFE), (code, event)


def test_a_person_as_senders_write_one_leaves_nothing_behind() -> None:
    made = after(SAFE_HARBOR, PERSON)
    assert made.names() == ["MSH", "PID", "OBR", "OBX", "OBX"]
    output = made.encode()
    for text in (b"Ray", b"Ann", b"19420311", b"Elm", b"Dayton", b"937", b"Wu", b"2026010", b"F1",
                 b"P900", b"45402", b"NORTH", b"B1", b"|11^"):  # fmt: skip
        assert text not in output
    assert field(made, "PID-7") == "1942"
    assert field(made, "PID-8") == ""
    assert field(made, "PID-11") == "^^^OH^454^USA"
    assert field(made, "MSH-9") == "ORU^R01^ORU_R01"
    assert field(made, "MSH-12") == "2.5.1"
    assert field(made, "OBR-4") == "GLU^Glucose^L"
    assert field(made, "OBR-7") == "2026"
    assert [field(made, f"OBX[1]-{n}") for n in (3, 5, 6, 7, 14)] == [
        "GLU^Glucose^L", "5.1", "mmol/L", "3.9-5.6", "2026",
    ]  # fmt: skip
    assert [field(made, f"OBX[2]-{n}") for n in (2, 5)] == ["TX", ""]


def test_what_is_to_be_kept_is_kept_in_every_occurrence() -> None:
    keep = "[PID-8, NK1-3, ZPI-1, 'OBX(where OBX-3.1 = C)-5']"
    two = PERSON.replace(b"NK1|", b"NK1|2|Ray^Eve|CHD\rNK1|")
    made = after(f"- deidentify: {{profile: safe-harbor, keep: {keep}}}", two)
    assert field(made, "PID-8") == "F"
    assert [field(made, f"NK1[{n}]-3") for n in (1, 2)] == ["CHD", "SPO"]
    assert made.raw(made.first("NK1"), 2) == b""
    assert made.raw(made.first("ZPI"), 1) == b"1"
    assert made.raw(made.first("ZPI"), 2) == b""
    assert field(made, "OBX[2]-5") == "Ann felt well"


def test_free_text_stays_where_it_is_to_stay() -> None:
    text = "- deidentify: {profile: pseudonym, free_text: keep, key: " + KEY + "}"
    made = after(text, PERSON)
    assert field(made, "NTE-3") == "Called Dr Wu at 937-555-0100"
    assert field(made, "OBX[2]-5") == "Ann felt well"
    assert b"Ray" not in made.encode()
    document = PERSON.replace(
        b"|TX|C^Comment^L||Ann felt well", b"|ED|C^Comment^L||A^B^C^Base64^QQ=="
    )
    assert b"QQ==" not in after(text, document).encode()


def test_null_is_no_identifier_and_stays_where_a_field_may_stay() -> None:
    made = after(SAFE_HARBOR, PERSON.replace(b"|19420311|", b'|""|'))
    assert field(made, "PID-7") == '""'


# --- pseudonyms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [SAFE_HARBOR, PSEUDONYM], ids=["safe-harbor", "pseudonym"])
def test_the_same_person_and_order_have_the_same_pseudonyms_in_every_message(text: str) -> None:
    held = Held()
    first = after(text, PERSON, held)
    second = after(
        text,
        PERSON.replace(b"|B1|", b"|B7|").replace(b"11^^^NORTH^MR", b"5^^^SSA^SS~11^^^NORTH^MR"),
        held,
    )
    other = after(text, PERSON.replace(b"11^^^NORTH", b"12^^^NORTH"), held)
    assert NAMED.fullmatch(first.text(1, 3, 1, 1, 1))
    assert first.text(1, 3, 1, 1, 1) == second.text(1, 3, 2, 1, 1)
    assert first.text(1, 3, 1, 1, 1) != other.text(1, 3, 1, 1, 1)
    for place in ("OBR-2", "OBR-3", "MSH-4"):
        assert field(first, place) == field(second, place) == field(other, place)
    assert field(first, "MSH-10") != field(second, "MSH-10")
    assert first.text(1, 3, 1, 4, 1) == field(first, "MSH-4")  # one facility, one name


def test_the_same_number_of_another_authority_or_type_is_another_person() -> None:
    names = {
        after(PSEUDONYM, PERSON.replace(b"11^^^NORTH^MR", cx)).text(1, 3, 1, 1, 1)
        for cx in (b"11^^^NORTH^MR", b"11^^^SOUTH^MR", b"11^^^NORTH^AN", b"11^^^NORTH&1.2&ISO^MR")
    }
    assert len(names) == 4


def test_an_order_has_one_pseudonym_however_its_number_is_written() -> None:
    child = PERSON.replace(
        b"OBR|1|P900^CPOE|F1", b"ORC|NW|P900^CPOE|F1|||||P900&CPOE^F1\rOBR|1|P900^CPOE|F1"
    )
    made = after(SAFE_HARBOR, child)
    orc = made.first("ORC")
    assert (
        made.text(orc, 8, 1, 1, 1) == made.text(orc, 2, 1, 1, 1) == made.text(orc + 1, 2, 1, 1, 1)
    )
    assert made.text(orc, 8, 1, 2, 1) == made.text(orc, 3, 1, 1, 1)


def test_a_merge_is_still_one_of_the_two_who_were_merged() -> None:
    merge = b"\r".join(
        [
            rb"MSH|^~\&|A|N|B|M|20260105||ADT^A40^ADT_A39|1|P|2.5.1",
            b"EVN|A40|20260105",
            b"PID|1||11^^^NORTH^MR",
            b"MRG|12^^^NORTH^MR",
            b"",
        ]
    )
    held = Held()
    prior = after(SAFE_HARBOR, PERSON.replace(b"11^^^NORTH", b"12^^^NORTH"), held)
    merged = after(SAFE_HARBOR, merge, held)
    assert merged.text(merged.first("MRG"), 1, 1, 1, 1) == prior.text(1, 3, 1, 1, 1)


def test_safe_harbor_derives_nothing_from_the_data() -> None:
    one, two = after(SAFE_HARBOR, PERSON), after(SAFE_HARBOR, PERSON)
    for place in ("PID-3", "OBR-2", "MSH-4", "MSH-10"):
        assert field(one, place) != field(two, place)


def test_the_random_source_of_a_test_makes_safe_harbor_repeat() -> None:
    outputs = []
    for _ in range(2):
        scope = scope_of(PERSON)
        counter = iter(range(1000))
        scope.random_bytes = lambda n, counter=counter: next(counter).to_bytes(n, "big")  # type: ignore[misc]
        steps(SAFE_HARBOR).run(scope)
        outputs.append(scope.message.encode())
    assert outputs[0] == outputs[1]


def test_a_replay_uses_what_is_remembered_and_is_one_with_itself_where_nothing_is() -> None:
    held = Held()
    known = after(SAFE_HARBOR, PERSON, held)
    assert field(after(SAFE_HARBOR, PERSON, held, replay=True), "PID-3") == field(known, "PID-3")
    twice = PERSON.replace(b"OBR|1|", b"ORC|RE|P900^CPOE\rOBR|1|")
    blank = Held()
    alone = after(SAFE_HARBOR, twice, blank, replay=True)
    assert blank.held == {}
    assert field(alone, "ORC-2") == field(alone, "OBR-2")


def test_persons_are_remembered_for_ever_and_orders_while_they_are_used() -> None:
    held = Held()
    after(SAFE_HARBOR, PERSON, held)
    kinds = {key[0]: value for (_, key), value in held.held.items()}
    assert set(kinds) == {"patient", "order", "site"}  # no row for each control id
    assert kinds["patient"].until_us == 0
    assert kinds["site"].until_us == 0
    year_us = int(365.25 * 86_400e6)
    before = kinds["order"]
    assert before.until_us == NOW_US + 2 * year_us
    later = after(SAFE_HARBOR, PERSON, held, now_us=NOW_US + 18 * year_us // 12)
    renewed = {key[0]: value for (_, key), value in held.held.items()}["order"]
    assert renewed.value == before.value
    assert renewed.until_us > before.until_us
    assert before.value in later.encode().decode()


def test_another_key_gives_what_cannot_be_linked() -> None:
    other = PSEUDONYM.replace("one", "two")
    held = Held()
    one, two = after(PSEUDONYM, PERSON, held), after(other, PERSON, held)
    assert held.held == {}
    assert one.encode() == after(PSEUDONYM, PERSON).encode()
    names = [set(NAMED.findall(made.encode().decode())) for made in (one, two)]
    assert len(names[0]) == len(names[1]) > 6
    assert not names[0] & names[1]


@given(st.binary(min_size=1, max_size=9), st.binary(min_size=1, max_size=9))
def test_two_identifiers_have_two_pseudonyms_and_no_pseudonym_looks_like_data(
    one: bytes, two: bytes
) -> None:
    names = []
    for number in (one.hex(), two.hex()):
        made = after(PSEUDONYM, PERSON.replace(b"11^^^NORTH", number.encode() + b"^^^NORTH"))
        names.append(made.text(1, 3, 1, 1, 1))
    assert all(NAMED.fullmatch(name) for name in names)
    assert (names[0] == names[1]) == (one == two)


# --- dates, ages, places ------------------------------------------------------------------------

DAYS = st.integers(0, 96 * 365 * 86_400).map(
    lambda seconds: datetime(1930, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


def dated(number: str, first: str, second: str) -> Message:
    content = PERSON.replace(b"11^^^", number.encode() + b"^^^")
    content = content.replace(b"20260104093000", first.encode())
    return after(PSEUDONYM, content.replace(b"20260104100000", second.encode()))


@given(st.integers(1, 10**6), DAYS, DAYS)
def test_dates_of_one_patient_move_by_whole_weeks_and_every_interval_stays(
    number: int, first: datetime, second: datetime
) -> None:
    written = [f"{day:%Y%m%d%H%M%S}" for day in (first, second)]
    made = dated(str(number), *written)
    moved = [parse_time(field(made, place)) for place in ("OBR-7", "OBX[1]-14")]
    assert moved[0] is not None
    assert moved[1] is not None
    shift = first - moved[0].start
    assert shift == second - moved[1].start
    assert shift.seconds == 0
    assert shift.days % 7 == 0
    assert 7 <= shift.days <= 104 * 7


def test_a_date_is_as_precise_as_before_and_keeps_its_zone() -> None:
    for text, form in (
        ("1999", r"\d{4}"), ("199905", r"\d{6}"), ("19990505", r"\d{8}"),
        ("199905051430", r"\d{8}1430"), ("19990505143059.1234+0100", r"\d{8}143059\.1234\+0100"),
        ("99991231", "9999"), ("19990532", ""), ("yesterday", ""),
    ):  # fmt: skip
        assert re.fullmatch(form, field(dated("11", text, text), "OBR-7"))


def test_patients_move_differently_and_each_by_its_own_weeks_in_one_message() -> None:
    shifts = {field(dated(str(n), "20200101", "20200101"), "OBR-7") for n in range(1, 60)}
    assert len(shifts) > 20
    both = PERSON + b"PID|2||77^^^NORTH^MR||||19420311\rOBR|1||F9|X|||20260104\r"
    # only a channel that may not read PID would let two patients pass: the step itself is ready
    made = after(PSEUDONYM, both)
    alone = dated("77", "20260104", "20260104")
    assert field(made, "OBR[2]-7") == field(alone, "OBR-7")
    assert field(made, "OBR[1]-7") != field(made, "OBR[2]-7") + "093000"


def test_where_nobody_is_known_only_the_year_stays() -> None:
    made = after(PSEUDONYM, PERSON.replace(b"11^^^NORTH^MR", b""))
    assert field(made, "OBR-7") == "2026"
    assert field(made, "MSH-7") == "2026"


def test_years_do_not_tell_who_is_older_than_eighty_nine() -> None:
    for born, shown in (("19420311", "1942"), ("19360101", "1936"), ("19350101", "1936"),
                        ("19110203", "1936"), ("1911", "1936"), ("20251231", "2025")):  # fmt: skip
        made = after(SAFE_HARBOR, PERSON.replace(b"19420311", born.encode()))
        assert field(made, "PID-7") == shown


@pytest.mark.parametrize(
    ("observation", "shown"),
    [
        (b"NM|30525-0^Age^LN||95|a", "90"),
        (b"NM|30525-0^Age^LN||89|a", "89"),
        (b"NM|X^Patient age^L||95|", "90"),
        (b"NM|X^Age^L||1100|mo", "1080"),
        (b"NM|X^Age^L||900|mo", "900"),
        (b"NM|X^Age^L||95|eons", ""),
        (b"SN|X^Age^L||>^95|a", ""),
        (b"ST|X^Age^L||> 95|a", ""),
        (b"CE|X^Age^L||A95^95 years^L|", ""),
        (b"DT|X^Age^L||19300101", "1936"),
        (b"NM|X^Dosage^L||95|a", "95"),
        (b"NM|GLU^Glucose^L||9375550100|", ""),
        (b"NM|GLU^Glucose^L||about 5|", ""),
        (b"ST|GLU^Glucose^L||>500|", ">500"),
        (b"ST|GLU^Glucose^L||Ann|", ""),
        (b"SN|GLU^Glucose^L||>^500|", ">^500"),
        (b"CWE|X^Y^L||260385009^Negative^SCT^^^^^^Ann said|", "260385009^Negative^SCT"),
        (b"CWE|X^Y^L||^Ann said so^L|", ""),
        (b"CWE|X^Y^L||A^call 937-555-0100^L|", "A^^L"),
        (b"CWE|X^Y^L||937-55-0100^A^L|", ""),
        (b"TM|X^Y^L||1430|", ""),
        (b"XPN|X^Y^L||Ray^Ann|", ""),
    ],
)
def test_a_value_stays_where_its_type_and_form_are_safe(observation: bytes, shown: str) -> None:
    content = PERSON.replace(b"NM|GLU^Glucose^L||5.1|mmol/L|3.9-5.6", observation)
    assert field(after(SAFE_HARBOR, content), "OBX[1]-5") == shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("^^^OH^45402-1234", "^^^OH^454"),
        ("^^^OH^454021234", "^^^OH^454"),
        ("^^^WY^82301^USA", "^^^WY^000^USA"),
        ("^^^OH^4540", "^^^OH"),
        ("^^^ON^K1A 0B1^CAN", "^^^ON^^CAN"),
        ("^^^OH^45402^DEU", "^^^OH^^DEU"),
        ("^^^Ohio, near the mill^45402", "^^^^454"),
        ("1 A^^B^OH^45402~2 C^^D^NY^10001", "^^^OH^454~^^^NY^100"),
    ],
)
def test_an_address_is_a_state_and_three_digits(address: str, shown: str) -> None:
    content = PERSON.replace(b"9 Elm St^^Dayton^OH^45402^USA", address.encode())
    assert field(after(SAFE_HARBOR, content), "PID-11") == shown


def test_every_area_of_few_people_is_written_000() -> None:
    for prefix in FEW_PEOPLE:
        content = PERSON.replace(b"OH^45402", b"OH^" + prefix.encode() + b"77")
        assert "^000^" in field(after(SAFE_HARBOR, content), "PID-11")


def test_lines_that_are_no_segment_go() -> None:
    made = after(SAFE_HARBOR, PERSON.replace(b"NK1|", b"Ann lives here\rNK1|"))
    assert b"lives" not in made.encode()
    after_msh = PERSON.replace(b"\rPID", b"\rAnn lives here\rPID")
    assert b"lives" not in after(SAFE_HARBOR, after_msh).encode()


def test_other_delimiters_escapes_and_character_sets_change_nothing_of_it() -> None:
    strange = (
        PERSON.replace(rb"^~\&", rb"*~\&").replace(b"^", b"*").replace(b"Glucose", rb"Gluc\S\ose")
    )
    made = after(SAFE_HARBOR, strange)
    assert field(made, "OBR-4") == r"GLU*Gluc\S\ose*L"
    assert field(made, "PID-11") == "***OH*454*USA"
    japanese = PERSON.replace(b"|2.5.1", b"|2.5.1||||||ISO IR87").replace(
        b"Glucose", "血糖".encode("iso2022_jp_ext")
    )
    made = after(SAFE_HARBOR, japanese)
    assert field(made, "MSH-18") == "ISO IR87"
    assert made.text(made.first("OBR"), 4, 1, 2, 1) == "血糖"
    assert b"Ray" not in made.encode()


@given(
    st.sampled_from([b"^~\\&", b"^", b"^~", b"*!?:#"]),
    st.sampled_from([b"", b"UNICODE UTF-8", b"8859/1", b"BIG-5", b"GB18030", b"NONE"]),
    st.binary(max_size=40),
)
def test_whatever_bytes_come_the_copy_parses_or_the_step_fails_without_a_word_of_them(
    signs: bytes, charset: bytes, noise: bytes
) -> None:
    noise = noise.replace(b"\r", b"").replace(b"\n", b"").replace(b"|", b"")
    content = PERSON.replace(rb"^~\&", b"@@").replace(b"^", signs[:1]).replace(b"@@", signs)
    content = content.replace(b"|2.5.1", b"|2.5.1||||||" + charset)
    content = content.replace(b"Ann", b"CANARY" + noise).replace(b"Glucose", b"CANARY" + noise)
    content = content.replace(b"OH", noise)
    scope = scope_of(content)
    failed = failure_of(scope)
    if failed is not None:
        assert "CANARY" not in f"{failed} {failed!r} {failed.reason.full} {failed.__cause__}"
        return
    made = Message.parse(scope.message.encode())
    assert set(made.names()) <= set(SAFE)
    for i in range(1, len(made.names())):
        for f in (5, 13):
            assert b"CANARY" not in made.raw(i, f)


def failure_of(scope: StepScope) -> StepFailedError | None:
    try:
        steps(SAFE_HARBOR).run(scope)
    except StepFailedError as error:
        return error
    return None


def test_messages_of_every_kind_still_parse_and_start_with_the_same_type() -> None:
    for content in (ADT, ORU, PERSON):
        made = after(SAFE_HARBOR, content)
        assert field(made, "MSH-9") == field(Message.parse(content), "MSH-9")


# --- what check says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "code", "says"),
    [
        ("profile: safe-harbor, keep: [PID-5]", "E331", "PID-5 identifies"),
        ("profile: safe-harbor, keep: [PID-7]", "E331", "PID-7 identifies"),
        ("profile: safe-harbor, keep: [PID-3.1]", "E331", "PID-3.1 identifies"),
        ("profile: safe-harbor, keep: [OBX-5]", "E331", "OBX-5 identifies"),
        ("profile: safe-harbor, keep: [NTE-3]", "E331", "NTE-3 identifies"),
        ("profile: safe-harbor, keep: [PID]", "E306", "works on fields"),
        ("profile: safe-harbor, keep: [MSH-2]", "E306", "delimiters"),
        ("profile: safe_harbor", "E103", "is not one of"),
        ("profile: safe-harbor, free_text: maybe", "E103", "is not one of"),
        ("profile: pseudonym", "E102", "needs a key"),
        ("profile: pseudonym, key: 0123456789abcdef", "E332", "key is a secret"),
        ("profile: safe-harbor, key: 0123456789abcdef", "E332", "key is a secret"),
        ('profile: pseudonym, key: "${secret:a}b"', "E332", "key is a secret"),
        ("keep: [PID-8]", "E102", 'needs "profile"'),
        ("profil: safe-harbor", "E101", "is not known"),
    ],
)
def test_what_would_not_be_deidentified_is_an_error(parameters: str, code: str, says: str) -> None:
    _, problems = compiled(f"- deidentify: {{{parameters}}}")
    assert [problem.code for problem in problems.found] == [code]
    assert says in problems.found[0].message
    assert "0123" not in problems.found[0].message


def test_an_expert_may_keep_more_and_is_told_so() -> None:
    for text in (
        f"profile: pseudonym, key: {KEY}, keep: [PID-7]",
        "profile: safe-harbor, free_text: keep",
    ):
        _, problems = compiled(f"- deidentify: {{{text}}}")
        assert problems.ok
        assert [problem.code for problem in problems.found] == ["W331"]


def with_secret(text: str, secret: str) -> tuple[Steps, Problems, list[str]]:
    """Compile with a site that has a secret; return which ones it was asked for."""
    asked: list[str] = []

    def fill(text: Text) -> str:
        asked.append(text.value)
        return secret

    problems = Problems()
    made = compile_steps(nodes(text), problems, Known(TABLES, secret=fill))
    return made, problems, asked


def test_a_key_is_in_no_text_about_the_step() -> None:
    made, problems, asked = with_secret(PSEUDONYM, "0123456789abcdef")
    assert problems.ok
    assert asked == ["${secret:one}"]
    assert "0123" not in repr(made) + repr(list(made.all())) + repr(made.steps[0].action)


def test_a_key_that_can_be_guessed_is_refused_and_not_quoted() -> None:
    _, problems, _ = with_secret(PSEUDONYM, "0123456789abcde")
    assert [problem.code for problem in problems.found] == ["E332"]
    assert "shorter than 16" in problems.found[0].message
    assert "0123" not in str(problems.found)


def test_safe_harbor_asks_for_no_key_because_it_may_not_use_one() -> None:
    _, problems, asked = with_secret(f"- deidentify: {{profile: safe-harbor, key: {KEY}}}", "")
    assert problems.ok
    assert asked == []


def test_the_whole_message_is_deidentified_not_one_segment_of_it() -> None:
    _, problems = compiled("- {for_each: OBX, deidentify: {profile: safe-harbor}}")
    assert [problem.code for problem in problems.found] == ["E306"]


def test_the_step_says_which_segments_stay_and_what_it_writes() -> None:
    made = steps("- deidentify: {profile: safe-harbor, keep: [PID-8, ZPI-1]}")
    (keeps,) = made.segments_kept()
    assert {"MSH", "PID", "OBX", "ZPI"} <= set(keeps)
    assert not {"NTE", "NK1", "IN1"} & set(keeps)
    assert {"PID-3", "PID-7", "OBR-2"} <= {path.text for path in made.paths_written()}
    assert {path.text for path in made.paths_read()} == {"PID-8", "ZPI-1"}
