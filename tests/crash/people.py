"""A person at the outside of an engine under test: looks at its books, and replays dead letters.

Every question goes over the engine's own socket, or by the command line; a process that is killed
meanwhile gives no answer, and the person asks again.
"""

import asyncio
import contextlib
import random
import time
from typing import Any

from crash.serving import Site
from ifengine.admin.client import CallError, call
from ifengine.errors import EngineError

OPEN = ("received", "queued", "retrying", "in_doubt", "parked", "held", "dead_letter")
PAGE = 1000


def ask(site: Site, verb: str, **params: object) -> Any:
    """Return what the engine answers.

    Raises:
        CallError: it says no, or nobody answers.
    """
    return call(site.folder / "var" / "admin.sock", verb, timeout_seconds=30, **params)


def listed(site: Site) -> list[dict[str, Any]]:
    """Return every message of the books."""
    found: list[dict[str, Any]] = site.json("messages", "list", "--limit", "1000000")
    return found


def is_marked(rows: list[dict[str, Any]], destination: str) -> set[str]:
    """Return the control ids of which the engine says that they may have come twice."""
    return {
        row["control_id"]
        for row in rows
        for one in row["destinations"]
        if one["name"] == destination and one["possible_duplicate"]
    }


def open_states(site: Site) -> dict[str, int]:
    """Return what is not at its end, by state."""
    found: dict[str, int] = {}
    for row in ask(site, "tally")["rows"]:
        for state, count in row["states"].items():
            if state in OPEN and count:
                found[state] = found.get(state, 0) + count
    return found


class Clerk:
    """Replays each dead letter sooner or later, the oldest one first, in one way or the other."""

    def __init__(self, site: Site, lot: random.Random) -> None:
        self.site, self.lot = site, random.Random(lot.random())
        self.replayed = 0
        self.by_command = 0
        self.older = 0  # of those, what the engine held back as older at first
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End; a second time does nothing."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(self.lot.uniform(0.05, 0.5))
            # killed meanwhile, gone since it was listed, refused for now: another time
            with contextlib.suppress(EngineError, OSError):
                await asyncio.to_thread(self.replay_some)

    def replay_some(self) -> None:
        """Replay the oldest dead letters one by one."""
        letters = sorted(
            {int(one) for group in ask(self.site, "dlq.list") for one in group["messages"]}
        )
        for letter in letters[:5]:
            if self.lot.random() < 0.1:
                self.by_command += 1
                done = self.site.command(
                    "dlq", "replay", str(letter), "--reason", "campaign", "--yes"
                )
                self.replayed += done.returncode == 0
                continue
            how: dict[str, object] = {"as": "stored"} if self.lot.random() < 0.3 else {}
            with contextlib.suppress(CallError):
                answer = self._replay(letter, how)
                if answer["older"]:
                    # the survivor has newer data than what its retired number says: a person looks
                    self.older += 1
                    answer = self._replay(letter, {**how, "allow_older": True})
                self.replayed += answer["going"]

    def _replay(self, letter: int, how: dict[str, object]) -> Any:
        return ask(self.site, "dlq.replay", ids=[str(letter)], reason="campaign", **how)


async def until_settled(site: Site, seconds: float = 60.0) -> None:
    """Wait until every message is at its end; fail with what is not."""
    deadline = time.monotonic() + seconds
    found: dict[str, int] = {}
    while time.monotonic() < deadline:
        with contextlib.suppress(EngineError):
            found = await asyncio.to_thread(open_states, site)
            if not found:
                return
        await asyncio.sleep(0.2)
    letters = site.command("dlq", "list", "-o", "json").stdout[:1500]
    waiting = site.command("parked", "list", "-o", "json").stdout[:3000]
    raise AssertionError(f"not settled: {found}: {letters} {waiting}")
