"""``dlq list`` and ``show``, and how replay and discard name the dead letters they mean."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ifengine.admin import acts, search
from ifengine.admin.messages import one, shown_detail
from ifengine.admin.records import (
    DestinationRecord,
    Look,
    MessageRecord,
    destination_name,
    order_keys,
)
from ifengine.admin.request import (
    Caller,
    Params,
    RequestError,
    inbox_number,
    reading_reason,
    usage,
)
from ifengine.admin.runtime import DeadLetterRef, Runtime
from ifengine.clock import MICROSECONDS, rfc3339
from ifengine.errors import EngineError
from ifengine.hl7.header import read_header
from ifengine.hl7.message import Message
from ifengine.routes.outbox_loading import ASIDE
from ifengine.store.base import ExceptionRow, ExceptionState, Fate, Reader
from ifengine.store.sealing import BlobKind

MOST_LETTERS = 100_000
PAGE = 500
SELECTION = frozenset(
    {"ids", "letters", "group", "channel", "dest", "since_us", "until_us", "type", "all", "limit"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One message that waits for a person at one destination, or did until it was discarded."""

    ref: DeadLetterRef
    inbox_id: int
    channel: str
    destination: str
    state: str  # dead_letter or discarded
    reason: str
    since_us: int
    keys: tuple[bytes, ...] = ()
    place: int = 0

    @property
    def name(self) -> str:
        """Return the reference as requests carry it."""
        return f"{self.ref.outbox}-{self.ref.seq}"


class Group(NamedTuple):
    """Dead letters of one channel, destination and reason."""

    number: int
    letters: tuple[Letter, ...]


# --- reading --------------------------------------------------------------------------------------


async def open_letters(
    runtime: Runtime, state: ExceptionState = ExceptionState.DEAD_LETTER
) -> list[Letter]:
    """Return all dead letters, or all held deliveries, by outbox and seq."""
    rows = await runtime.read(lambda reader: reader.exceptions_in(state, MOST_LETTERS))
    found: list[Letter] = []
    for at in range(0, len(rows), PAGE):
        page = rows[at : at + PAGE]
        found += await runtime.read(lambda reader, page=page: _letters(runtime, reader, page))  # type: ignore[misc]
    return found


def _letters(runtime: Runtime, reader: Reader, rows: Sequence[ExceptionRow]) -> list[Letter]:
    found = []
    for row in rows:
        entry = reader.outbox_entry(row.outbox, row.seq)
        # what its sender was told no about is offered by no list: `selected_refused`
        if entry is not None and row.stage != ASIDE:
            found.append(
                Letter(
                    ref=DeadLetterRef(row.outbox, row.seq),
                    inbox_id=entry.inbox_id,
                    channel=runtime.names.name(entry.channel),
                    destination=destination_name(runtime.names, entry.channel, entry.destination),
                    state=row.state.name.lower(),
                    reason=row.reason,
                    since_us=row.since_us,
                    keys=order_keys(entry),
                    place=entry.place,
                )
            )
    return found


async def _discarded(runtime: Runtime, channel: str) -> list[Letter]:
    where = search.MessageFilter(channel=channel, states=frozenset(Fate))
    found: list[Letter] = []
    async for record in search.matching(runtime, Look(runtime), where):
        discarded = [d for d in record.destinations if d.state.fate is Fate.DISCARDED]
        for destination in discarded:
            ref = DeadLetterRef(destination.planned.outbox, destination.state.seq)
            found.append(
                Letter(
                    ref=ref,
                    inbox_id=record.row.inbox_id,
                    channel=record.channel,
                    destination=destination.name,
                    state="discarded",
                    reason=destination.state.reason,
                    since_us=await runtime.read(
                        lambda reader, ref=ref: _settled_at(reader, ref)  # type: ignore[misc]
                    ),
                )
            )
        if len(found) >= MOST_LETTERS:
            break
    return found


def _settled_at(reader: Reader, ref: DeadLetterRef) -> int:
    outcome = reader.outcome(ref.outbox, ref.seq)
    return 0 if outcome is None else outcome.at_us


