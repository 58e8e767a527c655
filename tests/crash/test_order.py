"""Many destinations, many lanes: nothing overtakes its patient, whatever happens to whom (G3).

``IFENGINE_ORDER_MESSAGES`` sets how many messages, ``IFENGINE_ORDER_LANES`` how many destinations,
``IFENGINE_SEED`` repeats a run. The engine is killed, receivers go away, are slow, cut connections
and refuse (AR, to come again; AE, a dead letter that a person replays), patients are merged, and
retired numbers are still used. Judged from the senders' and the receivers' own books.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from campaigns import Ledger, seed, trials
from crash.outside import Receiver, RefusesOnce, Stream, first_deliveries, repeated
from crash.people import Clerk, is_marked, listed, until_settled
from crash.serving import Site, free_ports
from crash.watching import watch_balance

MESSAGES = trials(400, 10_000, "IFENGINE_ORDER_MESSAGES")
DESTINATIONS = trials(5, 20, "IFENGINE_ORDER_LANES")
STREAMS, WINDOW, PATIENTS = 4, 6, 6
MOST_LANES = 8

CHANNEL = """\
ifengine: 1
channel: fan
from: in
types: [ADT^A08, ADT^A40, ORU^R01]
ignore_types: {identity: no others in this feed}
order_by: patient
steps:
  - choose:
      - when: MSH-9.2 = A40
        do: [{merge_patient: {keep: PID-3, retire: MRG-1, unknown_keep: create}}]
    otherwise:
      - resolve_patient: {in: PID-3(where .5 = MR)}
