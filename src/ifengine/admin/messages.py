"""``messages list``, ``show`` and ``trace``."""

import contextlib
from collections.abc import Callable

from ifengine.admin import acts, search
from ifengine.admin.answers import answers_of, entries_of
from ifengine.admin.masking import MASK, ContentView, masked, printable, revealed
from ifengine.admin.records import Look, MessageRecord, destination_name
from ifengine.admin.request import (
    Caller,
    Params,
    RequestError,
    inbox_number,
    reading_reason,
    usage,
)
from ifengine.admin.runtime import Runtime
from ifengine.clock import MICROSECONDS, rfc3339
from ifengine.errors import SealError
from ifengine.hl7.charset import CharsetPolicy
from ifengine.routes.outbox_loading import unseal_content
from ifengine.store.base import (
    AttemptRow,
    AuditRow,
    GuardVerdict,
    InboxKind,
    InboxRow,
    OutcomeRow,
    PlanRow,
    Reader,
)
from ifengine.store.sealing import BlobKind

DEFAULT_LIMIT = 100
MOST_LISTED = 2000  # in one answer; the client asks on with `before`
LISTING = frozenset(
    {
        "channel", "dest", "state", "since_us", "until_us", "type", "limit", "before",
        "control_id", "patient",
    }
)  # fmt: skip


