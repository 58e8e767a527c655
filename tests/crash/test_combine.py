"""SIGKILL while messages of one key become one: each part is in exactly one message that arrives.

``IFENGINE_COMBINE_KILLS`` sets how often, ``IFENGINE_SEED`` repeats a run. The parts of one report
come among others, repeated under another control id, under a number that was merged away meanwhile,
until the last one says so, until there are enough, or until the time is over. The receiver refuses
some of what was combined once, which is replayed.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from crash.outside import Arrival, Receiver, RefusesOnce, Stream, repeated
from crash.people import Clerk, is_marked, listed, until_settled
from crash.serving import Site, free_ports
from crash.watching import watch_balance

STREAMS = 4
OPEN_REPORTS = 4  # a stream has so many under way
ENOUGH = 4
MERGING = """\
ifengine: 1
channel: identities
from: in
types: [ADT^A40]
ignore_types: {identity: no others in this feed}
order_by: patient
steps:
  - merge_patient: {keep: PID-3, retire: MRG-1, unknown_keep: create}
to:
  registry: {connection: to-registry}
"""
COMBINING = """\
ifengine: 1
channel: results
from: in
types: [ORU^R01]
order_by: patient
dedupe: {window: 1d, per: OBR, key: OBR-3}
combine: {by: OBX, key: OBR-3, until: OBR-25 = F, count: 4, up_to: 1500ms}
steps:
  - {when: $waited_out = yes, set: {MSH-8: LATE}}
  - resolve_patient: {in: PID-3(where .5 = MR)}
to:
  lab:
    connection: to-lab
    lanes: 3
    retry: {first: 20ms, max: 100ms, in_doubt: never}
