"""One simulation: from a seed to a verdict.

First safety: faults of all kinds while messages flow. Then liveness: the faults stop, people settle
what waits for them, and all that was accepted has to come to its end in ten virtual minutes.
"""

import asyncio
import contextlib
import gc
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from ifengine.admin.request import RequestError
from ifengine.errors import EngineError
from simulation.checks import check
from simulation.loop import NothingLeftError, VirtualLoop
from simulation.machine import PERSON, Machine, VirtualClock, exchanged, said
from simulation.messages import Feed
from simulation.network import Network
from simulation.peers import Behaviour, Receiver, Sender
from simulation.site import PORT, PORTS, Written
from simulation.storage import Disk

LIVENESS_SECONDS = 600.0
STORED = {"as": "stored", "allow_older": True}
REPROCESSED = {"as": "reprocess", "allow_older": True}
BALANCES = 10.0  # a minute; the engine strikes its own besides
OPEN = ("received", "queued", "retrying", "in_doubt", "held", "parked", "dead_letter")


@dataclass(frozen=True)
class Options:
    """What a seed decides. Printed with a failure: it can be tried again with one thing changed."""

    seed: int
    shuffled: bool
    connections: int
    messages: int  # of each connection
    window: int  # unanswered messages of a sender
    merges: float
    gap_seconds: float
    safety_seconds: float
    commit_seconds: float
    thread_seconds: float
    latency_seconds: float
    storage_fails: float
    crashes: float  # a minute
    stops: float
    cuts: float
    silences: float  # connections that swallow everything
    slow_lines: float
    outages: float
    moods: float  # a receiver behaves in another way
    pauses: float
    reloads: float
    replays: float
    repeats: float
    jumps: float  # of the wall clock
    start: str = ""  # what the wall clock shows at the beginning, "": some day

    @classmethod
    def of(cls, seed: int) -> "Options":
        """Expand a seed. Most runs have a few kinds of faults, some have all, some none."""
        choose = random.Random(f"options {seed}")
        share = choose.choice([0.0, 0.3, 0.3, 0.6, 1.0])
        deaths = 1.0 if choose.random() < 0.7 else 0.0

        def rate(most: float) -> float:
            return round(choose.uniform(0.2, 1.0) * most, 3) if choose.random() < share else 0.0

        return cls(
            seed=seed,
            shuffled=choose.random() < 0.7,
            connections=choose.randint(1, 3),
            messages=choose.randint(8, 30),
            window=choose.choice([1, 1, 2, 5]),
            merges=choose.choice([0.0, 0.05, 0.15]),
            gap_seconds=choose.choice([0.0, 0.05, 0.5, 2.0]),
            safety_seconds=choose.uniform(5.0, 40.0),
            commit_seconds=choose.choice([0.0005, 0.005, 0.05, 0.5]),
            thread_seconds=choose.choice([0.0005, 0.005, 0.1]),
            latency_seconds=choose.choice([0.0005, 0.01, 0.2]),
            storage_fails=rate(0.02 * deaths),
            crashes=rate(12.0 * deaths),
            stops=rate(4.0 * deaths),
            cuts=rate(30.0),
            silences=rate(10.0),
            slow_lines=rate(10.0),
            outages=rate(10.0),
            moods=rate(30.0),
            pauses=rate(6.0),
            reloads=rate(6.0),
            replays=rate(10.0),
            repeats=rate(20.0),
            jumps=rate(30.0),
        )

    def __str__(self) -> str:
        return ", ".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self))


