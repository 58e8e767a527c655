"""A proxy of this process, between what a test makes of both sides."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from ifengine.chaos.acts import Amounts
from ifengine.chaos.choosing import Chooser, Rule
from ifengine.chaos.proxy import Contexts, Options, Proxy
from ifengine.chaos.table import BY_NAME
from ifengine.clock import SystemClock


def proxy_to(
    port: int,
    *names: str,
    listen: int = 0,
    every: int = 1,
    share: float | None = None,
    lose: bool = False,
    sides: str = "requests answers",
    most: int | None = None,
    seed: int = 1,
    amounts: Amounts | None = None,
    contexts: Contexts | None = None,
) -> Proxy:
    """Return a proxy that is not started, to a port of this machine."""
    rules = []
    for name in names:  # NAME or NAME=SHARE
        word, _, own = name.partition("=")
        rules.append(Rule(BY_NAME[word], float(own) if own else share))
    chooser = Chooser(rules, every=every, draw=random.Random(seed).random)
    options = Options(
        port=listen, to_port=port, lose=lose, sides=frozenset(sides.split()), most=most
    )
    return Proxy(options, chooser, SystemClock(), amounts=amounts, contexts=contexts)


@contextlib.asynccontextmanager
async def serving(*proxies: Proxy) -> AsyncIterator[None]:
    """Let proxies serve until the block ends."""
    for proxy in proxies:
        proxy.start()
    tasks = [asyncio.create_task(proxy.run()) for proxy in proxies]
    try:
        yield
    finally:
        for proxy in proxies:
            proxy.stop()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
