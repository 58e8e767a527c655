"""What an attempt writes down: its outcome, or why the delivery is stuck, and the attempt itself."""

from ifengine.routes.lanes import Entry
from ifengine.routes.outbox_loading import ASIDE
from ifengine.routes.retry import Attempt, Decision
from ifengine.store.base import AttemptRow, ExceptionRow, ExceptionState, Fate, OutcomeRow
from ifengine.store.sealing import BlobKind, KeyRing

# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_SENT = Fate.SENT


def sent_row(
    outbox: int, entry: Entry, attempt: Attempt, decision: Decision, now_us: int, took: float
) -> OutcomeRow:
    """Return the outcome of a delivery that was accepted."""
    return OutcomeRow(
        outbox,
        entry.seq,
        _SENT,
        attempt.code or attempt.label,
        entry.refusals + entry.doubts + 1,
        now_us,
        int(took * 1e6),
        entry.possible_duplicate,
        0,
        "accepted_as_duplicate" if decision.accepted_as_duplicate else "",
    )


def attempt_row(
    ring: KeyRing, outbox: int, entry: Entry, attempt: Attempt, now_us: int, took: float
) -> AttemptRow:
    """Return one attempt that was not accepted; the peer's text is sealed."""
    number = entry.refusals + entry.doubts
    detail = b""
    if attempt.detail:
        place = (outbox << 40) | entry.seq
        detail = ring.seal(BlobKind.ATTEMPT, place, number, attempt.detail)
    return AttemptRow(
        outbox,
        entry.seq,
        number,
        now_us,
        attempt.label,
        attempt.code,
        int(took * 1e6),
        detail,
    )


def stuck_row(
    ring: KeyRing,
    outbox: int,
    entry: Entry,
    state: ExceptionState,
    attempt: Attempt,
    decision: Decision,
    now_us: int,
    steady_us: int,
) -> ExceptionRow:
    """Return why a delivery waits for another attempt or for a person."""
    detail = b""
    if attempt.detail:
        detail = ring.seal(BlobKind.DETAIL, outbox, entry.seq, attempt.detail)
    return ExceptionRow(
        outbox,
        entry.seq,
        state,
        entry.refusals,
        entry.doubts,
        steady_us + int(decision.delay_seconds * 1e6),
        now_us,
        "delivery",
        "",
        decision.reason,
        attempt.code,
        detail,
        entry.config_version,
        entry.possible_duplicate,
    )


def rejected_row(
    outbox: int, entry: Entry, attempt: Attempt, now_us: int, took: float, reason: str
) -> OutcomeRow:
    """Return the outcome of a delivery whose sender was told no after an attempt."""
    return OutcomeRow(
        outbox,
        entry.seq,
        Fate.REJECTED,
        attempt.code or attempt.label,
        entry.refusals + entry.doubts,
        now_us,
        int(took * 1e6),
        entry.possible_duplicate,
        0,
        reason,
    )


def cancelled_row(outbox: int, seq: int, now_us: int, reason: str) -> OutcomeRow:
    """Return the outcome of a delivery that never left, because its sender was told no."""
    return OutcomeRow(outbox, seq, Fate.REJECTED, "", 0, now_us, 0, False, 0, reason)


def aside_row(
    outbox: int, entry: Entry, state: ExceptionState, now_us: int, reason: str, code: str = ""
) -> ExceptionRow:
    """Return the row of a delivery that goes again only when its sender sends again."""
    return ExceptionRow(
        outbox,
        entry.seq,
        state,
        entry.refusals,
        entry.doubts,
        0,
        now_us,
        ASIDE,
        "",
        reason,
        code,
        b"",
        entry.config_version,
        entry.possible_duplicate,
    )


def behind_row(outbox: int, entry: Entry, now_us: int, reason: str) -> ExceptionRow:
    """Return the row of a delivery that waits for others of its key, or for its turn."""
    return ExceptionRow(
        outbox,
        entry.seq,
        ExceptionState.BEHIND,
        0,
        0,
        0,
        now_us,
        "delivery",
        "",
        reason,
        "",
        b"",
        entry.config_version,
        entry.possible_duplicate,
    )
