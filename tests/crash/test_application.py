"""SIGKILL between the accept and the application acknowledgment: no yes is made up, no no is lost.

``IFENGINE_APPLICATION_KILLS`` sets how often, ``IFENGINE_SEED`` repeats a run. The sender and the
receiver live in this process, which is never killed. The receiver stores each message once, answers
CA, and tells what became of it later and over a connection of its own, again and again until it has
the accept acknowledgment it asks for; now and then before its CA, or without any CA at first.
Of three answers one is an ACK, one an ORR that a channel takes too, one of a type that no channel takes.
"""

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from crash.serving import Site, free_ports
from crash.watching import watch_balance

START, END = b"\x0b", b"\x1c\r"
STREAMS = 4
CHANNEL = """\
ifengine: 1
channel: orders
from: in
order_by: patient
to:
  lab:
    connection: to-lab
    ack_timeout: 500ms
    lanes: 3
    on_in_doubt: resend
    retry: {first: 20ms, max: 100ms, in_doubt: never}
    acks: accept+application
    application_ack: {on: answers, within: 1h}
"""

REPLIES = """\
ifengine: 1
channel: replies
from: answers
types: [ORR^O02]
to:
  his:
    files: {dir: var/replies, name: "${msg.id}.hl7"}
"""
TYPES = ("ACK^A04^ACK", "ORR^O02", "ORL^O22")


def control_id(content: bytes) -> str:
    return content.split(b"|", 10)[9].decode()


def code_of(control: str) -> str:
    """What the receiver makes of a message."""
    return ("AA", "AA", "AE", "AA", "AR")[int(control[1:].replace("-", "")) % 5]


def type_of(control: str) -> str:
    """As what it tells that."""
    return TYPES[int(control[1:].replace("-", "")) % len(TYPES)]


