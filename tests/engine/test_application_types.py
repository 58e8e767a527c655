"""Application answers of every message type at a listener: matched by MSA-2, and nothing of them is lost."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from engine.support import (
    END,
    START,
    Receiver,
    Running,
    Sender,
    Site,
    ack,
    adt,
    running,
    sender,
    until,
)
from engine.test_application_answers import (
    ON_IN,
    RESULTS,
    are_waiting,
    counted,
    is_dead,
    is_even,
    is_stage,
    letters_are,
    stage,
    stored,
    tell,
)
from engine.test_peers import crash
from ifengine.routes.application_matching import COUNTED

# HL7 2.9, chapters 2 to 17: what answers what, as messages of their own
TAKEN = (
    "ORR^O02", "ORL^O22", "OSR^Q06", "ORG^O20", "ORD^O04", "ORS^O06", "ORN^O08", "RRE^O12",
    "RRD^O14", "RRG^O16", "RRA^O18", "RRI^I12", "RRI^I13", "RCI^I05", "RPI^I01", "SRR^S01",
    "MFK^M02", "RSP^K11", "BRP^O30", "TBR^R08", "RDS^O13",
)  # fmt: skip
UNTAKEN = "PPR^PC1"  # any type with MSA, here one that no channel takes
REPLIES = """\
ifengine: 1
channel: replies
from: in
types: [{types}]
to:
  his:
    connection: to-his
