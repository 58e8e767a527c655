"""Which failpoints a commit passes, by what its batch holds."""

from ifengine.failpoints import fp, is_armed
from ifengine.store.base import Batch, ExceptionRow, ExceptionState, StateRow

CROSSWALK = 5  # the space of merges, as ``transforms.memory`` numbers it


def before_commit(batch: Batch) -> None:
    """Mark that all rows of a batch are written and nothing is committed."""
    if not is_armed():
        return
    if batch.inbox:
        fp("intake.pre_commit")
    if batch.plans:
        fp("process.pre_commit")
    if batch.outcomes or batch.attempts:
        fp("deliver.pre_commit")
    if _has_dead_letter(batch):
        fp("dead.pre_move")
    if batch.parked:
        fp("parking.pre_commit")
    if batch.states:
        fp("memory.pre_commit")
    if any(isinstance(row, StateRow) and row.space == CROSSWALK for row in batch.states):
        fp("merge.pre_commit")


def after_commit(batch: Batch) -> None:
    """Mark that a batch was committed, and nobody has heard."""
    if not is_armed():
        return
    if batch.pieces:
        fp("store.giant_piece")
    if _has_dead_letter(batch):
        fp("dead.post_move")


def _has_dead_letter(batch: Batch) -> bool:
    dead = ExceptionState.DEAD_LETTER
    return any(isinstance(row, ExceptionRow) and row.state is dead for row in batch.exceptions)
