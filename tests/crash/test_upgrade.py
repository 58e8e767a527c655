"""A store of a former schema with a full queue, and SIGKILL in each step of its upgrade (G17).

``IFENGINE_UPGRADES`` sets how many stores are upgraded, ``IFENGINE_UPGRADE_QUEUE`` how much each has
queued, ``IFENGINE_SEED`` repeats a run. The store is written by a running engine, ends by a kill, and
is then given back the tables that its former schema had, row by row, without checksums, as the
engine of that time left it.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path

import apsw
import pytest

from campaigns import Ledger, seed, trials
from crash.failing import KILLED, said
from crash.messages import CHANNEL, digest, make
from crash.outside import Receiver, Stream, first_deliveries, repeated
from crash.people import is_marked, listed, until_settled
from crash.serving import Site, free_ports, wait_until
from crash.watching import watch_balance
from ifengine.failpoints import VARIABLE
from ifengine.store.sqlite_schema import APPLICATION_ID, PAGE_BYTES, migrations, open_reader

UPGRADES = trials(1, 20, "IFENGINE_UPGRADES")
QUEUED = trials(60, 2_000, "IFENGINE_UPGRADE_QUEUE")
DESTINATIONS = ("east", "west")
LATER = 10_000  # what is made once the engine is back


def as_former_schema(folder: Path, schema: int) -> None:
    """Write the store as the engine did that knew the migrations up to ``schema`` alone."""
    new, old = folder / "store.db", folder / "former.db"
    source = open_reader(new)
    former = apsw.Connection(str(old))
    former.pragma("page_size", PAGE_BYTES)
    former.pragma("journal_mode", "wal")
    for number, statements in migrations()[:schema]:
        former.execute(statements)
        former.pragma("user_version", number)
    former.pragma("application_id", APPLICATION_ID)
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    with former:
        for (table,) in former.execute(tables).fetchall():
            columns = [row[1] for row in former.execute(f"PRAGMA table_info({table})")]
            marks = ", ".join("?" * len(columns))
            rows = source.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            former.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
        former.execute("DELETE FROM meta WHERE key = 'checksums'")
        former.execute("UPDATE meta SET value = 0 WHERE key = 'clean'")  # it was killed
    source.close()
    former.close()
    for name in ("store.db", "store.db-wal", "store.db-shm", "store.mark"):
        (folder / name).unlink(missing_ok=True)
    old.rename(new)


def version_of(folder: Path) -> int:
    connection = apsw.Connection(str(folder / "store.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found: int = connection.pragma("user_version")
    connection.close()
    return found


def points(schema: int) -> list[str]:
    """Return every place where an upgrade from a schema can be killed; each start goes on from there."""
    step = ["store.upgrade_pre_commit=kill", "store.upgrade_post_commit=kill"]
    return ["store.upgrade_vacuumed=kill", *step * (len(migrations()) - schema)]


def acted_or_ready(site: Site) -> bool:
    """Whether a point acted, or the engine is ready."""
    try:
        return bool(said(site)) or site.is_ready()
    except AssertionError:  # it ended: between the two looks it may have said why
        if said(site):
            return True
        raise


def killed_at(site: Site, point: str) -> bool:
    """Start, and return whether the process was killed at a point; else it is ready."""
    site.environ[VARIABLE] = point
    try:
        site.spawn()
        assert site.process is not None
        process = site.process
        wait_until("it is killed or ready", lambda: acted_or_ready(site))
        acted = bool(said(site))
        if acted:
            assert process.wait(20) == KILLED
        return acted
    finally:
        site.environ.pop(VARIABLE)
        site.close()


async def fill(site: Site, streams: list[Stream]) -> None:
    """Let an engine take everything while nobody receives, and kill it."""
    await asyncio.to_thread(site.start)
    await asyncio.gather(*(stream.run() for stream in streams))
    site.kill()


async def upgrade(folder: Path, schema: int, lot: random.Random) -> tuple[list[str], Counter[str]]:
    """Upgrade one store through kills; return what is wrong, and figures."""
    ports = dict(zip(DESTINATIONS, free_ports(2), strict=True))
    site = Site(folder / "site", listen={"feed": ""}, send=ports, channels={"crossing": CHANNEL})
    receivers = {name: Receiver(name, port, lot, faults=0.005) for name, port in ports.items()}

    def stream(number: int, first: int, count: int) -> Stream:
        contents = (make(number, first + n).content for n in range(count))
        return Stream(site.ports["feed"], contents, lot, window=8)

    # some of it was sent before, so that cursors stand in the middle
    streams = [stream(n, 0, QUEUED // 8) for n in range(2)]
    waiting = [stream(n, QUEUED // 8, QUEUED // 2 - QUEUED // 8) for n in range(2)]
    later = [stream(n, LATER, 20) for n in range(2)]
    figures: Counter[str] = Counter()
    store = site.folder / "var" / "store"
    try:
        for receiver in receivers.values():
            await receiver.start()
        await fill(site, streams)
        for receiver in receivers.values():
            receiver.stop()
        await fill(site, waiting)
        await asyncio.to_thread(as_former_schema, store, schema)
        assert version_of(store) == schema
        for receiver in receivers.values():
            await receiver.start()
        for point in points(schema):
            figures["kills in a step"] += await asyncio.to_thread(killed_at, site, point)
        for _ in range(lot.randint(0, 2)):  # and at some moment of a start
            site.spawn()
            await asyncio.sleep(lot.uniform(0.1, 1.2))
            site.kill()
            figures["kills at random"] += 1
        with watch_balance(store / "store.db") as watch:
            await asyncio.to_thread(site.start)
            await asyncio.gather(*(one.run() for one in later))
            await until_settled(site)
        watch.assert_even()
        assert version_of(store) == len(migrations())
        wrong = judge([*streams, *waiting, *later], receivers, listed(site))
        if site.command("audit", "verify").returncode:
            wrong.append("the audit chain does not hold")
        if await asyncio.to_thread(site.stop) != 0:
            wrong.append("no ordered stop")
    finally:
        for receiver in receivers.values():
            receiver.stop()
        site.close()
    figures["messages"] = sum(len(one.taken) for one in (*streams, *waiting, *later))
    figures["twice and marked"] = sum(len(repeated(one.log)) for one in receivers.values())
    if figures["kills in a step"] != len(points(schema)):
        wrong.append(f"not every point was reached: {dict(figures)}")
    return wrong, figures


def judge(
    streams: list[Stream], receivers: dict[str, Receiver], rows: list[dict[str, object]]
) -> list[str]:
    """Compare what was accepted before and after with what came."""
    wrong = [f"{c}: refused {code}" for s in streams for c, code in s.refused.items()]
    taken = {control for one in streams for control in one.taken}
    for name, receiver in receivers.items():
        places = first_deliveries(receiver.log)
        wrong += [f"{name}: {control} lost" for control in sorted(taken - places.keys())]
        for one in receiver.log:
            connection, number = one.control_id[1:].split("-")
            if digest(make(int(connection), int(number)).expected[name]) != one.digest:
                wrong.append(f"{name}: {one.control_id} with other bytes")
        marked = is_marked(rows, name)
        wrong += [f"{name}: {c} twice unmarked" for c in sorted(repeated(receiver.log) - marked)]
        latest: dict[str, int] = {}
        for control in (c for one in streams for c in one.sent):
            connection, number = control[1:].split("-")
            key = make(int(connection), int(number)).key
            if places.get(control, 0) < latest.get(key, 0):
                wrong.append(f"{name}: {control} overtaken")
            latest[key] = max(latest.get(key, 0), places.get(control, 0))
    return wrong


@pytest.mark.crash
async def test_an_upgrade_that_is_killed_in_every_step_keeps_what_was_queued(
    tmp_path: Path, ledger: Ledger
) -> None:
    number = seed()
    lot = random.Random(number)
    wrong: list[str] = []
    figures: Counter[str] = Counter()
    for trial in range(UPGRADES):
        schema = 1 + trial % (len(migrations()) - 1)
        folder = tmp_path / f"upgrade-{trial}"
        folder.mkdir()
        found, counts = await upgrade(folder, schema, lot)
        wrong += [f"from schema {schema}: {one}" for one in found]
        figures += counts
    ledger.record(
        "G17", "upgrades of a store with a full queue, killed in each step", trials=UPGRADES,
        failures=len(wrong), found=f"{dict(figures)}; IFENGINE_SEED={number}",
    )  # fmt: skip
    assert wrong == [], f"IFENGINE_SEED={number}: {wrong[:5]}"
