"""What an operator asks about the configuration: load it again, and which versions there were."""

from ifengine.admin.request import Caller, Params
from ifengine.admin.runtime import Runtime
from ifengine.clock import rfc3339

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
