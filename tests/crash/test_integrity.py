"""What arrives is what was accepted, or what the recorded rules make of it: byte for byte (G2).

``IFENGINE_INTEGRITY_MESSAGES`` sets how many go through, ``IFENGINE_RERUNS`` of how many stored
originals the steps run once more, ``IFENGINE_SEED`` repeats a run. The engine is killed under load.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from campaigns import Ledger, seed, trials
from crash.outside import Receiver, Stream, digest, repeated
from crash.people import ask, is_marked, listed, until_settled
from crash.serving import Site, free_ports, wait_until
from crash.watching import watch_balance
from ifengine.hl7.message import Message
from ifengine.routes.channel import Channel, MessageContext
from ifengine.routes.config.kept_files import unpack
from ifengine.routes.config.loading import load_site
from ifengine.routes.outbox_loading import unseal_content
from ifengine.routes.shadow import outcomes_of
from ifengine.store.base import Fate
from ifengine.store.keys import FileKek
from ifengine.store.names import Names
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.store.sqlite import SqliteStore
from ifengine.transforms.memory import Blank, Scratch

MESSAGES = trials(1000, 100_000, "IFENGINE_INTEGRITY_MESSAGES")
RERUNS = trials(300, 10_000, "IFENGINE_RERUNS")
STREAMS, WINDOW = 6, 8
SOME = 40  # go by one version for certain
CHANNELS = Path(__file__).parents[2] / "channels"
PASSING = """\
ifengine: 1
channel: passing
from: in
order_by: MSH-10
to:
  archive: {connection: to-archive, lanes: 4, retry: {first: 20ms, max: 100ms, in_doubt: never}}
