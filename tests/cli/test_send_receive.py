"""``send`` and ``receive`` over real sockets: against each other and against another MLLP library."""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import trustme
from hl7.mllp import start_hl7_server

import hl7
from cli.support import ADT, ifengine, write_site
from ifengine.cli.message_files import FileMessage
from ifengine.cli.mllp_receiver import Receiver, Reply
from ifengine.cli.mllp_sender import Sender, Target
from ifengine.clock import SystemClock


@contextmanager
def receiving(*args: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ifengine", "receive", "--port", "0", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"listening on [^ ]*:(\d+)", line)
        assert found, line
        yield process, int(found[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def with_id(control_id: str) -> bytes:
    return ADT.replace(b"|C1|", b"|%b|" % control_id.encode())


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "adt.hl7"
    path.write_bytes(ADT)
    return path


def test_send_and_receive_agree_on_what_was_sent_and_answered(tmp_path: Path) -> None:
    both = tmp_path / "both.hl7"
    both.write_bytes(with_id("C1") + with_id("C2"))
    saved = tmp_path / "saved"
    with receiving("--count", "2", "--save", str(saved), "-o", "json") as (process, port):
        done = ifengine("send", str(both), "--to", f"127.0.0.1:{port}", "-o", "json")
        out, _ = process.communicate(timeout=10)
    assert done.code == 0
    answer = done.json()
    assert set(answer) == {"sent", "acked", "failed", "messages"}
    assert (answer["sent"], answer["acked"], answer["failed"]) == (2, {"AA": 2}, 0)
    assert [set(m) for m in answer["messages"]] == [{"control_id", "code", "milliseconds"}] * 2
    assert [m["control_id"] for m in answer["messages"]] == ["C1", "C2"]
    assert all(m["milliseconds"] > 0 for m in answer["messages"])
    assert process.returncode == 0
    got = json.loads(out)
    assert got["received"] == 2
    assert [(m["type"], m["control_id"], m["bytes"], m["answer"]) for m in got["messages"]] == [
        ("ADT^A01", "C1", len(ADT), "AA"), ("ADT^A01", "C2", len(ADT), "AA"),
    ]  # fmt: skip
    files = sorted(saved.iterdir())
    assert [f.name for f in files] == ["000001.hl7", "000002.hl7"]
    assert [f.read_bytes() for f in files] == [with_id("C1"), with_id("C2")]
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in files)


@pytest.mark.parametrize("code", ["AE", "AR", "CE"])
def test_an_answer_that_was_not_expected_ends_with_5(message: Path, code: str) -> None:
    with receiving("--answer", code) as (_, port):
        done = ifengine("send", str(message), "--to", f"127.0.0.1:{port}", "-o", "json")
        wanted = ifengine("send", str(message), "--to", f"127.0.0.1:{port}", "--expect", code)
    assert done.code == 5
    assert done.json()["acked"] == {code: 1}
    assert done.json()["failed"] == 1
    assert wanted.code == 0
    assert f"1 sent, 1 {code}" in wanted.out


def test_silence_and_a_closed_connection_are_failures_with_a_name(message: Path) -> None:
    with receiving("--answer", "timeout") as (_, port):
        silent = ifengine(
            "send", str(message), "--to", f"127.0.0.1:{port}", "--timeout", "200ms", "-o", "json"
        )
    with receiving("--answer", "close") as (_, port):
        closed = ifengine("send", str(message), "--to", f"127.0.0.1:{port}", "-o", "json")
    assert (silent.code, closed.code) == (5, 5)
    assert silent.json() | {"messages": []} == {"sent": 1, "acked": {}, "failed": 1, "messages": []}
    assert silent.json()["messages"][0]["code"] == "timeout"
    assert closed.json()["messages"][0]["code"] == "closed"


def test_a_port_where_nobody_listens_ends_with_5_and_still_prints_one_document(
    message: Path,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    done = ifengine(
        "send", str(message), "--to", f"127.0.0.1:{port}", "--count", "50", "-o", "json"
    )
    assert done.code == 5
    assert done.json()["sent"] == 0
    assert done.json()["failed"] == 1  # the rest was not tried
    assert f"127.0.0.1:{port}" in done.err


def test_a_script_answers_in_turn_and_its_last_answer_goes_on(
    tmp_path: Path, message: Path
) -> None:
    script = tmp_path / "answers.yaml"
    script.write_text("- AE\n- {answer: AR, text: no bed | free, delay: 300ms}\n- AA\n")
    with receiving("--answer", str(script), "--count", "4", "-o", "jsonl") as (process, port):
        done = ifengine(
            "send", str(message), "--to", f"127.0.0.1:{port}", "--count", "4", "-o", "json"
        )
        out, _ = process.communicate(timeout=10)
    answered = done.json()["messages"]
    assert [m["code"] for m in answered] == ["AE", "AR", "AA", "AA"]
    assert answered[1]["milliseconds"] >= 300
    assert [json.loads(line)["answer"] for line in out.splitlines()] == ["AE", "AR", "AA", "AA"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- AX\n", ":1: not an answer"),
        ("- AA\n- {answer: AE, dely: 1s}\n", ":2: dely is not known here"),
        ("{answer: AE}\n", "must be a list"),
        ("- {delay: 1s}\n", ":1: answer is missing"),
        ("- {answer: timeout, text: x}\n", "timeout has no text"),
        ("[]\n", "must be a list"),
        ("- [AA]\n", "an answer is a word"),
        ("- {answer: AA, delay: soon}\n", "a duration is"),
    ],
)
def test_a_wrong_script_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    script = tmp_path / "answers.yaml"
    script.write_text(text)
    done = ifengine("receive", "--port", "0", "--answer", str(script), "--count", "1")
    assert done.code == 2
    assert told in done.err


def test_receive_prints_one_line_a_message_without_a_patient(message: Path) -> None:
    with receiving("--count", "1") as (process, port):
        ifengine("send", str(message), "--to", f"127.0.0.1:{port}")
        out, err = process.communicate(timeout=10)
    assert re.fullmatch(r"\d\d:\d\d:\d\d ADT\^A01 C1 from 127\.0\.0\.1, \d+ bytes → AA\n", out)
    assert "Quill" not in out + err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_receive_prints_its_document_when_it_is_stopped(
    message: Path, signum: int, code: int
) -> None:
    with receiving("-o", "json") as (process, port):
        ifengine("send", str(message), "--to", f"127.0.0.1:{port}")
        with socket.create_connection(("127.0.0.1", port)):  # an idle peer does not hold it up
            os.kill(process.pid, signum)
            out, _ = process.communicate(timeout=10)
    assert process.returncode == code
    assert json.loads(out)["received"] == 1


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = ifengine("receive", "--port", str(taken.getsockname()[1]))
    assert done.code == 1
    assert "cannot listen" in done.err


def test_an_answer_to_another_message_is_never_credited(message: Path) -> None:
    """A foreign MSA-2 comes first, then the right one."""

    def peer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            for control_id in (b"C0", b"c1", b"C1 ", b"C1"):
                code = b"AA" if control_id == b"C1" else b"AE"
                ack = b"MSH|^~\\&|||||2026||ACK|9|P|2.5\rMSA|%b|%b\r" % (code, control_id)
                connection.sendall(b"\x0b" + ack + b"\x1c\r")
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=peer, args=(server,))
        thread.start()
        done = ifengine(
            "send", str(message), "--to", f"127.0.0.1:{server.getsockname()[1]}", "-o", "json"
        )
        thread.join(5)
    assert done.code == 0
    assert done.json()["acked"] == {"AA": 1}


def test_a_late_answer_is_not_taken_for_the_next_message(tmp_path: Path) -> None:
    both = tmp_path / "both.hl7"
    both.write_bytes(with_id("C1") + with_id("C2"))
    script = tmp_path / "answers.yaml"
    script.write_text("- {answer: AE, delay: 600ms}\n- AA\n")
    with receiving("--answer", str(script)) as (_, port):
        done = ifengine(
            "send", str(both), "--to", f"127.0.0.1:{port}", "--timeout", "300ms", "-o", "json"
        )
    assert [m["code"] for m in done.json()["messages"]] == ["timeout", "AA"]
    assert done.json()["sent"] == 2


def test_a_message_that_asks_for_silence_is_not_waited_for(tmp_path: Path) -> None:
    quiet = tmp_path / "quiet.hl7"
    quiet.write_bytes(ADT.replace(b"|P|2.5.1\r", b"|P|2.5.1|||NE|NE\r"))
    with receiving("--answer", "timeout", "--count", "1") as (process, port):
        done = ifengine("send", str(quiet), "--to", f"127.0.0.1:{port}", "-o", "json")
        process.communicate(timeout=10)
    assert done.code == 0
    assert done.json() | {"messages": 0} == {"sent": 1, "acked": {}, "failed": 0, "messages": 0}


def test_a_message_that_would_break_its_frame_is_not_sent() -> None:
    async def send() -> str:
        sender = Sender(Target("127.0.0.1", 9), clock=SystemClock(), timeout_seconds=1)
        return (await sender.send(FileMessage("f", 1, b"MSH|^~\\&|\x0b\r"))).code

    assert asyncio.run(send()) == "not_sendable"


def test_the_rate_is_kept(message: Path) -> None:
    with receiving("-o", "jsonl", "--count", "4") as (process, port):
        to = f"127.0.0.1:{port}"
        done = ifengine("send", str(message), "--to", to, "--count", "4", "--rate", "10/s")
        out, _ = process.communicate(timeout=10)
    assert done.code == 0
    assert "4 sent, 4 AA" in done.out
    at = [datetime.fromisoformat(json.loads(line)["received_at"]) for line in out.splitlines()]
    assert (at[-1] - at[0]).total_seconds() > 0.25


def test_a_listening_connection_of_the_site_is_a_place_to_send_to(tmp_path: Path) -> None:
    with receiving("--count", "1") as (_, port):
        site = write_site(tmp_path)
        text = (site / "ifengine.yaml").read_text()
        (site / "ifengine.yaml").write_text(text.replace("port: 2575", f"port: {port}"))
        done = ifengine("send", "samples/adt_a01.hl7", "--to", "adt-in", "--site", str(site))
    assert done.code == 0, done.err
    assert "→ ADT^A01 C1" in done.out


def test_a_sending_connection_or_an_unknown_one_is_wrong_usage(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    for name, told in (
        ("lab-out", "is where the engine sends to"),
        ("nowhere", "no connection nowhere"),
    ):
        done = ifengine("send", "adt_a01", "--to", name, "--site", str(site))
        assert done.code == 2
        assert told in done.err
        assert "adt-in" in done.err


@pytest.mark.parametrize(
    "args",
    [
        ["send", "nothing.hl7", "--to", "127.0.0.1:1"],
        ["send", "--to", "127.0.0.1:1"],
        ["send", "-", "--to", "127.0.0.1:99999"],
        ["send", "-", "--to", "127.0.0.1:1", "--expect", "OK"],
        ["send", "-", "--to", "127.0.0.1:1", "--rate", "0"],
        ["receive"],
        ["receive", "--port", "0", "--answer", "AX"],
        ["receive", "--port", "70000"],
    ],
)
def test_wrong_usage_ends_with_2(args: list[str]) -> None:
    done = ifengine(*args, given=ADT)
    assert done.code == 2
    assert done.out == ""
    assert done.err


def test_tls_is_spoken_and_a_stranger_is_refused(tmp_path: Path, message: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    for name, ca in (("ours.pem", ours), ("theirs.pem", theirs)):
        ca.cert_pem.write_to_path(tmp_path / name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("localhost").configure_cert(context)

    async def scenario() -> list[tuple[int, str, str]]:
        taken = []
        receiver = Receiver([Reply("AA")], clock=SystemClock(), told=taken.append)
        receiver._server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=context)
        port = receiver._server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        done = [
            await loop.run_in_executor(
                None,
                lambda ca=ca: ifengine(
                    "send", str(message), "--to", f"localhost:{port}", "--tls", str(tmp_path / ca)
                ),
            )
            for ca in ("ours.pem", "theirs.pem")
        ]
        receiver.stop()
        await receiver.run()
        assert len(taken) == 1
        return done

    trusted, stranger = asyncio.run(scenario())
    assert trusted.code == 0, trusted.err
    assert stranger.code == 5
    assert "TLS" in stranger.err


async def test_send_speaks_with_the_server_of_another_library(message: Path) -> None:
    got: list[str] = []

    async def serve(reader, writer) -> None:
        while True:
            try:
                parsed = await reader.readmessage()
            except asyncio.IncompleteReadError:
                writer.close()
                await writer.wait_closed()
                return
            got.append(str(parsed))
            writer.writemessage(parsed.create_ack())
            await writer.drain()

    async with await start_hl7_server(serve, host="127.0.0.1", port=0) as server:
        port = server.sockets[0].getsockname()[1]
        run = asyncio.get_running_loop().run_in_executor
        done = await run(
            None,
            lambda: ifengine(
                "send", str(message), "--to", f"127.0.0.1:{port}", "--count", "3", "-o", "json"
            ),
        )
    assert done.code == 0, done.err
    assert done.json()["acked"] == {"AA": 3}
    assert got == [str(hl7.parse(ADT.decode()))] * 3


async def test_receive_answers_the_client_of_another_library() -> None:
    taken = []
    receiver = Receiver([Reply("AE", text="a|b")], clock=SystemClock(), told=taken.append, most=1)
    await receiver.start("127.0.0.1", 0)
    reader, writer = await hl7.mllp.open_hl7_connection("127.0.0.1", receiver.port)
    writer.writemessage(hl7.parse(ADT.decode()))
    await writer.drain()
    answer = await asyncio.wait_for(reader.readmessage(), 5)
    writer.close()
    await writer.wait_closed()
    await receiver.run()
    assert str(answer["MSA.F1"]) == "AE"
    assert str(answer["MSA.F2"]) == "C1"
    assert "|a\\F\\b\r" in str(answer)
    assert str(answer["MSH.F3"]) == "ENG"
    assert str(answer["MSH.F5"]) == "REG"
    assert [t.answer for t in taken] == ["AE"]


async def test_a_broken_frame_is_told_by_its_name_and_not_answered() -> None:
    taken = []
    receiver = Receiver([Reply("AA")], clock=SystemClock(), told=taken.append)
    await receiver.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(b"\x0bMSH|^~\\&|half\r\x0bMSH|^~\\&|whole\r\x1c\r")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await writer.wait_closed()
    receiver.stop()
    await receiver.run()
    assert [t.answer for t in taken] == ["start_block_inside_frame"]