def grouped(letters: Sequence[Letter]) -> list[Group]:
    """Return groups numbered from 1 by when they began; ties by their names."""
    groups: dict[tuple[str, str, str, str], list[Letter]] = {}
    for letter in letters:
        key = (letter.channel, letter.destination, letter.state, letter.reason)
        groups.setdefault(key, []).append(letter)
    ordered = sorted(
        groups.items(), key=lambda item: (min(letter.since_us for letter in item[1]), item[0])
    )
    return [Group(number, tuple(found)) for number, (_, found) in enumerate(ordered, 1)]


# --- list -----------------------------------------------------------------------------------------


async def listing(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``dlq.list``. Groups are numbered before any filter, so that a number means one thing."""
    channel, destination = params.text("channel"), params.text("dest")
    states = params.texts("state") or ("dead_letter",)
    if not set(states) <= {"dead_letter", "discarded"}:
        raise usage("state: must be dead_letter or discarded")
    letters = await open_letters(runtime)
    groups = grouped(letters)
    held = await runtime.read(lambda reader: _held_behind(reader, groups))
    merged = await merged_since(runtime, [letter.inbox_id for letter in letters])
    shown = [
        _group_shown(group, behind, merged)
        for group, behind in zip(groups, held, strict=True)
        if "dead_letter" in states
    ]
    if "discarded" in states:
        later = grouped(await _discarded(runtime, channel))
        shown += [
            {**_group_shown(group, 0, frozenset()), "group": group.number + len(groups)}
            for group in later
        ]
    return [
        group
        for group in shown
        if channel in ("", group["channel"]) and destination in ("", group["destination"])
    ]


async def merged_since(runtime: Runtime, inbox_ids: Sequence[int]) -> frozenset[int]:
    """Return the messages that name a patient who was merged after they were received."""
    retired = runtime.retired
    if not retired:
        return frozenset()
    look = Look(runtime)
    ids = sorted(set(inbox_ids))
    found: set[int] = set()
    for at in range(0, len(ids), PAGE):

        def bodies(reader: Reader, page: list[int] = ids[at : at + PAGE]) -> list[bytes | None]:
            rows = [reader.inbox(inbox_id) for inbox_id in page]
            return [None if row is None else look.body(row) for row in rows]

        for inbox_id, body in zip(ids[at : at + PAGE], await runtime.read(bodies), strict=True):
            with contextlib.suppress(EngineError):  # what cannot be read names nobody
                if body is not None and retired.since(Message.parse(body), inbox_id):
                    found.add(inbox_id)
    return frozenset(found)


def _group_shown(group: Group, held_behind: int, merged: frozenset[int]) -> dict[str, object]:
    first = group.letters[0]
    times = [letter.since_us for letter in group.letters]
    return {
        "group": group.number,
        "count": len(group.letters),
        "channel": first.channel,
        "destination": first.destination,
        "state": first.state,
        "reason": first.reason,
        "first": rfc3339(min(times)),
        "last": rfc3339(max(times)),
        "held_behind": held_behind,
        "merged_since": sum(letter.inbox_id in merged for letter in group.letters),
        "messages": [str(letter.inbox_id) for letter in group.letters],
    }


def _held_behind(reader: Reader, groups: Sequence[Group]) -> list[int]:
    """Return, per group, how many deliveries wait behind one of its letters for a key of theirs."""
    behind: dict[int, list[tuple[int, frozenset[bytes]]]] = {}
    for outbox in {letter.ref.outbox for group in groups for letter in group.letters}:
        waiting = behind[outbox] = []
        for row in reader.exceptions(outbox):
            if row.state is ExceptionState.BEHIND:
                entry = reader.outbox_entry(outbox, row.seq)
                if entry is not None:
                    waiting.append((entry.place, frozenset(order_keys(entry))))
    counts = []
    for group in groups:
        first_place: dict[tuple[int, bytes], int] = {}
        for letter in group.letters:
            for key in letter.keys:
                place = first_place.get((letter.ref.outbox, key), letter.place)
                first_place[letter.ref.outbox, key] = min(place, letter.place)
        counts.append(
            sum(
                any(first_place.get((outbox, key), place) < place for key in keys)
                for outbox in {letter.ref.outbox for letter in group.letters}
                for place, keys in behind[outbox]
            )
        )
    return counts


# --- show -----------------------------------------------------------------------------------------


async def show(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``dlq.show``: each dead letter of one message; the peer's text only with phi."""
    reason = reading_reason(params, caller)
    inbox_id = inbox_number(params.needed("id"))
    destination = params.text("dest")
    record = await one(runtime, inbox_id)
    if reason:
        await acts.record(
            runtime,
            caller,
            "dead_letter.viewed",
            object_name=record.channel,
            inbox_id=inbox_id,
            reason=reason,
        )
    letters = await runtime.read(
        lambda reader: _shown(runtime, reader, record, destination, reveal=bool(reason))
    )
    if not letters:
        raise RequestError("not_found", "this message is not a dead letter")
    merged = inbox_id in await merged_since(runtime, [inbox_id])
    return [{**letter, "merged_since": merged} for letter in letters]


def _shown(
    runtime: Runtime, reader: Reader, record: MessageRecord, destination: str, *, reveal: bool
) -> list[dict[str, object]]:
    shown: list[dict[str, object]] = []
    for at in record.destinations:
        row = at.state.exception
        if row is None or row.state not in (ExceptionState.DEAD_LETTER, ExceptionState.HELD):
            continue
        if destination not in ("", at.name):
            continue
        detail = shown_detail(
            runtime, BlobKind.DETAIL, row.outbox, row.seq, row.detail, reveal=reveal
        )
        shown.append(
            {
                "letter": f"{row.outbox}-{row.seq}",
                "id": str(record.row.inbox_id),
                "channel": record.channel,
                "destination": at.name,
                "state": row.state.name.lower(),
                "since": rfc3339(row.since_us),
                "stage": row.stage,
                "step": row.step,
                "reason": row.reason,
                "code": row.code,
                "refusals": row.refusals,
                "in_doubt": row.doubts,
                "config_version": row.config_version,
                "possible_duplicate": row.possible_duplicate,
                "detail": detail,
                "attempts": [
                    {
                        "at": rfc3339(attempt.at_us),
                        "number": attempt.number,
                        "result": attempt.result,
                        "code": attempt.code,
                        "seconds": attempt.took_us / MICROSECONDS,
                    }
                    for attempt in reader.attempts(row.outbox, row.seq)
                ],
            }
        )
    return shown


# --- which ones -----------------------------------------------------------------------------------


async def selected(runtime: Runtime, params: Params) -> list[Letter]:
    """Return the dead letters a replay or a discard names, oldest message first.

    One way of naming is needed: message ids, references of a preview, a group, or filters
    (``all`` stands for no filter), so that an empty request never means everything.
    """
    ids, names = params.texts("ids"), params.texts("letters")
    group = params.number("group")
    filters = bool({"channel", "since_us", "until_us", "type", "all"} & params.names())
    if sum((bool(ids), bool(names), bool(group), filters)) != 1:
        raise usage(
            "name the dead letters in one way: ids, a group, or filters",
            "ifengine dlq list",
        )
    letters = await open_letters(runtime)
    if group:
        groups = grouped(letters)
        if group > len(groups):
            raise RequestError("not_found", "there is no such group", hint="ifengine dlq list")
        letters = list(groups[group - 1].letters)
    elif names:
        letters += await open_letters(runtime, ExceptionState.HELD)
        letters = _named(letters, names)
    elif ids:
        # a held delivery waits for a person too; it is let go by its message's id
        letters += await open_letters(runtime, ExceptionState.HELD)
        letters = _of_messages(letters, ids)
    else:
        letters = await _filtered(runtime, letters, params)
    destination = params.text("dest")
    letters = [letter for letter in letters if destination in ("", letter.destination)]
    letters.sort(key=lambda letter: (letter.inbox_id, letter.ref.outbox, letter.ref.seq))
    limit = params.number("limit")
    return letters[:limit] if limit else letters


async def selected_refused(runtime: Runtime, params: Params) -> list[Letter]:
    """Return the deliveries of messages whose sender was told no, named by ids or by a preview."""
    ids, names = params.texts("ids"), params.texts("letters")
    others = {"group", "channel", "since_us", "until_us", "type", "all"} & params.names()
    if bool(ids) == bool(names) or others:
        raise usage("name the messages whose sender was refused by their ids, nothing else")
    if names:
        return _named([], names)
    destination = params.text("dest")
    found: list[Letter] = []
    for text in ids:
        record = await one(runtime, inbox_number(text))
        found += [
            Letter(
                ref=DeadLetterRef(at.planned.outbox, at.state.seq),
                inbox_id=record.row.inbox_id,
                channel=record.channel,
                destination=at.name,
                state="rejected",
                reason=at.state.reason,
                since_us=record.row.received_us,
            )
            for at in record.destinations
            if at.planned.outbox and destination in ("", at.name) and _was_refused(at)
        ]
    if not found:
        raise RequestError(
            "not_found", "no delivery of these messages was ended by a no to their sender"
        )
    limit = params.number("limit")
    return found[:limit] if limit else found


def _was_refused(at: DestinationRecord) -> bool:
    if at.state.fate is Fate.REJECTED:
        return True
    exception = at.state.exception
    return (
        exception is not None
        and exception.state is ExceptionState.HELD
        and exception.stage == ASIDE
    )


def _named(letters: Sequence[Letter], names: Sequence[str]) -> list[Letter]:
    """Return the letters of a preview; one that is gone since is passed on, to be counted."""
    by_name = {letter.name: letter for letter in letters}
    found = []
    for name in dict.fromkeys(names):
        outbox, _, seq = name.partition("-")
        if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (outbox, seq)):
            raise usage("letters: must be references of a preview")
        gone = Letter(
            ref=DeadLetterRef(int(outbox), int(seq)),
            inbox_id=0,
            channel="",
            destination="",
            state="gone",
            reason="",
            since_us=0,
        )
        found.append(by_name.get(name, gone))
    return found