@dataclass
class Outcome:
    """What a simulation found."""

    options: Options
    wrong: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    trace: str = ""
    turns: int = 0
    virtual_seconds: float = 0.0
    drained_seconds: float = 0.0
    events: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return what a person needs to repeat it."""
        return "\n".join(
            [
                *self.wrong[:10],
                f"IFENGINE_SEED={self.options.seed} repeats it; its options: {self.options}",
                f"what happened: {dict(self.happened)}; trace {self.trace}",
            ]
        )


class Simulation:
    """One run."""

    def __init__(self, options: Options, site: Written, *, keep_events: bool = False) -> None:
        self.options = options
        self.loop = VirtualLoop(options.seed, shuffled=options.shuffled)
        self.loop.thread_seconds = options.thread_seconds
        self.loop.raised = self._raised
        self.loop.set_exception_handler(lambda loop, context: None)
        self.choose = self.loop.choose
        self.clock = VirtualClock(self.loop)
        if options.start:
            self.clock.show(datetime.fromisoformat(options.start))
        self.network = Network(self.loop, self.choose)
        self.network.latency = options.latency_seconds
        self.outcome = Outcome(options)
        self._keep_events = keep_events
        self._site = site

    def run(self) -> Outcome:
        """Run to the end and judge."""
        outcome = self.outcome
        asyncio.set_event_loop(None)
        # when the collector runs depends on all that ran before: what it finds is no part of a seed
        collects = gc.isenabled()
        gc.disable()
        try:
            with exchanged(self.loop, self.clock):
                self._set_up()
                self.loop.run_until_complete(self._live())
                self._judge()
        except NothingLeftError:
            outcome.wrong.append("everybody waits and nothing will come")
        finally:
            outcome.trace = self.loop.trace()
            outcome.turns = self.loop.turns
            outcome.virtual_seconds = self.loop.time() - 1000.0
            self._bury()
            if collects:
                gc.enable()
        return outcome

    def _bury(self) -> None:
        """End what is left of tasks, so that nothing of one run is met in the next."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        with contextlib.suppress(NothingLeftError):
            self.loop.run_until_complete(asyncio.wait(left, timeout=120) if left else _nothing())
        self.loop.close()

    def _set_up(self) -> None:
        options = self.options
        self.disk = Disk(self.loop)
        self.disk.commit_seconds = options.commit_seconds
        self.machine = Machine(
            self.loop, self.network, self.disk, self._site.settings, self._site.loaded
        )
        self.receivers = {name: Receiver(name, self.network) for name in PORTS}
        for name, port in PORTS.items():
            self.network.peers[port] = self.receivers[name].accept
        self.senders = [
            Sender(self.network, self.loop, PORT, f"sender {n}", window=options.window)
            for n in range(1, options.connections + 1)
        ]
        self.feeds = [
            Feed(n, random.Random(f"feed {n} {options.seed}"), merges=options.merges)
            for n in range(1, options.connections + 1)
        ]
        for one in (*self.senders, *self.receivers.values(), self.machine):
            one.note = self._note
        self._safe = True
        self._rounds = 0
        self.marked: dict[str, set[str]] = {name: set() for name in PORTS}
        self._discarded: dict[str, set[str]] = {name: set() for name in PORTS}

    def _note(self, text: str) -> None:
        self.loop.note(text)
        if self._keep_events:
            self.outcome.events.append(f"{self.loop.time() - 1000:10.4f} {text}")

    def _did(self, what: str) -> None:
        self.outcome.happened[what] += 1
        self._note(what)

    def _raised(self, context: dict[str, Any]) -> None:
        self.outcome.wrong.append(f"raised: {said(context.get('exception'))}")

    # --- the two phases -------------------------------------------------------------------------

    async def _live(self) -> None:
        self.machine.start()
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keep_it_running())
            feeding = [
                group.create_task(self._feed(*pair))
                for pair in zip(self.senders, self.feeds, strict=True)
            ]
            faults = [group.create_task(self._now_and_then(*fault)) for fault in self._faults()]
            await asyncio.sleep(self.options.safety_seconds)
            self._safe = False
            self._note("the faults stop")
            for task in faults:
                task.cancel()
            await asyncio.wait([*feeding, *faults] if faults else feeding)
            self._heal()
            began = self.loop.time()
            await self._drain(began + LIVENESS_SECONDS)
            self.outcome.drained_seconds = self.loop.time() - began
            keeping.cancel()

    async def _keep_it_running(self) -> None:
        """Start the engine again some time after it ended."""
        while True:
            await asyncio.sleep(0.05)
            if self.machine.process is None:
                await asyncio.sleep(self.choose.random() * 3.0)
                if self.choose.random() < 0.3:
                    self._did("reboot")
                    self.clock.reboot()
                self._did("start")
                self.machine.start()

    async def _feed(self, sender: Sender, feed: Feed) -> None:
        for _ in range(self.options.messages):
            sender.send(feed.next())
            await asyncio.sleep(self.choose.random() * 2 * self.options.gap_seconds)
        while feed.pending:
            sender.send(feed.next())

    def _heal(self) -> None:
        self.disk.fails = 0.0
        self.network.reach.clear()
        self.network.latency = 0.0005
        for receiver in self.receivers.values():
            receiver.behaviour = Behaviour()

    async def _drain(self, deadline: float) -> None:
        """Let everything come to its end; people act on what waits for them."""
        left: list[str] = ["the engine does not run"]
        while self.loop.time() < deadline:
            await asyncio.sleep(1.0)
            try:
                await self._act_on_what_waits()
                left = await self._unsettled()
            except EngineError as error:
                left = [f"a person was told: {error}"]
            except Exception as error:
                self.outcome.wrong.append(f"raised: {said(error)}")
                return
            if not left:
                break
        else:
            self.outcome.wrong.append(f"stuck: {left[:6]}")
            return
        await self._look_at_the_books()

    async def _ask(self, verb: str, **params: Any) -> Any:
        process = self.machine.process
        if process is None or not process.ready:
            raise EngineError("the engine does not run")
        asked = self.loop.create_task(
            process.service.answer(verb, params, PERSON), context=process.context
        )
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        # whoever asks a process that dies hears nothing
        await asyncio.wait({asked, process.task}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            raise EngineError("the engine is gone")
        return await asked

    async def _act_on_what_waits(self) -> None:
        for channel in await self._ask("channels.list"):
            if channel["state"] == "paused":
                await self._ask("channels.resume", name=channel["name"])
        # bytes that name a patient who was merged since do not go as they are stored
        self._rounds += 1
        how = STORED if self._rounds % 2 else REPROCESSED
        for row in await self._ask("messages.list", limit=1000, state=["dead_letter", "held"]):
            with contextlib.suppress(RequestError):  # waits for another one of its key
                await self._ask("dlq.replay", ids=[row["id"]], reason="settled", **how)

    async def _unsettled(self) -> list[str]:
        left = [sender.name for sender in self.senders if not sender.idle]
        for row in await self._ask("messages.list", limit=1000):
            states = {row["state"], *(d["state"] for d in row["destinations"])}
            if states & set(OPEN):
                left.append(f"{row['control_id']} {sorted(states)}")
        return left

    async def _look_at_the_books(self) -> None:
        """Compare logs and books, and that a restart sends nothing again."""
        await self._strike()
        rows = await self._ask("messages.list", limit=1000)
        known = {row["control_id"] for row in rows}
        for sender in self.senders:
            forgotten = sorted(sender.accepted - known)
            self.outcome.wrong += [f"forgotten: {control}" for control in forgotten]
        for row in rows:
            for one in row["destinations"]:
                if one.get("possible_duplicate") and one["name"] in self.marked:
                    self.marked[one["name"]].add(row["control_id"])
        taken = {name: len(receiver.taken) for name, receiver in self.receivers.items()}
        engine = self.machine.engine
        if engine is not None:
            for outbox in engine._built.outboxes.values():
                for destination in outbox.destinations.values():
                    if destination.waiting or destination.held:
                        self.outcome.wrong.append(f"{destination.name} counts what is not there")
        self.machine.stop()
        await asyncio.sleep(30.0)
        again = {name: len(receiver.taken) for name, receiver in self.receivers.items()}
        if again != taken:
            self.outcome.wrong.append("settled messages went out again after a stop")

    def _judge(self) -> None:
        wrong = self.outcome.wrong
        wrong += self.machine.faults
        if len(self.machine.ghosts):
            wrong.append("a killed process did not come to its end")
        if not any(text.startswith("stuck") for text in wrong):
            wrong += check(self.senders, self.receivers, self.marked, self._discarded)
        happened = self.outcome.happened
        happened["accepted"] = sum(len(sender.accepted) for sender in self.senders)
        happened["sent again"] = sum(sender.sent_again for sender in self.senders)
        happened["storage failed"] = self.disk.failures
        for name, receiver in self.receivers.items():
            happened.update({f"{name} {does}": n for does, n in receiver.happened.items()})

    # --- faults -----------------------------------------------------------------------------------

    def _faults(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        options = self.options
        self.disk.fails = options.storage_fails
        known = [
            (options.crashes, self._crash),
            (options.stops, self._stop),
            (options.cuts, self._cut),
            (options.silences, self._silence),
            (options.slow_lines, self._slow),
            (options.outages, self._outage),
            (options.moods, self._mood),
            (options.pauses, self._pause),
            (options.reloads, self._reload),
            (options.replays, self._replay),
            (options.repeats, self._repeat),
            (options.jumps, self._jump),
            (BALANCES, self._strike),
        ]
        return [(rate, act) for rate, act in known if rate]

    async def _now_and_then(self, a_minute: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self.choose.expovariate(a_minute / 60.0))
            try:
                await act()
            except EngineError:
                pass  # refused, or nobody is there to be asked
            except Exception as error:
                self.outcome.wrong.append(f"raised: {said(error)}")

    async def _crash(self) -> None:
        self._did("kill")
        self.machine.kill()

    async def _stop(self) -> None:
        self._did("stop")
        self.machine.stop()

    def _a_line(self) -> Any:
        lines = self.network.lines[-8:]
        return self.choose.choice(lines) if lines else None

    async def _cut(self) -> None:
        ends = [end for sender in self.senders if sender._link for end in [sender._link.end]]
        if self.machine.process is not None:
            ends += [end for end in self.machine.process.ends[-6:] if end.other is not None]
        if ends:
            self._did("cut")
            end = self.choose.choice(ends)
            if end.other is not None:
                self.choose.choice([end, end.other]).abort()

    async def _silence(self) -> None:
        line = self._a_line()
        if line is not None:
            self._did("silence")
            line.dead = True

    async def _slow(self) -> None:
        line = self._a_line()
        if line is not None:
            self._did("slow line")
            line.latency = self.choose.uniform(0.5, 20.0)

    async def _outage(self) -> None:
        name = self.choose.choice(sorted(PORTS))
        self._did("outage")
        self.network.reach[PORTS[name]] = self.choose.choice(["refused", "lost"])
        await asyncio.sleep(self.choose.uniform(0.5, 10.0))
        self.network.reach.pop(PORTS[name], None)

    async def _mood(self) -> None:
        receiver = self.receivers[self.choose.choice(sorted(PORTS))]
        self._did("mood")
        mood = Behaviour(seconds=self.choose.choice([0.01, 0.3, 3.0]))
        kinds = ["refuses", "keeps_silent", "loses", "closes", "late", "twice", "foreign"]
        for kind in self.choose.sample(kinds, self.choose.randint(0, 3)):
            setattr(mood, kind, self.choose.choice([0.05, 0.3]))
        receiver.behaviour = mood

    async def _pause(self) -> None:
        name = self.choose.choice(["admissions", "results"])
        await self._ask("channels.pause", name=name, reason="simulated")
        self._did("pause")
        await asyncio.sleep(self.choose.uniform(0.1, 5.0))
        await self._ask("channels.resume", name=name)

    async def _reload(self) -> None:
        machine, site = self.machine, self._site
        machine.loaded = site.other if machine.loaded is site.loaded else site.loaded
        answer = await self._ask("config.reload", reason="simulated", skip_tests=True)
        self._did("reload" if answer.get("done") else "reload refused")

    async def _replay(self) -> None:
        rows = await self._ask("messages.list", limit=1000, state=["dead_letter", "held"])
        if not rows:
            return
        row = self.choose.choice(rows)
        how = self.choose.choice(["stored", "reprocess"])
        allow = self.choose.random() < 0.5
        how_it_goes = {"as": how, "allow_older": allow}
        await self._ask("dlq.replay", ids=[row["id"]], reason="simulated", **how_it_goes)
        self._did("replay")

    async def _repeat(self) -> None:
        sender = self.choose.choice(self.senders)
        if sender.accepted:
            self._did("repeat")
            sender.repeat(sender.sent[self.choose.choice(sorted(sender.accepted)[-5:])])

    async def _strike(self) -> None:
        """Count every message by its state, from the records, as `ifengine tally --verify` does."""
        tally = await self._ask("tally", verify=True)
        self._did("balance")
        if not tally["even"]:
            self.outcome.wrong.append(f"not even: {tally['faults']} faults {tally['named'][:3]}")

    async def _jump(self) -> None:
        self._did("jump")
        day = 86_400.0
        choices = [-3600.0, 3600.0, -5.0, -0.3, 0.3, day, -day, 40 * day, -40 * day]
        choices += [3650 * day, -3650 * day, 366 * day]
        self.clock.jump(self.choose.choice(choices))


async def _nothing() -> None:
    return None


def simulate(seed: int, site: Written, *, keep_events: bool = False) -> Outcome:
    """Run the simulation of a seed."""
    return Simulation(Options.of(seed), site, keep_events=keep_events).run()
