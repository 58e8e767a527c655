"""G6: nothing is called sent but on an answer that names the message, whatever the receiver does."""

from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from chaos.oracle import crossed, wait_until_done
from chaos.support import proxy_to
from engine.support import adt, sender, until
from ifengine.chaos.acts import Amounts
from ifengine.chaos.choosing import Chooser
from ifengine.chaos.table import BY_NAME, MISBEHAVIOURS, Misbehaviour, Scope

AMOUNTS = Amounts(delay=0.4, jitter=0.2, heal=0.4, huge_bytes=2_000_000, bytes_per_second=20_000)
ANSWERS = [row for row in MISBEHAVIOURS if row.scope is Scope.ANSWER]


@pytest.mark.chaos
@pytest.mark.parametrize("lose", [False, True], ids=["delivered", "lost"])
async def test_whatever_a_receiver_answers_only_what_arrived_is_called_sent(
    lose: bool, tmp_path: Path, ledger: Ledger
) -> None:
    """``lost``: where the answer is no yes, the message has not reached the receiver."""
    wanted, lot = trials(5, 500, "IFENGINE_ACK_TRIALS"), seed()
    rows = [row for row in ANSWERS if not (lose and row.is_yes)]
    assert len(rows) >= (14 if lose else 25)
    proxies = {
        row.name.replace("_", "-"): proxy_to(
            0, row.name, share=0.5, most=wanted, lose=lose, seed=lot + at, amounts=AMOUNTS
        )
        for at, row in enumerate(rows)
    }
    async with crossed(tmp_path, proxies) as (one, engine), sender(one.site) as his:
        await wait_until_done(one, engine, his, wanted)
        wrong = await one.judge(engine)
        arrived = {name: len(one.arrived(name)) for name in proxies}
    again = sum(arrived.values()) - len(one.sent) * len(proxies)
    total = sum(proxy.done.total() for proxy in proxies.values())
    ledger.record(
        "G6", f"{len(rows)} misbehaviours of a receiver, messages {'lost' if lose else 'delivered'}",
        trials=total, failures=sum(map(len, wrong.values())),
        found=f"{len(one.sent)} messages each, {again} delivered again, seed {lot}",
    )  # fmt: skip
    assert wrong == {}, f"seed {lot}"
    assert all(proxy.done.total() >= wanted for proxy in proxies.values())


@pytest.mark.chaos
async def test_what_a_dead_connection_still_holds_never_arrives_behind_newer_messages(
    tmp_path: Path, ledger: Ledger
) -> None:
    """A peer that is out of reach gets all that was tried meanwhile at once when it is back."""
    wanted, lot = trials(2, 60, "IFENGINE_HALF_OPEN_TRIALS"), seed()
    proxies = {
        f"dark-{n}": proxy_to(
            0, "half_open", share=0.3, most=wanted, seed=lot + n, amounts=Amounts(heal=0.5 + n / 4)
        )
        for n in range(6)
    }
    async with crossed(tmp_path, proxies, more="ack_timeout: 100ms") as (one, engine):
        async with sender(one.site) as his:
            await wait_until_done(one, engine, his, wanted)
        wrong = await one.judge(engine)
    ledger.record(
        "G6", "half open for 0.5 to 1.75 s, an attempt every 100 ms",
        trials=wanted * len(proxies), failures=sum(map(len, wrong.values())),
        found=f"{len(one.sent)} messages each, seed {lot}",
    )  # fmt: skip
    assert wrong == {}, f"seed {lot}"


@pytest.mark.chaos
async def test_a_peer_out_of_reach_for_long_gets_everything_in_order_when_it_is_back(
    tmp_path: Path, ledger: Ledger
) -> None:
    """One second, and in the campaign ten and a hundred and twenty."""
    heals = [1, 10, 120][: trials(1, 3, "IFENGINE_HEALS")]
    proxies = {
        f"dark-{heal}": proxy_to(0, "half_open", most=1, amounts=Amounts(heal=heal))
        for heal in heals
    }
    async with crossed(tmp_path, proxies) as (one, engine), sender(one.site) as his:
        await wait_until_done(one, engine, his, 1, patience=max(heals) * 2 + 60)
        wrong = await one.judge(engine)
    ledger.record(
        "G6", "half open for a long time, then back", trials=len(heals),
        failures=sum(map(len, wrong.values())), found=f"{heals} s, {len(one.sent)} messages each",
    )  # fmt: skip
    assert wrong == {}


@pytest.mark.chaos
async def test_an_answer_of_64_mib_is_not_read_and_the_message_goes_again(
    tmp_path: Path, ledger: Ledger
) -> None:
    count = trials(1, 20, "IFENGINE_HUGE_ANSWERS")
    proxies = {"lab": proxy_to(0, "huge_ack", most=count)}
    async with crossed(tmp_path, proxies, more="ack_timeout: 30s") as (one, engine):
        async with sender(one.site) as his:
            await wait_until_done(one, engine, his, count)
        wrong = await one.judge(engine)
        again = len(one.arrived("lab")) - len(one.sent)
    ledger.record(
        "G6", "answers of 64 MiB: given up at the limit, in doubt, sent again", trials=count,
        failures=sum(map(len, wrong.values())) + abs(again - count), found=f"{again} again",
    )  # fmt: skip
    assert wrong == {}
    assert again == count


class Scripted(Chooser):
    """Does what a list says, message by message."""

    script: list[str]

    def for_message(self, now: float) -> Misbehaviour | None:
        return BY_NAME[self.script.pop(0)] if self.script else None


def scripted() -> Scripted:
    made = Scripted([], draw=lambda: 0.0)
    made.script = []
    return made


@pytest.mark.chaos
async def test_a_late_answer_is_never_credited_to_another_message_of_the_same_id(
    tmp_path: Path, ledger: Ledger
) -> None:
    """The first is answered too late; the second has its id, is under way then, and is lost."""
    rounds = trials(1, 63, "IFENGINE_LATE_ANSWERS")
    choosers = {f"lab-{n}": scripted() for n in range(8)}
    proxies = {name: proxy_to(0, lose=True, amounts=AMOUNTS) for name in choosers}
    for name, proxy in proxies.items():
        proxy.chooser = choosers[name]
    missing: list[str] = []
    async with (
        crossed(tmp_path, proxies, retry="300ms", lanes=1) as (one, engine),
        sender(one.site) as his,
    ):
        for number in range(rounds):
            for chooser in choosers.values():
                chooser.script = ["ack_late", "ack_dropped"]
            twins = [adt(f"T{number:04}", patient=f"{number}-{n}") for n in range(2)]
            for content in twins:
                assert await his.send(content) == "AA"
            await until(lambda n=number: one.are_sent(engine, 2 * n + 2), 30.0)  # type: ignore[misc]
            missing += [
                name for name in proxies if not set(twins) <= set(one.receivers[name].received)
            ]
    done = sum(proxy.done.total() for proxy in proxies.values())
    ledger.record(
        "G6", "late answers while another message of the same id is under way, and lost",
        trials=rounds * len(proxies), failures=len(missing), found=f"{done} misbehaviours",
    )  # fmt: skip
    assert missing == []
    assert done == 2 * rounds * len(proxies)