def _of_messages(letters: Sequence[Letter], ids: Sequence[str]) -> list[Letter]:
    wanted = {inbox_number(text) for text in ids}
    found = [letter for letter in letters if letter.inbox_id in wanted]
    missing = len(wanted - {letter.inbox_id for letter in found})
    if missing:
        raise RequestError(
            "not_found",
            f"{missing} of {len(wanted)} messages have no dead letter",
            hint="ifengine dlq list",
        )
    return found


async def _filtered(runtime: Runtime, letters: list[Letter], params: Params) -> list[Letter]:
    channel = params.text("channel")
    since_us, until_us = params.moment("since_us"), params.moment("until_us")
    kind = params.text("type")
    letters = [letter for letter in letters if channel in ("", letter.channel)]
    if not (since_us or until_us or kind):
        return letters
    where = search.MessageFilter(since_us=since_us, until_us=until_us, type=kind)
    look = Look(runtime)
    found: list[Letter] = []
    for at in range(0, len(letters), PAGE):

        def admitted(reader: Reader, page: list[Letter] = letters[at : at + PAGE]) -> list[Letter]:
            records = ((letter, reader.inbox(letter.inbox_id)) for letter in page)
            return [
                letter
                for letter, row in records
                if row is not None
                and where.admits_row(row, 0)
                and where.admits(look.record(reader, row))
            ]

        found += await runtime.read(admitted)
    return found


async def message_types(
    runtime: Runtime, letters: Sequence[Letter]
) -> dict[int, tuple[bytes, bytes]]:
    """Return MSH-9.1 and MSH-9.2 of the messages of some letters, by inbox id."""
    look = Look(runtime)
    ids = sorted({letter.inbox_id for letter in letters if letter.inbox_id})
    types: dict[int, tuple[bytes, bytes]] = {}
    for at in range(0, len(ids), PAGE):

        def read(reader: Reader, page: list[int] = ids[at : at + PAGE]) -> None:
            for inbox_id in page:
                row = reader.inbox(inbox_id)
                body = None if row is None else look.body(row)
                if body is not None:
                    header = read_header(body)
                    types[inbox_id] = (header.message_code, header.trigger_event)

        await runtime.read(read)
    return types
