"""Opening the store: a full disk is waited for, and a suspect one is read anew."""

import asyncio
import sys
from collections.abc import Callable

from ifengine.errors import StoreFullError
from ifengine.store.base import Store
from ifengine.telemetry.events import RoomAwaited
from ifengine.telemetry.log import emit

LOOK_AGAIN_SECONDS = 1.0


async def open_with_room(make: Callable[[], Store], stop: asyncio.Event) -> Store:
    """Open the store; without room on its disk wait until there is some.

    An end of the process instead would make a service manager give up after a few starts.

    Raises:
        StoreRefusedError: it will not open.
        StoreFullError: there was no room until the engine was told to stop.
    """
    said = False
    while True:
        try:
            return make()
        except StoreFullError as error:
            if stop.is_set():
                raise
            if not said:
                sys.stderr.write(f"waiting for room on the disk: {error}\n")
                sys.stderr.flush()
                emit(RoomAwaited())
                said = True
        try:
            async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue
