"""``dlq replay`` and ``dlq discard``: the preview, the limits, the counts afterwards."""

from collections.abc import Sequence

from ifengine.admin.dead_letters import SELECTION, Letter, message_types, selected, selected_refused
from ifengine.admin.request import Caller, Params, RequestError, usage
from ifengine.admin.runtime import DeadLetterRef, Runtime
from ifengine.failpoints import fp
from ifengine.routes.dead_letters import IDENTITY_EVENTS

REPLAY = SELECTION | {"as", "dry_run", "allow_older", "sender_was_refused", "reason"}
DISCARD = SELECTION | {"dry_run", "reason"}

MOST_REPLAYED_AT_ONCE = 1000  # security.md 5: more needs two people, who do not exist yet
SAMPLE = 5


async def replay(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``dlq.replay``.

    As ``stored`` the bytes go out again as they were; as ``reprocess`` today's channel runs over
    what was received. A bulk replay leaves identity events out; they go one at a time.
    ``sender_was_refused``: messages, by their ids, whose sender was told no, and nothing else.
    """
    fp("replay.authz")
    how = params.text("as") or "reprocess"
    if how not in ("stored", "reprocess"):
        raise usage("as: must be stored or reprocess")
    dry_run = params.flag("dry_run")
    reason = params.text("reason").strip() if dry_run else params.needed("reason")
    refused = params.flag("sender_was_refused")
    letters = await (selected_refused if refused else selected)(runtime, params)
    if len(letters) > MOST_REPLAYED_AT_ONCE and not dry_run:
        raise RequestError(
            "refused",
            f"{len(letters)} dead letters: at most {MOST_REPLAYED_AT_ONCE} go at once",
            hint="narrow it, or replay in parts with --limit",
        )
    report = await runtime.replay(
        [letter.ref for letter in letters],
        how=how,
        allow_older=params.flag("allow_older"),
        dry_run=dry_run,
        actor=caller.actor,
        reason=reason,
        sender_was_refused=refused,
    )
    by_ref = {letter.ref: letter for letter in letters}
    # the engine leaves identity events out of a bulk replay; said apart from what has no key
    types = await message_types(runtime, [by_ref[r] for r in report.unordered if r in by_ref])
    bulk = len({letter.inbox_id for letter in letters}) > 1
    identity = [
        by_ref[ref]
        for ref in report.unordered
        if bulk and ref in by_ref and _is_identity(types.get(by_ref[ref].inbox_id))
    ]
    return {
        "dry_run": dry_run,
        "as": how,
        "asked": len(letters),
        "going": len(report.going),
        "older": len(report.older),
        "unordered": len(report.unordered) - len(identity),
        "gone": len(report.gone),
        "filtered": len(report.filtered),
        "failed_again": len(report.failed_again),
        "identity": len(identity),
        "merged": len(report.merged),
        "merged_messages": _messages(by_ref, report.merged),
        "older_messages": _messages(by_ref, report.older),
        "identity_messages": [str(letter.inbox_id) for letter in identity],
        "config_version": runtime.config_version,
        "letters": [letter.name for letter in letters],
        "sample": _sample([by_ref[ref] for ref in report.going if ref in by_ref]),
    }


async def discard(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``dlq.discard``: settle dead letters as discarded; they stay listed as such."""
    dry_run = params.flag("dry_run")
    reason = params.text("reason").strip() if dry_run else params.needed("reason")
    letters = await selected(runtime, params)
    done: Sequence[DeadLetterRef] = ()
    if not dry_run:
        refs = [letter.ref for letter in letters]
        done = await runtime.discard(refs, actor=caller.actor, reason=reason)
    return {
        "dry_run": dry_run,
        "asked": len(letters),
        "discarded": len(done),
        "gone": 0 if dry_run else len(letters) - len(done),
        "letters": [letter.name for letter in letters],
        "sample": _sample(letters),
    }


def _is_identity(found: tuple[bytes, bytes] | None) -> bool:
    return found is not None and found[0] == b"ADT" and found[1] in IDENTITY_EVENTS


def _messages(by_ref: dict[DeadLetterRef, Letter], refs: Sequence[DeadLetterRef]) -> list[str]:
    return [str(by_ref[ref].inbox_id) for ref in refs if ref in by_ref]


def _sample(letters: Sequence[Letter]) -> list[dict[str, str]]:
    return [
        {
            "letter": letter.name,
            "id": str(letter.inbox_id),
            "channel": letter.channel,
            "destination": letter.destination,
            "reason": letter.reason,
        }
        for letter in letters[:SAMPLE]
    ]
