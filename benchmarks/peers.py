"""The generator and the sink: two C programs where a compiler is present, else these Python ones.

``python -m benchmarks.peers load ...`` and ``sink ...`` take the options of ``load.c`` and
``sink.c`` and print the same JSON.
"""

import asyncio
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import uvloop

from benchmarks.measuring import Programs

HERE = Path(__file__).resolve().parent
START, END = b"\x0b", b"\x1c\r"


def build(into: Path) -> Programs:
    """Return generator and sink, and what makes a disk slow; built where there is a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        python = [sys.executable, "-m", "benchmarks.peers"]
        return Programs([*python, "load"], [*python, "sink"], None, "Python (no C compiler here)")
    into.mkdir(parents=True, exist_ok=True)
    for name in ("load", "sink"):
        words = [compiler, "-O2", "-Wall", "-o", str(into / name), str(HERE / f"{name}.c")]
        subprocess.run(words, check=True)
    slow = into / "slow.so"
    words = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(slow), str(HERE / "slow.c")]
    subprocess.run([*words, "-ldl"], check=True)
    return Programs([str(into / "load")], [str(into / "sink")], slow, "C")


def options(arguments: list[str]) -> dict[str, str]:
    """Read ``--name value`` pairs."""
    return {
        name.removeprefix("--"): value
        for name, value in zip(arguments[::2], arguments[1::2], strict=True)
    }


def cpu_seconds() -> float:
    """Return what this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round(usage.ru_utime + usage.ru_stime, 3)


class Load:
    """What all connections of the generator share."""

    def __init__(self, given: dict[str, str]) -> None:
        text = Path(given["template"]).read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        self.before, rest = (START + text + END).split(b"@ID@", 1)
        self.between, self.after = rest.split(b"@PATIENT@", 1)
        self.prefix = given.get("prefix", "L").encode()
        self.patients = int(given.get("patients", "100000"))
        self.count = int(given.get("count", "0"))
        self.window = int(given.get("window", "1"))
        self.warmup = int(given.get("warmup", "0"))
        self.stop_at = time.perf_counter() + float(given.get("seconds", given.get("limit", "120")))
        self.sent = self.acked = self.unmatched = self.lost = self.bytes = 0
        self.codes: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.first = self.last = 0.0
        self.live = 0
        self.done = asyncio.Event()
        self.accepted = open(given["accepted"], "wb") if "accepted" in given else None  # noqa: SIM115

    def may_send(self) -> bool:
        """Return whether more messages are wanted."""
        if self.count and self.sent >= self.count:
            return False
        return time.perf_counter() < self.stop_at

    def next_message(self) -> tuple[bytes, bytes]:
        """Return a control id and its framed message."""
        control = b"%s%09d" % (self.prefix, self.sent)
        patient = b"%07d" % ((self.sent * 2654435761) % self.patients)
        self.sent += 1
        message = b"".join((self.before, control, self.between, patient, self.after))
        self.bytes += len(message)
        return control, message

    def answered(self, code: bytes, control: bytes, since: float) -> None:
        """Count one acknowledgment."""
        now = time.perf_counter()
        self.codes[code.decode("ascii", "replace")] += 1
        self.acked += 1
        if self.accepted and code in (b"AA", b"CA"):
            self.accepted.write(control + b"\n")
        if self.acked > self.warmup:
            if self.first:
                self.latencies.append(now - since)
            else:
                self.first = now
            self.last = now

    def check_done(self) -> None:
        """End the run once every message has its answer."""
        answered = self.acked + self.unmatched + self.lost
        if not self.live or (answered >= self.sent and not self.may_send()):
            self.done.set()


class Sender(asyncio.Protocol):
    """One connection of the generator."""

    def __init__(self, run: Load) -> None:
        self.run = run
        self.waiting: dict[bytes, float] = {}
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.run.live += 1

    def fill(self) -> None:
        """Send until the window is full."""
        now = time.perf_counter()
        batch = []
        while len(self.waiting) < self.run.window and self.run.may_send():
            control, message = self.run.next_message()
            self.waiting[control] = now
            batch.append(message)
        if batch:
            self.transport.write(b"".join(batch))

    def data_received(self, data: bytes) -> None:
        *answers, self.buffer = (self.buffer + data).split(END)
        for answer in answers:
            at = answer.find(b"\rMSA")
            bar = answer[at + 4 : at + 5]
            fields = answer[at + 5 :].split(b"\r", 1)[0].split(bar) if at >= 0 and bar else []
            since = self.waiting.pop(fields[1], None) if len(fields) > 1 else None
            if since is None:
                self.run.unmatched += 1
            else:
                self.run.answered(fields[0], fields[1], since)
        self.fill()
        self.run.check_done()

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.live -= 1
        self.run.lost += len(self.waiting)
        self.waiting.clear()
        self.run.check_done()


