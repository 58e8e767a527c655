import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from admin.world import CANARY, World, adt
from ifengine.admin import server as module
from ifengine.admin.access import Peer, caller_of, peer_of, user_name
from ifengine.admin.client import (
    CallError,
    NotReachableError,
    RefusedError,
    UsageCallError,
    call,
)
from ifengine.admin.request import Role
from ifengine.admin.server import AdminServer, AdminSocketError, bind
from ifengine.admin.service import Service
from ifengine.errors import EngineError


@pytest.fixture
async def server(world: World) -> AsyncIterator[AdminServer]:
    made = AdminServer(world.site.admin_socket, world, Service(world))
    await made.start()
    yield made
    await made.stop()


async def ask(world: World, verb: str, **params: Any) -> Any:
    return await asyncio.to_thread(call, world.site.admin_socket, verb, **params)


async def send(world: World, line: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(world.site.admin_socket))
    writer.write(line)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    answer = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return dict(answer)


# --- through the socket ---------------------------------------------------------------------------


async def test_a_call_returns_what_the_service_answers(world: World, server: AdminServer) -> None:
    world.receive(1, adt("C1"))
    (entry,) = await ask(world, "messages.list", state=None)
    assert (entry["id"], entry["state"]) == ("1", "received")


async def test_the_actor_is_the_user_the_kernel_names(world: World, server: AdminServer) -> None:
    world.receive(1, adt("C1"))
    await ask(world, "messages.show", id="1", phi=True, reason="ticket")
    (act,) = world.audits()
    assert act.actor.startswith(user_name(os.getuid()))


async def test_errors_arrive_as_what_they_are(world: World, server: AdminServer) -> None:
    with pytest.raises(UsageCallError, match="state: is not a state") as usage:
        await ask(world, "messages.list", state="lost")
    assert usage.value.hint.startswith("states are")
    with pytest.raises(CallError) as not_found:
        await ask(world, "messages.show", id="9")
    assert not_found.value.reason_code == "not_found"
    codes = (CallError, UsageCallError, NotReachableError, RefusedError)
    assert [kind.exit_code for kind in codes] == [1, 2, 3, 4]


async def test_a_long_list_is_asked_for_in_pages(
    world: World, server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ifengine.admin.client.MOST_LISTED", 10)
    for inbox_id in range(1, 36):
        world.receive(inbox_id, adt(f"C{inbox_id}"))
    for limit in (10, 20, 33, 35, 36, 100):
        found = await ask(world, "messages.list", limit=limit)
        assert [int(e["id"]) for e in found] == list(range(35, max(35 - limit, 0), -1))


async def test_many_callers_at_once_each_get_their_answer(
    world: World, server: AdminServer
) -> None:
    for inbox_id in range(1, 6):
        world.receive(inbox_id, adt(f"C{inbox_id}"))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ask(world, "messages.show", id=str(i % 5 + 1))) for i in range(20)
        ]
    assert [task.result()["control_id"] for task in tasks] == [f"C{i % 5 + 1}" for i in range(20)]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"CANARY\n",
        b"[]\n",
        b"{}\n",
        b'{"verb": 1}\n',
        b'{"verb": "CANARY"}\n',
        b'{"verb": "messages.list", "CANARY": 1}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
    ],
)
async def test_a_broken_request_is_answered_without_its_bytes(
    world: World, server: AdminServer, line: bytes
) -> None:
    answer = await send(world, line)
    assert answer["error"]["code"] == "usage"
    assert "CANARY" not in json.dumps(answer)
    assert await ask(world, "metrics")


async def test_a_request_that_is_too_long_or_never_ends_is_cut_off(
    world: World, server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.05)
    assert (await send(world, b"x" * (module.MOST_REQUEST_BYTES + 10)))["error"]["code"] == "usage"
    assert (await send(world, b'{"verb": "met'))["error"]["code"] == "usage"


async def test_an_unforeseen_error_says_its_type_and_nothing_else(
    world: World, server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: World) -> bytes:
        raise ValueError(CANARY)

    monkeypatch.setattr(World, "metrics_text", fails)
    with pytest.raises(CallError, match=r"^unforeseen error \(ValueError\)$"):
        await ask(world, "metrics")

    def refuses(self: World) -> bytes:
        raise EngineError("the disk is gone", hint="look at it")

    monkeypatch.setattr(World, "metrics_text", refuses)
    with pytest.raises(CallError, match=r"^the disk is gone$") as raised:
        await ask(world, "metrics")
    assert (raised.value.reason_code, raised.value.hint) == ("failed", "look at it")


async def test_too_many_connections_are_closed_and_later_ones_served(
    world: World, server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 2)
    path = str(world.site.admin_socket)
    idle = [await asyncio.open_unix_connection(path) for _ in range(2)]
    await asyncio.sleep(0.02)
    with pytest.raises(NotReachableError):
        await ask(world, "metrics")
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.02)
    assert await ask(world, "metrics")


