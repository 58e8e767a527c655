"""Steps that work on repetitions and segments."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
    add_segment,
    delete_segments,
    keep_repetitions,
    keep_segments,
)

SEGMENTS: tuple[StepRow, ...] = (
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
)
