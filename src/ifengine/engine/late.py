"""What an engine needs soon, but not for its first delivery: imported once deliveries are under way.

All of it is there a moment after the start, so that an upgrade of the files under a running engine
mixes no two releases, and nobody who asks has to wait for it.
"""

import asyncio
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ifengine.admin.request import Caller
from ifengine.admin.runtime import Runtime

if TYPE_CHECKING:
    from ifengine.admin.service import AuditVerified, Service

AFTER_SECONDS = 0.5  # the first deliveries have the processor for themselves

LATE = (
    "ifengine.admin.service",
    "ifengine.routes.channel_tests.run",  # a reload runs the tests of the channels
)


class LateService:
    """Answers the verbs of the admin socket; imports what does so by itself, or when first asked."""

    def __init__(self, runtime: Runtime, *, audit_verified: "AuditVerified") -> None:
        """Take the engine; ``audit_verified`` as in :class:`ifengine.admin.service.Service`."""
        self._runtime = runtime
        self._audit_verified = audit_verified
        self._service: Service | None = None

    async def answer(self, verb: str, values: Mapping[str, object], caller: Caller) -> object:
        """Return the answer of a verb, as ``Service.answer``."""
        service = self._service
        if service is None:
            service = await self._imported()
        return await service.answer(verb, values, caller)

    async def load(self, stop: asyncio.Event) -> None:
        """Import what is late, beside the deliveries; not at all when told to stop before.

        Raises:
            ImportError: the installation is not whole; an engine that nobody can ask does not run.
        """
        try:
            async with asyncio.timeout(AFTER_SECONDS):
                await stop.wait()
        except TimeoutError:
            await self._imported()

    async def _imported(self) -> "Service":
        await asyncio.get_running_loop().run_in_executor(None, import_late)
        if self._service is None:
            from ifengine.admin.service import Service

            self._service = Service(self._runtime, audit_verified=self._audit_verified)
        return self._service


def import_late() -> None:
    """Import every module of LATE."""
    for name in LATE:
        importlib.import_module(name)
