"""G6 and G4 where the network, TLS or the peer's own end is at fault."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from campaigns import Ledger, seed, trials
from chaos.oracle import crossed, wait_until_done
from chaos.support import proxy_to
from engine.support import sender
from ifengine.chaos.acts import Amounts
from ifengine.chaos.proxy import Contexts
from ifengine.chaos.table import MISBEHAVIOURS, Scope
from ifengine.mllp.tls import server_context

AMOUNTS = Amounts(
    delay=0.1, jitter=0.2, bytes_per_second=20_000, slice_bytes=50, limit_bytes=400, flap=0.2
)


def contexts_of(ca: trustme.CA, folder: Path) -> Contexts:
    """Return a good certificate, one that has ended, and a good one of another machine."""
    now = datetime.now(UTC)
    leaves = {
        "good": ca.issue_cert("127.0.0.1"),
        "expired": ca.issue_cert(
            "127.0.0.1", not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
        ),
        "wrong": ca.issue_cert("other.example"),
    }
    made = {}
    for name, leaf in leaves.items():
        path = folder / f"{name}.pem"
        leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
        made[name] = server_context(cert=path)
    return Contexts(listen=made["good"], expired=made["expired"], wrong=made["wrong"])


@pytest.mark.chaos
async def test_whatever_the_network_does_only_what_arrived_is_called_sent(
    tmp_path: Path, ledger: Ledger
) -> None:
    wanted, lot = trials(6, 500, "IFENGINE_NETWORK_TRIALS"), seed()
    rows = [row for row in MISBEHAVIOURS if row.scope is not Scope.ANSWER]
    assert len(rows) == 12
    ca = trustme.CA()
    contexts = contexts_of(ca, tmp_path)
    proxies = {}
    for at, row in enumerate(rows):
        secure = contexts if row.name.startswith("tls") else None
        # a connection must end for the next one to be chosen
        names = (row.name,) if row.name == "flap" else (f"{row.name}=0.6", "fin_after_request=0.3")
        proxies[row.name.replace("_", "-")] = proxy_to(
            0, *names, seed=lot + at, amounts=AMOUNTS, contexts=secure
        )
    async with crossed(tmp_path, proxies, ca=ca) as (one, engine), sender(one.site) as his:
        what = {row.name.replace("_", "-"): row.name for row in rows}
        await wait_until_done(one, engine, his, wanted, what=what)
        wrong = await one.judge(engine)
    own = {row.name: proxies[row.name.replace("_", "-")].done[row.name] for row in rows}
    ledger.record(
        "G6", f"{len(rows)} faults of the network, of TLS and of a peer's end, with closed connections",
        trials=sum(proxy.done.total() for proxy in proxies.values()),
        failures=sum(map(len, wrong.values())),
        found=f"{len(one.sent)} messages each, least {min(own.values())} of one fault, seed {lot}",
    )  # fmt: skip
    assert wrong == {}, f"seed {lot}"
    assert min(own.values()) >= wanted, own


LANES = 8  # destinations side by side, so that waiting overlaps


@pytest.mark.chaos
async def test_an_answer_lost_after_delivery_makes_exactly_one_marked_repetition(
    tmp_path: Path, ledger: Ledger
) -> None:
    wanted, lot = trials(160, 10_000, "IFENGINE_LOST_ANSWERS"), seed()
    proxies = {
        f"lab-{n}": proxy_to(0, "fin_after_request", share=0.5, most=wanted // LANES, seed=lot + n)
        for n in range(LANES)
    }
    async with crossed(tmp_path, proxies, more="ack_timeout: 60s") as (one, engine):
        async with sender(one.site) as his:
            await wait_until_done(one, engine, his, wanted // LANES)
        wrong = await one.judge(engine)
        again = {name: len(one.arrived(name)) - len(one.sent) for name in proxies}
        marked = await one.marked(engine)
    lost = {name: proxy.done["fin_after_request"] for name, proxy in proxies.items()}
    off = sum(abs(again[name] - lost[name]) for name in proxies)
    ledger.record(
        "G4", "answers lost after delivery: each makes one repetition, marked",
        trials=sum(lost.values()), failures=off + sum(map(len, wrong.values())),
        found=f"{sum(again.values())} repetitions, seed {lot}",
    )  # fmt: skip
    assert wrong == {}, f"seed {lot}"
    assert again == lost
    for name in proxies:
        arrived = one.arrived(name)
        assert marked[name] == {m for m in arrived if arrived.count(m) > 1}


@pytest.mark.chaos
async def test_an_answer_that_comes_twice_repeats_nothing(tmp_path: Path, ledger: Ledger) -> None:
    wanted, lot = trials(160, 10_000, "IFENGINE_DOUBLE_ANSWERS"), seed()
    proxies = {f"lab-{n}": proxy_to(0, "ack_duplicated", seed=lot + n) for n in range(LANES)}
    async with crossed(tmp_path, proxies, more="ack_timeout: 60s") as (one, engine):
        async with sender(one.site) as his:
            await wait_until_done(one, engine, his, wanted // LANES)
        wrong = await one.judge(engine)
        marked = await one.marked(engine)
    again = sum(len(one.arrived(name)) - len(one.sent) for name in proxies)
    done = sum(proxy.done.total() for proxy in proxies.values())
    ledger.record(
        "G4", "answers that came twice: nothing is repeated", trials=done,
        failures=again + sum(map(len, wrong.values())), found=f"{again} repetitions, seed {lot}",
    )  # fmt: skip
    assert wrong == {}, f"seed {lot}"
    assert again == 0
    assert done >= wanted // LANES * LANES
    assert marked == {name: set() for name in proxies}
