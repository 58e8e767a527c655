"""One site whose every destination lies behind a proxy of its own, and what must hold at its end."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from chaos.support import serving
from engine.support import Receiver, Running, Sender, Site, adt, code, control_id, running, until
from ifengine.chaos.proxy import Proxy

RULES = (
    "retry: {{first: {retry}, factor: 1, max: {retry}, jitter: 0, refused: never, in_doubt: never}}\n"
    "on_nak: {{AE: retry, CE: retry}}\n"
    "lanes: {lanes}\n"
)
PATIENTS = 7
WINDOW = 50


@dataclass
class Crossed:
    """A site, its receivers, and the proxies between them."""

    site: Site
    receivers: dict[str, Receiver]
    proxies: dict[str, Proxy]
    sent: list[str] = field(default_factory=list)
    _seen: dict[str, set[str]] = field(default_factory=dict)
    _read: Counter[str] = field(default_factory=Counter)

    def distinct(self, name: str) -> int:
        """Return how many messages have arrived; looks only at what is new."""
        received = self.receivers[name].received
        seen = self._seen.setdefault(name, set())
        seen.update(control_id(content) for content in received[self._read[name] :])
        self._read[name] = len(received)
        return len(seen)

    async def send(self, his: Sender, count: int) -> None:
        """Send new messages; every one is accepted."""
        for _ in range(count):
            control = f"M{len(self.sent):06}"
            self.sent.append(control)
            patient = str(700 + len(self.sent) % PATIENTS)
            assert code(await his_answer(his, adt(control, patient=patient))) == "AA"

    async def settled(self, engine: Running) -> bool:
        """Return whether the engine calls every delivery sent."""
        return await self.are_sent(engine, len(self.sent))

    async def are_sent(self, engine: Running, count: int) -> bool:
        """Return whether the engine has this many messages, each sent everywhere."""
        rows = await self.rows(engine, count)
        states = {d["state"] for row in rows for d in row["destinations"]}
        return len(rows) == count and states <= {"sent"}

    async def rows(self, engine: Running, count: int = 0) -> list[dict[str, Any]]:
        most = max(count, len(self.sent)) + 10
        found: list[dict[str, Any]] = await engine.ask("messages.list", limit=most)
        return found

    def arrived(self, name: str) -> list[str]:
        return self.receivers[name].ids

    async def marked(self, engine: Running) -> dict[str, set[str]]:
        """Return what the engine calls a possible duplicate, by destination."""
        found: dict[str, set[str]] = {name: set() for name in self.receivers}
        for row in await self.rows(engine):
            for destination in row["destinations"]:
                if destination["possible_duplicate"]:
                    found[destination["name"]].add(row["control_id"])
        return found

    async def judge(self, engine: Running) -> dict[str, list[str]]:
        """Return what is wrong, by kind; empty when nothing is."""
        marked = await self.marked(engine)
        wrong: dict[str, list[str]] = {}
        for name in self.receivers:
            times = Counter(self.arrived(name))
            # who says no has not taken it: the engine is right to believe that
            refused = name.startswith("code-")
            found = {
                "false": [m for m in self.sent if not times[m]],  # called sent, never arrived
                "unmarked": [
                    m for m, n in times.items() if n > 1 and m not in marked[name] and not refused
                ],
                "stale": behind_a_newer_one(self.arrived(name)),
                "phantom": sorted(set(times) - set(self.sent)),
            }
            for kind, ids in found.items():
                if ids:
                    wrong.setdefault(kind, []).extend(f"{name}:{one}" for one in ids)
        return wrong


async def his_answer(his: Sender, content: bytes) -> bytes:
    his.writer.write(b"\x0b" + content + b"\x1c\r")
    return await his.answer(60.0)


def behind_a_newer_one(arrived: list[str]) -> list[str]:
    """Return ids that came after a later message of their patient, the first time or again."""
    latest: dict[int, str] = {}
    stale = []
    for one in arrived:
        patient = int(one[1:]) % PATIENTS
        if one < latest.get(patient, ""):
            stale.append(one)
        latest[patient] = max(one, latest.get(patient, ""))
    return stale


class MixedSite(Site):
    """A site that speaks TLS to those whose name begins with tls, and does not wait long for it."""

    def write(self) -> None:
        super().write()
        path = self.folder / "ifengine.yaml"
        lines = path.read_text().replace("send: mllp,", "send: mllp, connect_timeout: 300ms,")
        text = ""
        for line in lines.splitlines():
            secure = line.startswith("  to-tls")
            text += (line.replace("plaintext: test", "tls: lab") if secure else line) + "\n"
        if (self.folder / "ca.pem").exists():
            text += f"tls:\n  lab: {{ca: {self.folder / 'ca.pem'}}}\n"
        path.write_text(text)


@contextlib.asynccontextmanager
async def crossed(
    folder: Path,
    proxies: Mapping[str, Proxy],
    *,
    more: str = "ack_timeout: 250ms",
    retry: str = "10ms",
    lanes: int = 2,
    ca: trustme.CA | None = None,
) -> AsyncIterator[tuple[Crossed, Running]]:
    """Run a site whose destination NAME is reached through ``proxies[NAME]`` alone."""
    receivers = {name: Receiver() for name in proxies}
    fronts = {}
    for name, proxy in proxies.items():
        receiver = receivers[name]
        await receiver.start()
        proxy.options = type(proxy.options)(**{**options_of(proxy), "to_port": receiver.port})
        fronts[name] = receiver
    async with serving(*proxies.values()):
        # the engine knows the ports of the proxies only
        behind = {name: Receiver(port=proxy.port) for name, proxy in proxies.items()}
        site = MixedSite(folder / "site", behind)
        site.folder.mkdir()
        if ca is not None:
            ca.cert_pem.write_to_path(str(site.folder / "ca.pem"))
        site.options = dict.fromkeys(proxies, RULES.format(retry=retry, lanes=lanes) + more)
        try:
            async with running(site, grace_seconds=2.0) as engine:
                yield Crossed(site, fronts, dict(proxies)), engine
        finally:
            for receiver in receivers.values():
                await receiver.stop()


def options_of(proxy: Proxy) -> dict[str, Any]:
    options = proxy.options
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


async def wait_until_done(
    one: Crossed,
    engine: Running,
    his: Sender,
    wanted: int,
    *,
    what: Mapping[str, str] | None = None,
    patience: float = 120.0,
) -> None:
    """Send until every proxy has misbehaved as often as wanted; then wait until all has left.

    ``what``: the misbehaviour that counts at each proxy; without it any does.
    """

    def done(name: str) -> int:
        times = one.proxies[name].done
        return times.total() if what is None else times[what[name]]

    while waiting := [name for name in one.proxies if done(name) < wanted]:
        assert len(one.sent) < 40 * wanted + 1000, waiting
        await one.send(his, 20)
        if len(one.sent) > WINDOW:
            await until(lambda: is_near(one), 120.0)
        for name, proxy in one.proxies.items():
            proxy.chooser.is_calm = proxy.chooser.is_calm or done(name) >= wanted
    for proxy in one.proxies.values():
        proxy.chooser.is_calm = True
    async with asyncio.timeout(patience):
        while not await one.settled(engine):
            await asyncio.sleep(0.1)


def is_near(one: Crossed) -> bool:
    """Return whether each destination is at most a window behind, or has done its part."""
    return all(
        proxy.chooser.is_calm or one.distinct(name) > len(one.sent) - WINDOW
        for name, proxy in one.proxies.items()
    )