async def listing(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``messages.list``: newest first. A search by patient is audited, without the value."""
    where = search.read_filter(params)
    limit = params.number("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MOST_LISTED:
        raise usage(f"limit: must be 1 to {MOST_LISTED} in one request")
    if where.patient:
        await acts.record(runtime, caller, "messages.searched", object_name="patient")
    found: list[dict[str, object]] = []
    async for record in search.matching(runtime, Look(runtime), where):
        found.append(summary(record))
        if len(found) == limit:
            break
    return found


def summary(record: MessageRecord) -> dict[str, object]:
    """Return a message as ``messages list -o json`` shows it (command-line.md, Fixed)."""
    row = record.row
    return {
        "id": str(row.inbox_id),
        "received_at": rfc3339(row.received_us),
        "channel": record.channel or None,
        "type": record.type,
        "control_id": record.control_id,
        "patient": MASK if row.sealed else None,
        "state": record.fate.name.lower(),
        "reason": record.reason,
        "config_version": record.config_version,
        # what it repeats; or what its sender was told no about before it came again
        "origin": str(row.origin) if row.origin and _repeats(row) else None,
        "destinations": [
            {
                "name": destination.name,
                "state": destination.state.fate.name.lower(),
                "attempts": destination.state.attempts,
                "reason": destination.state.reason,
                "code": destination.state.code,
                "possible_duplicate": destination.state.possible_duplicate,
            }
            for destination in record.destinations
        ],
    }


# --- show -----------------------------------------------------------------------------------------


async def show(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``messages.show``: structure, or with ``phi`` and a reason the content.

    The reason is in the audit log before the content leaves.
    """
    reason = reading_reason(params, caller)
    inbox_id = inbox_number(params.needed("id"))
    destination = params.text("dest")
    record = await one(runtime, inbox_id)
    if reason:
        await acts.record(
            runtime,
            caller,
            "message.viewed",
            object_name=record.channel,
            inbox_id=inbox_id,
            reason=reason,
        )
    view = _revealer(runtime, record) if reason else masked
    look = Look(runtime)
    body = await runtime.read(lambda reader: _viewed(look.body(record.row), view))
    sent = await runtime.read(lambda reader: _as_sent(runtime, reader, record, view))
    application = await runtime.read(lambda reader: answers_of(runtime, reader, record))
    return {
        **summary(record),
        "listener": runtime.names.name(record.row.listener) or None,
        "phi": bool(reason),
        **(body or {"readable": False, "segments": []}),
        "size": record.row.size,
        "application": application,
        "as_sent": [entry for entry in sent if destination in ("", entry["destination"])],
    }


async def one(runtime: Runtime, inbox_id: int) -> MessageRecord:
    """Return one message.

    Raises:
        RequestError: there is none with this id, or it was removed by retention.
    """
    look = Look(runtime)

    def find(reader: Reader) -> MessageRecord | None:
        row = reader.inbox(inbox_id)
        return None if row is None else look.record(reader, row)

    record = await runtime.read(find)
    if record is None:
        raise RequestError("not_found", "there is no message with this id")
    return record


def _revealer(runtime: Runtime, record: MessageRecord) -> Callable[[bytes], ContentView]:
    listener = runtime.site.listeners.get(runtime.names.name(record.row.listener))
    charset = CharsetPolicy()
    if listener is not None:
        charset = CharsetPolicy(listener.charset_forced, listener.charset_default)
    return lambda content: revealed(content, charset)


def _viewed(
    content: bytes | None, view: Callable[[bytes], ContentView]
) -> dict[str, object] | None:
    return None if content is None else dict(view(content))


def _as_sent(
    runtime: Runtime,
    reader: Reader,
    record: MessageRecord,
    view: Callable[[bytes], ContentView],
) -> list[dict[str, object]]:
    """Return what each destination gets; with content where a channel changed the message."""
    files = {
        f"{channel.name}.{destination.name}"
        for channel in runtime.site.channels
        for destination in channel.destinations
        if destination.files is not None
    }
    shown: list[dict[str, object]] = []
    for entry in entries_of(reader, record):
        content = None
        if entry.copy_id:
            with_name = runtime.names.name(entry.destination) in files
            with contextlib.suppress(SealError):
                content = unseal_content(
                    reader, runtime.ring, entry.inbox_id, entry.copy_id, with_name=with_name
                )
            if content is not None and with_name:
                # a file's copy begins with its name, which may be made of content
                content = content.partition(b"\0")[2]
        shown.append(
            {
                "destination": destination_name(runtime.names, entry.channel, entry.destination),
                "run": entry.run,
                "changed": bool(entry.copy_id),
                **(_viewed(content, view) or {}),
            }
        )
    return shown


# --- trace ----------------------------------------------------------------------------------------


async def trace(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``messages.trace``: everything recorded about one message, in order of time."""
    reason = reading_reason(params, caller)
    inbox_id = inbox_number(params.needed("id"))
    record = await one(runtime, inbox_id)
    if reason:
        await acts.record(
            runtime,
            caller,
            "message.traced",
            object_name=record.channel,
            inbox_id=inbox_id,
            reason=reason,
        )
    tracer = _Tracer(runtime, reveal=bool(reason))
    events = await runtime.read(lambda reader: tracer.events(reader, record))
    return {**summary(record), "events": events}


class _Tracer:
    """Turns rows into events. ``detail`` (a peer's text, a person's reason) only when revealed."""

    def __init__(self, runtime: Runtime, *, reveal: bool) -> None:
        self._runtime = runtime
        self._reveal = reveal

    def events(self, reader: Reader, record: MessageRecord) -> list[dict[str, object]]:
        found: list[tuple[int, dict[str, object]]] = [
            (record.row.received_us, self._received(record))
        ]
        found += [(plan.at_us, self._planned(plan)) for plan in record.plans]
        for entry in entries_of(reader, record):
            name = destination_name(self._runtime.names, entry.channel, entry.destination)
            for attempt in reader.attempts(entry.outbox, entry.seq):
                found.append((attempt.at_us, self._attempt(name, attempt)))
            outcome = reader.outcome(entry.outbox, entry.seq)
            if outcome is not None:
                found.append((outcome.at_us, self._outcome(name, outcome)))
        for act in reader.audit_of(record.row.inbox_id):
            found.append((act.at_us, self._act(act)))
        found.sort(key=lambda pair: pair[0])
        return [{"at": rfc3339(at_us), **event} for at_us, event in found]

    def _received(self, record: MessageRecord) -> dict[str, object]:
        row = record.row
        return {
            "event": "received",
            "listener": self._runtime.names.name(row.listener) or None,
            "peer": row.peer,
            "bytes": row.size,
            "kind": row.kind.name.lower(),
            "guard": row.verdict.name.lower(),
            "reason": row.reason,
        }

    def _planned(self, plan: PlanRow) -> dict[str, object]:
        return {
            "event": "planned",
            "run": plan.run,
            "config_version": plan.config_version,
            "destinations": [
                {
                    "name": destination_name(self._runtime.names, plan.channel, fate.destination),
                    "state": fate.fate.name.lower(),
                    "reason": fate.reason,
                }
                for fate in plan.fates
            ],
        }

    def _attempt(self, name: str, row: AttemptRow) -> dict[str, object]:
        return {
            "event": "attempt",
            "destination": name,
            "number": row.number,
            "result": row.result,
            "code": row.code,
            "seconds": row.took_us / MICROSECONDS,
            "detail": self._detail(
                BlobKind.ATTEMPT, (row.outbox << 40) | row.seq, row.number, row.detail
            ),
        }

    def _outcome(self, name: str, row: OutcomeRow) -> dict[str, object]:
        return {
            "event": "replayed" if row.superseded_by else row.fate.name.lower(),
            "destination": name,
            "code": row.code,
            "attempts": row.attempts,
            "seconds": row.took_us / MICROSECONDS,
            "possible_duplicate": row.possible_duplicate,
            "reason": row.reason,
        }

    def _act(self, row: AuditRow) -> dict[str, object]:
        return {
            "event": "audit",
            "actor": row.actor,
            "action": row.action,
            "outcome": row.outcome,
            "detail": self._detail(BlobKind.AUDIT, row.at_us, row.inbox_id, row.detail),
        }

    def _detail(self, kind: BlobKind, a: int, b: int, sealed: bytes) -> str | None:
        return shown_detail(self._runtime, kind, a, b, sealed, reveal=self._reveal)


def shown_detail(
    runtime: Runtime, kind: BlobKind, a: int, b: int, sealed: bytes, *, reveal: bool
) -> str | None:
    """Return a sealed text: None when there is none, dots unless it was asked for and audited."""
    if not sealed:
        return None
    if not reveal:
        return MASK
    try:
        return printable(runtime.ring.open(kind, a, b, sealed).decode("utf-8", "surrogateescape"))
    except SealError:
        return None


def _repeats(row: InboxRow) -> bool:
    return row.kind is InboxKind.DUPLICATE or row.verdict is GuardVerdict.NEW
