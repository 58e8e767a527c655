"""``clock.show`` and ``clock.accept``: whether the wall clock is believed, and who says that it is right."""

from ifengine.admin.request import Caller, Params, RequestError
from ifengine.admin.runtime import Runtime
from ifengine.clock import MICROSECONDS, rfc3339
from ifengine.store.base import Batch, NewAudit
from ifengine.store.sealing import BlobKind

ACCEPT = ("reason", "time_passed")


async def show(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``clock.show``. ``ahead_seconds``: of where the wall clock was believed, back is negative."""
    steady = runtime.steady
    return {
        "wall": rfc3339(runtime.clock.now_us()),
        "steady": rfc3339(steady.now_us()),
        "believed": not steady.is_doubtful,
        "ahead_seconds": steady.doubt_us // MICROSECONDS,
        "times_set": steady.jumps,
    }


async def accept(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``clock.accept``: the act and its record are one commit."""
    reason, passed = params.needed("reason"), params.flag("time_passed")
    if not runtime.steady.is_doubtful:
        raise RequestError("not_found", "the wall clock is believed: there is nothing to accept")
    at_us = runtime.clock.now_us()

    def fill(batch: Batch) -> None:
        runtime.steady.accept(time_passed=passed)
        how = "the time passed" if passed else "it was set"
        detail = runtime.ring.seal(BlobKind.AUDIT, at_us, 0, reason.encode())
        batch.audits.append(NewAudit(at_us, caller.actor, "clock.accepted", how, 0, "done", detail))

    await runtime.commit(fill)
    return await show(runtime, params, caller)
