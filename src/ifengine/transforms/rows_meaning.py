"""Steps that know what values mean: codes, units, times, versions, documents."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
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
)
