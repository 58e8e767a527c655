"""The crash matrix for what steps remember: parked messages, facts, merges; and for the purge.

Beside the load of the other campaigns a feed sends results that wait for their orders, orders, and
merges, each until it is acknowledged. ``IFENGINE_FAILPOINT_REPEATS`` sets how often (3 in a campaign),
``IFENGINE_SEED`` repeats a run.
"""

import random
import socket
import threading
from pathlib import Path

import pytest

from campaigns import Ledger, repeated, seed, trials
from crash.campaign import ORDERED_BY, Peers
from crash.failing import ENDS, KILLED, Failing, Run, some_of
from crash.oracle import check
from crash.serving import Site, free_ports, wait_until
from crash.test_failpoints import judge
from crash.test_failpoints_acts import actions

REPEATS = trials(1, 3, "IFENGINE_FAILPOINT_REPEATS")
FEW = 2  # runs in `make test`
PURGES = trials(0, 1, "IFENGINE_FAILPOINT_REPEATS")
SEED = seed()
POINTS = ("parking.pre_commit", "memory.pre_commit", "merge.pre_commit")
PURGES_AFTER_SECONDS = 60.0  # of a run; see Watch.run

CHANNEL = """\
ifengine: 1
channel: memories
from: side
types: [ORM^O01, ORU^R01, ADT^A40]
ignore_types: {identity: only one merge event comes here}
order_by: patient
steps:
  - choose:
      - when: MSH-9.1 = ORM
        do: [{remember: {fact: order, per: ORC, key: ORC-2.1}}]
      - when: MSH-9.1 = ORU
        do:
          - resolve_patient: {in: PID-3(where .5 = MR), keep_old_in: PID-4}
          - wait_for: {fact: order, per: OBR, key: OBR-2.1, up_to: 1h}
      - when: MSH-9.2 = A40
        do: [{merge_patient: {keep: PID-3, retire: MRG-1, unknown_keep: create}}]
to:
  kept:
    files: {dir: var/kept, name: "${msg.id}.hl7"}
"""


def with_memories(site: Site) -> None:
    """Add the listener and the channel."""
    (site.ports["side"],) = free_ports(1)
    file = site.folder / "ifengine.yaml"
    listens = f"{{listen: mllp, host: 127.0.0.1, port: {site.ports['side']}, plaintext: test}}"
    file.write_text(file.read_text() + f"  side: {listens}\n")
    (site.folder / "channels" / "memories.yaml").write_text(CHANNEL)


def built(kind: str, control: str, patient: str, *segments: str) -> bytes:
    lines = [
        f"MSH|^~\\&|LAB|MERCY|IE|MERCY|20260105101500||{kind}|{control}|P|2.5.1",
        *(["EVN|A40|20260105101500"] if "A40" in kind else []),
        f"PID|1||{patient}^^^MERCY^MR||Memory^Test||19700101|F",
        *segments,
    ]
    return ("\r".join(lines) + "\r").encode()


def three(number: int) -> list[bytes]:
    """Return a result that waits, the order it waits for, and a merge."""
    patient, order = f"M{number}", f"ORD{number}"
    return [
        built("ORU^R01", f"R{number}", patient, f"OBR|1|{order}||GLU", "OBX|1|NM|GLU||5||||||F"),
        built("ORM^O01", f"O{number}", patient, f"ORC|NW|{order}"),
        built("ADT^A40^ADT_A39", f"A{number}", patient, f"MRG|OLD{number}^^^MERCY^MR"),
    ]


