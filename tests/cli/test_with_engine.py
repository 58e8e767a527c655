"""The commands against a real engine in a process of its own, and against its store afterwards."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.support import ADT, CHANNEL, here, ifengine, write_site
from ifengine.cli.serve import _most_telling
from ifengine.errors import EngineError, StorageFailedError
from ports import free_ports

SITE = """\
ifengine: 1
site: elm
environment: test
store: {{path: var/store, reserve: 1MiB}}
listen: {{metrics: "127.0.0.1:{metrics}"}}
connections:
  adt-in: {{listen: mllp, port: {listen}, plaintext: a test on one machine}}
  lab-out: {{send: mllp, host: 127.0.0.1, port: {send}, plaintext: a test on one machine}}
"""
FAILING = CHANNEL.replace(
    "  - upper: PID-5.1\n", "  - upper: PID-5.1\n  - require: {PV1-3: no ward}\n"
)
NAMES = ("Quill", "QUILL", "7001^^^ELM")


def until(ask: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while True:
        found = ask()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.05)


class Running:
    def __init__(self, site: Path) -> None:
        self.site = site
        self.head: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ifengine", "serve", "--site", str(site)],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.head.append(line.rstrip("\n"))
            if line == "ready\n":
                return
        raise AssertionError(self.head)

    def stop(self, signum: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=15)
        return self.process.returncode, out, err

    def __call__(self, *args: str, **more: Any) -> Any:
        return here(*args, "--site", str(self.site), **more)

    def json(self, *args: str, **more: Any) -> Any:
        done = self(*args, "-o", "json", **more)
        assert done.code in (0, 1, 5), done.err
        return done.json()


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    listen, send, metrics = free_ports(3)
    text = SITE.format(listen=listen, send=send, metrics=metrics)
    site = write_site(tmp_path, site=text)
    here("keys", "init", "--site", str(site))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", listen))
        taken.listen()
        done = ifengine("serve", "--site", str(site))
    assert done.code == 1
    assert str(listen) in done.err
    assert "internal fault" not in done.err
    assert "ready" not in done.err.splitlines()


def test_of_several_errors_the_storage_s_decides() -> None:
    storage = StorageFailedError("the disk said no")
    group = BaseExceptionGroup(
        "", [KeyError("x"), ExceptionGroup("", [OSError(5, "no"), EngineError("e")]), storage]
    )
    assert _most_telling(group) is storage
    assert str(_most_telling(group.exceptions[1])) == "e"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A site with one message sent, one refused and one dead letter in its steps."""
    listen, send, metrics = free_ports(3)
    site = write_site(
        tmp_path_factory.mktemp("s"),
        site=SITE.format(listen=listen, send=send, metrics=metrics),
        channel=FAILING,
    )
    assert here("keys", "init", "--site", str(site)).code == 0
    receiver = subprocess.Popen(
        [sys.executable, "-m", "ifengine", "receive", "--port", str(send), "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert receiver.stderr is not None
    receiver.stderr.readline()
    running = Running(site)
    messages = (
        ADT
        + ADT.replace(b"|C1|P|", b"|C2|T|")
        + ADT.replace(b"|C1|", b"|C3|").replace(b"|I|4W", b"|I|")
    )
    sent = ifengine(
        "send", "-", "--to", "adt-in", "-o", "json", given=messages, IFENGINE_SITE=str(site)
    )
    assert [m["code"] for m in sent.json()["messages"]] == ["AA", "AR", "AA"]
    assert until(lambda: len(running.json("messages", "list", "--state", "sent,dead_letter")) == 2)
    yield running
    if running.process.poll() is None:
        running.stop()
    receiver.send_signal(signal.SIGTERM)
    receiver.communicate(timeout=10)


def test_serve_says_one_line_ready_and_what_it_listens_on(engine: Running) -> None:
    assert engine.head[-1] == "ready"
    assert engine.head.count("ready") == 1
    assert "site elm" in engine.head[0]
    assert any("adt-in :" in line for line in engine.head)


def test_a_second_engine_on_the_same_site_is_refused(engine: Running) -> None:
    second = ifengine("serve", "--site", str(engine.site))
    assert second.code not in (0, 75)
    assert "ready" not in second.err.splitlines()
    assert engine.json("channels", "list")[0]["state"] == "running"


def test_every_message_is_listed_with_its_state(engine: Running) -> None:
    rows = engine.json("messages", "list")
    assert [(r["control_id"], r["state"]) for r in rows] == [
        ("C3", "dead_letter"), ("C2", "rejected"), ("C1", "sent"),
    ]  # fmt: skip
    keys = {
        "id",
        "received_at",
        "channel",
        "type",
        "control_id",
        "state",
        "config_version",
        "destinations",
    }
    assert all(keys <= set(row) for row in rows)
    assert set(rows[0]["destinations"][0]) == {
        "name", "state", "attempts", "reason", "code", "possible_duplicate",
    }  # fmt: skip
    assert [r["control_id"] for r in engine.json("messages", "list", "--state", "rejected")] == [
        "C2"
    ]
    assert engine.json("messages", "list", "--channel", "nothing") == []


def test_a_message_is_found_by_its_patient_and_by_its_control_id(engine: Running) -> None:
    by_patient = engine.json("messages", "list", "--patient", "-", given="7001\n")
    by_id = engine.json("messages", "list", "--control-id", "-", given="C3\n")
    assert {r["control_id"] for r in by_patient} >= {"C1", "C3"}
    assert [r["control_id"] for r in by_id] == ["C3"]
    assert engine.json("messages", "list", "--patient", "-", given="9999\n") == []


def test_masked_outputs_hold_nothing_of_a_patient_and_phi_shows_it_audited(engine: Running) -> None:
    one = engine.json("messages", "list", "--state", "sent")[0]["id"]
    dead = engine.json("messages", "list", "--state", "dead_letter")[0]["id"]
    commands = [
        ("messages", "list"), ("messages", "show", one), ("messages", "trace", one), ("dlq", "list"),
        ("dlq", "show", dead), ("channels", "list"), ("metrics",), ("doctor",), ("keys", "status"),
        ("dlq", "replay", dead, "--dry-run"),
    ]  # fmt: skip
    for command in commands:
        for form in ("text", "json"):
            done = engine(*command, *(("-o", "json") if form == "json" else ()))
            assert done.code in (0, 1), done
            assert not any(name in done.out + done.err for name in NAMES), command
    before = engine.json("audit", "verify")["records"]
    shown = engine("messages", "show", one, "--phi", "--reason", "ticket 7")
    assert "Quill^Ada" in shown.out
    assert "QUILL^Ada" in shown.out
    assert engine.json("audit", "verify")["records"] > before
    raw = engine("messages", "show", one, "--raw", "--phi", "--reason", "ticket 7")
    assert raw.out.encode() == ADT
    trace = engine.json("messages", "trace", one)
    assert "message.viewed" in {event.get("action") for event in trace["events"]}


def test_a_stored_message_can_be_tried_again(engine: Running) -> None:
    dead = engine.json("messages", "list", "--state", "dead_letter")[0]["id"]
    tried = engine("try", "adt", dead, "--phi", "--reason", "ticket 7")
    assert tried.code == 1
    assert "to the dead letters at step 2 require: no ward" in tried.out


def test_a_paused_channel_still_receives_and_goes_on_when_resumed(engine: Running) -> None:
    assert engine.json("channels", "pause", "adt", "--reason", "RIS upgrade") == {
        "name": "adt",
        "state": "paused",
    }
    row = engine.json("channels", "list")[0]
    assert row["state"] == "paused"
    message = ADT.replace(b"|C1|", b"|C9|").replace(b"7001", b"7002")
    assert engine("send", "-", "--to", "adt-in", given=message).code == 0
    waiting = engine.json("messages", "list", "--control-id", "-", given="C9\n")
    assert waiting[0]["state"] in ("received", "queued")
    assert engine("channels", "resume", "adt").out == "adt running\n"

    def sent() -> bool:
        return (
            engine.json("messages", "list", "--control-id", "-", given="C9\n")[0]["state"] == "sent"
        )

    assert until(sent)
    assert engine("channels", "pause", "nothing").code in (1, 2)


def test_a_dead_letter_that_fails_again_is_not_called_replayed(engine: Running) -> None:
    groups = engine.json("dlq", "list")
    assert [set(group) >= {"group", "count", "channel", "destination", "reason", "first", "last", "messages"}
            for group in groups] == [True]  # fmt: skip
    done = engine("dlq", "replay", "--group", str(groups[0]["group"]), "--yes", "--reason", "again")
    assert done.code == 5
    assert done.out.startswith("0 of 1 dead letter replayed")


def test_an_engine_that_runs_keeps_offline_readers_out(engine: Running) -> None:
    done = engine("audit", "verify", "--offline")
    assert done.code == 1
    assert done.out == ""


def test_doctor_and_metrics_answer(engine: Running) -> None:
    checks = engine.json("doctor")
    assert {"level", "check", "text"} == set(checks[0])
    assert "ifengine_messages_received_total" in engine("metrics").out
    assert engine("doctor", "--check", "audit").code == 0


def test_reload_says_what_it_did_and_why_it_did_not(engine: Running) -> None:
    channel = next((engine.site / "channels").glob("*.yaml"))
    written = channel.read_text()
    done = engine("reload")
    assert done.code == 0, done.err
    assert "nothing is said differently" in done.out
    channel.write_text(written + "stepps: []\n")
    refused = engine("reload")
    assert refused.code == 1
    assert "error[E101]" in refused.out
    assert "nothing was changed" in refused.err
    channel.write_text(written)
    assert engine("reload", "--skip-tests").code == 2
    assert engine.json("reload", "--dry-run")["done"] is False
    history = engine.json("config", "history")
    assert [row["running"] for row in history] == [True]


def test_after_sigterm_the_store_can_be_read_without_an_engine(engine: Running) -> None:
    """Last of the module: it stops the engine."""
    online = engine.json("messages", "list")
    code, out, err = engine.stop()
    assert (code, out) == (0, "")
    assert not any(name in err for name in NAMES)
    assert engine("messages", "list").code == 3
    assert engine.json("messages", "list", "--offline") == online
    before = engine.json("audit", "verify", "--offline")
    assert before["ok"] is True
    dead = next(r["id"] for r in online if r["state"] == "dead_letter")
    shown = engine("messages", "show", dead, "--phi", "--reason", "ticket 8", "--offline")
    assert "Quill^Ada" in shown.out, shown.err
    after = engine.json("audit", "verify", "--offline")
    assert after["ok"] is True
    assert after["records"] > before["records"]
    assert engine.json("dlq", "list", "--offline")[0]["messages"] == [dead]
    assert re.search(r"^key-encryption key [0-9a-f]{8}", engine("keys", "status", "--offline").out)
    again = Running(engine.site)
    try:
        assert again.json("messages", "list") == online
        discarded = again("dlq", "discard", dead, "--yes", "--reason", "test", "-o", "json")
        assert discarded.code == 0, discarded.err
        assert discarded.json()["discarded"] == 1
        assert again.json("dlq", "list") == []
        assert again.json("messages", "list", "--state", "discarded")[0]["id"] == dead
    finally:
        assert again.stop()[0] == 0