to:
"""
RETRY = "{first: 20ms, max: 100ms, refused: 100000, in_doubt: never}"


def is_strict(number: int) -> bool:
    return number % 4 == 3


def lanes_of(number: int) -> int:
    return 1 if is_strict(number) else number % MOST_LANES + 1


def channel(destinations: int) -> str:
    lines = [CHANNEL]
    for n in range(destinations):
        lines.append(f"  d{n}:\n    connection: to-d{n}\n    lanes: {lanes_of(n)}\n")
        lines.append(f"    order: {'strict' if is_strict(n) else 'hold_key'}\n")
        lines.append(f"    retry: {RETRY.replace('100000', '1000') if is_strict(n) else RETRY}\n")
    return "".join(lines)


class Ward:
    """Makes the messages of one stream; patients belong to it, and are merged now and then."""

    def __init__(self, number: int, count: int, lot: random.Random) -> None:
        self.number, self.count, self.lot = number, count, lot
        self.born = 0
        self.here = [self.birth() for _ in range(PATIENTS)]
        self.became: dict[str, str] = {}
        self.patients: dict[str, tuple[str, ...]] = {}  # control id -> whose order it stands in
        self.merges = self.late = 0

    def birth(self) -> str:
        self.born += 1
        return f"{self.number}-{self.born}"

    def now(self, patient: str) -> str:
        while patient in self.became:
            patient = self.became[patient]
        return patient

    def messages(self) -> Iterator[bytes]:
        for made in range(self.count):
            control = f"W{self.number}-{made}"
            dice = self.lot.random()
            if dice < 0.03:
                survivor, prior = self.lot.sample(self.here, 2)
                self.merges += 1
                self.here.remove(prior)
                self.here.append(self.birth())
                self.became[prior] = survivor
                self.patients[control] = (survivor, prior)
                yield self.write(control, "ADT^A40^ADT_A39", survivor, f"MRG|{prior}^^^MERCY^MR\r")
                continue
            named = self.lot.choice(self.here)
            if dice < 0.08 and self.became:
                named = self.lot.choice(list(self.became)[-4:])
                self.late += 1
            self.patients[control] = (self.now(named),)
            yield self.write(control, self.lot.choice(("ADT^A08", "ORU^R01")), named, "")

    def write(self, control: str, kind: str, patient: str, more: str) -> bytes:
        return (
            f"MSH|^~\\&|W{self.number}|MERCY|IE|MERCY|20260105101500||{kind}|{control}|P|2.5.1\r"
            f"PID|1||{patient}^^^MERCY^MR||Test^Ada||19800101|F\r{more}"
        ).encode()


def inversions(
    ward: Ward, sent: Sequence[str], places: Mapping[str, int], *, strict: bool
) -> list[str]:
    """Return what was first delivered after a later message of one of its patients, or of its sender.

    A merge stands in the order of both: what crosses it is an inversion of one of them.
    """
    latest: dict[str, int] = {}
    late = []
    for control in sent:
        if control not in places:
            continue
        groups = ("",) if strict else ward.patients[control]
        if any(places[control] < latest.get(group, -1) for group in groups):
            late.append(control)
        for group in groups:
            latest[group] = max(latest.get(group, -1), places[control])
    return late


def judge(
    wards: list[Ward], streams: list[Stream], receivers: list[Receiver]
) -> tuple[list[str], int]:
    """Return what is wrong, and how many first deliveries were looked at."""
    wrong = [f"{c}: refused {code}" for s in streams for c, code in s.refused.items()]
    looked_at = 0
    for number, receiver in enumerate(receivers):
        places = first_deliveries(receiver.log)
        looked_at += len(places)
        for ward, stream in zip(wards, streams, strict=True):
            late = inversions(ward, list(stream.sent), places, strict=is_strict(number))
            wrong += [f"{receiver.name}: {control} overtaken" for control in late]
            lost = stream.taken - places.keys()
            wrong += [f"{receiver.name}: {control} lost" for control in sorted(lost)]
    return wrong, looked_at


def refusing(number: int, lot: random.Random) -> RefusesOnce:
    """Every second one refuses for good, which makes a dead letter; the others for now."""
    return RefusesOnce(lot, *((0.004, "AE") if number % 2 else (0.01, "AR")))


async def disturb(
    site: Site, receivers: list[Receiver], lot: random.Random, sending: asyncio.Future[Any]
) -> int:
    """Kill and flap until everything was answered; return how many kills there were."""
    kills = 0
    while not sending.done():
        await asyncio.sleep(lot.uniform(0.1, 1.2))
        for receiver in lot.sample(receivers, max(1, len(receivers) // 5)):
            if lot.random() < 0.5:
                await receiver.flap()
        if lot.random() < 0.6 or not kills:
            kills += 1
            site.kill()
            await asyncio.to_thread(site.start)
    return kills


async def run(folder: Path, number: int) -> tuple[list[str], int, str]:
    """Run the campaign; return what is wrong, how many deliveries were looked at, the figures."""
    lot = random.Random(number)
    ports = free_ports(DESTINATIONS)
    site = Site(
        folder / "site",
        listen={"in": ""},
        send={f"to-d{n}": port for n, port in enumerate(ports)},
        channels={"fan": channel(DESTINATIONS)},
    )
    receivers = [
        Receiver(f"d{n}", port, lot, faults=0.003, judge=refusing(n, lot))
        for n, port in enumerate(ports)
    ]
    wards = [Ward(n, MESSAGES // STREAMS, random.Random(number * 100 + n)) for n in range(STREAMS)]
    streams = [
        Stream(site.ports["in"], ward.messages(), random.Random(lot.random()), WINDOW)
        for ward in wards
    ]
    for stream in streams:
        stream.pause = 0.02
    clerk = Clerk(site, lot)
    try:
        for receiver in receivers:
            await receiver.start()
        await asyncio.to_thread(site.start)
        with watch_balance(site.folder / "var" / "store" / "store.db") as watch:
            clerk.start()
            sending = asyncio.gather(*(stream.run() for stream in streams))
            kills = await disturb(site, receivers, lot, sending)
            await sending
            await until_settled(site)
        await clerk.stop()
        watch.assert_even()
        rows = await asyncio.to_thread(listed, site)
        wrong, looked_at = judge(wards, streams, receivers)
        twice = 0
        for one in receivers:
            again = repeated(one.log)
            twice += len(again)
            unmarked = sorted(again - is_marked(rows, one.name))
            wrong += [f"{one.name}: {c} came twice unmarked" for c in unmarked]
        if await asyncio.to_thread(site.stop) != 0:
            wrong.append("no ordered stop")
    finally:
        await clerk.stop()
        for receiver in receivers:
            receiver.stop()
        site.close()
    figures = (
        f"{sum(len(s.taken) for s in streams):,} messages, {DESTINATIONS} destinations, "
        f"{sum(map(lanes_of, range(DESTINATIONS)))} lanes; {kills} kills, "
        f"{sum(r.away for r in receivers)} times away, {clerk.replayed} replays "
        f"({clerk.by_command} by command, {clerk.older} older), {sum(w.merges for w in wards)} merges, "
        f"{sum(w.late for w in wards)} under retired numbers; {twice} twice and marked; "
        f"{watch.figures()}; IFENGINE_SEED={number}"
    )
    return wrong, looked_at, figures


@pytest.mark.crash
async def test_nothing_overtakes_its_patient_or_a_merge_at_any_of_many_destinations(
    tmp_path: Path, ledger: Ledger
) -> None:
    number = seed()
    wrong, looked_at, figures = await run(tmp_path, number)
    ledger.record(
        "G3", "first deliveries of many lanes through kills, replays, refusals and merges",
        trials=looked_at, failures=len(wrong), found=figures,
    )  # fmt: skip
    assert wrong == [], f"IFENGINE_SEED={number}: {wrong[:5]}; {figures}"
    assert looked_at >= MESSAGES * DESTINATIONS


def test_what_crosses_a_merge_is_an_inversion() -> None:
    """The judgment above can fail."""
    ward = Ward(0, 0, random.Random(1))
    ward.patients = {"a": ("P",), "m": ("S", "P"), "b": ("S",), "x": ("T",)}
    sent = ["a", "m", "b", "x"]

    def found(*order: str, strict: bool = False) -> list[str]:
        return inversions(ward, sent, {c: n for n, c in enumerate(order)}, strict=strict)

    assert found("x", "a", "m", "b") == []
    assert found("a", "b", "m", "x") == ["b"]
    assert found("x", "a", "m", "b", strict=True) == ["x"]
