"""Steps that know what values mean: codes, units, times, versions, documents."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
    deidentify_message,
    extract_document,
    lookup_values,
)

MEANING: tuple[StepRow, ...] = (
    StepRow(
        "lookup",
        lookup_values.build,
        "table, from or keys, to, column, missing, empty, null",
        "replace a value by table",
        "lookup: {table: ward, from: PV1-3.1, missing: dead_letter}",
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