async def test_stop_lets_a_running_request_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, let_go = asyncio.Event(), asyncio.Event()
    made = AdminServer(world.site.admin_socket, world, Service(world))
    await made.start()

    async def slow(self: World, name: str, *, actor: str, reason: str) -> None:
        entered.set()
        await let_go.wait()

    monkeypatch.setattr(World, "pause_channel", slow)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ask(world, "channels.pause", name="adt", reason="x"))
        await entered.wait()
        stopping = group.create_task(made.stop())
        await asyncio.sleep(0.02)
        assert not stopping.done()
        let_go.set()
    assert running.result() == {"name": "adt", "state": "running"}
    assert not world.site.admin_socket.exists()
    await made.stop()


# --- who may --------------------------------------------------------------------------------------


def test_only_the_own_user_and_root_have_roles() -> None:
    assert caller_of(Peer(1, 1000, 1000), own_uid=1000).roles == frozenset(Role)
    assert caller_of(Peer(1, 0, 0), own_uid=1000).roles == frozenset(Role)
    for uid in (1001, 65534, 2**31 - 1):
        assert caller_of(Peer(1, uid, 0), own_uid=1000).roles == frozenset()


def test_the_peer_is_read_from_the_kernel() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one) == Peer(os.getpid(), os.getuid(), os.getgid())


def test_a_uid_without_a_name_is_named_by_its_number() -> None:
    assert user_name(2**31 - 5) == f"uid:{2**31 - 5}"


async def test_another_user_is_refused_unread_and_the_refusal_is_on_record_once(
    world: World,
) -> None:
    world.receive(1, adt("C1"))
    made = AdminServer(
        world.site.admin_socket,
        world,
        Service(world),
        peer=lambda connection: Peer(2**22 + 1, 2**31 - 5, 7),
    )
    await made.start()
    for _ in range(20):
        with pytest.raises(RefusedError, match="may not use"):
            await ask(world, "messages.show", id="1", phi=True, reason="ticket")
    (act,) = world.audits()
    assert (act.actor, act.action, act.outcome) == (
        f"uid:{2**31 - 5}",
        "access.refused",
        "refused",
    )
    world.clock.advance(60)
    with pytest.raises(RefusedError):
        await ask(world, "metrics")
    assert len(world.audits()) == 2
    await made.stop()


# --- the socket file ------------------------------------------------------------------------------


async def test_only_the_owner_may_open_the_socket(world: World, server: AdminServer) -> None:
    assert stat.S_IMODE(world.site.admin_socket.stat().st_mode) == 0o600


def test_a_socket_left_by_a_killed_engine_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    bind(path, 0o660).close()  # the file stays, nobody answers
    assert path.exists()
    with bind(path, 0o660):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_socket_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with bind(path, 0o600):
        inode = path.stat().st_ino
        with pytest.raises(AdminSocketError, match="another engine answers"):
            bind(path, 0o600)
        assert path.stat().st_ino == inode


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("mine")
    with pytest.raises(AdminSocketError, match="is not a socket"):
        bind(path, 0o600)
    assert path.read_text() == "mine"


def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    with pytest.raises(AdminSocketError, match="at most 107 bytes"):
        bind(tmp_path / ("x" * 120), 0o600)


# --- the client alone -----------------------------------------------------------------------------


def test_nobody_there_is_not_reachable(tmp_path: Path) -> None:
    with pytest.raises(NotReachableError, match="no such socket") as raised:
        call(tmp_path / "admin.sock", "metrics")
    assert "serve" in raised.value.hint
    bind(tmp_path / "admin.sock", 0o600).close()
    with pytest.raises(NotReachableError, match="nobody listens"):
        call(tmp_path / "admin.sock", "metrics")


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"[]\n", b'{"no": 1}\n'])
async def test_something_else_on_the_socket_is_not_an_engine(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "admin.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    other = await asyncio.start_unix_server(serve, str(path))
    with pytest.raises(NotReachableError):
        await asyncio.to_thread(call, path, "metrics", timeout_seconds=5)
    other.close()
    await other.wait_closed()


async def test_no_answer_in_time_is_not_reachable(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with bind(path, 0o600), pytest.raises(NotReachableError, match="no answer within"):
        await asyncio.to_thread(call, path, "metrics", timeout_seconds=0.05)


def test_the_socket_answers_on_uvloop_too(world: World) -> None:
    uvloop = pytest.importorskip("uvloop")
    world.receive(1, adt("C1"))

    async def answers() -> Any:
        made = AdminServer(world.site.admin_socket, world, Service(world))
        await made.start()
        found = await ask(world, "messages.list", timeout_seconds=5)
        await made.stop()
        return found

    (entry,) = uvloop.run(answers())
    assert entry["id"] == "1"
    assert not world.site.admin_socket.exists()


async def test_half_a_character_is_a_mistake_of_who_asks(world: World, server: AdminServer) -> None:
    for line in (
        b'{"verb": "channels.pause", "name": "\\ud800", "reason": "x"}\n',
        b'{"verb": "dlq.replay", "reason": "x", "ids": ["1", "\\udfff"]}\n',
        b'{"verb": "messages.list", "state": "\\ud800"}\n',
    ):
        answer = await send(world, line)
        assert answer["error"]["code"] == "usage"
        assert "half a character" in answer["error"]["text"]
