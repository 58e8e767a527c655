import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.telemetry import http
from ifengine.telemetry.http import MetricsServer, response


class State:
    live = True
    ready = (True, "")
    broken = False

    def text(self) -> bytes:
        if self.broken:
            raise RuntimeError("CANARY")
        return b"ifengine_up 1\n"


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def server(state: State) -> AsyncIterator[MetricsServer]:
    made = MetricsServer("127.0.0.1", 0, state.text, lambda: state.live, lambda: state.ready)
    await made.start()
    yield made
    await made.stop()


async def ask(server: MetricsServer, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


async def get(server: MetricsServer, path: str) -> tuple[int, bytes]:
    return await ask(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_the_three_pages_answer(server: MetricsServer) -> None:
    assert await get(server, "/metrics") == (200, b"ifengine_up 1\n")
    assert await get(server, "/livez") == (200, b"live\n")
    assert await get(server, "/readyz?verbose=1") == (200, b"ready\n")


async def test_what_is_in_the_way_is_said_with_503(server: MetricsServer, state: State) -> None:
    state.live, state.ready = False, (False, "disk below its reserve")
    assert await get(server, "/livez") == (503, b"not live\n")
    assert await get(server, "/readyz") == (503, b"not ready: disk below its reserve\n")


async def test_a_request_is_never_repeated_in_an_answer(server: MetricsServer) -> None:
    for request in (
        b"GET /CANARY HTTP/1.1\r\n\r\n",
        b"CANARY / HTTP/1.1\r\n\r\n",
        b"CANARY\r\n\r\n",
        b"GET /metrics CANARY/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"CANARY" * 3000,
    ):
        status, body = await ask(server, request)
        assert status in (400, 404, 405, 413)
        assert b"CANARY" not in body


async def test_a_broken_collector_answers_500_without_saying_why(
    server: MetricsServer, state: State
) -> None:
    state.broken = True
    assert await get(server, "/metrics") == (500, b"failed\n")
    assert await get(server, "/livez") == (200, b"live\n")


async def test_a_head_request_gets_the_length_without_the_body(server: MetricsServer) -> None:
    assert await ask(server, b"HEAD /metrics HTTP/1.1\r\n\r\n") == (200, b"")


async def test_a_request_in_single_bytes_is_answered(server: MetricsServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for byte in b"GET /livez HTTP/1.0\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await reader.read()).endswith(b"live\n")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_says_nothing_is_cut_off(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_too_many_connections_are_turned_away_and_their_places_come_back(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 2)
    idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    await asyncio.sleep(0.02)
    with pytest.raises((ConnectionError, IndexError)):
        await get(server, "/livez")
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.02)
    assert await get(server, "/livez") == (200, b"live\n")


async def test_stop_closes_open_connections(server: MetricsServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await asyncio.sleep(0.02)
    async with asyncio.timeout(5):
        await server.stop()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


@given(st.binary(max_size=300))
def test_any_request_gets_a_whole_response_without_its_bytes(head: bytes) -> None:
    server = MetricsServer("127.0.0.1", 0, lambda: b"x 1\n", lambda: True, lambda: (True, ""))
    answer = server.respond(b"GET /" + head)
    assert answer.startswith(b"HTTP/1.1 ")
    start, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in start
    assert answer in {
        response(400, b"bad request\n"),
        response(404, b"/metrics /livez /readyz\n"),
        response(200, b"x 1\n", http.METRICS_TYPE),
        response(200, b"live\n"),
        response(200, b"ready\n"),
    }


def test_the_port_answers_on_uvloop_too(state: State) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def answers() -> tuple[int, bytes]:
        server = MetricsServer("127.0.0.1", 0, state.text, lambda: True, lambda: state.ready)
        await server.start()
        found = await asyncio.wait_for(get(server, "/readyz"), 5)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.wait_for(server.stop(), 5)
        writer.close()
        return found

    assert uvloop.run(answers()) == (200, b"ready\n")


async def test_pages_asked_for_without_end_take_a_small_share_of_the_time_and_all_are_answered(
    state: State,
) -> None:
    made: list[float] = []
    now = [1000.0]

    def text() -> bytes:
        made.append(now[0])
        now[0] += 0.04  # what a page takes
        return b"page %d\n" % len(made)

    due: list[tuple[float, Callable[[], None]]] = []

    class Timed(MetricsServer):
        def later(self, at: float, act: Callable[[], None]) -> None:
            due.append((at, act))

        def now(self) -> float:
            return now[0]

    server = Timed("127.0.0.1", 0, text, lambda: state.live, lambda: state.ready)
    await server.start()
    try:
        assert await get(server, "/metrics") == (200, b"page 1\n")
        asked = [asyncio.create_task(get(server, f"/metrics?{n}")) for n in range(20)]
        while len(server._waiting) < 20 and not any(one.done() for one in asked):
            await asyncio.sleep(0)
        assert await get(server, "/livez") == (200, b"live\n")  # no page: at once
        assert made == [1000.0]
        (at, act), *more = due
        assert not more
        assert at == pytest.approx(1000.04 + 0.36)
        now[0] = at
        act()
        assert await asyncio.gather(*asked) == [(200, b"page 2\n")] * 20
        assert len(made) == 2
    finally:
        await server.stop()