"""


@dataclass
class Report:
    """What a sender knows of one report."""

    name: str
    patient: str
    wanted: int
    ends: bool  # whether its last part says that it is whole
    parts: list[str] = field(default_factory=list)
    last: bytes = b""

    @property
    def was_merged(self) -> bool:
        return " " in self.patient


class Device:
    """Makes the messages of one stream, and knows what was in them."""

    def __init__(self, number: int, lot: random.Random) -> None:
        self.number, self.lot = number, lot
        self.made = 0
        self.reports: list[Report] = []
        self.expected: dict[str, str] = {}  # part -> its report
        self.is_over = asyncio.Event()
        self.merges = self.repetitions = 0

    def control(self) -> str:
        self.made += 1
        return f"D{self.number}-{self.made}"

    def messages(self) -> Iterator[bytes]:
        open_reports: list[Report] = []
        while not (self.is_over.is_set() and not open_reports):
            while len(open_reports) < OPEN_REPORTS and not self.is_over.is_set():
                open_reports.append(self.begin())
            report = self.lot.choice(open_reports)
            dice = self.lot.random()
            if dice < 0.08 and report.parts:
                yield self.merge(report)
            elif dice < 0.18 and report.last:
                yield self.repeat(report)
            else:
                yield self.part(report)
                if len(report.parts) == report.wanted:
                    open_reports.remove(report)

    def begin(self) -> Report:
        name = f"R{self.number}-{len(self.reports)}"
        ends = self.lot.random() < 0.75
        report = Report(name, f"P{name}", self.lot.randint(1, ENOUGH + 2), ends)
        self.reports.append(report)
        return report

    def part(self, report: Report) -> bytes:
        control = self.control()
        report.parts.append(control)
        self.expected[control] = report.name
        # a number that was merged away is still used now and then
        patient = report.patient.split(" ")[-1 if self.lot.random() < 0.7 else 0]
        is_last = report.ends and len(report.parts) == report.wanted
        status = "F" if is_last else "P"
        obr = "|".join(("OBR", "1", "", report.name, "K", *([""] * 20), status))
        report.last = (
            f"MSH|^~\\&|DEV{self.number}|MERCY|IE|MERCY|20260105||ORU^R01|{control}|P|2.5.1\r"
            f"PID|1||{patient}^^^MERCY^MR||Test^Ada||19800101|F\r"
            f"{obr}\rOBX|1|ST|K||{control}||||||F\r"
        ).encode()
        return report.last

    def repeat(self, report: Report) -> bytes:
        """Return the newest part once more, as an order of its own: the part in it is the same."""
        self.repetitions += 1
        old = report.parts[-1].encode()
        return report.last.replace(b"|ORU^R01|" + old, b"|ORU^R01|" + self.control().encode())

    def merge(self, report: Report) -> bytes:
        self.merges += 1
        *_, prior = report.patient.split(" ")
        survivor = f"P{report.name}m{self.merges}"
        report.patient += f" {survivor}"
        return (
            f"MSH|^~\\&|DEV{self.number}|MERCY|IE|MERCY|20260105||ADT^A40^ADT_A39|{self.control()}"
            f"|P|2.5.1\rEVN|A40|20260105\rPID|1||{survivor}^^^MERCY^MR||Test^Ada||19800101|F\r"
            f"MRG|{prior}^^^MERCY^MR\r"
        ).encode()


def brought(one: Arrival) -> list[str]:
    """Return the parts in a message; set ids must count."""
    lines = [s.split("|") for s in one.content.decode().split("\r") if s.startswith("OBX|")]
    assert [line[1] for line in lines] == [str(n) for n in range(1, len(lines) + 1)]
    return [line[5] for line in lines]


def judge(devices: list[Device], streams: list[Stream], log: list[Arrival]) -> list[str]:
    """Compare what was accepted with what came; return what is wrong."""
    wrong: list[str] = []
    carriers: dict[str, list[str]] = {}
    for one in log:
        if one.is_delivery:
            parts = brought(one)
            if carriers.setdefault(one.control_id, parts) != parts:
                wrong.append(f"{one.control_id}: came with other parts the second time")
    times = Counter(part for parts in carriers.values() for part in parts)
    expected = {part: name for device in devices for part, name in device.expected.items()}
    taken = set[str]().union(*(stream.taken for stream in streams))
    sent = set[str]().union(*(stream.sent for stream in streams))
    wrong += [f"{part}: never sent" for part in times if part not in sent]
    wrong += [f"{part}: lost" for part in expected if part in taken and not times[part]]
    wrong += [f"{part}: in {count} messages" for part, count in times.items() if count > 1]
    wrong += [f"{c}: refused {code}" for s in streams for c, code in s.refused.items()]
    for carrier, parts in carriers.items():
        names = {expected[part] for part in parts if part in expected}
        if len(names) > 1:
            wrong.append(f"{carrier}: parts of {sorted(names)}")
    for report in (report for device in devices for report in device.reports):
        own = [
            parts
            for parts in carriers.values()
            if {expected.get(p) for p in parts} == {report.name}
        ]
        # what a replay sends of a number that was merged meanwhile comes when a person says so
        together = own if report.was_merged else [[part for parts in own for part in parts]]
        wrong += [
            f"{report.name}: came as {came}, not {report.parts}"
            for came in together
            if [part for part in report.parts if part in came] != came
        ]
    return wrong


@dataclass
class Campaign:
    """What a run leaves to be looked at."""

    wrong: list[str]
    figures: str
    balances: int
    uneven: int


async def run(folder: Path, kills: int, number: int) -> Campaign:
    lot = random.Random(number)
    ports = free_ports(2)
    site = Site(
        folder / "site",
        listen={"in": ""},
        send={"to-lab": ports[0], "to-registry": ports[1]},
        channels={"identities": MERGING, "results": COMBINING},
    )
    lab = Receiver(
        "lab", ports[0], lot, faults=0.02, judge=RefusesOnce(lot, 0.05, "AE"), keeps=True
    )
    registry = Receiver("registry", ports[1], lot, faults=0.01)
    devices = [Device(n, random.Random(number * 100 + n)) for n in range(STREAMS)]
    streams = [
        Stream(site.ports["in"], device.messages(), random.Random(lot.random()))
        for device in devices
    ]
    for stream in streams:
        stream.pause = 0.005
    clerk = Clerk(site, lot)
    with watch_balance(site.folder / "var" / "store" / "store.db") as watch:
        try:
            await lab.start()
            await registry.start()
            await asyncio.to_thread(site.start)
            clerk.start()
            sending = [asyncio.create_task(stream.run()) for stream in streams]
            for _ in range(kills):
                await asyncio.sleep(lot.uniform(0.05, 1.2))
                if lot.random() < 0.3:
                    await lab.flap()
                site.kill()
                await asyncio.to_thread(site.start)
            await asyncio.sleep(0.3)
            for device in devices:
                device.is_over.set()
            await asyncio.wait_for(asyncio.gather(*sending), 60)
            await until_settled(site)
            await clerk.stop()
            rows = await asyncio.to_thread(listed, site)
            wrong = judge(devices, streams, lab.log)
            marked = is_marked(rows, "lab")
            wrong += [f"{c}: came twice unmarked" for c in sorted(repeated(lab.log) - marked)]
            stopped = await asyncio.to_thread(site.stop)
            wrong += [] if stopped == 0 else [f"the stop ended with {stopped}"]
        finally:
            await clerk.stop()
            lab.stop()
            registry.stop()
            site.close()
    watch.assert_even()
    carriers = {one.control_id for one in lab.log if one.is_delivery}
    parts = sum(len(device.expected) for device in devices)
    late = {one.control_id for one in lab.log if b"|LATE|" in one.content}
    figures = (
        f"{parts} parts in {len(carriers)} messages, {len(late)} of them late, "
        f"{sum(d.merges for d in devices)} merges, {sum(d.repetitions for d in devices)} repetitions, "
        f"{len(repeated(lab.log))} twice and marked, {clerk.replayed} replays; "
        f"{watch.figures()}; IFENGINE_SEED={number}"
    )
    enough = parts > kills * 10 and bool(late) and parts > 1.5 * len(carriers)
    enough = enough and (clerk.replayed > 0 or len(carriers) < 500)  # one in twenty is refused
    wrong += [] if enough else [f"too little to mean anything: {figures}"]
    return Campaign(wrong, figures, watch.evaluations, len(watch.violations))


@pytest.mark.crash
async def test_a_kill_while_messages_become_one_loses_and_doubles_no_part(
    tmp_path: Path, ledger: Ledger
) -> None:
    kills, number = trials(1, 80, "IFENGINE_COMBINE_KILLS"), seed()
    done = await run(tmp_path, kills, number)
    ledger.record(
        "G1", "SIGKILL while messages are combined: each part in one message", trials=kills,
        failures=len(done.wrong), found=done.figures,
    )  # fmt: skip
    assert done.wrong == [], f"IFENGINE_SEED={number}: {done.wrong[:5]}; {done.figures}"
