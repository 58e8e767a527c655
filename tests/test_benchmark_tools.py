"""What the benchmarks measure with counts right, and what they prepare is what they say."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import __main__ as bench
from benchmarks import backlog, foreign, messages, page, peers
from benchmarks.groups import EVERY_GROUP, GROUPS
from benchmarks.measuring import Case, Figures, Programs, offer, sinking
from benchmarks.serving import Site, command, free_ports, running

from requirements import require

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "benchmarks" / "adt_a01.hl7"


@pytest.fixture(scope="module", params=["c", "python"])
def tools(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    if request.param == "python":
        words = [sys.executable, "-m", "benchmarks.peers"]
        return {"load": [*words, "load"], "sink": [*words, "sink"]}
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) on this machine")
    into = tmp_path_factory.mktemp("programs")
    for name in ("load", "sink"):
        source = str(ROOT / "benchmarks" / f"{name}.c")
        words = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(into / name), source]
        subprocess.run(words, check=True)
    return {name: [str(into / name)] for name in ("load", "sink")}


@pytest.fixture
def sink(tools: dict, tmp_path: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    words = [*tools["sink"], "--record", str(tmp_path / "arrived"), "--delay-ms", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    yield process, json.loads(process.stdout.readline())["port"]
    if process.poll() is None:
        process.kill()
        process.communicate()


def run_load(tools: dict, port: int, *words: str) -> dict:
    command = [*tools["load"], "--port", str(port), "--template", str(TEMPLATE), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def test_every_message_sent_is_counted_once_on_both_sides(
    tools: dict, sink: tuple[subprocess.Popen, int], tmp_path: Path
) -> None:
    process, port = sink
    accepted = tmp_path / "accepted"
    result = run_load(
        tools, port, "--connections", "3", "--window", "2", "--count", "500",
        "--accepted", str(accepted),
    )  # fmt: skip
    process.send_signal(signal.SIGTERM)
    counts = json.loads(process.communicate()[0])
    arrived = (tmp_path / "arrived").read_text().split()
    assert result["codes"] == {"AA": 500}
    assert counts["messages"] == 500
    assert counts["connections"] == 3
    assert len(set(arrived)) == len(arrived) == 500
    assert sorted(arrived) == sorted(accepted.read_text().split())
    assert result["p50_ms"] >= 1.0  # the sink's delay is really waited for
    assert result["p50_ms"] <= result["p99_ms"] <= result["p999_ms"] <= result["max_ms"]


def test_a_receiver_that_goes_away_leaves_messages_unanswered(tools: dict) -> None:
    import socket
    import threading

    server = socket.create_server(("127.0.0.1", 0))

    def take_one_message_and_close() -> None:
        peer, _ = server.accept()
        peer.recv(65536)
        peer.close()

    thread = threading.Thread(target=take_one_message_and_close)
    thread.start()
    result = run_load(tools, server.getsockname()[1], "--count", "10", "--limit", "2")
    thread.join()
    server.close()
    assert result["acked"] == 0
    assert result["unanswered"] == 1


@pytest.mark.parametrize("name", ["1 KB", "3.4 KB", "5 MB"])
def test_messages_have_the_size_that_is_said_and_arrive_whole(
    tools: dict, sink: tuple[subprocess.Popen, int], tmp_path: Path, name: str
) -> None:
    process, port = sink
    sizes = {"1 KB": messages.SMALL_BYTES, "3.4 KB": messages.MIDDLE_BYTES}
    path = messages.template(name, tmp_path)
    command = [*tools["load"], "--port", str(port), "--template", str(path), "--count", "3"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    result = json.loads(done.stdout)
    process.send_signal(signal.SIGTERM)
    counts = json.loads(process.communicate()[0])
    framed = result["message_bytes"]
    assert counts["messages"] == 3
    if name == "5 MB":
        assert messages.DOCUMENT_BYTES < framed < messages.DOCUMENT_BYTES + 4096
    else:
        assert framed == sizes[name] + len(b"\x0b\x1c\r")


# --- what stands around them ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    require("program:cc")
    return peers.build(tmp_path_factory.mktemp("built"))


SYNCS = """
import os, sys, time
handle = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
started = time.perf_counter()
for _ in range(10):
    os.write(handle, b"x")
    os.fdatasync(handle)
print(time.perf_counter() - started)
"""


def test_the_slow_disk_is_as_slow_as_it_says(programs: Programs, tmp_path: Path) -> None:
    case = Case("", slow_sync_us=30_000)
    environment = {**os.environ, **programs.environment(case)}
    words = [sys.executable, "-c", SYNCS, str(tmp_path / "file")]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    assert float(done.stdout) >= 0.3
    assert programs.environment(Case("")) == {}


def test_what_is_filled_in_bulk_is_what_the_engine_would_have_written(
    programs: Programs, tmp_path: Path
) -> None:
    port, metrics, receiver = free_ports(3)
    site = Site(tmp_path / "site", (receiver,), ports=(port, metrics))
    backlog._prepare(programs, site, 1500)
    with sinking(programs.sink, 0, receiver) as sink, running(site) as engine:
        counts = sink.wait_for(1500)
        offer(programs, engine.port, Case(""), ["--count", "20"], "N")
        assert sink.wait_for(1520)["messages"] == 1520
        assert counts["not_hl7"] == 0
    tally = subprocess.run(
        command("tally", "--offline", "--site", str(site.folder), "-o", "json"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tally.returncode == 0, tally.stdout


def test_a_receiver_of_others_that_is_installed_answers(programs: Programs) -> None:
    servers, absent = foreign.installed()
    assert len(servers) + len(absent) == 3
    for server in servers:
        with foreign.begun(server) as port:
            result = foreign.ask(programs, port, ["--count", "50"])
            assert result["acked"] > 0
            assert set(result["codes"]) == {"AA"}


def test_a_run_replaces_its_own_sections_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    page.put(path, {"core": "## Core\n\nold", "disk": "## Disk\n\nkept"}, EVERY_GROUP)
    page.put(path, {"core": "## Core\n\nnew", "backlog": "## Queue\n\nadded"}, EVERY_GROUP)
    found = page.sections(path.read_text())
    assert found == {
        "core": "## Core\n\nnew", "disk": "## Disk\n\nkept", "backlog": "## Queue\n\nadded",
    }  # fmt: skip
    assert list(found) == [name for name in EVERY_GROUP if name in found]


def test_a_line_shows_the_ratio_to_its_own_limits() -> None:
    case = Case("", deliver=True, lanes=4, delay_ms=5)
    disk = Figures(900, 600, 1, 2, 3, 50, 80, 10)
    memory = Figures(900, 750, 1, 2, 3, 50, 80, 10)
    line = dict(zip(page.COLUMNS, page.cells(page.Row(case, disk, memory), 1200), strict=True))
    assert line["ratio to no disk"] == "0.80"
    assert line["messages a sync"] == "0.50"
    assert line["of its limit"] == "0.75"  # 4 lanes, 200/s each
    assert line["p99.9 ms"] == "3.00"


def test_groups_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IFENGINE_BENCH", raising=False)
    assert bench.chosen([]) == ("core", "steps")
    assert bench.chosen(["disk", "backlog"]) == ("disk", "backlog")
    monkeypatch.setenv("IFENGINE_BENCH", "full")
    assert bench.chosen([]) == EVERY_GROUP
    with pytest.raises(SystemExit):
        bench.chosen(["quickly"])
    named = [case.name for _, cases in GROUPS.values() for case in cases]
    assert all(named)
