"""``doctor``: one line a check, from what the engine knows and what the store says of itself."""

import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from ifengine.admin.audits import verified
from ifengine.admin.request import Caller, Params, RequestError
from ifengine.admin.runtime import Runtime
from ifengine.clock import MICROSECONDS

Level = Literal["ok", "warn", "fail"]

DAY_SECONDS = 86_400
# A content key is changed daily; one older than this says that nothing changes it any more.
OLD_KEY_DAYS = 2
_GIB = 1024**3


class Finding(NamedTuple):
    """What a check says."""

    level: Level
    check: str
    text: str


async def examine(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``doctor``: all checks, or the one asked for. The engine's own findings come first."""
    wanted = params.text("check")
    findings: list[Finding] = []
    for level, check, text in runtime.problems():
        if wanted in ("", check):
            findings.append(Finding(_LEVELS.get(level, "fail"), check, text))
    for name, check_one in CHECKS.items():
        if wanted in ("", name):
            findings += await check_one(runtime)
    if wanted and not findings:
        raise RequestError(
            "not_found", "there is no check of this name", hint=f"checks: {' '.join(CHECKS)}"
        )
    return [finding._asdict() for finding in findings]


_LEVELS: Mapping[str, Level] = {"ok": "ok", "warn": "warn", "fail": "fail"}


async def _store(runtime: Runtime) -> Iterable[Finding]:
    found: Sequence[str] = await runtime.read(lambda reader: reader.integrity())
    if found:
        return [Finding("fail", "store", f"integrity: {len(found)} problems, first: {found[0]}")]
    sizes = await runtime.read(lambda reader: reader.sizes())
    size = sum(sizes.values()) / _GIB
    return [Finding("ok", "store", f"integrity (quick), {size:.2f} GiB")]


async def _audit(runtime: Runtime) -> Iterable[Finding]:
    report = await verified(runtime)
    if report.problem:
        return [Finding("fail", "audit", report.problem)]
    return [Finding("ok", "audit", f"{report.records} records, chain unbroken")]


async def _disk(runtime: Runtime) -> Iterable[Finding]:
    reserve = runtime.site.reserve_bytes
    try:
        free = shutil.disk_usage(runtime.site.store_path).free
    except OSError:
        return [Finding("fail", "disk", "the folder of the store cannot be looked at")]
    text = f"{free / _GIB:.1f} GiB free, reserve is {reserve / _GIB:.1f} GiB"
    if free < reserve:
        return [Finding("fail", "disk", f"{text}, senders are not read")]
    return [Finding("warn" if free < 2 * reserve else "ok", "disk", text)]


async def _keys(runtime: Runtime) -> Iterable[Finding]:
    found = runtime.ring.status()
    foreign = sum(key.kek_id != found.kek_id for key in found.keys)
    if foreign:
        return [Finding("fail", "keys", f"{foreign} data keys are wrapped by another key")]
    current = [key for key in found.keys if key.current and key.purpose == "content"]
    if not current:
        return [Finding("fail", "keys", "there is no data key to seal with")]
    age_us = runtime.clock.now_us() - current[-1].created_us
    days = age_us / (DAY_SECONDS * MICROSECONDS)
    text = f"data key k{current[-1].key_id}, {days:.1f} days old, key file {found.kek_id}"
    return [Finding("warn" if days > OLD_KEY_DAYS else "ok", "keys", text)]


async def _listeners(runtime: Runtime) -> Iterable[Finding]:
    bound = {listening.name: listening for listening in runtime.listening()}
    findings: list[Finding] = []
    for name, config in runtime.site.listeners.items():
        listening = bound.get(name)
        if listening is None:
            findings.append(Finding("fail", "listeners", f"{name} is not listening"))
        elif listening.paused:
            findings.append(Finding("fail", "listeners", f"{name} is not reading"))
        else:
            how = "tls" if config.tls else "plaintext"
            text = f"{name} :{listening.port} {how}, {listening.connections} connections"
            findings.append(Finding("ok", "listeners", text))
    return findings


async def _destinations(runtime: Runtime) -> Iterable[Finding]:
    findings: list[Finding] = []
    for channel in runtime.channels():
        for outbox in channel.outboxes:
            name = f"{channel.name}.{outbox.destination}"
            if outbox.blocked:
                findings.append(
                    Finding("fail", "destinations", f"{name} is blocked by one message")
                )
            elif not outbox.connected and outbox.waiting:
                text = f"{name} is not connected, {outbox.waiting} waiting"
                findings.append(Finding("fail", "destinations", text))
            elif outbox.dead:
                text = f"{name}: {outbox.dead} dead letters wait for a person"
                findings.append(Finding("warn", "destinations", text))
            else:
                findings.append(Finding("ok", "destinations", f"{name}: {outbox.waiting} waiting"))
    return findings


CHECKS: Mapping[str, Callable[[Runtime], Awaitable[Iterable[Finding]]]] = {
    "store": _store,
    "audit": _audit,
    "disk": _disk,
    "keys": _keys,
    "listeners": _listeners,
    "destinations": _destinations,
}
