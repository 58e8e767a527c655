"""``patients``: who became whom, what is frozen, and a person's decision about either.

A number comes in the request and goes nowhere but into sealed detail; answers mask it unless the
reason for reading it was put into the audit log.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.admin import acts, search
from ifengine.admin.answers import entries_of
from ifengine.admin.masking import MASK, printable
from ifengine.admin.records import Look, MessageRecord, destination_name
from ifengine.admin.request import Caller, Params, RequestError, reading_reason, usage
from ifengine.admin.runtime import Runtime
from ifengine.clock import rfc3339
from ifengine.errors import EngineError, SealError
from ifengine.hl7.identifiers import CX, identifiers
from ifengine.hl7.message import Message
from ifengine.routes.identity import identifiers_in
from ifengine.routes.memory import Memories
from ifengine.routes.outbox_loading import unseal_content
from ifengine.store.base import Batch, NewAudit, Reader
from ifengine.store.sealing import BlobKind
from ifengine.transforms.base import HeldError
from ifengine.transforms.identity import (
    Identifier,
    Link,
    PatientIdentity,
    all_merged_into,
    chain_of,
    known_facts,
    link_of,
    merge,
    read_frozen,
    shown,
    take_back,
    thaw,
)
from ifengine.transforms.memory import Remembered, Scratch, Space

PAGE = 500
MOST_LOOKED_AT = 50  # messages of a bare number, to learn whose it may be
_CX_PARTS = 5


class _Crosswalk(NamedTuple):
    """What every verb here needs of a runtime."""

    memories: Memories
    identity: PatientIdentity


def _crosswalk(runtime: Runtime) -> _Crosswalk:
    memories, retired = runtime.memories, runtime.retired
    if memories is None or retired is None or retired.identity is None:
        raise RequestError(
            "refused",
            "this site does not say who is one patient",
            hint="identity: {patient: {path: PID-3, type: MR, authority: [NAME]}} in ifengine.yaml",
        )
    return _Crosswalk(memories, retired.identity)


# --- which identifier -----------------------------------------------------------------------------


async def _identifiers(runtime: Runtime, walk: _Crosswalk, text: str) -> list[Identifier]:
    """Return what a number may mean: a whole CX means one, a bare number one for each authority."""
    identity = walk.identity
    if "^" in text:
        parts = [*text.split("^"), *("" for _ in range(_CX_PARTS))]
        namespace, universal, kind = [*parts[3].split("&"), "", ""][:3]
        found = identity.identifier(CX(parts[0], (namespace, universal, kind), parts[4]))
        if found is None:
            raise usage(
                "number: is not an identifier of the site's definition",
                "as in NUMBER^^^AUTHORITY^TYPE",
            )
        return [found]
    number = text.strip().upper()
    candidates = dict.fromkeys((one, "", "", identity.type, number) for one in identity.authority)
    looked = 0
    async for record in search.matching(
        runtime, Look(runtime), search.MessageFilter(patient=number)
    ):
        for message in await _received(runtime, [record]):
            found_there = identifiers_in(message, identity)
            candidates.update(dict.fromkeys(one for one in found_there if one[4] == number))
        looked += 1
        if looked == MOST_LOOKED_AT:
            break
    return list(candidates)


async def _received(runtime: Runtime, records: Sequence[MessageRecord]) -> list[Message]:
    look = Look(runtime)
    bodies = await runtime.read(lambda reader: [look.body(record.row) for record in records])
    return [message for body in bodies if (message := _parsed(body)) is not None]


def _parsed(content: bytes | None) -> Message | None:
    try:
        return None if content is None else Message.parse(content)
    except EngineError:
        return None


async def _the_one(
    runtime: Runtime, walk: _Crosswalk, text: str, counts: Callable[[Identifier], bool], what: str
) -> Identifier:
    """Return the one identifier that a number means and that counts.

    Raises:
        RequestError: none does, or several do.
    """
    found = [one for one in await _identifiers(runtime, walk, text) if counts(one)]
    if not found:
        raise RequestError("not_found", f"this identifier is not {what}")
    if len(found) > 1:
        raise RequestError(
            "refused",
            f"{len(found)} identifiers with this number are {what}",
            hint="write it whole: NUMBER^^^AUTHORITY^TYPE",
        )
    return found[0]


# --- looking --------------------------------------------------------------------------------------


async def show(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``patients.show``: each identifier that a number may mean and that is known."""
    walk = _crosswalk(runtime)
    reason = reading_reason(params, caller)
    number = params.needed("number")
    action = "patient.viewed" if reason else "patients.searched"
    await acts.record(runtime, caller, action, object_name="patient", reason=reason)
    found = await _identifiers(runtime, walk, number)
    answers = [_shown(walk, one, reveal=bool(reason)) for one in found]
    known = [answer for answer in answers if answer is not None]
    if not known:
        raise RequestError("not_found", "nothing is known of this identifier")
    return known


