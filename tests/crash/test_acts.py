"""SIGKILL between what a person does and its audit record: never the one without the other (G14).

``IFENGINE_ACT_KILLS`` sets how often, ``IFENGINE_SEED`` repeats a run. Replays, discards, pauses,
resumptions and reloads, killed at their points, at those of the audit record, and at random moments.
After each kill the store is read as it lies, before anybody mends anything.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from crash.failing import KILLED, said
from crash.outside import Receiver, Stream
from crash.people import ask
from crash.serving import Site, free_ports, wait_until
from crash.watching import watch_balance
from ifengine.engine.runtime import PAUSED
from ifengine.errors import EngineError
from ifengine.failpoints import VARIABLE
from ifengine.store.base import Fate
from ifengine.store.sqlite_read import SqliteReader

KILLS = trials(2, 90, "IFENGINE_ACT_KILLS")
CHANNEL = """\
ifengine: 1
channel: ward
from: in
order_by: patient
steps: [{set: {MSH-8: "MARK"}}]
to:
  lab: {connection: to-lab, retry: {first: 20ms, max: 100ms, in_doubt: never}}
"""
RECORD = ("audit.sign_before", "audit.appended")
POINTS = {
    "replay": ("replay.authz", "replay.audited", "replay.enqueued", *RECORD),
    "discard": RECORD,
    "pause": RECORD,
    "resume": RECORD,
    "reload": ("reload.prepared", "reload.version_committed", "reload.switched", *RECORD),
}
AT_ANY_MOMENT = ""


class Office:
    """Does things with an engine that is killed meanwhile."""

    def __init__(self, site: Site, lot: random.Random) -> None:
        self.site, self.lot = site, lot
        self.changes = 0
        self.did: dict[str, Callable[[], object]] = {
            "replay": lambda: ask(site, "dlq.replay", ids=[self.letter()], reason="t 1", **STORED),
            "discard": lambda: ask(site, "dlq.discard", ids=[self.letter()], reason="t 2"),
            "pause": lambda: ask(site, "channels.pause", name="ward", reason="t 3"),
            "resume": lambda: ask(site, "channels.resume", name="ward"),
            "reload": self.reload,
        }

    def letter(self) -> str:
        groups = ask(self.site, "dlq.list")
        return str(self.lot.choice([one for group in groups for one in group["messages"]]))

    def reload(self) -> object:
        self.changes += 1
        text = CHANNEL.replace("MARK", f"V{self.changes}")
        (self.site.folder / "channels" / "ward.yaml").write_text(text)
        return ask(self.site, "config.reload", reason="t 4")

    def act(self, name: str) -> None:
        """Ask; a killed engine gives no answer."""
        with contextlib.suppress(EngineError, OSError):
            self.did[name]()

    async def killed_in(self, name: str, point: str) -> None:
        """Kill the engine at a point of an act, or at any moment of it."""
        site = self.site
        await asyncio.to_thread(self.start_armed, point)
        assert site.process is not None
        asked = asyncio.create_task(asyncio.to_thread(self.act, name))
        if point == AT_ANY_MOMENT:
            await asyncio.sleep(self.lot.uniform(0.0, 0.06))
            site.kill()
        await asked
        if point != AT_ANY_MOMENT:
            process = site.process
            await asyncio.to_thread(wait_until, f"{point} acts", lambda: process.poll() is not None)
            assert process.returncode == KILLED, f"{name}, {point}: {process.returncode}"

    def start_armed(self, point: str) -> None:
        """Start so that the point acts at the next thing that is done: a start passes some itself."""
        for passed in range(1, 9):
            if point != AT_ANY_MOMENT:
                self.site.environ[VARIABLE] = f"{point}=kill@{passed}"
            try:
                self.site.start()
            except AssertionError:
                if not said(self.site):
                    raise
                continue  # the start itself passed it so often
            finally:
                self.site.environ.pop(VARIABLE, None)
            return
        raise AssertionError(f"never ready: {point}")


STORED: dict[str, object] = {"as": "stored"}


def one_sided(database: Path) -> tuple[list[str], Counter[str]]:
    """Return every act without its record and every record without its act; and how many acts."""
    reader = SqliteReader(database)
    wrong: list[str] = []
    acts: Counter[str] = Counter()
    try:
        records: Counter[tuple[str, int]] = Counter()
        named: set[str] = set()
        last = ""
        for row in reader.audit_after(0, 1_000_000):
            if row.outcome == "done" and row.inbox_id:
                records[row.action, row.inbox_id] += 1
            if row.action in ("reload", "start"):
                named.add(row.object)
            if row.action in ("pause", "resume"):
                last = row.action
                acts[row.action] += 1
        for inbox_id in range(1, reader.counters().inbox_id + 1):
            plans = reader.plans(inbox_id)
            again = sum(plan.run > 0 for plan in plans)
            fates = [
                reader.outcome(planned.outbox, planned.seq) for p in plans for planned in p.fates
            ]
            gone = sum(one is not None and one.fate is Fate.DISCARDED for one in fates)
            for action, done in (("replay", again), ("discard", gone)):
                acts[action] += done
                if records[action, inbox_id] != done:
                    told = records[action, inbox_id]
                    wrong.append(f"message {inbox_id}: {action} done {done} times, told {told}")
        is_paused = bool(reader.setting(f"{PAUSED}ward"))
        if is_paused != (last == "pause"):
            wrong.append(f"paused: {is_paused}, the last word is {last!r}")
        versions = {f"config {row.version}" for row in reader.config_versions()}
        acts["reload"] = len(versions)
        if versions != named:
            wrong.append(f"versions one-sided: {sorted(versions ^ named)}")
    finally:
        reader.close()
    return wrong, acts


def order(number: int) -> bytes:
    return (
        f"MSH|^~\\&|HIS|MERCY|IE|MERCY|20260105101500||ADT^A08|L{number}|P|2.5.1\r"
        f"PID|1||{number}^^^MERCY^MR||Test^Ada\r"
    ).encode()


@pytest.mark.crash
async def test_no_act_is_without_its_record_and_no_record_without_its_act(
    tmp_path: Path, ledger: Ledger
) -> None:
    number = seed()
    lot = random.Random(number)
    (port,) = free_ports(1)
    site = Site(tmp_path, listen={"in": ""}, send={"to-lab": port}, channels={"ward": CHANNEL})
    lab = Receiver("lab", port, lot, judge=lambda control: "AE")  # a replay makes a letter again
    office = Office(site, lot)
    letters = Stream(site.ports["in"], (order(n) for n in range(KILLS * 2 + 20)), lot, window=8)
    database = site.folder / "var" / "store" / "store.db"
    cases = [(name, point) for name, points in POINTS.items() for point in (*points, AT_ANY_MOMENT)]
    lot.shuffle(cases)
    wrong: list[str] = []
    acts: Counter[str] = Counter()
    try:
        await lab.start()
        await asyncio.to_thread(site.start)
        with watch_balance(database) as watch:
            await letters.run()
            await asyncio.to_thread(
                wait_until, "each is a dead letter",
                lambda: sum(g["count"] for g in ask(site, "dlq.list")) >= len(letters.taken),
            )  # fmt: skip
            site.kill()
            for trial in range(KILLS):
                name, point = cases[trial % len(cases)]
                await office.killed_in(name, point)
                found, acts = one_sided(database)
                wrong += [f"{name} at {point or 'any moment'}: {one}" for one in found]
            await asyncio.to_thread(site.start)
            for name in office.did:
                await asyncio.to_thread(office.act, name)
            found, acts = one_sided(database)
            wrong += found
        watch.assert_even()
        assert site.command("audit", "verify").returncode == 0
        assert await asyncio.to_thread(site.stop) == 0
    finally:
        lab.stop()
        site.close()
    ledger.record(
        "G14", "kills between an act of a person and its audit record", trials=KILLS,
        failures=len(wrong), found=f"acts on record: {dict(acts)}; IFENGINE_SEED={number}",
    )  # fmt: skip
    assert wrong == [], f"IFENGINE_SEED={number}: {wrong[:5]}"
    assert all(acts[name] for name in POINTS), acts
