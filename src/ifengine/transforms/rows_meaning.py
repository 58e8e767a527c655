"""Steps that know what values mean: codes, units, times, versions, documents."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
    change_dates,
    convert_unit,
    deidentify_message,
    extract_document,
    lookup_values,
    move_timezone,
    set_version,
    translate_codes,
)

MEANING: tuple[StepRow, ...] = (
    StepRow(
        "unit",
        convert_unit.build,
        "value, unit, to, table, keys, missing: dead_letter keep",
        "convert values and their unit by a table of factors",
        "unit: {value: [OBX-5, OBX-7], unit: OBX-6, to: mg/L, table: units}",
        failing="unit: {value: OBX-5, unit: OBR-6, to: mg/L, table: units}",
    ),
    StepRow(
        "date",
        change_dates.build,
        "in, from, to, bad: dead_letter clear keep",
        "change the form of dates; what a value does not say is not made up",
        "date: {in: PID-7, from: MM/DD/YYYY, to: YYYYMMDD}",
        failing="date: {in: PID-7, from: MM/DD, to: YYYYMMDD}",
    ),
    StepRow(
        "timezone",
        move_timezone.build,
        "in, from, to, offset: keep drop add, fold: refuse earlier later",
        "move times between zones, add or drop +zzzz; a date stays",
        "timezone: {in: EVN-2, from: America/New_York, to: UTC, offset: add}",
        failing="timezone: {in: EVN-2, from: New York, to: UTC}",
    ),
    StepRow(
        "lookup",
        lookup_values.build,
        "table, from or keys, to, column, at, missing, empty, null",
        "replace a value by table",
        "lookup: {table: ward, from: PV1-3.1, missing: dead_letter}",
        failing="lookup: {table: ward, from: PV1-3.1}",
    ),
    StepRow(
        "translate",
        translate_codes.build,
        "at, table, missing: dead_letter keep, keys, time, alternate: replace 7-9 10-12",
        "another code for a coded element; the old one becomes its alternate",
        "translate: {at: OBX-3, table: lab_to_loinc, missing: keep, "
        "keys: {code: OBX-3.1, system: OBX-3.3, unit: OBX-6.1}}",
        failing="translate: {at: OBX-3.1, table: lab_to_loinc, missing: keep}",
    ),
    StepRow(
        "version",
        set_version.build,
        "a version: 2.3",
        "the message as another version of HL7 writes it, by a table of differences",
        'version: "2.3"',
        failing="version: 2.35",
    ),
    StepRow(
        "extract_document",
        extract_document.build,
        "from, save_to, name, types, leave: pointer remove keep",
        "a document (ED) to a store of the site, and a pointer (RP) in its place",
        "extract_document: {from: OBX(where OBX-2 = ED)-5, save_to: documents, name: '${msg.id}'}",
        failing="extract_document: {from: OBX-5, save_to: documents, name: '${PID-5.1}'}",
    ),
    StepRow(
        "deidentify",
        deidentify_message.build,
        "profile: safe-harbor pseudonym, key, keep, free_text: remove keep",
        "drop everything that is not known to be safe, by one vetted profile",
        "deidentify: {profile: safe-harbor, keep: [PID-8]}",
        failing="deidentify: {profile: safe-harbor, keep: [PID-5]}",
        secrets=("key",),
    ),
)
