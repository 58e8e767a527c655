"""SIGKILL while senders wait for a destination's answer: a yes is kept, a no is nowhere.

``IFENGINE_PASS_KILLS`` sets how often (40), ``IFENGINE_SEED`` repeats a run. The senders and both
receivers live in this process, which is never killed. A sender sends the same bytes again after AR,
and when its connection is gone; AA and AE end a message.
"""

import asyncio
import contextlib
import os
import random
import secrets
from pathlib import Path

import pytest

from crash.serving import Site, free_ports
from crash.watching import watch_balance

KILLS = int(os.environ.get("IFENGINE_PASS_KILLS", "40"))
SEED = int(os.environ.get("IFENGINE_SEED", "0")) or secrets.randbelow(1_000_000) + 1
SENDERS = 6
START, END = b"\x0b", b"\x1c\r"

CHANNEL = """\
ifengine: 1
channel: orders
from: in
order_by: patient
ack: {when: delivered, from: ris, timeout: 1200ms}
steps:
  - set: {ZZZ-1: "${msg.id}"}
    create: yes
to:
  ris: {connection: to-ris, ack_timeout: 400ms, lanes: 3, on_in_doubt: resend}
  archive: {connection: to-archive}
"""


def control_id(content: bytes) -> str:
    return content.split(b"|", 10)[9].decode()


def order(control: str, patient: str) -> bytes:
    return (
        f"MSH|^~\\&|CPOE|MERCY|RIS|MERCY|20260105101500||ADT^A04|{control}|P|2.5.1\r"
        f"EVN|A04|20260105101500\rPID|1||{patient}^^^MERCY^MR||Fir^Ada||19800101|F\rZZZ|0\r"
    ).encode()


def is_refused(control: str) -> bool:
    """Whether the receiver never takes this one."""
    return int(control[1:].replace("-", "")) % 5 == 0


class Ris:
    """The destination that answers: refuses some for good, and sometimes says nothing at all."""

    def __init__(self, name: str, lot: random.Random, faults: float) -> None:
        self.name = name
        self.lot = lot
        self.faults = faults
        self.log: list[tuple[str, str, bytes]] = []  # control id, answer, content

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # cancelled: the test is over
        ends = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*ends):
            while True:
                content = (await reader.readuntil(END))[1:-2]
                control = control_id(content)
                fault = self.lot.random() < self.faults
                answer = "AE" if self.name == "ris" and is_refused(control) else "AA"
                if fault:
                    silence = self.lot.random() < 0.5
                    self.log.append((control, "none" if silence else answer, content))
                    await asyncio.sleep(self.lot.uniform(0.0, 0.5))
                    if silence:
                        break
                else:
                    self.log.append((control, answer, content))
                writer.write(
                    START
                    + b"MSH|^~\\&|R|R|C|M|20260105101500||ACK|R%d|P|2.5.1\r" % len(self.log)
                    + f"MSA|{answer}|{control}\r".encode()
                    + END
                )
                await writer.drain()
        writer.close()


class Cpoe:
    """One sender, one message at a time."""

    def __init__(self, number: int, port: int, lot: random.Random, stop: asyncio.Event) -> None:
        self.number = number
        self.port = port
        self.lot = lot
        self.stop = stop
        self.ended: dict[str, str] = {}  # control id -> AA or AE
        self.told: dict[str, list[str]] = {}

    async def run(self) -> None:
        made = 0
        pending: bytes | None = None
        while not (self.stop.is_set() and pending is None):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                while not (self.stop.is_set() and pending is None):
                    if pending is None:
                        made += 1
                        pending = order(f"M{made}-{self.number}", f"{self.lot.randrange(4)}")
                    control = control_id(pending)
                    writer.write(START + pending + END)
                    async with asyncio.timeout(5):
                        answer = (await reader.readuntil(END))[1:-2]
                    fields = answer.split(b"MSA|")[1].split(b"\r")[0].split(b"|")
                    assert fields[1].decode() == control, "an answer to another message"
                    code = fields[0].decode()
                    self.told.setdefault(control, []).append(code)
                    if code in ("AA", "AE"):
                        self.ended[control] = code
                        pending = None
                    await asyncio.sleep(self.lot.uniform(0, 0.02))
            except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
                pass  # it comes again with the same bytes
            finally:
                writer.close()


