"""Documents on their way to a folder: before the plan that speaks of them, and with patience."""

from collections.abc import Awaitable, Callable, Sequence

from ifengine.routes.documents import DocumentStore, DocumentsUnwritableError
from ifengine.routes.parts import Parts
from ifengine.transforms.memory import Document

AGAIN_SECONDS = 2.0


def keeper(parts: Parts, store: DocumentStore) -> Callable[[Sequence[Document]], Awaitable[None]]:
    """Return what writes documents in a thread.

    A folder that cannot be written is tried again: the message is not at fault, so it waits, with
    all that comes behind it in its channel, until there is room or the engine stops.
    """

    async def keep(documents: Sequence[Document]) -> None:
        while True:
            try:
                await parts.loop.run_in_executor(None, store.write, documents)
                return
            except DocumentsUnwritableError:
                if parts.stopping:
                    raise
                await parts.clock.sleep(AGAIN_SECONDS)

    return keep
