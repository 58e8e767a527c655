"""Steps that decide how a message goes on."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
    choose_branch,
    drop_message,
    fail_message,
    for_each_segment,
    require_fields,
    validate_message,
)

FLOW: tuple[StepRow, ...] = (
    StepRow(
        "require",
        require_fields.build,
        "{PATH: text}",
        "stop with this reason if empty",
        "require: {PV1-2: no patient class}",
    ),
    StepRow(
        "validate",
        validate_message.build,
        "structure, version, level, on_fail, profile",
        "compare with the standard and a profile of the site: lenient, standard or strict",
        "validate: {structure: ORM_O01, level: standard, on_fail: nak}",
        failing="validate: {level: strickt}",
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
