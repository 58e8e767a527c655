"""What a start imports late, and what leaves before an engine says that it is ready."""

import asyncio
import socket
import subprocess
import sys

import pytest

from engine.support import Receiver, Site, adt, running, sender, until
from ifengine.engine import late
from ifengine.engine.late import LATE, LateService
from ifengine.routes.endpoints.base import Parcel
from ifengine.routes.endpoints.mllp import MllpLane

# No start needs these before its first delivery, and each costs time that a hospital waits for.
# The folder of a package stands for all in it.
NOT_BEFORE_READY = {
    "ifengine.admin.service": "the verbs are answered later; LATE brings them",
    "ifengine.admin.messages": "a verb",
    "ifengine.admin.replays": "a verb",
    "ifengine.admin.shadow": "a verb",
    "ifengine.admin.tally": "a verb",
    "ifengine.routes.shadow": "for `ifengine shadow`",
    "ifengine.routes.channel_tests": "a reload runs the tests of the channels; LATE brings them",
    "ifengine.routes.config.version_diff": "for `ifengine config diff`",
    "ifengine.chaos": "for `ifengine chaos`",
    "ifengine.cli.check": "another command",
    "ifengine.cli.messages": "another command",
    "cryptography.x509": "this site has no certificates",
    "cryptography.hazmat.primitives.asymmetric": "this site has no certificates",
}

# Serves a site, prints what is imported when it says ready, waits for what is late, stops.
SERVE = """
import os, signal, sys, threading, time
from ifengine.cli import serve
from ifengine.cli.main import run
from ifengine.engine.late import LATE
imported = []
def ready(lines):
    imported.extend(sys.modules)
    threading.Thread(target=stop_when_late).start()
def stop_when_late():
    deadline = time.monotonic() + 60
    while not all(name in sys.modules for name in LATE) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
serve._say = ready
code = run(["serve", "--site", sys.argv[1]])
late = [name for name in LATE if name in sys.modules]
print(*imported, sep=chr(10))
print("late:", *late)
sys.exit(code)
"""


def test_a_start_imports_only_what_its_first_delivery_needs_and_the_rest_by_itself(
    site: Site,
) -> None:
    site.settings()  # writes the files and makes the key
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(site.folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *imported, brought = done.stdout.splitlines()
    assert {"ifengine.engine.running", "ifengine.routes.delivery"} <= set(imported)
    for unwanted, why in NOT_BEFORE_READY.items():
        found = [name for name in imported if f"{name}.".startswith(f"{unwanted}.")]
        assert found == [], why
    assert brought.split()[1:] == list(LATE)


async def test_a_request_that_comes_before_the_late_imports_is_answered(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "AFTER_SECONDS", 3600.0)
    async with running(site) as engine:
        status = await engine.ask("status")
        assert status["ready"] is True
        async with asyncio.timeout(60):
            assert await engine.stop() == 0  # and nobody waits for that hour


async def test_what_is_told_to_stop_imports_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(late, "import_late", lambda: imported.append("all"))
    stop = asyncio.Event()
    stop.set()
    service = LateService(None, audit_verified=lambda good: None)  # type: ignore[arg-type]
    await service.load(stop)
    assert imported == []


async def test_an_installation_that_is_not_whole_ends_the_engine(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "AFTER_SECONDS", 0.0)
    monkeypatch.setattr(late, "LATE", ("ifengine.admin.is_not_there",))
    with pytest.raises(ExceptionGroup) as caught:
        async with running(site) as engine:
            await engine.task
    assert caught.group_contains(ModuleNotFoundError)


async def test_what_waits_leaves_once_every_listener_is_bound_and_not_before(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.stop()
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        assert await engine.stop() == 0
    await lab.start()
    bound: list[bool] = []
    begin = MllpLane.begin

    def noted(lane: MllpLane, parcel: Parcel) -> None:
        with socket.socket() as probe:  # nobody else can listen there once the engine does
            bound.append(probe.connect_ex(("127.0.0.1", site.port)) == 0)
        begin(lane, parcel)

    monkeypatch.setattr(MllpLane, "begin", noted)
    with socket.create_server(("127.0.0.1", site.port)):  # somebody else was first
        with pytest.raises(ExceptionGroup, match="TaskGroup") as caught:
            async with running(site):
                pass
        assert caught.group_contains(OSError, match="cannot listen")
    assert bound == []  # such a start is refused, and nothing of what waits was begun
    async with running(site):
        await until(lambda: lab.ids == ["M1"])
    assert bound == [True]
