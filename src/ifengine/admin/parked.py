"""``parked list``, ``show``, ``release`` and ``expire``: messages that wait for a fact."""

from ifengine.admin import acts
from ifengine.admin.messages import one, shown_detail, summary
from ifengine.admin.records import shown_type
from ifengine.admin.request import (
    Caller,
    Params,
    RequestError,
    inbox_number,
    reading_reason,
    usage,
)
from ifengine.admin.runtime import Runtime
from ifengine.clock import rfc3339
from ifengine.errors import SealError
from ifengine.hl7.header import read_header
from ifengine.routes.parking import fact_of
from ifengine.store.base import NameKind, ParkedRow, Reader
from ifengine.store.sealing import BlobKind

LISTING = ("channel", "fact", "limit")
ACTING = ("ids", "reason")
DEFAULT_LIMIT = 100
MOST_LISTED = 2000


async def listing(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``parked.list``: those whose time ends first, first."""
    channel, fact = params.text("channel"), params.text("fact")
    limit = params.number("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MOST_LISTED:
        raise usage(f"limit: must be 1 to {MOST_LISTED} in one request")
    if channel and all(known.name != channel for known in runtime.site.channels):
        raise RequestError(
            "not_found", "there is no channel of this name", hint="ifengine channels list"
        )

    def look(reader: Reader) -> list[dict[str, object]]:
        rows: list[ParkedRow] = []
        for known in runtime.site.channels:
            if channel in ("", known.name):
                rows += reader.parked(runtime.names.number(NameKind.CHANNEL, known.name))
        rows = [row for row in rows if fact in ("", fact_of(row.reason))]
        rows.sort(key=lambda row: (row.until_us, row.inbox_id))
        return [_listed(runtime, reader, row) for row in rows[:limit]]

    return await runtime.read(look)


def _listed(runtime: Runtime, reader: Reader, row: ParkedRow) -> dict[str, object]:
    return {
        "id": str(row.inbox_id),
        "channel": runtime.names.name(row.channel),
        "type": _type(runtime, reader, row.inbox_id),
        "fact": fact_of(row.reason),
        "since": rfc3339(runtime.steady.shown_us(row.since_us)),
        "until": rfc3339(runtime.steady.shown_us(row.until_us)),
        "reason": row.reason,
        "step": row.step,
        "config_version": row.config_version,
    }


def _type(runtime: Runtime, reader: Reader, inbox_id: int) -> str | None:
    row = reader.inbox(inbox_id)
    if row is None or not row.sealed:
        return None
    try:
        return shown_type(
            read_header(runtime.ring.open(BlobKind.INBOX, row.inbox_id, 0, row.sealed))
        )
    except SealError:
        return None


async def show(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``parked.show``; with ``phi`` and a reason also the keys that it waits for."""
    reason = reading_reason(params, caller)
    inbox_id = inbox_number(params.needed("id"))
    record = await one(runtime, inbox_id)
    rows = await runtime.read(lambda reader: list(reader.parked_message(inbox_id)))
    if not rows:
        raise RequestError("not_found", "this message is not parked", hint="ifengine parked list")
    if reason:
        await acts.record(
            runtime,
            caller,
            "message.viewed",
            object_name=record.channel,
            inbox_id=inbox_id,
            reason=reason,
        )
    return {
        **summary(record),
        "waits": [
            {
                "channel": runtime.names.name(row.channel),
                "fact": fact_of(row.reason),
                "since": rfc3339(runtime.steady.shown_us(row.since_us)),
                "until": rfc3339(runtime.steady.shown_us(row.until_us)),
                "step": row.step,
                "detail": shown_detail(
                    runtime,
                    BlobKind.PARKED,
                    row.channel,
                    inbox_id,
                    row.detail,
                    reveal=bool(reason),
                ),
            }
            for row in rows
        ],
    }


async def release(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``parked.release``: they go on now, and wait for nothing more."""
    return await _let_go(runtime, params, caller, expire=False)


async def expire(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``parked.expire``: as if their time were over, so `then` of the step decides."""
    return await _let_go(runtime, params, caller, expire=True)


async def _let_go(
    runtime: Runtime, params: Params, caller: Caller, *, expire: bool
) -> dict[str, object]:
    """Record the act, then let the messages go on: an act is never without its record."""
    reason = params.needed("reason")
    asked = [inbox_number(text) for text in params.texts("ids")]
    if not asked:
        raise usage("ids: names no message", "ids stand in the first column of `parked list`")
    rows = await runtime.read(lambda reader: {i: list(reader.parked_message(i)) for i in asked})
    action = "parked.expired" if expire else "parked.released"
    for inbox_id, parked in rows.items():
        for row in parked:
            await acts.record(
                runtime,
                caller,
                action,
                object_name=runtime.names.name(row.channel),
                inbox_id=inbox_id,
                reason=reason,
            )
    going = runtime.let_go([i for i in rows if rows[i]], expire=expire)
    return {
        "going": [str(i) for i in going],
        "gone": [str(i) for i in rows if i not in going],
    }
