"""The steps of the language, one row each in the file of their family."""

from ifengine.transforms.rows_flow import FLOW
from ifengine.transforms.rows_meaning import MEANING
from ifengine.transforms.rows_memory import MEMORY
from ifengine.transforms.rows_segments import SEGMENTS
from ifengine.transforms.rows_values import VALUES
from ifengine.transforms.step_row import StepRow

__all__ = ["BY_VERB", "NOT_YET", "STEPS", "StepRow"]

STEPS: tuple[StepRow, ...] = (*VALUES, *SEGMENTS, *MEANING, *FLOW, *MEMORY)

BY_VERB: dict[str, StepRow] = {row.verb: row for row in STEPS}

_LANGUAGE: tuple[str, ...] = (
    "set", "default", "copy", "move", "swap", "clear", "null", "upper", "lower", "title", "trim",
    "ascii", "truncate", "pad", "replace", "extract", "split", "join", "number", "unit", "date",
    "timezone", "lookup", "translate", "add_repetition", "keep_repetitions", "drop_repetitions",
    "keep_segments", "delete_segments", "add_segment", "move_segment", "sort_segments", "renumber",
    "version", "note", "let", "choose", "for_each", "require", "validate", "reject", "drop", "fail",
    "latest_only", "remember", "wait_for", "merge_patient", "resolve_patient", "extract_document",
    "deidentify", "mask", "use", "python", "counter",
)  # fmt: skip
# verbs of the language that a later release brings
NOT_YET: tuple[str, ...] = tuple(verb for verb in _LANGUAGE if verb not in BY_VERB)