"""
SAYS = ("AA", "AE", "AR", "CA", "CE", "CR", "", "X")
COUNT = trials(60, 600, "IFENGINE_RESPONSES")


def response(
    kind: str, control: str, says: str, number: str, *, asks: str = "", processing: str = "P"
) -> bytes:
    """An answer with content of its own: the order that the receiver made of it."""
    name = kind.replace("^", "_")
    text = (
        f"MSH|^~\\&|LAB|RIVER|HIS|RIVER|20260105101501||{kind}^{name}|{number}|{processing}|2.5.1"
        f"|||{asks}\rMSA|{says}|{control}\rPID|1||700^^^RIVER^MR||Sample^Sam\r"
        f"ORC|OK|P{number}|F{number}\r"
    )
    return text.encode()


class Hospital:
    """A laboratory that answers later, and the channel that its answers go to."""

    def __init__(self, folder: Path, lab: Receiver, his: Receiver, unknown: str) -> None:
        self.lab, self.his = lab, his
        self.site = Site(
            folder,
            {"lab": lab},
            head="order_by: patient\ntypes: [ADT^*]\nignore_types: {identity: a test}",
            options={"lab": ON_IN},
            channels={"replies": REPLIES.format(types=", ".join(TAKEN))},
        )
        self.site.listen = f", unknown_types: {unknown}}}\n  to-his: {{send: mllp, host: 127.0.0.1"
        self.site.listen += f", port: {his.port}, plaintext: test"

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[tuple[Running, Sender]]:
        async with running(self.site) as engine, sender(self.site) as his:
            yield engine, his


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Hospital]]:
    lab, his = Receiver(stored), Receiver(ack)
    await lab.start()
    await his.start()
    yield lambda unknown="accept": Hospital(tmp_path / "site", lab, his, unknown)
    await lab.stop()
    await his.stop()


async def waits(engine: Running, his: Sender, control: str) -> None:
    """Send a message, and wait until its application answer is waited for."""
    assert await his.send(adt(control, patient=control)) == "AA"
    await until(lambda: is_stage(engine, control, "waiting"))


async def test_an_answer_of_any_type_decides_and_goes_to_its_channel_all_the_same(
    make: Callable[..., Hospital],
) -> None:
    hospital = make()
    async with hospital.at_work() as (engine, his):
        for at, kind in enumerate(TAKEN):
            for says, wanted in (("AA", "accepted"), ("AE", "refused"), ("AR", "refused")):
                await waits(engine, his, control := f"M{at}{says}")
                answer = response(kind, control, says, f"R{at}{says}")
                assert await his.send(answer) == "AA"  # in original mode, as any message
                await until(lambda c=control, w=wanted: is_stage(engine, c, w))
                await until(lambda a=answer: a in hospital.his.received)
        assert await letters_are(engine, 2 * len(TAKEN))
        assert len(hospital.his.received) == 3 * len(TAKEN)
        assert await counted(engine, RESULTS, result="accepted") == len(TAKEN)
        assert await counted(engine, "ifengine_answers_ignored_total") == 0
        assert await is_even(engine)


async def test_one_that_no_channel_takes_is_an_acknowledgment_and_is_told_that_it_is_stored(
    make: Callable[..., Hospital],
) -> None:
    """Whatever is said to unknown types: a no that is matched is not refused."""
    hospital = make("reject")
    async with hospital.at_work() as (engine, his):
        await waits(engine, his, "M1")
        await waits(engine, his, "M2")
        assert await his.send(response(UNTAKEN, "M1", "AE", "R1")) == "AA"
        assert await his.send(response(UNTAKEN, "M1", "AE", "R1")) == "AA"  # sent again
        assert await his.send(response(UNTAKEN, "M2", "AA", "R2", asks="AL|NE")) == "CA"
        await tell(his, response(UNTAKEN, "M2", "AA", "R3", asks="NE|NE"))
        # nobody waits for these: as ever
        assert await his.send(response(UNTAKEN, "X9", "AE", "R4")) == "AR"
        assert await his.send(response(UNTAKEN, "M1", "CA", "R5")) == "AR"
        assert await his.send(response(UNTAKEN, "", "AE", "R6")) == "AR"
        await until(lambda: is_dead(engine, "M1"))
        assert await stage(engine, "M2") == "accepted"
        rows = [(r["control_id"], r["state"], r["reason"]) for r in await all_rows(engine)]
        again, unknown = "application acknowledgment, repeated", "unknown message type"
        assert sorted(row for row in rows if row[0][:1] == "R") == [
            ("R1", "dropped", again),
            ("R1", "dropped", "application refused AE"),
            ("R2", "dropped", "application accepted AA"),
            ("R3", "dropped", again),
            *((f"R{number}", "rejected", unknown) for number in (4, 5, 6)),
        ]
        assert hospital.his.received == []
        assert await is_even(engine)


async def states_are(engine: Running, control: str, wanted: list[str]) -> bool:
    rows = await all_rows(engine)
    return sorted(row["state"] for row in rows if row["control_id"] == control) == wanted


async def all_rows(engine: Running) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = await engine.ask("messages.list", limit=1000)
    return rows


async def test_where_unknown_types_are_stored_only_what_nobody_waited_for_is_unrouted(
    make: Callable[..., Hospital],
) -> None:
    hospital = make("accept")
    async with hospital.at_work() as (engine, his):
        await waits(engine, his, "M1")
        assert await his.send(response(UNTAKEN, "M1", "AR", "R1")) == "AA"
        assert await his.send(response(UNTAKEN, "X1", "AR", "R2")) == "AA"
        await until(lambda: is_dead(engine, "M1"))
        rows = {r["control_id"]: r["state"] for r in await all_rows(engine)}
        assert (rows["R1"], rows["R2"]) == ("dropped", "unrouted")
        assert await counted(engine, "ifengine_unrouted_total") == 1


@pytest.mark.parametrize(("kind", "unknown"), [("ORR^O02", "accept"), (UNTAKEN, "reject")])
async def test_one_ahead_of_its_accept_acknowledgment_is_not_lost(
    make: Callable[..., Hospital], kind: str, unknown: str
) -> None:
    hospital = make(unknown)
    lab = hospital.lab
    lab.answer = lambda content: None
    async with hospital.at_work() as (engine, his):
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        # not known to be stored yet: a type that no channel takes is refused as ever, and counts
        first = await his.send(response(kind, "M1", "AE", "R1"))
        assert first == ("AA" if unknown == "accept" else "AR")
        assert not await is_dead(engine, "M1")
        lab.send_unasked(stored(lab.received[0]))
        await until(lambda: is_dead(engine, "M1"))
        assert await is_even(engine)


async def test_what_is_refused_for_its_header_does_not_count_until_it_is_right(
    make: Callable[..., Hospital],
) -> None:
    hospital = make()
    async with hospital.at_work() as (engine, his):
        await waits(engine, his, "M1")
        assert await his.send(response("ORR^O02", "M1", "AE", "R1", processing="T")) == "AR"
        assert await his.send(response("ORR^O02", "M1", "AE", "", processing="P")) == "AE"
        assert await stage(engine, "M1") == "waiting"
        assert await his.send(response("ORR^O02", "M1", "AE", "R1")) == "AA"
        await until(lambda: is_dead(engine, "M1"))


async def test_a_repeated_one_counts_once_and_leaves_once(make: Callable[..., Hospital]) -> None:
    hospital = make()
    async with hospital.at_work() as (engine, his):
        await waits(engine, his, "M1")
        for _ in range(3):
            assert await his.send(response("ORL^O22", "M1", "AA", "R1")) == "AA"
        await until(lambda: states_are(engine, "R1", ["dropped", "dropped", "sent"]))
        assert await counted(engine, RESULTS, result="accepted") == 1
        assert hospital.his.ids == ["R1"]
        # a yes after it is another one, and goes to its channel too
        assert await his.send(response("ORL^O22", "M1", "AA", "R2")) == "AA"
        await until(lambda: hospital.his.ids == ["R1", "R2"])
        assert await is_even(engine)


async def test_a_crash_after_it_was_acknowledged_loses_neither_the_no_nor_what_it_holds(
    make: Callable[..., Hospital],
) -> None:
    hospital = make()
    his_receiver = hospital.his
    await his_receiver.stop()  # what it holds stays in the queue until after the crash
    async with running(hospital.site) as engine:
        async with sender(hospital.site) as his:
            await waits(engine, his, "M1")
            assert await his.send(response("RRI^I13", "M1", "AE", "R1")) == "AA"
        await crash(engine)
    await his_receiver.start()
    async with running(hospital.site) as engine:
        await until(lambda: is_dead(engine, "M1"))
        await until(lambda: "R1" in his_receiver.ids)
        assert await letters_are(engine, 1)
        assert await is_even(engine)


async def test_one_in_a_batch_is_matched_too(make: Callable[..., Hospital]) -> None:
    hospital = make()
    text = hospital.site.channels["replies"]
    hospital.site.channels["replies"] = text.replace("to:\n", "unbatch: {}\nto:\n", 1)
    async with hospital.at_work() as (engine, his):
        await waits(engine, his, "M1")
        await waits(engine, his, "M2")
        batch = b"BHS|^~\\&|LAB|RIVER|HIS|RIVER|20260105||||B1\r"
        batch += response("ORR^O02", "M1", "AA", "R1") + response("ORR^O02", "M2", "AE", "R2")
        batch += b"BTS|2\r"
        his.writer.write(START + batch + END)
        await his.answer()
        await until(lambda: hospital.his.ids == ["R1", "R2"])
        await until(lambda: is_dead(engine, "M2"))
        assert await stage(engine, "M1") == "accepted"


@pytest.mark.chaos
async def test_no_message_with_msa_is_lost_whatever_it_says_of_whom(
    make: Callable[..., Hospital], ledger: Ledger
) -> None:
    number = seed()
    lot = random.Random(number)
    hospital = make()
    kinds = [*TAKEN, UNTAKEN, "ACK^A01", "MCF"]
    async with hospital.at_work() as (engine, his):
        known = [f"M{at}" for at in range(max(4, COUNT // 6))]
        for control in known:
            assert await his.send(adt(control, patient=control)) == "AA"
        await until(lambda: are_waiting(engine, len(known)), 60)
        sent: dict[str, bytes] = {}
        refused: set[str] = set()
        accepted: set[str] = set()
        for at in range(COUNT):
            name, kind, says = f"R{at}", lot.choice(kinds), lot.choice(SAYS)
            control = lot.choice([*known, "", "unknown", "M1\\T\\", f"X{at}"])
            sent[name] = response(kind, control, says, name)
            if control in known and says in COUNTED:
                (accepted if says == "AA" else refused).add(control)
            if kind.startswith(("ACK", "MCF")):
                await tell(his, sent[name])
            else:
                assert await his.send(sent[name]) == "AA"
        await until(lambda: all_there(engine, sent), 60)
        going = {n: c for n, c in sent.items() if c.split(b"|")[8].decode()[:7] in TAKEN}
        await until(lambda: sorted(hospital.his.received) == sorted(going.values()), 60)
        states = await engine.states()
        wrong = [c for c in known if (states[c] == {"lab": "dead_letter"}) != (c in refused)]
        for control in set(known) - refused:
            wanted = "accepted" if control in accepted else "waiting"
            wrong += [] if await stage(engine, control) == wanted else [control]
        even = await is_even(engine)
        ledger.record(
            "G6", "responses of every type, for anything and nothing", trials=COUNT,
            failures=len(wrong) + (not even),
            found=f"{len(going)} went to their channel, {len(refused)} of {len(known)} refused; "
            f"IFENGINE_SEED={number}",
        )  # fmt: skip
        assert not wrong, f"IFENGINE_SEED={number}: {wrong}"
        assert even, f"IFENGINE_SEED={number}"


async def all_there(engine: Running, sent: dict[str, bytes]) -> bool:
    return sent.keys() <= {str(row["control_id"]) for row in await all_rows(engine)}
