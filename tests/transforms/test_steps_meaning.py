"""Steps that know what values mean: codes by table and time, units, dates, zones, versions of HL7."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7 import dictionary
from ifengine.hl7.message import Message, MessageError
from ifengine.transforms.base import StepFailedError
from ifengine.transforms.version_rules import DIFFERENCES
from ifengine.transforms.version_types import TYPES, Versions, plan_between
from transforms.written import ADT, compiled, field, run, scope_of, steps


def lab(*segments: str, version: str = "2.5.1") -> bytes:
    header = rf"MSH|^~\&|LAB|NORTH|EHR|SOUTH|20260105||ORU^R01^ORU_R01|1|P|{version}"
    return "\r".join([header, *segments, ""]).encode()


def failed(written: str, content: bytes = ADT) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        run(written, content)
    return caught.value


def codes(written: str) -> list[str]:
    return [problem.code for problem in compiled(written)[1].found]


# --- lookup for a time --------------------------------------------------------------------------


def ward_on(day: str) -> str:
    content = ADT.replace(b"4WEST", b"4W").replace(
        b"EVN|A01|20260105101500", b"EVN|A01|" + day.encode()
    )
    written = "- lookup: {table: wards_by_day, from: PV1-3.1, at: EVN-2, missing: none}"
    return field(run(written, content), "PV1-3").split("^")[0]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("20251231", "old"), ("20251231235959", "old"), ("20260101", "new"),
        ("202601", "new"), ("20260131235959.99+0100", "new"), ("20260201", "newest"),
        ("99991231", "newest"), ("2027", "newest"),
        # what it does not say for certain is a miss, and a miss is answered
        ("2026", "none"), ("", "none"), ("soon", "none"),
    ],
)  # fmt: skip
def test_a_table_with_validity_answers_for_the_day_of_the_message(day: str, expected: str) -> None:
    assert ward_on(day) == expected


def test_a_row_without_dates_holds_always_and_a_table_with_dates_wants_a_time() -> None:
    content = ADT.replace(b"4WEST", b"ICU").replace(b"EVN|A01|20260105101500", b"EVN|A01|")
    written = "- lookup: {table: wards_by_day, from: PV1-3.1, at: EVN-2, missing: dead_letter}"
    assert field(run(written, content), "PV1-3") == "IC1^401^A"
    for wrong in (
        "- lookup: {table: wards_by_day, from: PV1-3.1, missing: keep}",
        "- lookup: {table: ward, from: PV1-3.1, at: EVN-2, missing: keep}",
        "- set: {PID-2: '${PV1-3.1 | table(wards_by_day)}'}",
    ):
        assert codes(wrong) == ["E308"], wrong
    assert codes("- {drop: x, when: PV1-3.1 in table wards_by_day}") == []


def test_a_lookup_reads_the_time_it_asks_for() -> None:
    made, _ = compiled("- lookup: {table: wards_by_day, from: PV1-3.1, at: EVN-2, missing: x}")
    assert {path.text for path in made.paths_read()} == {"PV1-3.1", "EVN-2"}


# --- translate ----------------------------------------------------------------------------------

KEYS = "keys: {code: OBX-3.1, system: OBX-3.3, unit: OBX-6.1}"


def translated(element: str, options: str = "missing: dead_letter", unit: str = "mg/dL") -> str:
    content = lab("PID|1", "OBR|1", f"OBX|1|NM|{element}||5|{unit}")
    return field(
        run(f"- translate: {{at: OBX-3, table: lab_to_loinc, {KEYS}, {options}}}", content), "OBX-3"
    )


@pytest.mark.parametrize(
    ("element", "options", "expected"),
    [
        ("GLU^Gluc^L", "missing: dead_letter", "2345-7^Glucose [Mass/volume]^LN^GLU^Gluc^L"),
        ("K^^L", "missing: dead_letter", "2823-3^Potassium^LN^K^^L"),
        # already of the target system, unknown, empty, null: as they were
        ("9999-9^X^LN", "missing: dead_letter", "9999-9^X^LN"),
        ("NEW^X^L", "missing: keep", "NEW^X^L"),
        ("^only text", "missing: dead_letter", "^only text"),
        ('""', "missing: dead_letter", '""'),
        ("", "missing: dead_letter", ""),
        # the alternate: the same code, the new code, another one
        ("GLU^Gluc^L^GLU^g^L", "missing: keep", "2345-7^Glucose [Mass/volume]^LN^GLU^Gluc^L"),
        ("GLU^Gluc^L^2345-7^g^LN", "missing: keep", "2345-7^Glucose [Mass/volume]^LN^GLU^Gluc^L"),
        ("GLU^G^L^X^x^S", "missing: keep, alternate: replace",
         "2345-7^Glucose [Mass/volume]^LN^GLU^G^L"),
        ("GLU^G^L^X^x^S", "missing: keep, alternate: 7-9",
         "2345-7^Glucose [Mass/volume]^LN^X^x^S^GLU^G^L"),
        ("GLU^G^L^X^x^S", "missing: keep, alternate: 10-12",
         "2345-7^Glucose [Mass/volume]^LN^X^x^S^^^^GLU^G^L"),
        ("GLU^G^L", "missing: keep, alternate: 7-9", "2345-7^Glucose [Mass/volume]^LN^GLU^G^L"),
        # the version of a coding system goes with its code; the original text stays
        ("GLU^G^L^^^^v1^^as written", "missing: keep",
         "2345-7^Glucose [Mass/volume]^LN^GLU^G^L^^v1^as written"),
        (r"GLU^G\T\x^L", "missing: keep", r"2345-7^Glucose [Mass/volume]^LN^GLU^G\T\x^L"),
    ],
)  # fmt: skip
def test_a_code_is_translated_and_the_old_one_kept(
    element: str, options: str, expected: str
) -> None:
    assert translated(element, options) == expected


def test_a_translated_code_is_not_translated_again() -> None:
    once = translated("GLU^Gluc^L")
    assert translated(once) == once


def test_another_code_in_the_place_of_the_old_one_stops_the_message() -> None:
    for options, places in (
        ("missing: keep", "4 to 6"),
        ("missing: keep, alternate: 7-9", "7 to 9"),
    ):
        element = "GLU^G^L^X^x^S^Y^y^S"
        content = lab("OBR|1", f"OBX|1|NM|{element}||5|mg/dL")
        written = f"- translate: {{at: OBX-3, table: lab_to_loinc, {KEYS}, {options}}}"
        assert f"another code in components {places}" in failed(written, content).reason.safe


def test_a_missing_code_stops_the_message_without_telling_it() -> None:
    content = lab("OBR|1", "OBX|1|NM|CANARY^G^L||5|mg/dL")
    error = failed(
        f"- translate: {{at: OBX-3, table: lab_to_loinc, {KEYS}, missing: dead_letter}}", content
    )
    assert error.reason.safe == "lab_to_loinc has no entry"
    assert error.reason.full == 'lab_to_loinc has no entry for "CANARY", "L", "mg/dL"'
    assert "CANARY" not in f"{error} {error!r}"


def test_every_segment_and_repetition_is_translated_by_its_own_keys() -> None:
    content = lab(
        "OBR|1",
        "OBX|1|NM|GLU^G^L||5|mg/dL",
        "OBX|2|NM|CHOL^C^L||5|mmol/L",
        "OBX|3|NM|GLU^G^L||5|mmol/L",
    )
    made = run(f"- translate: {{at: OBX-3, table: lab_to_loinc, {KEYS}, missing: keep}}", content)
    found = [field(made, f"OBX[{n}]-3").split("^")[0] for n in (1, 2, 3)]
    assert found == ["2345-7", "14647-2", "GLU"]
    content = ADT.replace(b"2106-3", b"Hb^^L~Glu~X~Hb^^LN")
    made = run("- translate: {at: PID-10, table: codes, missing: keep}", content)
    assert field(made, "PID-10") == "718-7^^LN^Hb^^L~2345-7^Glucose^LN^Glu~X~Hb^^LN"


def test_a_translation_in_a_loop_is_of_this_segment() -> None:
    content = lab("OBR|1", "OBX|1|NM|K^^L||5", "OBX|2|NM|K^^L||5")
    step = f"translate: {{at: OBX-3, table: lab_to_loinc, {KEYS}, missing: keep}}"
    made = run(f"- {{for_each: OBX, when: OBX-1 = 2, {step}}}", content)
    assert [field(made, f"OBX[{n}]-3")[:6] for n in (1, 2)] == ["K^^L", "2823-3"]


def test_a_translation_written_wrongly_is_told() -> None:
    start = "- translate: {at: OBX-3, "
    assert codes(start + f"table: lab_to_loinc, {KEYS}}}") == ["E102"]
    assert codes(start + "table: ward, missing: keep}") == ["E308"]
    assert codes(start + "table: lab_to_loinc, missing: keep}") == ["E308"]
    assert codes(start + f"table: lab_to_loinc, {KEYS}, missing: U}}") == ["E103"]
    assert codes(start + f"table: lab_to_loinc, {KEYS}, missing: keep, alternate: 4-6}}") == [
        "E103"
    ]
    assert codes("- translate: {at: OBX-3.1, table: codes, missing: keep}") == ["E306"]


# --- unit ---------------------------------------------------------------------------------------


def converted(
    value: str, kind: str = "NM", unit: str = "g/L", table: str = "units", to: str = "mg/L"
) -> list[str]:
    content = lab("OBR|1", f"OBX|1|{kind}|GLU||{value}|{unit}|3.9-5.6")
    keys = ", keys: {code: OBX-3.1}" if table == "molar" else ""
    made = run(
        f"- unit: {{value: [OBX-5, OBX-7], unit: OBX-6, to: '{to}', table: {table}{keys}}}", content
    )
    return [field(made, f"OBX-{n}") for n in (5, 6, 7)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5.2", "5200"), ("5", "5000"), ("0.050", "50"), ("0.0501", "50.1"), ("-1.5", "-1500"),
        ("0", "0"), ("0.0", "0.0"), (">500", ">500000"), ("< 0.5", "< 500"), (">=1.0", ">=1000"),
        ("3.9 - 5.6", "3900 - 5600"), ("1,5", "1500"), ("1.25~2.5", "1250~2500"),
        (">^1.5", ">^1500"), ("^1.0^-^2.0", "^1000^-^2000"),
    ],
)  # fmt: skip
def test_a_value_is_converted_with_its_limit_its_range_and_its_digits(
    value: str, expected: str
) -> None:
    assert converted(value) == [expected, "mg/L", "3900-5600"]


def test_significant_digits_stay_and_limits_are_rounded_to_the_safe_side() -> None:
    glucose = {
        "99": "5.5", "100": "5.55", "180.0": "9.990", "9.9": "0.55", "<99": "<5.5", ">99": ">5.4",
        "18": "1.0",
    }  # fmt: skip
    for value, expected in glucose.items():
        assert converted(value, unit="mg/dL", table="molar", to="mmol/L")[0] == expected


def test_an_offset_keeps_the_decimals() -> None:
    for value, expected in {"98.6": "37.0", "32": "0", "0": "-18", "100.4": "38.0"}.items():
        assert converted(value, unit="[degF]", to="Cel")[0] == expected


@given(st.decimals(min_value=Decimal("0.001"), max_value=10**9, places=3))
def test_a_conversion_is_never_off_by_more_than_half_of_its_last_digit(value: Decimal) -> None:
    made = Decimal(converted(str(value), unit="mg/dL", table="molar", to="mmol/L")[0])
    exact = value * Decimal("0.0555")
    digits = len(value.as_tuple().digits)
    assert abs(made - exact) <= Decimal(1).scaleb(exact.adjusted() - digits + 1)
    assert len(str(int(made))) <= len(str(int(exact))) + 1


def test_the_text_and_the_alternate_of_the_old_unit_go() -> None:
    assert converted("5", unit="g/L^gram per liter^UCUM^g^G^L")[1] == "mg/L^^UCUM^^^"


@pytest.mark.parametrize(
    "value", ["neg", "1:5^2", "<>^1", "^1^-^2^3", "1,500", "^1^:^2", "^1^/^2", "1e5", "5.2 g"]
)
def test_what_is_no_number_stops_the_message_or_stays_as_a_whole(value: str) -> None:
    content = lab("OBR|1", f"OBX|1|NM|GLU||7.5~{value}|g/L|3.9-5.6")
    step = "unit: {value: [OBX-5, OBX-7], unit: OBX-6, to: mg/L, table: units"
    error = failed(f"- {step}}}", content)
    assert error.reason.safe == "OBX-5 is no number that has a unit"
    assert value not in f"{error} {error!r} {error.reason}"
    assert run(f"- {step}, missing: keep}}", content).encode() == content


def test_an_unknown_unit_stops_the_message_unless_it_may_stay() -> None:
    content = lab("OBR|1", "OBX|1|NM|GLU||7.5|lb/gal")
    step = "unit: {value: [OBX-5, OBX-7], unit: OBX-6, to: mg/L, table: units"
    assert failed(f"- {step}}}", content).reason.safe == "units has no factor to mg/L"
    for same in (
        content,
        lab("OBX|1|NM|G||7|mg/L"),
        lab("OBX|1|NM|G||7|"),
        lab('OBX|1|NM|G||7|""'),
    ):
        assert run(f"- {step}, missing: keep}}", same).encode() == same


def test_each_segment_has_its_own_unit() -> None:
    content = lab(
        "OBR|1", "OBX|1|NM|GLU||1.0|g/L", "OBX|2|NM|GLU||1.0|mg/dL", 'OBX|3|NM|GLU||""|g/L'
    )
    made = run("- unit: {value: [OBX-5, OBX-7], unit: OBX-6, to: mg/L, table: units}", content)
    assert [field(made, f"OBX[{n}]-5") for n in (1, 2, 3)] == ["1000", "10", '""']
    assert [field(made, f"OBX[{n}]-6") for n in (1, 2, 3)] == ["mg/L", "mg/L", "g/L"]


def test_a_unit_written_wrongly_is_told() -> None:
    start = "- unit: {value: [OBX-5, OBX-7], unit: OBX-6, "
    assert codes(start + "to: mg/L, table: ward}") == ["E308"]
    assert codes(start + "to: mmol/L, table: molar}") == ["E308"]
    assert codes(start + "to: stone, table: units}") == ["E308"]
    assert codes("- unit: {value: OBX-5, unit: OBR-6, to: mg/L, table: units}") == ["E306"]
    assert codes("- unit: {value: OBX-5, unit: OBX-6.2, to: mg/L, table: units}") == ["E306"]
    # a range that keeps the old unit makes a normal value look alarming, or the other way round
    assert codes("- unit: {value: OBX-5, unit: OBX-6, to: mg/L, table: units}") == ["W312"]


# --- date ---------------------------------------------------------------------------------------


def dated(value: str, options: str) -> str:
    content = ADT.replace(b"19800215", value.encode())
    return field(run(f"- date: {{in: PID-7, {options}}}", content), "PID-7")


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        ("02/15/1980", "from: MM/DD/YYYY", "19800215"),
        ("2/5/1980", "from: MM/DD/YYYY", "19800205"),
        ("02/15/1980", "from: MM/DD/YYYY HH:mm, to: YYYYMMDDHHmm", "19800215"),
        ("02/15/1980 9:05", "from: 'MM/DD/YYYY HH:mm'", "198002150905"),
        ("1980-02-15T10:15:30.250+01:00", "from: YYYY-MM-DDTHH:mm:ss.SSSZZ", "19800215101530.250+0100"),
        ("1980-02-15T10:15Z", "from: YYYY-MM-DDTHH:mm:ss.SSSZZ", "1980-02-15T10:15Z"),
        ("1980-02", "from: YYYY-MM-DD", "198002"),
        ("1980", "from: YYYYMMDD", "1980"),
        ("19800215101530", "to: DD.MM.YYYY", "15.02.1980"),
        ("198002", "to: YYYY-MM-DD", "1980-02"),
        ("19800215101530", "to: YYYYMMDD", "19800215"),
        ("19800215^D", "to: YYYY-MM-DD", "1980-02-15^D"),
        ('""', "to: YYYY", '""'),
        ("", "to: YYYY", ""),
        ("31.02.1980", "from: DD.MM.YYYY, bad: keep", "31.02.1980"),
        ("1980", "to: DD.MM.YYYY, bad: keep", "1980"),
        ("soon", "to: YYYY, bad: clear", ""),
    ],
)  # fmt: skip
def test_a_date_changes_its_form_and_says_no_more_than_it_said(
    value: str, options: str, expected: str
) -> None:
    if value == "1980-02-15T10:15Z":
        options += ", bad: keep"  # the zone stands behind seconds in this form
    assert dated(value, options) == expected


def test_a_date_of_another_form_stops_the_message_without_being_told() -> None:
    error = failed("- date: {in: PID-7, from: DD.MM.YYYY}")
    assert error.reason.safe == "PID-7 is not a date of this form"
    assert "19800215" not in f"{error} {error.reason!r}"


def test_every_occurrence_of_a_date_changes() -> None:
    content = ADT.replace(b"AL1|1|DA|^Penicillin", b"AL1|1|DA|^P||r|01.02.2003~2.3.2004")
    content = content.replace(b"AL1|2|DA|^Nuts", b"AL1|2|DA|^N||r|03.04.2005")
    made = run("- date: {in: AL1-6, from: DD.MM.YYYY}", content)
    assert [field(made, f"AL1[{n}]-6") for n in (1, 2)] == ["20030201~20040302", "20050403"]


@given(
    st.datetimes(),
    st.sampled_from(["YYYYMMDD", "YYYY-MM-DD HH:mm", "DD.MM.YYYY HH:mm:ss", "MM/DD/YYYY"]),
)
def test_a_date_written_in_a_form_is_read_back_as_the_same(moment: object, form: str) -> None:
    from datetime import datetime

    assert isinstance(moment, datetime)
    if moment.year < 1000:
        return
    text = f"{moment:%Y%m%d%H%M%S}"
    there = dated(text, f"to: '{form}'")
    back = dated(there, f"from: '{form}'")
    assert text.startswith(back)
    assert len(back) >= 8


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("- date: {in: PID-7}", "E102"),
        ("- date: {in: PID-7, from: MM/DD}", "E104"),
        ("- date: {in: PID-7, from: YYYYDD}", "E104"),
        ("- date: {in: PID-7, to: nothing}", "E104"),
        ("- date: {in: PID-7, to: YYYY, bad: drop}", "E103"),
        ("- timezone: {in: EVN-2}", "E102"),
        ("- timezone: {in: EVN-2, to: Europe/Berln}", "E103"),
        ("- timezone: {in: EVN-2, to: ../../etc/passwd}", "E103"),
        ("- timezone: {in: EVN-2, to: UTC, offset: no}", "E103"),
        ("- version: 2.35", "E103"),
    ],
)
def test_a_step_written_wrongly_is_an_error(written: str, code: str) -> None:
    assert codes(written) == [code]


# --- timezone -----------------------------------------------------------------------------------


def moved(value: str, options: str) -> str:
    content = ADT.replace(b"EVN|A01|20260105101500", b"EVN|A01|" + value.encode())
    return field(run(f"- timezone: {{in: EVN-2, {options}}}", content), "EVN-2")


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        ("20260105101500", "from: Europe/Berlin, to: UTC", "20260105091500"),
        ("20260705101500", "from: Europe/Berlin, to: UTC", "20260705081500"),
        ("20260105101500", "from: Europe/Berlin, to: UTC, offset: add", "20260105091500+0000"),
        ("20260105101500+0000", "from: Europe/Berlin, to: America/New_York", "20260105051500-0500"),
        ("20260105101500+0000", "to: Europe/Berlin, offset: drop", "20260105111500"),
        ("202601052330", "from: America/New_York, to: UTC", "202601060430"),
        ("2026010510", "from: UTC, to: Europe/Berlin", "2026010511"),
        ("20260105101500.1200", "from: UTC, to: +0530", "20260105154500.1200"),
        ("20260105101500", "from: Europe/Berlin, offset: add", "20260105101500+0100"),
        ("20260105101500+0000", "from: Europe/Berlin, offset: drop", "20260105111500"),
        ("20260105101500-0500^S", "to: UTC", "20260105151500+0000^S"),
        # a date is no moment
        ("20260105", "from: Europe/Berlin, to: UTC", "20260105"),
        ("2026", "from: Europe/Berlin, to: UTC, offset: add", "2026"),
        ('""', "from: Europe/Berlin, to: UTC", '""'),
        ("", "from: Europe/Berlin, to: UTC", ""),
        # the hour that is there twice
        ("20261025023000", "from: Europe/Berlin, to: UTC, fold: earlier", "20261025003000"),
        ("20261025023000", "from: Europe/Berlin, to: UTC, fold: later", "20261025013000"),
        ("20261025003000+0000", "to: Europe/Berlin, offset: add", "20261025023000+0200"),
        ("20261025013000+0000", "to: Europe/Berlin, offset: add", "20261025023000+0100"),
        ("20261025013000+0000", "to: Europe/Berlin, offset: drop, fold: later", "20261025023000"),
    ],
)  # fmt: skip
def test_a_time_moves_to_another_clock(value: str, options: str, expected: str) -> None:
    assert moved(value, options) == expected


@pytest.mark.parametrize(
    ("value", "options", "reason"),
    [
        ("20261025023000", "from: Europe/Berlin, to: UTC", "there twice on the clock of its zone"),
        ("20260329023000", "from: Europe/Berlin, to: UTC", "skipped by the clock"),
        ("20260329023000", "from: Europe/Berlin, to: UTC, fold: later", "skipped by the clock"),
        ("20261025003000+0000", "to: Europe/Berlin, offset: drop", "there twice on the new clock"),
        ("20260105101500", "to: UTC", "from does not say its zone"),
        ("2026010510", "from: UTC, to: Asia/Kolkata", "less than the least it says"),
        ("tomorrow", "from: UTC, to: Asia/Kolkata", "EVN-2 is not an HL7 time"),
    ],
)
def test_a_time_that_nobody_can_place_stops_the_message(
    value: str, options: str, reason: str
) -> None:
    content = ADT.replace(b"EVN|A01|20260105101500", b"EVN|A01|" + value.encode())
    error = failed(f"- timezone: {{in: EVN-2, {options}}}", content)
    assert reason in error.reason.safe
    assert value not in f"{error} {error.reason!r}"


@given(
    st.integers(0, 2_000_000_000),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_a_time_with_its_offset_comes_back_as_it_was(seconds: int, zone: str) -> None:
    from datetime import UTC, datetime

    text = f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d%H%M%S}+0000"
    there = moved(text, f"to: {zone}, offset: add")
    assert moved(there, "to: UTC") == text


# --- version ------------------------------------------------------------------------------------


def versioned(target: str, *segments: str, source: str = "2.5.1") -> Message:
    return run(f"- version: '{target}'", lab(*segments, version=source))


def test_the_version_is_written_and_the_rest_is_as_it_was() -> None:
    made = run("- version: 2.5.1")
    assert made.encode() == ADT
    made = versioned("2.4", "PID|1||7", source="2.5.1^DEU^1")
    assert field(made, "MSH-12") == "2.4^DEU^1"
    assert field(versioned("2.3", "PID|1||7", source="2.5.1^DEU^1"), "MSH-12") == "2.3"
    assert field(versioned("2.9", "PID|1||7"), "MSH-12") == "2.9"
    assert field(versioned("2.3", "PID|1||7", source=""), "MSH-12") == "2.3"


def test_the_structure_is_named_from_2_3_1_on() -> None:
    assert field(versioned("2.3"), "MSH-9") == "ORU^R01"
    old = ADT.replace(b"ADT^A01^ADT_A01", b"ADT^A08").replace(b"2.5.1", b"2.3")
    assert field(run("- version: 2.5.1", old), "MSH-9") == "ADT^A08^ADT_A01"
    assert field(run("- version: '2.2'", old), "MSH-9") == "ADT^A08"
    odd = old.replace(b"ADT^A08", b"ZZZ^Z01")
    assert field(run("- version: 2.5.1", odd), "MSH-9") == "ZZZ^Z01"


@pytest.mark.parametrize(
    ("source", "target", "before", "after"),
    [
        # up: everything is in the list, with PT for the outside party's
        ("2.3", "2.5.1", "E1^^^X|70^^^M^MR|A1^^^Y", "E1^^^X|70^^^M^MR~E1^^^X^PT~A1^^^Y|A1^^^Y"),
        ("2.3", "2.7", "E1^^^X|70^^^M^MR|A1^^^Y", "|70^^^M^MR~E1^^^X^PT~A1^^^Y|"),
        ("2.3", "2.5.1", "70|70^^^M^MR|", "70|70^^^M^MR~70^^^^PT|"),
        ("2.5.1", "2.7", "E1^^^X^PT|70^^^M^MR~E1^^^X^PT|", "|70^^^M^MR~E1^^^X^PT|"),
        ("2.3", "2.5.1", '""|70^^^M^MR|""', '""|70^^^M^MR|""'),
        # down: the outside party's goes to PID-2; the list stays where it may repeat
        ("2.5.1", "2.3", "|70^^^M^MR~E1^^^X^PT|", "E1^^^X^PT|70^^^M^MR~E1^^^X^PT|"),
        ("2.5.1", "2.3", "E0|70^^^M^MR~E1^^^X^PT|", "E0|70^^^M^MR~E1^^^X^PT|"),
        ("2.5.1", "2.1", "|70^^^M^MR~E1^^^X^PT~8^^^Y|", "E1^^^X^PT|70^^^M^MR|8^^^Y"),
        ("2.5.1", "2.4", "E1|70^^^M^MR~8|A", "E1|70^^^M^MR~8|A"),
    ],
)
def test_identifiers_are_where_the_version_has_them(
    source: str, target: str, before: str, after: str
) -> None:
    made = versioned(target, f"PID|1|{before}", source=source)
    assert "|".join(field(made, f"PID-{n}") for n in (2, 3, 4)) == after


def test_an_identifier_without_a_place_stops_the_message() -> None:
    content = lab("PID|1||1~2~3")
    assert "more identifiers" in failed("- version: '2.1'", content).reason.safe
    assert "more identifiers" in failed("- version: '2.1'", lab("PID|1||1~2|3")).reason.safe


@pytest.mark.parametrize(
    ("source", "target", "before", "after"),
    [
        ("2.7", "2.5.1", "OBX|1|ST|a^^LN^b^c^L^1^2^Original||x", "OBX|1|ST|a^Original^LN^b^c^L||x"),
        ("2.7", "2.5.1", "OBX|1|ST|a^A^LN^^^^1||x", "OBX|1|ST|a^A^LN||x"),
        ("2.5.1", "2.7", "OBX|1|ST|a^A^LN||x", "OBX|1|ST|a^A^LN||x"),
        ("2.7", "2.5.1", "PV1|1|I^Inpatient^HL70004", "PV1|1|I"),
        ("2.7", "2.5.1", "PV1|1|^Inpatient", "PV1|1|^Inpatient"),
        ("2.5.1", "2.7", "PV1|1|I", "PV1|1|I"),
        ("2.7", "2.5.1", 'PV1|1|""', 'PV1|1|""'),
        ("2.5.1", "2.7", "OBX|1|CE|a||p^P^S", "OBX|1|CWE|a||p^P^S"),
        ("2.7", "2.3", "OBX|1|CWE|a||p^^S^^^^1^^Q~r", "OBX|1|CE|a||p^Q^S~r"),
        ("2.7", "2.5.1", "OBX|1|CWE|a||p^^S^^^^1", "OBX|1|CWE|a||p^^S^^^^1"),
        ("2.5.1", "2.7", "OBX|1|TS|a||19800101^Y", "OBX|1|DTM|a||1980"),
        ("2.6", "2.3", "OBX|1|DTM|a||2026010510", "OBX|1|TS|a||202601051000^H"),
        ("2.5.1", "2.3", "OBX|1|TS|a||2026010510", "OBX|1|TS|a||202601051000^H"),
    ],
)
def test_coded_elements_and_values_have_the_type_of_the_version(
    source: str, target: str, before: str, after: str
) -> None:
    made = versioned(target, before, source=source)
    assert made.encode().decode().split("\r")[1] == after


@pytest.mark.parametrize(
    ("source", "target", "before", "after"),
    [
        ("2.5.1", "2.6", "20260105101530+0100^S", "20260105101530+0100"),
        ("2.5.1", "2.6", "20260105101530.12+0100^M", "202601051015+0100"),
        ("2.5.1", "2.6", "20260105000000^D", "20260105"),
        ("2.5.1", "2.6", "1980^D", "1980"),
        ("2.5.1", "2.6", "19800101^", "19800101^"),
        ("2.5.1", "2.6", "19800101^X", "19800101^X"),
        ("2.2", "2.4", "19800201^L", "198002"),
        ("2.5.1", "2.4", "2026010510-0500", "202601051000-0500^H"),
        ("2.5.1", "2.5", "2026010510", "2026010510"),
        ("2.5.1", "2.2", "1980", "19800101^Y"),
        ("2.5.1", "2.2", "198002", "19800201^L"),
        ("2.5.1", "2.2", "2026010510", "202601051000^H"),
        ("2.5.1", "2.2", "20260105", "20260105"),
        ("2.5.1", "2.1", "20260105101530+0100", "20260105"),
        ("2.5.1", "2.3", "20260105101530.1234+0100", "20260105101530.1234+0100"),
    ],
)
def test_a_time_says_in_each_version_no_more_than_it_said(
    source: str, target: str, before: str, after: str
) -> None:
    made = versioned(target, f"PID|1||7||||{before}", source=source)
    assert field(made, "PID-7") == after


def test_a_date_without_a_day_has_no_place_in_2_1() -> None:
    error = failed("- version: '2.1'", lab("PID|1||7||||1980"))
    assert "without a day" in error.reason.safe


def test_errors_are_one_segment_each_from_2_5_on() -> None:
    old = ("MSA|AE|1", "ERR|PID^1^5^101&Missing&HL70357~OBX^2^3^103")
    made = versioned("2.5.1", *old, source="2.3")
    assert made.encode().decode().split("\r")[2:-1] == [
        "ERR||PID^1^5|101^Missing^HL70357|E", "ERR||OBX^2^3|103|E",
    ]  # fmt: skip
    back = Message.parse(made.encode())
    assert back.encode() == made.encode()
    again = run("- version: '2.3'", made.encode())
    assert again.encode().decode().split("\r")[1:-1] == list(old)
    said = versioned("2.3", "MSA|AE|1", "ERR||PID^1^5~PV1|101|E||||No name")
    assert said.encode().decode().split("\r")[1:-1] == [
        "MSA|AE|1|No name",
        "ERR|PID^1^5^101~PV1^^^101",
    ]


def test_the_pharmacy_of_the_example_gets_its_number_after_the_version() -> None:
    made = run("- version: '2.3'\n- copy: PID-3(where .5 = MR).1 -> PID-2")
    assert (field(made, "MSH-12"), field(made, "PID-2")) == ("2.3", "70")


def test_bytes_that_look_like_a_delimiter_inside_a_character_are_none() -> None:
    # the second byte of this character is ^ in Shift JIS
    name = "^".join(["a", "十ア", "LN", "", "", "", "1"])
    text = "MSH|^~\\&|||||||ORU^R01|1|P|2.7||||||~ISO IR87\rPID|1\rOBX|1|ST|" + name + "||x\r"
    made = run("- version: 2.5.1", text.encode("shift_jis"))
    assert made.encode().decode("shift_jis").split("|")[-3] == "a^十ア^LN"


def test_every_row_of_the_table_of_differences_says_when_it_counts() -> None:
    versions = dictionary.versions()
    for row in DIFFERENCES:
        assert row.since in versions
        assert row.up or row.down
    # a row that no pair of versions uses would be dead
    used = set()
    for source in versions:
        for target in versions:
            for old in ("CWE", "CNE", "CE", "TS", "DTM"):
                for new in ("CE", "IS", "DTM", "TS", "DT"):
                    used.update(plan_between(1, old, new, Versions(source, target)).changes)
    assert used == {row.change for row in TYPES}


@given(st.sampled_from(dictionary.versions()), st.sampled_from(dictionary.versions()))
def test_any_version_can_be_asked_for_and_asking_twice_changes_nothing(
    source: str, target: str
) -> None:
    content = ADT.replace(b"2.5.1", source.encode()).replace(b"~99^^^SSA^SS", b"")
    once = run(f"- version: '{target}'", content)
    assert once.header.version == target.encode()
    assert run(f"- version: '{target}'", once.encode()).encode() == once.encode()
    assert once.names() == Message.parse(content).names()


CORPUS = Path(__file__).parents[2] / ".." / "shared" / "corpus"


def test_messages_of_strangers_keep_their_segments_and_are_the_same_the_second_time() -> None:
    if not CORPUS.is_dir():
        pytest.skip("../shared/corpus is not there")
    made = [steps(f"- version: '{target}'") for target in ("2.1", "2.3", "2.5.1", "2.7")]
    seen = refused = 0
    for content in _strangers():
        for version in made:
            scope = scope_of(content)
            errors = scope.message.names().count("ERR")
            try:
                version.run(scope)
            except StepFailedError:
                refused += 1
                continue
            again = scope_of(scope.message.encode())
            version.run(again)
            assert again.message.encode() == scope.message.encode()
            assert errors or again.message.names() == Message.parse(content).names()
            seen += 1
    assert seen > 1000
    assert refused < seen / 20


def _strangers() -> list[bytes]:
    """Return the messages of the corpus, each ended by CR."""
    found: list[bytes] = []
    for file in sorted(CORPUS.rglob("*.hl7")):
        lines = re.split(rb"\r\n|\r|\n", file.read_bytes())
        for line in lines:
            if line.startswith(b"MSH|") and len(line) > 8:
                found.append(line + b"\r")
            elif found and line[:3].isalnum() and line[3:4] == b"|":
                found[-1] += line + b"\r"
    return [content for content in found if _is_message(content)]


def _is_message(content: bytes) -> bool:
    try:
        Message.parse(content)
    except MessageError:
        return False
    return True
