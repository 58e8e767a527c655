"""The same hostile bytes over real sockets: always an answer or a close, and the next one is served."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from admin.world import World, adt
from campaigns import Ledger, seed, trials
from fuzz.draw import Draw
from fuzz.ports import metrics_server, request
from ifengine.admin.server import AdminServer
from ifengine.admin.service import Service

GENEROUS_SECONDS = 60.0
MOST_PIECE = 40


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    world.receive(1, adt("C1"))
    world.dead(2)
    yield world
    world.thread.shutdown()


async def said_to(
    rnd: random.Random,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    data: bytes,
    *,
    ends: bool,
) -> bytes:
    """Write bytes in random pieces, perhaps leave early, and return all that comes back."""
    try:
        while data:
            size = rnd.randint(1, MOST_PIECE * 10)
            writer.write(data[:size])
            data = data[size:]
            await writer.drain()
            if rnd.random() < 0.02:
                break
        if ends:
            writer.write_eof()
        async with asyncio.timeout(GENEROUS_SECONDS):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.chaos
async def test_the_admin_socket_answers_or_closes_whatever_it_is_sent(
    world: World, ledger: Ledger
) -> None:
    server = AdminServer(world.site.admin_socket, world, Service(world))
    await server.start()
    number, wanted = seed(), trials(60, 3000, "IFENGINE_FUZZ_SOCKETS")
    rnd = random.Random(number)
    answered = wrong = 0
    for _ in range(wanted):
        reader, writer = await asyncio.open_unix_connection(str(world.site.admin_socket))
        line = request(Draw(rnd.randbytes(60)))
        got = await said_to(rnd, reader, writer, line, ends=True)
        answered += bool(got)
        if got:
            answer = json.loads(got)
            wrong += answer.get("error", {}).get("code") == "internal"
    reader, writer = await asyncio.open_unix_connection(str(world.site.admin_socket))
    status = await said_to(
        random.Random(0), reader, writer, b'{"verb": "messages.list"}\n', ends=False
    )
    await server.stop()
    ledger.record(
        "G13", "fuzz the admin socket", trials=wanted, failures=wrong,
        found=f"{answered} answered, seed {number}",
    )  # fmt: skip
    assert not wrong
    assert answered > wanted // 2
    assert json.loads(status)["ok"][0]["id"] == "2"


@pytest.mark.chaos
async def test_the_metrics_port_answers_or_closes_whatever_it_is_sent(ledger: Ledger) -> None:
    server = metrics_server()
    await server.start()
    number, wanted = seed(), trials(60, 3000, "IFENGINE_FUZZ_SOCKETS")
    rnd = random.Random(number)
    heads = (
        b"GET /metrics HTTP/1.1\r\n",
        b"POST / HTTP/1.0\r\n",
        b"\x16\x03\x01",
        b"GET " * 3000,
        b"",
    )
    answered = wrong = 0
    for _ in range(wanted):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        data = (
            rnd.choice(heads) + rnd.randbytes(rnd.randint(0, 60)) + rnd.choice((b"\r\n\r\n", b""))
        )
        got = await said_to(rnd, reader, writer, data, ends=True)
        answered += bool(got)
        wrong += bool(got) and not got.startswith(b"HTTP/1.1 ")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    whole = b"GET /livez HTTP/1.1\r\n\r\n"
    alive = await said_to(random.Random(0), reader, writer, whole, ends=False)
    await server.stop()
    ledger.record(
        "G13", "fuzz the metrics port", trials=wanted, failures=wrong,
        found=f"{answered} answered, seed {number}",
    )  # fmt: skip
    assert not wrong
    assert answered
    assert alive.startswith(b"HTTP/1.1 200 ")
