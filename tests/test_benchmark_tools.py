"""The generator and the sink of the benchmarks count right, in C and in Python."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
