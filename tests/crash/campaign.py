"""One campaign: outside sender and receivers, the engine in between, and the account at the end."""

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from crash.messages import CHANNEL
from crash.oracle import Sendings, Verdict, check, read_logs
from crash.serving import Site, free_ports, wait_until
from crash.watching import BalanceWatch, watch_balance

TESTS = Path(__file__).resolve().parents[1]
DESTINATIONS = ("east", "west")
ORDERED_BY = {"east": "key", "west": "connection"}
UNSETTLED = ("received", "queued", "retrying", "in_doubt", "held", "dead_letter")
DRAIN_SECONDS = 60.0


def listens(port: int) -> bool:
    """Return whether somebody takes connections on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Peers:
    """The two outside processes. They live as long as the block."""

    def __init__(
        self, folder: Path, *, seed: int, faults: float, rate: float, give_up: float, **site: Any
    ) -> None:
        self.folder = folder / "logs"
        self.folder.mkdir()
        self.seed, self.faults, self.rate, self.give_up = seed, faults, rate, give_up
        self.ports = dict(zip(DESTINATIONS, free_ports(2), strict=True))
        self.site = Site(
            folder / "site", listen={"feed": ""}, send=self.ports, channels={"crossing": CHANNEL},
            **site,
        )  # fmt: skip
        self.receiver = self.start_receiving()
        self.sender: subprocess.Popen[bytes] | None = None

    def run(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start one of the outside processes."""
        return subprocess.Popen(
            [sys.executable, "-m", f"crash.{name}", "--seed", str(self.seed), *words],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )

    def start_receiving(self) -> subprocess.Popen[bytes]:
        """Start both receivers and wait until they listen."""
        receiver = self.run(
            "receiver", "--east", str(self.ports["east"]), "--west", str(self.ports["west"]),
            "--log", str(self.folder), "--faults", str(self.faults),
        )  # fmt: skip
        for port in self.ports.values():
            wait_until("the receiver listens", lambda port=port: listens(port))
        return receiver

    def start_sending(self) -> None:
        """Begin the load."""
        self.sender = self.run(
            "sender", "--port", str(self.site.ports["feed"]), "--log", str(self.folder / "sender"),
            "--rate", str(self.rate), "--give-up", str(self.give_up),
        )  # fmt: skip

    def stop_sending(self) -> None:
        """No new messages; wait until the sender has an answer to every one."""
        assert self.sender is not None
        self.sender.terminate()
        assert self.sender.wait(DRAIN_SECONDS) == 0

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, *_: object) -> None:
        self.site.close()
        for process in (self.sender, self.receiver):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def read(self) -> tuple[Sendings, dict[str, list[Any]]]:
        """Read all logs as they are now."""
        return read_logs(self.folder, DESTINATIONS)

    def watch_balance(self) -> AbstractContextManager[BalanceWatch]:
        """Strike the balance ten times a second while the block runs; then ``assert_even``."""
        return watch_balance(self.site.folder / "var" / "store" / "store.db")

    def wait_until_quiet(self) -> None:
        """Wait until nothing arrives any more and all that was accepted has arrived."""
        before, since = -1, time.monotonic()
        deadline = since + DRAIN_SECONDS
        while time.monotonic() < deadline:
            sendings, arrivals = self.read()
            arrived = [
                {one.control_id for one in log if one.answer != "AR"} for log in arrivals.values()
            ]
            total = sum(len(log) for log in arrivals.values())
            if total != before:
                before, since = total, time.monotonic()
            quiet = time.monotonic() - since
            if quiet > 5.0 or (quiet > 1.0 and all(sendings.accepted <= ids for ids in arrived)):
                return
            time.sleep(0.2)

    def judge(
        self, ordered_by: Mapping[str, str] = ORDERED_BY
    ) -> tuple[Verdict, Sendings, list[dict[str, Any]]]:
        """Compare logs with each other and with the engine's own account."""
        records = self.site.json("messages", "list", "--limit", "1000000")
        sendings, arrivals = self.read()
        marked: dict[str, set[str]] = {name: set() for name in DESTINATIONS}
        states: dict[str, dict[str, str]] = {name: {} for name in DESTINATIONS}
        stored = []
        for record in records:
            if record["state"] in ("dropped", "rejected"):
                continue
            stored.append(record["control_id"])
            for destination in record["destinations"]:
                states[destination["name"]][record["control_id"]] = destination["state"]
                if destination["possible_duplicate"]:
                    marked[destination["name"]].add(record["control_id"])
        verdict = check(
            sendings, arrivals, marked=marked, ordered_by=ordered_by, stored=stored, states=states
        )
        tally = {row["destination"]: row["states"] for row in self.site.json("tally")["rows"]}
        for name, said in states.items():  # the counts of the books, by another way
            sent = sum(state == "sent" for state in said.values())
            counted = tally.get(name, {})  # none where a store has lost all it had
            assert counted.get("sent", 0) == sent, f"{name}: tally {counted}, listed {sent}"
        twice = [control for control, count in Counter(stored).items() if count > 1]
        assert not twice, f"stored and routed twice: {twice[:5]}"
        missing = sendings.accepted - set(stored)
        assert not missing, f"acknowledged and not in the books: {sorted(missing)[:5]}"
        return verdict, sendings, records


def unsettled(records: list[dict[str, Any]]) -> Counter[str]:
    """Return how many messages are in a state that should have come to an end."""
    return Counter(record["state"] for record in records if record["state"] in UNSETTLED)
