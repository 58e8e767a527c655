"""Steps that remember: facts, orders, results, identities."""

from ifengine.transforms.step_row import StepRow

MEMORY: tuple[StepRow, ...] = ()
