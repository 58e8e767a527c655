"""A destination that is dead, silent, slow or refuses delays no other (guarantees.md G7)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import apsw

from engine.support import (
    Receiver,
    Running,
    Sender,
    Site,
    ack,
    adt,
    control_id,
    free_port,
    running,
    sender,
    until,
)

COUNT = 60
RETRY = "retry: {first: 50ms, factor: 1, max: 100ms, jitter: 0, refused: 2, in_doubt: never}"


class RoomyReceiver(Receiver):
    """Takes messages of many megabytes."""

    async def start(self) -> None:
        room = 32 * 1024 * 1024
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=room)


@contextlib.asynccontextmanager
async def receivers(names: list[str]) -> AsyncIterator[dict[str, Receiver]]:
    made: dict[str, Receiver] = {name: RoomyReceiver() for name in names}
    for receiver in made.values():
        await receiver.start()
    try:
        yield made
    finally:
        for receiver in made.values():
            await receiver.stop()


async def test_of_ten_destinations_five_fail_in_their_own_way_and_five_get_everything(
    tmp_path: Path,
) -> None:
    names = ["dead", "silent", "slow", "refusing", "babbling", *(f"good{n}" for n in range(5))]
    controls = [f"M{n:02}" for n in range(COUNT)]
    async with receivers(names) as made:
        await made["dead"].stop()
        made["silent"].answer = lambda content: None
        made["slow"].delay_seconds = 0.2
        made["refusing"].answer = lambda content: ack(content, "AR")
        made["babbling"].answer = lambda content: adt("Q" + control_id(content))
        site = Site(tmp_path / "site", made)
        for name in names:
            site.options[name] = RETRY + "\nack_timeout: 500ms"
        async with running(site, grace_seconds=0.3) as engine, sender(site) as his:
            for number, control in enumerate(controls):
                assert await his.send(adt(control, patient=str(number % 6))) == "AA"
            for name in names:
                if name.startswith("good"):
                    await until(lambda name=name: made[name].ids == controls)  # type: ignore[misc]
            # those that fail are still at it: nobody waited for them
            assert len(set(made["slow"].ids)) < COUNT
            assert len(set(made["silent"].ids)) <= 6
            states = await engine.states()
            good = {states[c][f"good{n}"] for c in controls for n in range(5)}
            assert good <= {"sent", "queued"}  # the last outcomes may be on their way to the disk
            for control in controls:
                assert states[control]["dead"] == "queued"
                assert states[control]["silent"] in ("queued", "in_doubt", "held")


async def test_a_poison_message_delays_only_its_own_patient(site: Site, lab: Receiver) -> None:
    site.head = "order_by: patient\nsteps:\n  - require: {EVN-1: no event}"
    poison = adt("BAD", patient="7").replace(b"EVN|A01|", b"EVN||")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", patient="7"))
        assert await his.send(poison) == "AA"  # it is stored: the sender need not know
        await his.send(adt("M2", patient="7"))
        for number in range(20):
            await his.send(adt(f"X{number:02}", patient=str(100 + number)))
        await until(lambda: lab.ids == ["M1", *(f"X{n:02}" for n in range(20))])
        states = await engine.states()
        assert states["BAD"] == {"lab": "dead_letter"}
        assert states["M2"] == {"lab": "held"}


async def test_stored_bytes_that_were_damaged_are_set_aside_and_never_sent(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await engine.ask("channels.pause", name="adt", reason="test")
        for control in ("M1", "M2", "M3"):
            assert await his.send(adt(control, patient=control)) == "AA"
        await engine.stop()
    damage(site, 2)
    async with running(site) as engine:
        await engine.ask("channels.resume", name="adt")
        await until(lambda: lab.ids == ["M1", "M3"])
        await until(lambda: has_letter(engine, "stored content is damaged"))
        assert (await engine.ask("audit.verify"))["ok"] is True


async def has_letter(engine: Running, reason: str) -> bool:
    return [g["reason"] for g in await engine.letters()] == [reason]


async def test_a_queued_message_that_was_damaged_dead_letters_in_its_turn(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = RETRY
    await lab.stop()
    async with running(site) as engine, sender(site) as his:
        for control in ("M1", "M2", "M3"):
            assert await his.send(adt(control, patient=control)) == "AA"
        await until(lambda: queued(engine, 3))
        await engine.stop()
    damage(site, 2)
    await lab.start()
    async with running(site) as engine:
        await until(lambda: lab.ids == ["M1", "M3"])
        await until(lambda: has_letter(engine, "stored content is damaged"))
        (shown,) = await engine.ask("dlq.show", id="2")
        assert 0 <= shown["attempts"][0]["seconds"] < 10


async def queued(engine: Running, count: int) -> bool:
    return list((await engine.states()).values()) == [{"lab": "queued"}] * count


def damage(site: Site, inbox_id: int) -> None:
    """Change one byte of a stored message, as a failing disk would."""
    connection = apsw.Connection(str(site.folder / "var" / "store" / "store.db"))
    where = "WHERE inbox_id = ?"
    (found,) = connection.execute(f"SELECT sealed FROM inbox {where}", (inbox_id,))
    sealed = bytearray(found[0])
    sealed[len(sealed) // 2] ^= 1
    connection.execute(f"UPDATE inbox SET sealed = ? {where}", (bytes(sealed), inbox_id))
    connection.close()


async def test_a_receiver_that_never_reads_delays_no_other(tmp_path: Path) -> None:
    stuck = asyncio.Event()
    waiting: set[asyncio.Task[None]] = set()

    async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        waiting.add(task)
        writer.transport.pause_reading()
        await stuck.wait()
        writer.transport.abort()

    async with receivers(["good"]) as made:
        blocked = Receiver()
        server = await asyncio.start_server(never_reads, "127.0.0.1", blocked.port)
        site = Site(tmp_path / "site", {"blocked": blocked, **made})
        site.options["blocked"] = "retry: {first: 30s}\nack_timeout: 400ms"
        large = "ZZZ|" + "x" * 3_000_000 + "\r"
        async with running(site, grace_seconds=0.3) as engine, sender(site) as his:
            for number in range(5):
                assert await his.send(adt(f"M{number}", extra=large)) == "AA"
            await until(lambda: made["good"].ids == [f"M{n}" for n in range(5)])
            await until(lambda: in_doubt(engine))
        stuck.set()
        await asyncio.gather(*waiting)
        server.close()


async def in_doubt(engine: Running) -> bool:
    return (await engine.states())["M0"]["blocked"] == "in_doubt"


async def test_two_channels_into_one_connection_keep_commit_order(tmp_path: Path) -> None:
    """A send connection owns one outbox (safety-rules.md 19)."""
    async with receivers(["lab"]) as made:
        lab = made["lab"]
        site = Site(tmp_path / "site", made)
        site.settings()

        second = free_port()
        path = site.folder / "ifengine.yaml"
        path.write_text(
            path.read_text().replace(
                "connections:\n",
                "connections:\n"
                f"  in2: {{listen: mllp, host: 127.0.0.1, port: {second}, plaintext: test}}\n",
            )
        )
        first = (site.folder / "channels" / "adt.yaml").read_text()
        (site.folder / "channels" / "other.yaml").write_text(
            first.replace("channel: adt", "channel: other").replace("from: in", "from: in2")
        )
        site.write = lambda: None  # type: ignore[method-assign]
        sent: list[str] = []
        async with running(site) as engine, sender(site) as one:
            two = Sender(*await asyncio.open_connection("127.0.0.1", second))
            for number in range(60):
                his = (one, two)[number * 7 % 3 % 2]
                control = f"M{number:02}"
                assert await his.send(adt(control)) == "AA"  # one patient, answered one by one
                sent.append(control)
            await until(lambda: lab.ids == sent)
            rows = await engine.ask("messages.list", limit=100)
            assert {row["channel"] for row in rows} == {"adt", "other"}
            assert lab.connections == 1
            two.close()
