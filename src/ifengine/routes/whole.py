"""An act of several changes is done as a whole, or the engine stops (ADR 0013, 0025)."""

from collections.abc import Iterator
from contextlib import contextmanager

from ifengine.errors import StorageFailedError
from ifengine.routes.parts import Parts


@contextmanager
def whole(parts: Parts) -> Iterator[None]:
    """Stop the engine where the act breaks off: memory and disk would tell different things.

    Whoever asked for the act hears the error too. A storage that failed stops the engine by itself.
    """
    try:
        yield
    except StorageFailedError:
        raise
    except Exception as error:
        parts.loop.call_exception_handler({"message": "an act broke off", "exception": error})
        raise
