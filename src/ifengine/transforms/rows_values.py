"""Steps that change values: text, fields, numbers."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
    clear_fields,
    copy_fields,
    default_fields,
    let_variables,
    lower_values,
    move_fields,
    null_fields,
    replace_values,
    set_fields,
    trim_values,
    upper_values,
)

VALUES: tuple[StepRow, ...] = (
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
        "let",
        let_variables.build,
        "{name: text}",
        "a variable for this message",
        'let: {ward: "${PV1-3.1 | upper}"}',
    ),
)
