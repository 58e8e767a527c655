"""The steps of the language, one row each: what runs in this release, and what does not yet."""

from collections.abc import Callable
from typing import NamedTuple

from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps import (
    add_segment,
    choose_branch,
    clear_fields,
    copy_fields,
    default_fields,
    delete_segments,
    drop_message,
    fail_message,
    for_each_segment,
    keep_repetitions,
    keep_segments,
    let_variables,
    lookup_values,
    lower_values,
    move_fields,
    null_fields,
    replace_values,
    require_fields,
    set_fields,
    trim_values,
    upper_values,
)


class StepRow(NamedTuple):
    """One verb. ``beside`` are the keys that may stand next to it, with their meaning here."""

    verb: str
    build: Callable[[Node, Context], Built | None]
    parameters: str
    meaning: str
    example: str
    beside: tuple[str, ...] = ()
    ends: bool = False  # nothing after it runs


STEPS: tuple[StepRow, ...] = (
    StepRow(
        "set",
        set_fields.build,
        "{PATH: text}",
        "write text, placeholders allowed",
        "set: {MSH-5: LAB, MSH-6: MERCY}",
        ("create",),
    ),
    StepRow(
        "default",
        default_fields.build,
        "{PATH: text}",
        "write only where empty, and not on updates",
        "default: {PID-15: ENG}",
        ("create", "on_update"),
    ),
    StepRow(
        "copy",
        copy_fields.build,
        "A -> B [ ]",
        "copy a node, structure and repetitions included",
        "copy: PID-3(where .5 = MR).1 -> PID-2",
        ("create",),
    ),
    StepRow(
        "move",
        move_fields.build,
        "A -> B [ ]",
        "copy, then clear A",
        "move: PID-19 -> ZPI-3",
    ),
    StepRow("clear", clear_fields.build, "PATH [ ]", "empty it everywhere", "clear: PID-19"),
    StepRow(
        "null",
        null_fields.build,
        "PATH [ ]",
        'write HL7 null "" (delete what you have)',
        "null: PID-19",
    ),
    StepRow("upper", upper_values.build, "PATH [ ]", "capitals", "upper: [PID-5.1, PID-5.2]"),
    StepRow("lower", lower_values.build, "PATH [ ]", "small letters", "lower: PID-13.4"),
    StepRow("trim", trim_values.build, "PATH [ ]", "drop blanks at the ends", "trim: PID-5"),
    StepRow(
        "replace",
        replace_values.build,
        "in, find, with, regex",
        "replace text in values",
        'replace: {in: PID-13.1, find: "-", with: null}',
    ),
    StepRow(
        "lookup",
        lookup_values.build,
        "table, from or keys, to, column, missing, empty, null",
        "replace a value by table",
        "lookup: {table: ward, from: PV1-3.1, missing: dead_letter}",
    ),
    StepRow(
        "keep_repetitions",
        keep_repetitions.build,
        "in, where",
        "keep the repetitions for which a condition holds",
        'keep_repetitions: {in: PID-3, where: ".5 in [MR, PI]"}',
    ),
    StepRow(
        "keep_segments",
        keep_segments.build,
        "names",
        "an allow-list of segments",
        "keep_segments: [MSH, EVN, PID, PV1]",
    ),
    StepRow(
        "delete_segments",
        delete_segments.build,
        "PATH [ ]",
        "delete matching segments",
        "delete_segments: [NK1, Z*]",
    ),
    StepRow(
        "add_segment",
        add_segment.build,
        "name, after, fields",
        "insert a segment",
        'add_segment: {name: ZRX, after: PV1, fields: {1: "${PID-5.1}"}}',
    ),
    StepRow(
        "require",
        require_fields.build,
        "{PATH: text}",
        "stop with this reason if empty",
        "require: {PV1-2: no patient class}",
    ),
    StepRow(
        "let",
        let_variables.build,
        "{name: text}",
        "a variable for this message",
        'let: {ward: "${PV1-3.1 | upper}"}',
    ),
    StepRow(
        "choose",
        choose_branch.build,
        "[{when, do}]",
        "first branch that holds",
        "choose: [{when: PV1-2 = I, do: [{clear: PV1-18}]}]",
        ("otherwise",),
    ),
    StepRow(
        "for_each",
        for_each_segment.build,
        "PATH",
        "once per segment",
        "for_each: OBX",
        ("do",),
    ),
    StepRow(
        "drop",
        drop_message.build,
        "reason",
        "end here, counted, acknowledged",
        "drop: test patients go no further",
        ends=True,
    ),
    StepRow(
        "fail",
        fail_message.build,
        "text",
        "to the dead letters",
        "fail: this event needs a person",
        ends=True,
    ),
)

BY_VERB: dict[str, StepRow] = {row.verb: row for row in STEPS}

# verbs of the language that a later release brings
NOT_YET: tuple[str, ...] = (
    "swap", "title", "ascii", "truncate", "pad", "extract", "split", "join", "number", "unit",
    "date", "timezone", "translate", "add_repetition", "drop_repetitions", "move_segment",
    "sort_segments", "renumber", "version", "note", "validate", "reject", "latest_only",
    "remember", "wait_for", "merge_patient", "resolve_patient", "extract_document", "deidentify",
    "mask", "use", "python",
)  # fmt: skip
