"""``ifengine chaos`` as a person uses it."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.support import here
from engine.support import free_port
from ifengine.chaos.table import MISBEHAVIOURS

TWO_MESSAGES = "".join(
    f"MSH|^~\\&|HIS|ELM|IE|ELM|20260105101500||ADT^A01|{control}|P|2.5.1\rPID|1||7^^^E^MR||CANARY\r"
    for control in ("M1", "M2")
)


def test_the_list_shows_every_misbehaviour_with_its_meaning() -> None:
    shown = here("chaos", "--list").out
    listed = here("chaos", "--list", "-o", "json").json()
    assert [row["name"] for row in listed] == [row.name for row in MISBEHAVIOURS]
    for row in MISBEHAVIOURS:
        assert re.search(rf"^{row.name} +{re.escape(row.meaning)}$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"], 2, "--do is missing"),
        (["--do", "flap", "--to", "127.0.0.1:1"], 2, "--listen is missing"),
        (["--do", "flap", "--listen", "7000", "--to", "a:1"], 2, "--listen: is not HOST:PORT"),
        (["--do", "flop", "--listen", "[::1]:0", "--to", "[::1]:1"], 2, "did you mean flap"),
        (["--do", "flap=2", "--listen", "localhost:0", "--to", "localhost:1"], 2, "a share is"),
        (["--do", "flap", "--listen", "0.0.0.0:0", "--to", "127.0.0.1:1"], 4, "--partner"),
        (["--do", "flap", "--listen", "127.0.0.1:0", "--to", "lis.example:1"], 4, "--partner"),
    ],
)
def test_what_is_written_wrongly_or_dangerous_is_refused(
    words: list[str], code: int, said: str
) -> None:
    ended = here("chaos", *words)
    assert ended.code == code
    assert said in ended.err


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a command that stays; give it and what it says when it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ifengine", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        yield process, process.stderr.readline()
    finally:
        process.kill()
        process.communicate()


def test_a_sender_meets_the_misbehaviour_and_the_counts_are_told_without_content(
    tmp_path: Path,
) -> None:
    port, own = free_port(), free_port()
    words = ("--listen", f"127.0.0.1:{own}", "--to", f"127.0.0.1:{port}", "-o", "json")
    chaos = ("chaos", *words, "--do", "code_ae", "--every", "2", "--seed", "7")
    with (
        started("receive", "--port", str(port)) as (_, ready),
        started(*chaos) as (proxy, line),
    ):
        assert "answering AA" in ready
        assert line == f"listening on 127.0.0.1:{own}, passing to 127.0.0.1:{port}, seed 7\n"
        (tmp_path / "two.hl7").write_text(TWO_MESSAGES, newline="")
        sent = here("send", str(tmp_path / "two.hl7"), "--to", f"127.0.0.1:{own}", "-o", "json")
        assert [m["code"] for m in sent.json()["messages"]] == ["AA", "AE"], sent
        proxy.send_signal(signal.SIGTERM)
        out, err = proxy.communicate(timeout=20)
        assert proxy.returncode == 0
        assert json.loads(out) == {
            "seed": 7, "connections": 1, "messages": 2, "answers": 2, "done": {"code_ae": 1},
        }  # fmt: skip
        assert "CANARY" not in out + err


def test_it_ends_by_itself_when_told() -> None:
    words = ("--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{free_port()}", "--do", "tls_expired")
    with started("chaos", *words, "--stop-after", "200ms") as (proxy, line):
        assert re.fullmatch(r"listening on 127.0.0.1:\d+, passing to .*, seed \d+\n", line)
        out, _ = proxy.communicate(timeout=20)
        assert out == "0 connections, 0 messages, 0 answers of the receiver\n"
        assert proxy.returncode == 0