"""
DELIMITERS = (b"|^~\\&", b"|^~\\&", b"|^~\\&#", b"#!*%$", b"*^~?&", b";:,/+")
BIG = (20_000, 70_000, 400_000)
LETTERS = {
    b"": bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)),
    b"8859/1": "Åäößé€ñ".encode("latin-1", "ignore") + bytes(range(0x20, 0x7F)),
    b"8859/15": bytes(range(0xA0, 0x100)) + bytes(range(0x20, 0x7F)),
    b"ASCII": bytes(range(0x20, 0x7F)),
}


class Anything:
    """Makes messages of all sizes, charsets and delimiters, none twice."""

    def __init__(self, number: int, count: int, lot: random.Random) -> None:
        self.number, self.count, self.lot = number, count, lot
        self.sizes: Counter[str] = Counter()

    def messages(self) -> Iterator[bytes]:
        for made in range(self.count):
            yield self.message(f"A{self.number}-{made}".encode())

    def message(self, control: bytes) -> bytes:
        lot = self.lot
        signs = lot.choice(DELIMITERS)
        field, others = signs[:1], signs[1:]
        charset = lot.choice((*LETTERS, b"UNICODE UTF-8"))
        kind = lot.choice((b"ADT", b"ORU", b"MDM", b"ZZZ")) + others[:1] + b"Z01"
        head = [b"MSH" + field + others, b"S", b"F", b"R", b"F", b"20260105", b"", kind, control]
        head += [b"P", lot.choice((b"2.3", b"2.5.1", b"2.8")), b"", b"", b"", b"", b"", charset]
        lines = [field.join(head)]
        dice = lot.random()
        size = lot.choice(BIG) if dice < 0.01 else 0 if dice < 0.2 else lot.randint(1, 3000)
        self.sizes["big" if size > 3000 else "tiny" if not size else "small"] += 1
        while size > 0:
            part = lot.randint(0, max(size, 60))
            name = lot.choice((b"PID", b"OBX", b"NTE", b"ZA1"))
            lines.append(name + field + self.text(charset, part))
            size -= part + 4
        end = lot.choice((b"\r", b"\r", b"", b"\r\r"))
        return b"\r".join(lines) + end

    def text(self, charset: bytes, size: int) -> bytes:
        if charset == b"UNICODE UTF-8":
            return "".join(self.lot.choices("aé漢€ñ| ^~&\\x", k=size // 2)).encode()
        return bytes(self.lot.choices(LETTERS[charset], k=size))


async def kills_until(site: Site, lot: random.Random, sending: asyncio.Future[Any]) -> int:
    """Kill now and then until all was answered; return how often."""
    kills = 0
    while not sending.done():
        await asyncio.sleep(lot.uniform(0.3, 0.8) if not kills else lot.uniform(0.5, 6.0))
        if not kills or not sending.done():
            kills += 1
            site.kill()
            await asyncio.to_thread(site.start)
    return kills


async def pass_all(folder: Path, number: int) -> tuple[list[str], int, str]:
    """Send everything through; return what is wrong, how many digests were compared, the figures."""
    lot = random.Random(number)
    (port,) = free_ports(1)
    site = Site(
        folder / "site", listen={"in": ""}, send={"to-archive": port},
        channels={"passing": PASSING},
    )  # fmt: skip
    archive = Receiver("archive", port, lot, faults=0.001)
    sources = [
        Anything(n, MESSAGES // STREAMS + 1, random.Random(number * 100 + n))
        for n in range(STREAMS)
    ]
    streams = [
        Stream(site.ports["in"], one.messages(), random.Random(lot.random()), WINDOW)
        for one in sources
    ]
    try:
        await archive.start()
        await asyncio.to_thread(site.start)
        with watch_balance(site.folder / "var" / "store" / "store.db") as watch:
            sending = asyncio.gather(*(stream.run() for stream in streams))
            kills = await kills_until(site, lot, sending)
            await sending
            await until_settled(site)
        watch.assert_even()
        rows = await asyncio.to_thread(listed, site)
        sent = {control: found for s in streams for control, found in s.sent.items()}
        taken = set[str]().union(*(s.taken for s in streams))
        wrong = [f"{c}: refused {code}" for s in streams for c, code in s.refused.items()]
        wrong += [
            f"{a.control_id}: other bytes"
            for a in archive.log
            if sent.get(a.control_id) != a.digest
        ]
        came = {one.control_id for one in archive.log if one.is_delivery}
        wrong += [f"{control}: lost" for control in sorted(taken - came)]
        again = repeated(archive.log)
        wrong += [f"{c}: came twice unmarked" for c in sorted(again - is_marked(rows, "archive"))]
    finally:
        archive.stop()
        site.close()
    sizes = sum((source.sizes for source in sources), Counter[str]())
    figures = (
        f"{len(taken):,} messages ({sizes['tiny']:,} tiny, {sizes['big']:,} big), {kills} kills, "
        f"{len(again)} twice and marked; {watch.figures()}; IFENGINE_SEED={number}"
    )
    return wrong, len(archive.log), figures


@pytest.mark.crash
async def test_what_arrives_is_what_was_accepted_byte_for_byte(
    tmp_path: Path, ledger: Ledger
) -> None:
    number = seed()
    wrong, compared, figures = await pass_all(tmp_path, number)
    ledger.record(
        "G2", "digests of what was accepted and what arrived, any charset and delimiter",
        trials=compared, failures=len(wrong), found=figures,
    )  # fmt: skip
    assert wrong == [], f"IFENGINE_SEED={number}: {wrong[:5]}; {figures}"
    assert compared >= MESSAGES


# --- the recorded rules, once more ----------------------------------------------------------------


def fanout(version: int) -> str:
    """Return the example channel for two receivers, without what it remembers; versions differ."""
    text = (CHANNELS / "adt-fanout.yaml").read_text().partition("\ntests:")[0]
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("follow:")]
    text = "\n".join(lines) + "\n"
    if version % 2:
        text = text.replace("MSH-6: LAB}", "MSH-6: LAB2}").replace("clear: PID-19", "clear: PID-13")
    return text.replace("first: 5s", "first: 20ms").replace("first: 30s", "first: 20ms")


class Admissions:
    """Variations of the sample, some of which the steps refuse."""

    def __init__(self, numbers: range, lot: random.Random) -> None:
        self.numbers, self.lot = numbers, lot
        self.sample = (CHANNELS / "samples" / "adt_a01.hl7").read_bytes()

    def messages(self) -> Iterator[bytes]:
        for made in self.numbers:
            lot = self.lot
            text = self.sample.replace(b"R1001", b"F%d" % made)
            text = text.replace(b"480213", b"%d" % lot.randrange(400))
            text = text.replace(b"RIVERSIDE^MR", b"MERCY^MR")
            text = text.replace(b"Marlow ^", b"%s %d ^" % (lot.choice((b"O'Hara", b"Ng")), made))
            text = text.replace(b"|19800215|2|", b"|19800215|%s|" % lot.choice((b"1", b"2", b"9")))
            text = text.replace(b"PV1|1|I|", b"PV1|1|%s|" % lot.choice(b"I O E I O E I P".split()))
            yield text.replace(b"4WEST", lot.choice((*[b"4WEST"] * 30, b"NOWHERE")))


def rerun(site: Site, log: Mapping[str, Mapping[str, str]]) -> tuple[list[str], Counter[str]]:
    """Run the recorded version's steps over each stored original; return what differs, and counts.

    ``log``: destination -> control id -> digest of what arrived.
    """
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    store = SqliteStore(site.folder / "var" / "store")
    reader = store.reader()
    ring = KeyRing(
        store.store_id, reader.data_keys(), FileKek(site.folder / "var" / "keys" / "kek")
    )
    names = Names(reader.names())
    channels: dict[int, Channel] = {}
    newest = reader.counters().inbox_id
    for inbox_id in range(1, newest + 1):
        row = reader.inbox(inbox_id)
        plans = list(reader.plans(inbox_id))
        if row is None or not plans:
            continue
        version = plans[0].config_version
        if version not in channels:
            channels[version] = recorded(site, ring, reader.config_content(version), version)
        body = ring.open(BlobKind.INBOX, inbox_id, 0, row.sealed)
        message = Message.parse(body)
        context = MessageContext(
            str(inbox_id), row.received_us, Scratch(inbox_id, row.received_us, Blank())
        )
        found = outcomes_of(channels[version].process(message, context), body)
        for planned in plans[0].fates:
            name = names.name(planned.destination).partition(".")[2]
            told = found.get((name, 0))
            if planned.fate is not Fate.QUEUED:
                counts[planned.fate.name.lower()] += 1
                if told is None or told.fate != planned.fate.name.lower():
                    wrong.append(
                        f"{inbox_id} {name}: was {planned.fate.name}, now {told and told.fate}"
                    )
                continue
            entry = reader.outbox_entry(planned.outbox, planned.seq)
            dead = reader.exception(planned.outbox, planned.seq)
            if name not in log or (dead is not None and dead.stage == "steps"):
                counts["dead_letter"] += 1
                if told is None or told.fate != "dead_letter":
                    wrong.append(f"{inbox_id} {name}: was a dead letter, now {told and told.fate}")
                continue
            assert entry is not None
            kept = unseal_content(reader, ring, inbox_id, entry.copy_id) if entry.copy_id else body
            if told is None or told.content != kept:
                wrong.append(f"{inbox_id} {name}: other bytes than were kept")
            control = body.split(b"|", 10)[9].decode()
            if log[name].get(control, digest(kept)) != digest(kept):
                wrong.append(f"{inbox_id} {name}: other bytes than arrived")
            counts["arrived"] += control in log[name]
            counts[f"identical, version {'even' if version % 2 == 0 else 'odd'}"] += 1
    store.close()
    return wrong, counts


def recorded(site: Site, ring: KeyRing, sealed: bytes | None, version: int) -> Channel:
    """Return the channel as the store has its configuration, whatever lies in the folder now."""
    assert sealed is not None, f"version {version} is not kept"
    kept = unpack(ring.open(BlobKind.CONFIG, version, 0, sealed))
    given = {name: "".join(f"{line}\n" for line in lines).encode() for name, lines in kept.items()}
    loaded = load_site(site.folder, environ=os.environ, given=given)
    assert loaded.site is not None, loaded.problems
    (config,) = loaded.site.channels
    return Channel(config, loaded.site)


def reload_to(site: Site, version: int) -> None:
    """Change the rules and let the running engine take them."""
    (site.folder / "channels" / "adt-fanout.yaml").write_text(fanout(version))
    answer = ask(site, "config.reload", reason="campaign")
    assert answer["done"], answer


async def until_planned(site: Site, count: int) -> None:
    """Wait until the steps of so many messages have run."""

    def is_so() -> bool:
        rows = ask(site, "tally")["rows"]
        planned = sum(int(row["planned"]) for row in rows if row["destination"] is None)
        return planned >= count

    await asyncio.to_thread(wait_until, f"{count} messages are planned", is_so, 60)


async def reload_until(site: Site, lot: random.Random, sending: asyncio.Future[Any]) -> int:
    """Change the rules and reload, with a kill now and then, until all was answered."""
    reloads = 1
    while not sending.done():
        await asyncio.sleep(lot.uniform(0.05, 0.5))
        await asyncio.to_thread(reload_to, site, reloads + 1)
        reloads += 1
        if lot.random() < 0.2:
            site.kill()
            await asyncio.to_thread(site.start)
    return reloads


@pytest.mark.crash
async def test_the_recorded_rules_make_the_same_of_a_stored_original_once_more(
    tmp_path: Path, ledger: Ledger
) -> None:
    number = seed()
    lot = random.Random(number)
    ports = free_ports(2)
    site = Site(
        tmp_path / "site",
        listen={"epic-adt": ""},
        send={"lis-adt": ports[0], "pharmacy-adt": ports[1]},
        channels={"adt-fanout": fanout(0)},
    )
    tables = site.folder / "channels" / "tables"
    tables.mkdir()
    for name in ("sex.csv", "ward.csv"):
        (tables / name).write_bytes((CHANNELS / "tables" / name).read_bytes())
    wards = {
        name: Receiver(name, port, lot)
        for name, port in zip(("lab", "pharmacy"), ports, strict=True)
    }
    numbers = range(RERUNS)
    first, second, rest = (
        Stream(site.ports["epic-adt"], Admissions(some, lot).messages(), lot, WINDOW)
        for some in (numbers[:SOME], numbers[SOME : 2 * SOME], numbers[2 * SOME :])
    )
    rest.pause = 0.004
    try:
        for receiver in wards.values():
            await receiver.start()
        await asyncio.to_thread(site.start)
        await first.run()
        await until_planned(site, SOME)
        await asyncio.to_thread(reload_to, site, 1)
        await second.run()
        await until_planned(site, 2 * SOME)
        sending = asyncio.gather(rest.run())
        reloads = await reload_until(site, lot, sending)
        await sending
        # dead letters stay: what they hold back is compared with what is kept all the same
        await until_planned(site, RERUNS)
        assert await asyncio.to_thread(site.stop) == 0
        arrived = {name: {a.control_id: a.digest for a in one.log} for name, one in wards.items()}
        wrong, counts = await asyncio.to_thread(rerun, site, arrived)
    finally:
        for receiver in wards.values():
            receiver.stop()
        site.close()
    ledger.record(
        "G2", "stored originals run through their recorded version once more", trials=RERUNS,
        failures=len(wrong), found=f"{dict(counts)}, {reloads} reloads; IFENGINE_SEED={number}",
    )  # fmt: skip
    assert wrong == [], f"IFENGINE_SEED={number}: {wrong[:5]}"
    assert counts["arrived"] > SOME // 4, counts
    assert min(counts[f"identical, version {one}"] for one in ("even", "odd")) > SOME // 4, counts