def _shown(walk: _Crosswalk, identifier: Identifier, *, reveal: bool) -> dict[str, object] | None:
    look = walk.memories.look_up
    chain = chain_of(look, identifier)
    into = all_merged_into(look, identifier)
    facts = known_facts(look, identifier)
    frozen = look(Space.FROZEN, identifier)
    if not (chain.links or into or facts is not None or frozen is not None):
        return None

    def told(one: Identifier) -> str:
        return printable(shown(one)) if reveal else MASK

    return {
        "identifier": told(identifier),
        "retired": bool(chain.links),
        "survivor": told(chain.survivor),
        "chain": [
            {"to": told(link.to), "by": _by(link), "at": rfc3339(link.at_us)}
            for link in chain.links
        ],
        "merged_into_it": [told(one) for one in into],
        "frozen": None if frozen is None else read_frozen(frozen)[1],
        "known": {
            place: printable(text) if reveal else MASK for place, text in (facts or {}).items()
        },
    }


def _by(link: Link) -> str:
    return str(link.message)


async def listing(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``patients.list``: the frozen identifiers, oldest first."""
    walk = _crosswalk(runtime)
    if not params.flag("frozen"):
        raise usage("frozen: only frozen identifiers are listed", "ifengine patients list --frozen")
    reason = reading_reason(params, caller)
    if reason:
        await acts.record(
            runtime, caller, "patient.viewed", object_name="frozen patients", reason=reason
        )
    found = await runtime.read(lambda reader: _frozen(reader, walk.memories))
    rows: list[dict[str, object]] = []
    for remembered in sorted(found, key=lambda one: (one.at_us, one.message)):
        identifier, why = read_frozen(remembered)
        rows.append(
            {
                "identifier": printable(shown(identifier)) if reason else MASK,
                "why": why,
                "by": str(remembered.message),
                "at": rfc3339(remembered.at_us),
            }
        )
    return rows


def _frozen(reader: Reader, memories: Memories) -> list[Remembered]:
    found: list[Remembered] = []
    after = b""
    while rows := reader.states(Space.FROZEN, after, PAGE):
        found += [memories.open(row)[1] for row in rows]
        after = rows[-1].key
    return found


# --- deciding -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Act:
    """What a person changes, with its audit record: one transaction."""

    runtime: Runtime
    caller: Caller
    reason: str = field(repr=False)
    memory: Scratch = field(repr=False)

    async def commit(self, action: str, identifiers: Sequence[Identifier], inbox_id: int) -> None:
        """Write it; the identifiers stand in the sealed detail of the record."""
        runtime, at_us = self.runtime, self.memory.now_us
        told = f"{' '.join(shown(one) for one in identifiers)}: {self.reason}"

        def fill(batch: Batch) -> None:
            detail = runtime.ring.seal(
                BlobKind.AUDIT, at_us, inbox_id, told.encode("utf-8", "backslashreplace")
            )
            batch.audits.append(
                NewAudit(at_us, self.caller.actor, action, "patient", inbox_id, "done", detail)
            )

        await runtime.remember(self.memory.changes(), fill)


async def _act(runtime: Runtime, walk: _Crosswalk, caller: Caller, reason: str) -> _Act:
    # a person's merge counts as later than every message that is there
    newest = await runtime.read(lambda reader: reader.counters().inbox_id)
    memory = walk.memories.scratch(newest, runtime.clock.now_us())
    return _Act(runtime, caller, reason, memory)


async def resolve(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``patients.resolve``: lift a freeze. What was held is released by replaying it."""
    walk, reason = _crosswalk(runtime), params.needed("reason")
    look = walk.memories.look_up
    identifier = await _the_one(
        runtime,
        walk,
        params.needed("number"),
        lambda one: look(Space.FROZEN, one) is not None,
        "frozen",
    )
    act = await _act(runtime, walk, caller, reason)
    why = look(Space.FROZEN, identifier)
    thaw(act.memory, identifier)
    await act.commit("patient.resolved", [identifier], 0)
    return {"resolved": True, "was": "" if why is None else read_frozen(why)[1]}


async def add_merge(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``patients.merge``: write a merge that no message could; no receiver hears of it."""
    walk, reason = _crosswalk(runtime), params.needed("reason")
    prior, survivor = (_whole(walk, params.needed(name), name) for name in ("number", "survivor"))
    if prior == survivor:
        raise usage("survivor: is the same identifier")
    act = await _act(runtime, walk, caller, reason)
    written = (
        (survivor[4],), ("",), ("",), survivor[:3] if any(survivor[1:3]) else survivor[:1],
        (survivor[3],),
    )  # fmt: skip
    try:
        merge(act.memory, prior, survivor, written)
    except HeldError as error:
        raise RequestError(
            "refused", error.reason.safe, hint="ifengine patients unmerge, or resolve"
        ) from None
    changed = bool(act.memory.changes())
    if changed:
        await act.commit("patient.merged", [prior, survivor], 0)
    return {"merged": changed}


def _whole(walk: _Crosswalk, text: str, name: str) -> Identifier:
    """Return an identifier that is written whole, or bare where the site has one authority."""
    parts = [*text.split("^"), *("" for _ in range(_CX_PARTS))]
    authority = parts[3] or (
        walk.identity.authority[0] if len(walk.identity.authority) == 1 else ""
    )
    namespace, universal, kind = [*authority.split("&"), "", ""][:3]
    cx = CX(parts[0], (namespace, universal, kind), parts[4] or walk.identity.type)
    found = walk.identity.identifier(cx)
    if found is None:
        raise usage(
            f"{name}: is not an identifier of the site's definition",
            "write it whole: NUMBER^^^AUTHORITY^TYPE",
        )
    return found


# --- taking a merge back --------------------------------------------------------------------------


async def unmerge(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``patients.unmerge``: remove one link, and list what went out under the survivor.

    The list is read from the bytes that were sent: a delivery whose message named the identifier
    as it was received, and that no longer did when it went out.
    """
    walk, dry_run = _crosswalk(runtime), params.flag("dry_run")
    reason = params.text("reason").strip() if dry_run else params.needed("reason")
    look = walk.memories.look_up
    identifier = await _the_one(
        runtime,
        walk,
        params.needed("number"),
        lambda one: link_of(look, one) is not None,
        "retired",
    )
    link = link_of(look, identifier)
    if link is None:  # it went meanwhile
        raise RequestError("not_found", "this identifier is not retired")
    listed = await _rewritten(runtime, walk, identifier)
    if not dry_run:
        act = await _act(runtime, walk, caller, reason)
        take_back(act.memory, identifier)
        await act.commit("patient.unmerged", [identifier, link.to], link.message)
    return {
        "dry_run": dry_run,
        "removed": not dry_run,
        "by": _by(link),
        "at": rfc3339(link.at_us),
        "messages": listed,
    }


async def _rewritten(
    runtime: Runtime, walk: _Crosswalk, identifier: Identifier
) -> list[dict[str, object]]:
    """Return every delivery that was rewritten through one link, oldest message first."""
    affected = frozenset((identifier, *all_merged_into(walk.memories.look_up, identifier)))
    look = Look(runtime)
    found: dict[tuple[int, str], dict[str, object]] = {}
    for number in sorted({one[4] for one in affected}):
        async for record in search.matching(runtime, look, search.MessageFilter(patient=number)):
            for row in await runtime.read(
                lambda reader, record=record: _gone(reader, runtime, look, record, affected)  # type: ignore[misc]
            ):
                found[record.row.inbox_id, str(row["destination"])] = row
    return [row for _, row in sorted(found.items())]


def _gone(
    reader: Reader,
    runtime: Runtime,
    look: Look,
    record: MessageRecord,
    affected: frozenset[Identifier],
) -> list[dict[str, object]]:
    identity = None if runtime.retired is None else runtime.retired.identity
    received = _parsed(look.body(record.row))
    if received is None or identity is None:
        return []
    named = affected & _named(received, identity)
    if not named:
        return []
    states = {at.name: at.state for at in record.destinations}
    files = _file_destinations(runtime)
    rows: dict[str, dict[str, object]] = {}
    for entry in entries_of(reader, record):
        if not entry.copy_id:
            continue  # the received bytes: nothing was rewritten
        full_name = runtime.names.name(entry.destination)
        try:
            content = unseal_content(reader, runtime.ring, entry.inbox_id, entry.copy_id)
        except SealError:
            continue
        sent = _parsed(content.partition(b"\0")[2] if full_name in files else content)
        if sent is None or not named - _named(sent, identity):
            continue
        name = destination_name(runtime.names, entry.channel, entry.destination)
        rows[name] = {
            "id": str(record.row.inbox_id),
            "received_at": rfc3339(record.row.received_us),
            "channel": record.channel,
            "destination": name,
            "state": states[name].fate.name.lower() if name in states else "",
        }
    return list(rows.values())


def _named(message: Message, identity: PatientIdentity) -> set[Identifier]:
    """Return the patients that PID-3 names; PID-4 may keep what was there before."""
    found = (
        identity.identifier(cx) for i in message.indexes("PID") for cx in identifiers(message, i, 3)
    )
    return {one for one in found if one is not None}


def _file_destinations(runtime: Runtime) -> set[str]:
    return {
        f"{channel.name}.{destination.name}"
        for channel in runtime.site.channels
        for destination in channel.destinations
        if destination.files is not None
    }
