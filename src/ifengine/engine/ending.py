"""How a process that served a site ends: its exit code, and what it says of it."""

import sys
from collections.abc import Sequence

from ifengine.errors import DiskFullError, EngineError, StorageFailedError
from ifengine.telemetry.events import PartLate, shortened
from ifengine.telemetry.log import describe, emit

EXIT_DONE = 0
EXIT_UNFORESEEN = 1
EXIT_STORAGE_FAILED = 75


def exit_code(failure: BaseException | None, late: Sequence[str]) -> int:
    """Say why it ends on standard error, and return the code.

    Args:
        failure: what stopped the engine; None after an ordered stop.
        late: listeners and outboxes that did not finish in time.
    """
    if late:
        sys.stderr.write(f"stopped; not finished in time: {', '.join(late)}\n")
        for part in late:
            emit(PartLate(part=shortened(part)))
    if failure is None:
        return EXIT_DONE
    if not isinstance(failure, StorageFailedError):
        sys.stderr.write(
            f"stopped: unforeseen {describe(failure)}; nothing that was acknowledged"
            " is lost, start again\n"
        )
        return EXIT_UNFORESEEN
    if isinstance(failure, DiskFullError):
        sys.stderr.write(
            "stopped: the disk is full, and the last batch found no room; nothing of it was"
            " acknowledged\n"
        )
        return EXIT_STORAGE_FAILED
    sys.stderr.write(
        f"stopped: the storage failed ({failure}); nothing of the last batch was"
        " acknowledged, what it held may or may not be there at the next start\n"
    )
    return EXIT_STORAGE_FAILED


def first_error(group: BaseExceptionGroup[EngineError]) -> EngineError:
    """Return one error of a group."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, EngineError) else EngineError("the engine stopped")
