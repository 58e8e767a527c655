"""``audit verify``: the chain over every record, read in pieces so that others can read between."""

from ifengine.admin.request import Caller, Params
from ifengine.admin.runtime import Runtime
from ifengine.store.audit import (
    CHUNK_ROWS,
    EMPTY,
    HEAD_SETTING,
    AuditReport,
    Head,
    head_problem,
    verify,
)
from ifengine.store.base import AuditRow, Reader


async def verify_chain(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``audit.verify``."""
    report = await verified(runtime)
    return {
        "ok": not report.problem,
        "records": report.records,
        "first_bad": report.first_bad or None,
        "problem": report.problem,
    }


async def verified(runtime: Runtime) -> AuditReport:
    """Verify the audit log and its head while the engine writes on."""
    newest = EMPTY
    while True:
        rows, head = await runtime.read(lambda reader, after=newest.seq: _next(reader, after))  # type: ignore[misc]
        if not rows:
            break
        bad = verify(rows, newest)
        if bad is not None:
            problem = f"audit record {bad} was changed, added or removed"
            return AuditReport(newest.seq, bad, problem)
        newest = Head(rows[-1].seq, rows[-1].digest)
    if head is None and newest == EMPTY:
        held = await runtime.read(lambda reader: reader.counters().inbox_id)
        if held:  # every stored message has left a record: there is no empty log beside messages
            return AuditReport(0, 1, "the audit log is missing")
    problem = head_problem(head, newest, runtime.ring.audit_mac)
    return AuditReport(newest.seq, newest.seq + 1 if problem else 0, problem)


def _next(reader: Reader, after: int) -> tuple[list[AuditRow], str | None]:
    """Return the next records, or none and the kept head, read while no record came."""
    while True:
        head = reader.setting(HEAD_SETTING)
        rows = list(reader.audit_after(after, CHUNK_ROWS))
        if rows:
            return rows, None
        if reader.setting(HEAD_SETTING) == head:
            return [], head
