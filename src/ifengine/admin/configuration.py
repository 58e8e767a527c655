"""What an operator asks about the configuration: load it again, and which versions there were."""

from ifengine.admin.request import Caller, Params, RequestError
from ifengine.admin.runtime import Runtime
from ifengine.clock import rfc3339
from ifengine.errors import SealError
from ifengine.routes.config.kept_files import unpack
from ifengine.routes.config.version_diff import Files, diff_versions
from ifengine.store.sealing import BlobKind
from ifengine.transforms.source import Position

RELOAD = ("reason", "dry_run", "skip_tests")


async def reload(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``config.reload``."""
    report = await runtime.reload(
        actor=caller.actor,
        reason=params.text("reason"),
        dry_run=params.flag("dry_run"),
        skip_tests=params.flag("skip_tests"),
    )
    return {
        "done": report.done,
        "version": report.version,
        "plan": list(report.plan),
        "refused": list(report.refused),
        "tests": report.tests,
        "in_flight": report.in_flight,
    }


async def history(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``config.history``: every version this store ran with, newest first."""
    versions = await runtime.read(lambda reader: reader.config_versions())
    return [
        {
            "version": row.version,
            "digest": row.digest,
            "at": rfc3339(row.at_us),
            "running": row.version == runtime.config_version,
        }
        for row in reversed(versions)
    ]


async def diff(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``config.diff``: what differs between two versions; ``new`` absent: what runs."""
    old = params.number("old")
    new = params.number("new") or runtime.config_version
    before, after = await _kept(runtime, old), await _kept(runtime, new)
    return {
        "old": old,
        "new": new,
        "changes": [
            {
                "path": change.path,
                "before": change.before,
                "after": change.after,
                "place_before": _place(change.place_before),
                "place_after": _place(change.place_after),
            }
            for change in diff_versions(before, after)
        ],
    }


async def _kept(runtime: Runtime, version: int) -> Files:
    sealed = await runtime.read(lambda reader: reader.config_content(version))
    if sealed is None:
        raise RequestError(
            "not_found",
            "the files of this version are not kept",
            hint="ifengine config history lists the versions",
        )
    try:
        return unpack(runtime.ring.open(BlobKind.CONFIG, version, 0, sealed))
    except SealError:
        raise RequestError("not_found", "the files of this version do not open") from None


def _place(at: Position | None) -> dict[str, object] | None:
    return None if at is None else {"file": at.file, "line": at.line}
