"""Audit records of what people do over the admin socket."""

from ifengine.admin.request import Caller
from ifengine.admin.runtime import Runtime
from ifengine.store.base import Batch, NewAudit
from ifengine.store.sealing import BlobKind


async def record(
    runtime: Runtime,
    caller: Caller,
    action: str,
    *,
    object_name: str = "",
    inbox_id: int = 0,
    outcome: str = "ok",
    reason: str = "",
) -> None:
    """Put one act on stable storage; whatever it allows happens after this returned.

    A reason is text of a person and may name a patient: it is sealed, bound to time and message
    (the record's own number is given by the store later).
    """
    at_us = runtime.clock.now_us()

    def fill(batch: Batch) -> None:
        detail = b""
        if reason:
            detail = runtime.ring.seal(BlobKind.AUDIT, at_us, inbox_id, reason.encode())
        batch.audits.append(
            NewAudit(at_us, caller.actor, action, object_name, inbox_id, outcome, detail)
        )

    await runtime.commit(fill)