async def load(given: dict[str, str]) -> dict[str, object]:
    """Run the generator."""
    loop = asyncio.get_running_loop()
    run = Load(given)
    senders = []
    for _ in range(int(given.get("connections", "1"))):
        _, sender = await loop.create_connection(
            lambda: Sender(run), given.get("host", "127.0.0.1"), int(given["port"])
        )
        senders.append(sender)
    started = time.perf_counter()
    for sender in senders:
        sender.fill()
    try:
        await asyncio.wait_for(run.done.wait(), run.stop_at - started + 10)
    except TimeoutError:
        run.lost += sum(len(sender.waiting) for sender in senders)
    wall = time.perf_counter() - started
    if run.accepted:
        run.accepted.close()
    run.latencies.sort()

    def percentile(share: float) -> float:
        at = min(len(run.latencies) - 1, int(len(run.latencies) * share))
        return round(run.latencies[at] * 1000, 3) if run.latencies else 0.0

    span = run.last - run.first
    return {
        "sent": run.sent, "acked": run.acked, "codes": dict(run.codes),
        "unmatched": run.unmatched, "unanswered": run.lost,
        "message_bytes": run.bytes // run.sent if run.sent else 0, "wall_s": round(wall, 3),
        "rate": round(len(run.latencies) / span, 1) if span > 0 else 0.0,
        "p50_ms": percentile(0.5), "p95_ms": percentile(0.95), "p99_ms": percentile(0.99),
        "p999_ms": percentile(0.999),
        "max_ms": percentile(1.0), "cpu_s": cpu_seconds(),
    }  # fmt: skip


class Sink:
    """What all connections of the sink share."""

    def __init__(self, given: dict[str, str]) -> None:
        self.delay = float(given.get("delay-ms", "0")) / 1000
        self.record = open(given["record"], "wb") if "record" in given else None  # noqa: SIM115
        self.messages = self.bytes = self.not_hl7 = self.connections = 0
        self.first = self.last = 0.0

    def answer(self, message: bytes) -> bytes:
        """Count one message and return its framed acknowledgment."""
        self.last = time.time()
        self.first = self.first or self.last
        self.messages += 1
        self.bytes += len(message)
        fields = message.split(b"\r", 1)[0].split(message[3:4], 10) if message[:3] == b"MSH" else []
        control = fields[9] if len(fields) > 9 else b""
        self.not_hl7 += not control
        if self.record:
            self.record.write(control + b"\n")
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(self.last)).encode()
        return b"\x0bMSH|^~\\&|SINK|BENCH|||%s||ACK|S%d|P|2.5.1\rMSA|AA|%s\r\x1c\r" % (
            stamp, self.messages, control,
        )  # fmt: skip

    def report(self) -> None:
        """Print the counts so far."""
        if self.record:
            self.record.flush()
        span = self.last - self.first
        counts = {
            "messages": self.messages, "bytes": self.bytes, "not_hl7": self.not_hl7,
            "connections": self.connections, "first": self.first, "last": self.last,
            "rate": round((self.messages - 1) / span, 1) if span > 0 else 0.0,
            "cpu_s": cpu_seconds(),
        }  # fmt: skip
        print(json.dumps(counts), flush=True)


class Receiver(asyncio.Protocol):
    """One connection of the sink."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.sink.connections += 1

    def data_received(self, data: bytes) -> None:
        *messages, self.buffer = (self.buffer + data).split(END)
        answers = b"".join(self.sink.answer(message.lstrip(START)) for message in messages)
        if not answers:
            return
        if self.sink.delay:
            asyncio.get_running_loop().call_later(self.sink.delay, self.write, answers)
        else:
            self.transport.write(answers)

    def write(self, answers: bytes) -> None:
        """Answer late, unless the connection is gone."""
        if not self.transport.is_closing():
            self.transport.write(answers)


async def sink(given: dict[str, str]) -> None:
    """Run the sink until SIGTERM."""
    loop = asyncio.get_running_loop()
    counts = Sink(given)
    stop = asyncio.Event()
    server = await loop.create_server(
        lambda: Receiver(counts), "127.0.0.1", int(given.get("port", "0"))
    )
    loop.add_signal_handler(signal.SIGUSR1, counts.report)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stop.wait()
    counts.report()


def main(run: Callable[..., object] = uvloop.run) -> None:
    """Run one of the two."""
    kind, given = sys.argv[1], options(sys.argv[2:])
    if kind == "load":
        print(json.dumps(run(load(given))), flush=True)
    else:
        run(sink(given))


if __name__ == "__main__":
    main()
