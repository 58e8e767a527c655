"""Parts of an engine over a store in memory, without sockets: what planning writes, in rows."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ifengine.clock import ManualClock
from ifengine.routes.config.models import Order
from ifengine.routes.delivery import Outbox
from ifengine.routes.lanes import Schedule
from ifengine.routes.parts import Parts
from ifengine.store.base import Reader
from ifengine.store.group import GroupCommit
from ifengine.store.names import Names
from ifengine.telemetry.metrics import Metrics
from routes.sealed import Sealed


class Works:
    """Parts on the running loop. ``group`` really commits into the memory store."""

    def __init__(self, folder: Path) -> None:
        self.sealed = Sealed(folder)
        self.failures: list[BaseException] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        loop = asyncio.get_running_loop()
        clock = ManualClock()
        store = self.sealed.store
        self.parts = Parts(
            loop=loop,
            clock=clock,
            group=GroupCommit(store, loop, clock, failed=self.failures.append),
            ring=self.sealed.ring,
            names=Names([]),
            metrics=Metrics(),
            read=self._read,
            spawn=self._spawn,
            dice=lambda: 0.5,
            config_version=3,
        )

    async def _read(self, look: Callable[[Reader], Any]) -> Any:
        await asyncio.sleep(0)  # a reading thread answers later too
        return look(self.sealed.store.reader())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def outbox(self, number: int = 1, order: Order = Order.HOLD_KEY) -> Outbox:
        """An outbox without lanes: what it gets stays in its schedule."""
        schedule = Schedule(order=order, ordered=True, lanes=1, strict_settle=False)
        return Outbox(
            self.parts,
            name=f"to-{number}",
            number=number,
            schedule=schedule,
            destinations={},
            urgent_settle=False,
        )
