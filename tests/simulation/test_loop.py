"""The virtual loop itself: what a seed decides, and what it may not."""

import asyncio
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from simulation.loop import InOrder, NothingLeftError, VirtualLoop
from simulation.site import Written
from simulation.world import simulate

PATHS = os.pathsep.join(sys.path)
SEED = 3
TOLD = "import sys; from pathlib import Path; from simulation.site import write;"
TOLD += "from simulation.world import simulate;"
TOLD += "print(simulate(int(sys.argv[1]), write(Path(sys.argv[2]))).trace)"


def order_of(seed: int, *, shuffled: bool) -> list[int]:
    loop = VirtualLoop(seed, shuffled=shuffled)
    seen: list[int] = []

    async def live() -> None:
        for number in range(20):
            loop.call_soon(seen.append, number)
        await asyncio.sleep(1)

    loop.run_until_complete(live())
    loop.close()
    return seen


def test_a_seed_decides_the_order_and_another_seed_another_one() -> None:
    assert order_of(1, shuffled=True) == order_of(1, shuffled=True)
    assert order_of(1, shuffled=True) != order_of(2, shuffled=True)
    assert order_of(1, shuffled=False) == list(range(20))


def test_a_year_of_sleep_takes_no_time_and_nothing_to_wait_for_is_a_hang() -> None:
    loop = VirtualLoop(1, shuffled=True)
    began = loop.time()
    loop.run_until_complete(asyncio.wait_for(asyncio.sleep(31_536_000), 1e9))
    assert loop.time() - began >= 31_536_000
    with pytest.raises(NothingLeftError):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_what_comes_from_one_place_keeps_its_order_whatever_the_seed() -> None:
    for seed in range(1, 30):
        loop = VirtualLoop(seed, shuffled=True)
        seen: list[int] = []
        queue = InOrder(loop)
        for number in range(20):
            queue.after(loop.choose.random(), partial(seen.append, number))
        loop.run_until_complete(asyncio.sleep(3))
        loop.close()
        assert seen == list(range(20))


def test_the_same_seed_gives_the_same_run_to_the_last_step(
    simulated: Written, tmp_path: Path
) -> None:
    here = simulate(SEED, simulated)
    assert here.wrong == []
    assert here.turns > 1000
    assert here.trace == simulate(SEED, simulated).trace
    assert here.trace != simulate(SEED + 1, simulated).trace
    for hashes in ("1", "2"):  # another process, where sets have another order
        done = subprocess.run(
            [sys.executable, "-c", TOLD, str(SEED), str(tmp_path / hashes)],
            env={**os.environ, "PYTHONPATH": PATHS, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split()[-1] == here.trace