class Feed(threading.Thread):
    """Sends one after the other, each until it is acknowledged, through every end of the engine."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.numbers = 0
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.01):
            for message in three(self.numbers):
                self.send(message)
            self.numbers += 1

    def send(self, message: bytes) -> None:
        control = message.split(b"|")[9].decode()
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=10) as peer:
                    peer.sendall(b"\x0b" + message + b"\x1c\r")
                    answer = peer.recv(4096)
            except OSError:
                answer = b""
            if b"MSA|AA|" + control.encode() in answer:
                self.acknowledged.append(control)
                return
            if b"MSA|" in answer:
                self.refused.append(control)
                return
            self.stop.wait(0.05) or threading.Event().wait(0.05)


def kept(site: Site) -> dict[str, bytes]:
    """Return control id -> content of what came out."""
    found = [one.read_bytes() for one in (site.folder / "var" / "kept").glob("*.hl7")]
    return {one.split(b"|")[9].decode(): one for one in found}


def wrong_memories(site: Site, feed: Feed) -> list[str]:
    """Compare what was acknowledged with what came out, and with what is remembered now."""
    wrong = [f"refused: {feed.refused[:5]}"] if feed.refused else []
    for number in range(feed.numbers):  # each merge counts for what comes from now on
        feed.send(built("ORU^R01", f"C{number}", f"OLD{number}", "OBR|1|||GLU"))
    try:
        wait_until("all came out", lambda: set(feed.acknowledged) <= kept(site).keys(), 60)
    except AssertionError:
        missing = sorted(set(feed.acknowledged) - kept(site).keys())
        wrong.append(f"never came out: {missing[:5]} of {len(missing)}")
    out = kept(site)
    for number in range(feed.numbers):
        content = out.get(f"C{number}", b"")
        if b"PID|1||M%d^^^MERCY^MR" % number not in content:
            wrong.append(f"merge {number} is forgotten")
    rows = site.json("messages", "list", "--channel", "memories", "--limit", "1000000")
    listed = [row["control_id"] for row in rows if row["state"] not in ("dropped", "rejected")]
    if sorted(listed) != sorted(feed.acknowledged):
        wrong.append(f"{len(listed)} in the books, {len(feed.acknowledged)} acknowledged")
    return wrong


@pytest.mark.crash
@pytest.mark.slow
@repeated(REPEATS)
def test_what_steps_remember_survives_whatever_happens_at_its_points(
    tmp_path: Path, ledger: Ledger, repeat: int
) -> None:
    number = SEED + repeat
    lot = random.Random(number)
    runs = [
        Run((f"{armed}@{lot.randint(1, 20)}",), end)
        for name in POINTS
        for armed, end in actions(name, ENDS[name])
    ]
    runs = some_of(runs, lot, FEW)
    with (
        Peers(tmp_path, seed=number, faults=0.5, rate=200.0, give_up=0.2) as peers,
        peers.watch_balance() as watch,
    ):
        with_memories(peers.site)
        failing = Failing(peers, lot)
        feed = Feed(peers.site.ports["side"])
        peers.start_sending()
        feed.start()
        for run in runs:
            failing.run(run)
        failing.disarm()
        feed.stop.set()
        feed.join(60)
        wrong = wrong_memories(peers.site, feed)
        of_load, figures = judge_load(failing)
        wrong += of_load
        ledger.record(
            "G1", "kill, error, delay and stop at the points of parking, memory and merges",
            trials=len(failing.fired), failures=1 if wrong else 0,
            found=f"{figures}; {len(feed.acknowledged)} of the feed that waits and merges; "
            f"{watch.figures()}; IFENGINE_SEED={number}",
        )  # fmt: skip
        assert not wrong, f"IFENGINE_SEED={number}: {'; '.join(wrong)}"
        assert len(failing.fired) == len(runs)
    watch.assert_even()


def judge_load(failing: Failing) -> tuple[list[str], str]:
    """Judge the load beside, by the records of its channel."""
    site, every = failing.site, failing.site.json

    def of_crossing(*words: str) -> object:
        return every(*words, *(("--channel", "crossing") if words[0] == "messages" else ()))

    site.json = of_crossing  # type: ignore[method-assign]
    try:
        wrong, figures = judge(failing, ORDERED_BY)
    finally:
        del site.json
    return [wrong] if wrong else [], figures


@pytest.mark.crash
@pytest.mark.slow
@repeated(PURGES)
def test_a_purge_that_breaks_off_forgets_nothing_that_is_owed(
    tmp_path: Path, ledger: Ledger, repeat: int
) -> None:
    number = SEED + repeat
    lot = random.Random(number)
    within = PURGES_AFTER_SECONDS + 60
    runs = [
        Run(("store.purge_mid=kill",), KILLED, within=within),
        Run(
            (f"store.purge_mid=error:EIO@{lot.randint(1, 2)}",),
            ENDS["store.purge_mid"],
            within=within,
        ),
    ]
    with (
        Peers(
            tmp_path, seed=number, faults=0.5, rate=50.0, give_up=0.2,
            extra="keep: {messages: 5s}",
        ) as peers,
        peers.watch_balance() as watch,
    ):  # fmt: skip
        failing = Failing(peers, lot)
        peers.start_sending()
        for run in runs:
            failing.run(run)
        failing.disarm()
        first = oldest(peers.site)
        wait_until("a purge goes through", lambda: oldest(peers.site) > first, within)
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict_of, gone, figures = judge_purged(peers)
        ledger.record(
            "G1", "kills and errors in the middle of a purge", trials=len(failing.fired),
            failures=1 if verdict_of else 0,
            found=f"{figures}; {gone} purged; {watch.figures()}; IFENGINE_SEED={number}",
        )  # fmt: skip
        assert not verdict_of, f"IFENGINE_SEED={number}: {verdict_of}"
        assert gone > 0
        assert peers.site.command("audit", "verify").returncode == 0
        assert peers.site.stop() == 0
    watch.assert_even()


def oldest(site: Site) -> int:
    return min(int(row["id"]) for row in site.json("messages", "list", "--limit", "1000000"))


def judge_purged(peers: Peers) -> tuple[str, int, str]:
    """Judge by the logs of the peers; what the engine still lists must agree with them."""
    rows = peers.site.json("messages", "list", "--limit", "1000000")
    sendings, arrivals = peers.read()
    marked: dict[str, set[str]] = {name: set() for name in arrivals}
    states: dict[str, dict[str, str]] = {name: {} for name in arrivals}
    stored = []
    for row in rows:
        if row["state"] in ("dropped", "rejected"):
            continue
        stored.append(row["control_id"])
        for one in row["destinations"]:
            states[one["name"]][row["control_id"]] = one["state"]
            if one["possible_duplicate"]:
                marked[one["name"]].add(row["control_id"])
    gone = sendings.accepted - set(stored)
    for name in marked:  # the mark went with the record
        marked[name] |= gone
    verdict = check(
        sendings, arrivals, marked=marked, ordered_by=ORDERED_BY, stored=stored, states=states
    )
    figures = f"{len(sendings.sent)} sent, {len(sendings.accepted)} acknowledged"
    return "" if verdict.is_clean() else verdict.summary(), len(gone), figures
