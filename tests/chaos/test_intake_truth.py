"""G5 and G6 on the way in: answers cut anywhere, ids used again, the same id twice at once."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from chaos.support import proxy_to, serving
from engine.support import (
    END,
    START,
    Receiver,
    Running,
    Sender,
    Site,
    adt,
    code,
    metric,
    running,
    sender,
)
from engine.support import until as held
from ifengine.chaos.acts import Amounts


def site_of(folder: Path, lab: Receiver) -> Site:
    site = Site(folder / "site", {"lab": lab})
    site.options["lab"] = "ack_timeout: 60s"
    return site


def answered(answer: bytes) -> str:
    """Return MSA-2."""
    return answer.split(b"MSA|")[1].split(b"\r")[0].split(b"|")[1].decode()


async def exchange(his: Sender, contents: list[bytes]) -> list[bytes]:
    """Send all at once and return the answers."""
    his.writer.write(b"".join(START + content + END for content in contents))
    return [await his.answer(60.0) for _ in contents]


async def wait_delivered(engine: Running, lab: Receiver, count: int) -> None:
    """Wait until this many have arrived and none waits; what is missing then, the test names."""
    with contextlib.suppress(TimeoutError):
        await held(lambda: is_delivered(engine, lab, count), 30.0 + count / 100)


async def is_delivered(engine: Running, lab: Receiver, count: int) -> bool:
    text = (await engine.ask("metrics"))["text"]
    waiting = [line for line in text.splitlines() if line.startswith("ifengine_queue_messages{")]
    return len(lab.received) >= count and all(line.endswith(" 0.0") for line in waiting)


@pytest.mark.chaos
async def test_an_answer_cut_at_any_byte_is_asked_for_again_and_stored_once(
    tmp_path: Path, ledger: Ledger
) -> None:
    """The sender resends at once, or after the engine was started again."""
    lab = Receiver()
    await lab.start()
    site = site_of(tmp_path, lab)
    messages: list[bytes] = []
    whole = 0
    async with running(site) as engine:
        async with sender(site) as his:
            whole = len(START + (await exchange(his, [adt("FIRST")]))[0] + END)
        for offset in range(whole):
            content = adt(f"CUT{offset:04}", patient=str(offset))
            amounts = Amounts(limit_bytes=offset)
            proxy = proxy_to(site.port, "limit_data", sides="answers", amounts=amounts)
            async with serving(proxy):
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                writer.write(START + content + END)
                async with asyncio.timeout(30):
                    heard = await reader.read()
                writer.close()
            # the last control id of an answer is its own: only the length is the same
            assert len(heard) == offset
            messages.append(content)
        soon, later = messages[::2], messages[1::2]
        async with sender(site) as his:
            answers = await exchange(his, soon)
    async with running(site) as engine:
        async with sender(site) as his:
            answers += await exchange(his, later)
            answers += await exchange(his, soon)
        await wait_delivered(engine, lab, whole + 1)
    await lab.stop()
    sent = [*soon, *later, *soon]
    wrong = [
        a
        for a, m in zip(answers, sent, strict=True)
        if code(a) != "AA" or answered(a).encode() not in m
    ]
    times = Counter(lab.received)
    off = [m for m in messages if times[m] != 1]
    ledger.record(
        "G5", "answers cut at each byte, resent at once and after a restart: stored once",
        trials=len(sent), failures=len(off) + len(wrong), found=f"an answer has {whole} bytes",
    )  # fmt: skip
    assert not wrong
    assert not off
    assert whole > 80


@pytest.mark.chaos
async def test_an_id_that_comes_again_with_another_body_is_never_dropped(
    tmp_path: Path, ledger: Ledger
) -> None:
    """Half of the other bodies come before the engine was started again, half after it."""
    count = trials(200, 10_000, "IFENGINE_REUSED_IDS")
    lab = Receiver()
    await lab.start()
    site = site_of(tmp_path, lab)
    first, other = (
        [adt(f"R{n:05}", patient=str(n % 50), event=event) for n in range(count)]
        for event in ("A01", "A08")
    )
    codes: Counter[str] = Counter()

    async def send(contents: list[bytes]) -> None:
        async with sender(site) as his:
            for at in range(0, len(contents), 50):
                for answer in await exchange(his, contents[at : at + 50]):
                    codes[code(answer)] += 1

    async with running(site):
        await send(first)
        await send(other[: count // 2])
    async with running(site) as engine:
        await send(other[count // 2 :])
        await send(other[: count // 2])  # and these are retransmissions of what was stored
        await wait_delivered(engine, lab, 2 * count)
        text = (await engine.ask("metrics"))["text"]
    await lab.stop()
    times = Counter(lab.received)
    off = [m for m in [*first, *other] if times[m] != 1]
    ledger.record(
        "G5", "ids used again with another body, over a restart: none dropped",
        trials=count, failures=len(off), found=f"{len(lab.received)} delivered",
    )  # fmt: skip
    assert not off
    assert codes == {"AA": 2 * count + count // 2}
    told = metric(text, "ifengine_control_id_reused_total")  # since the second start
    assert told == count - count // 2


@pytest.mark.chaos
async def test_the_same_id_on_two_connections_at_once_is_two_messages_or_one(
    tmp_path: Path, ledger: Ledger
) -> None:
    """Other bodies: both are stored and both answered. The same body: stored once, answered twice."""
    count, lot = trials(60, 5_000, "IFENGINE_TWIN_IDS"), seed()
    lab = Receiver()
    await lab.start()
    site = site_of(tmp_path, lab)
    site.options["lab"] += "\nlanes: 4"
    wrong = 0
    expected: Counter[bytes] = Counter()
    async with running(site) as engine, contextlib.AsyncExitStack() as stack:
        pair = [await stack.enter_async_context(sender(site)) for _ in range(2)]
        for number in range(count):
            control = f"T{lot % 1000}{number:05}"
            same = number % 2 == 0
            contents = [adt(control, patient=str(number)) for _ in pair]
            if not same:
                contents[1] = adt(control, patient=str(number + count))
            for content in set(contents):
                expected[content] += 1
            for his, content in zip(pair, contents, strict=True):
                his.writer.write(START + content + END)
            answers = [await his.answer(30.0) for his in pair]
            wrong += sum((code(a), answered(a)) != ("AA", control) for a in answers)
        await wait_delivered(engine, lab, expected.total())
    await lab.stop()
    times = Counter(lab.received)
    off = [m for m in times.keys() | expected.keys() if times[m] != expected[m]]
    ledger.record(
        "G6", "the same id on two connections at once, half with the same body",
        trials=count, failures=wrong + len(off), found=f"{expected.total()} delivered, seed {lot}",
    )  # fmt: skip
    assert wrong == 0
    assert not off