def answer_to(control: str) -> bytes:
    """The application acknowledgment, the same bytes each time."""
    text = (
        f"MSH|^~\\&|L|L|C|M|20260105||{type_of(control)}|V{control}|P|2.5.1|||AL|NE\r"
        f"MSA|{code_of(control)}|{control}\r"
    )
    return text.encode()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from another address: while nobody listens, a connection could meet itself."""
    return await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))


def msa(answer: bytes) -> tuple[str, str]:
    fields = answer.split(b"MSA|")[1].split(b"\r")[0].split(b"|")
    return fields[0].decode(), fields[1].decode()


class Lab:
    """Stores, answers CA, and tells the rest later."""

    def __init__(self, port: int, lot: random.Random) -> None:
        self.port = port  # where it tells
        self.lot = lot
        self.received: Counter[str] = Counter()
        self.told: set[str] = set()  # those whose answer the engine said to have stored
        self.to_tell: asyncio.Queue[str] = asyncio.Queue()
        self.later: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                control = control_id((await reader.readuntil(END))[1:-2])
                self.received[control] += 1
                if self.received[control] == 1:
                    self.tell_later(control)
                    if self.lot.random() < 0.05:
                        break  # it has the message, and no CA leaves
                if self.lot.random() < 0.2:
                    await asyncio.sleep(self.lot.uniform(0, 0.1))
                text = f"MSH|^~\\&|L|L|C|M|20260105||ACK|C{sum(self.received.values())}|P|2.5.1\r"
                writer.write(START + f"{text}MSA|CA|{control}\r".encode() + END)
                await writer.drain()
        writer.close()

    def tell_later(self, control: str) -> None:
        async def wait() -> None:
            await asyncio.sleep(self.lot.choice([0.0, 0.0, 0.05, 0.5]) * self.lot.random())
            self.to_tell.put_nowait(control)

        task = asyncio.get_running_loop().create_task(wait())
        self.later.add(task)
        task.add_done_callback(self.later.discard)

    async def tell(self) -> None:
        """One connection of its own: the same bytes until they are answered."""
        pending: str | None = None
        while True:
            try:
                reader, writer = await connect(self.port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                while True:
                    pending = pending or await self.to_tell.get()
                    writer.write(START + answer_to(pending) + END)
                    async with asyncio.timeout(5):
                        answer = (await reader.readuntil(END))[1:-2]
                    assert msa(answer) == ("CA", f"V{pending}")
                    self.told.add(pending)
                    pending = None
            except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
                pass
            finally:
                writer.close()


async def send(number: int, port: int, lot: random.Random, stop: asyncio.Event) -> set[str]:
    """Send one message after the other, the same bytes until they are answered."""
    taken: set[str] = set()
    pending = ""
    while not (stop.is_set() and not pending):
        try:
            reader, writer = await connect(port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        try:
            while not (stop.is_set() and not pending):
                pending = pending or f"M{len(taken) + 1}-{number}"
                # its own patient: a no holds what follows of it, and here everything is to arrive
                text = (
                    f"MSH|^~\\&|CPOE|MERCY|LAB|MERCY|20260105101500||ADT^A04|{pending}|P|2.5.1\r"
                    f"EVN|A04|20260105101500\rPID|1||{pending}^^^MERCY^MR||Fir^Ada\r"
                )
                writer.write(START + text.encode() + END)
                async with asyncio.timeout(5):
                    assert msa(await reader.readuntil(END)) == ("AA", pending)
                taken.add(pending)
                pending = ""
                await asyncio.sleep(lot.uniform(0, 0.02))
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()
    return taken


def states(site: Site) -> dict[str, str]:
    """Return control id -> state at the destination."""
    rows = site.json("messages", "list", "--limit", "100000")
    return {r["control_id"]: r["destinations"][0]["state"] for r in rows if r["destinations"]}


async def run(folder: Path, kills: int, lot: random.Random) -> tuple[Site, set[str]]:
    (port,) = free_ports(1)
    site = Site(
        folder / "site",
        listen={"in": "", "answers": ""},
        send={"to-lab": port},
        channels={"orders": CHANNEL, "replies": REPLIES},
    )
    lab = Lab(site.ports["answers"], lot)
    server = await asyncio.start_server(lab.serve, "127.0.0.1", port)
    stop = asyncio.Event()
    telling = [asyncio.create_task(lab.tell()) for _ in range(2)]
    try:
        await asyncio.to_thread(site.start)
        sending = [
            asyncio.create_task(send(n, site.ports["in"], random.Random(lot.random()), stop))
            for n in range(STREAMS)
        ]
        for _ in range(kills):
            await asyncio.sleep(lot.uniform(0.05, 0.7))
            site.kill()
            await asyncio.to_thread(site.start)
        await asyncio.sleep(0.3)
        stop.set()
        taken = set().union(*await asyncio.gather(*sending))
        async with asyncio.timeout(120):
            while not taken <= lab.told:
                await asyncio.sleep(0.1)
            while set((await asyncio.to_thread(states, site)).values()) & {
                "queued",
                "in_doubt",
                "retrying",
            }:
                await asyncio.sleep(0.1)
    finally:
        for task in telling:
            task.cancel()
        server.close()
    return site, taken


async def account(folder: Path, kills: int, lot: random.Random) -> tuple[list[str], int]:
    """Run one campaign; return what is wrong, and of how many messages."""
    with watch_balance(folder / "site" / "var" / "store" / "store.db") as watch:
        site, taken = await run(folder, kills, lot)
    try:
        watch.assert_even()
        found = await asyncio.to_thread(states, site)
        wrong = [f"{c}: lost" for c in taken - set(found)]
        for control in taken & set(found):
            expected = "sent" if code_of(control) == "AA" else "dead_letter"
            if found[control] != expected:
                wrong.append(f"{control}: {found[control]}, told {code_of(control)}")
        replies = {file.read_bytes() for file in (site.folder / "var" / "replies").iterdir()}
        wanted_there = {answer_to(c) for c in taken if type_of(c) == "ORR^O02"}
        if replies != wanted_there:
            missing = len(wanted_there - replies)
            wrong.append(f"{missing} of {len(wanted_there)} responses never reached their channel")
        rows = await asyncio.to_thread(site.json, "messages", "list", "--limit", "100000")
        numbers = {r["control_id"]: r["id"] for r in rows if r["destinations"]}
        for control in lot.sample(sorted(taken & set(found)), min(12, len(taken))):
            shown = await asyncio.to_thread(site.json, "messages", "show", numbers[control])
            said = [one["state"] for one in shown["application"]]
            wanted = "accepted" if code_of(control) == "AA" else "refused"
            if wanted not in said:
                wrong.append(f"{control}: shown as {said}, told {code_of(control)}")
        return wrong, len(taken)
    finally:
        site.close()


@pytest.mark.crash
async def test_a_kill_between_both_acknowledgments_makes_up_no_yes_and_loses_no_no(
    tmp_path: Path, ledger: Ledger
) -> None:
    kills, number = trials(3, 150, "IFENGINE_APPLICATION_KILLS"), seed()
    wrong, messages = await account(tmp_path, kills, random.Random(number))
    ledger.record(
        "G1",
        "SIGKILL between accept and application acknowledgment",
        trials=kills,
        failures=len(wrong),
        found=f"{messages} messages, seed {number}",
    )
    assert wrong == [], f"seed {number}: {wrong[:5]}"
    assert messages > kills * 5, "too little load to mean anything"
