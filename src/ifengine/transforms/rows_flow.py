"""Steps that decide how a message goes on."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
    choose_branch,
    drop_message,
    fail_message,
    for_each_segment,
    python_function,
    reject_message,
    require_fields,
    use_snippet,
    validate_message,
)

FLOW: tuple[StepRow, ...] = (
    StepRow(
        "use",
        use_snippet.build,
        "file, with",
        "the steps of a snippet, a file that several channels share",
        "use: {file: snippets/us-phone.yaml, with: {field: PID-13}}",
        failing="use: {file: snippets/us-phone.yaml, with: {feild: PID-13}}",
    ),
    StepRow(
        "python",
        python_function.build,
        "file, function, timeout, with, as: message hl7",
        "a function of the site, in a process of its own: the way out",
        "python: {file: python/strange_lab.py, function: transform, timeout: 500ms}",
        failing="python: {file: python/strange_lab.py, function: transfrom}",
    ),
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
        "reject",
        reject_message.build,
        "code, text",
        "tell the sender no while it waits (`ack: {when: delivered}`): AE or AR, with a text",
        "reject: {code: AR, text: not supported here}",
        ends=True,
        failing="reject: {code: AA, text: not supported here}",
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