async def run(folder: Path, kills: int, seed: int) -> tuple[Site, Ris, Ris, list[Cpoe]]:
    lot = random.Random(seed)
    ports = free_ports(2)
    site = Site(
        folder / "site",
        listen={"in": ""},
        send={"to-ris": ports[0], "to-archive": ports[1]},
        channels={"orders": CHANNEL},
    )
    ris = Ris("ris", lot, faults=0.03)
    archive = Ris("archive", lot, faults=0.01)
    servers = [
        await asyncio.start_server(one.serve, "127.0.0.1", port)
        for one, port in zip((ris, archive), ports, strict=True)
    ]
    stop = asyncio.Event()
    senders = [
        Cpoe(n, site.ports["in"], random.Random(seed * 100 + n), stop) for n in range(SENDERS)
    ]
    try:
        await asyncio.to_thread(site.start)
        async with asyncio.TaskGroup() as tasks:
            for one in senders:
                tasks.create_task(one.run())
            for _ in range(kills):
                await asyncio.sleep(lot.uniform(0.05, 0.9))
                site.kill()
                await asyncio.to_thread(site.start)
            await asyncio.sleep(0.5)
            stop.set()
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(is_quiet, site):
                await asyncio.sleep(0.2)
    finally:
        for server in servers:
            server.close()
    return site, ris, archive, senders


def is_quiet(site: Site) -> bool:
    """Whether nothing waits to be sent."""
    open_states = {"received", "queued", "retrying"}
    rows = site.json("messages", "list", "--limit", "1000")
    return not any(
        one["state"] in open_states for row in rows for one in row.get("destinations", ())
    )


def judge(ris: Ris, archive: Ris, senders: list[Cpoe], kills: int) -> list[str]:
    wrong = []
    taken = {control for control, answer, _ in ris.log if answer == "AA"}
    archived = {control for control, _, _ in archive.log}
    ended = {c: code for one in senders for c, code in one.ended.items()}
    for control, code in ended.items():
        if code == "AA" and control not in taken:
            wrong.append(f"{control}: told yes, never taken")
        if code == "AA" and control not in archived:
            wrong.append(f"{control}: told yes, lost for the archive")
        if code == "AE" and control in taken | archived:
            wrong.append(f"{control}: told no, and yet somewhere")
    wrong += [f"{c}: archived, though nobody took it" for c in archived - taken]
    wrong += [f"{c}: archived, and its sender was never told yes" for c in archived - set(ended)]
    for one in (ris, archive):
        bodies: dict[str, set[bytes]] = {}
        for control, _, content in one.log:
            bodies.setdefault(control, set()).add(content)
        if one is archive:
            wrong += [
                f"{c}: archived in two forms" for c, forms in bodies.items() if len(forms) > 1
            ]
    return wrong


async def check(folder: Path, kills: int, seed: int) -> None:
    with watch_balance(folder / "site" / "var" / "store" / "store.db") as watch:
        site, ris, archive, senders = await run(folder, kills, seed)
    try:
        watch.assert_even()
        wrong = judge(ris, archive, senders, kills)
        assert wrong == [], f"seed {seed}: {wrong[:5]}"
        codes = [code for one in senders for code in one.ended.values()]
        assert codes.count("AA") > kills * 5, "too little load to mean anything"
        assert codes.count("AE") > kills
    finally:
        site.close()


@pytest.mark.crash
async def test_a_few_kills_while_senders_wait_make_no_yes_untrue_and_no_no(tmp_path: Path) -> None:
    await check(tmp_path, 2, SEED)


@pytest.mark.crash
@pytest.mark.slow
async def test_many_kills_while_senders_wait_make_no_yes_untrue_and_no_no(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{KILLS} kills, IFENGINE_SEED={SEED}")
    await check(tmp_path, KILLS, SEED)
