"""What the engine writes down about itself: one audit record for all that a commit received."""

import hashlib
from collections.abc import Callable

from ifengine.store.base import Batch, NewAudit
from ifengine.telemetry.metrics import Metrics


def audit_gauge(metrics: Metrics) -> Callable[[bool], None]:
    return lambda valid: metrics.audit_chain_valid.set(valid)


def audit_counter(metrics: Metrics) -> Callable[[Batch], None]:
    def count(batch: Batch) -> None:
        for act in batch.audits:
            metrics.audit_records_total.labels(act.action).inc()

    return count


def suspect_record(now_us: int) -> NewAudit:
    """Return the record of a start after the storage failed."""
    outcome = "read again, whole"
    return NewAudit(now_us, "engine", "storage_failed", "store", 0, outcome, b"")


def audit_received(batch: Batch) -> None:
    """One audit record for all that a commit received, bound to what it holds."""
    inbox = batch.inbox
    if not inbox:
        return
    tags = hashlib.sha256(b"".join(entry.sealed[-16:] for entry in inbox)).hexdigest()[:32]
    what = f"{len(inbox)} messages {inbox[0].inbox_id}-{inbox[-1].inbox_id} sha256:{tags}"
    batch.audits.append(
        NewAudit(inbox[-1].received_us, "engine", "received", what, 0, "stored", b"")
    )
