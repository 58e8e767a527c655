"""The beginning and the end of an engine, as the log tells them."""

import signal
from types import TracebackType

from ifengine.clock import Clock
from ifengine.engine.building import Built
from ifengine.errors import DamagedPageError, DiskFullError, StorageFailedError
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.parts import Parts
from ifengine.telemetry.events import (
    EngineFailed,
    EngineStarted,
    EngineStopped,
    EngineStopping,
    StorageFailed,
    shortened,
)
from ifengine.telemetry.log import emit
from ifengine.telemetry.words import StopReason, StorageFault

_SIGNALS = {signal.SIGTERM: StopReason.SIGTERM, signal.SIGINT: StopReason.SIGINT}


class Life:
    """One run of an engine. As a context it tells of an end by an error."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked = StopReason.OTHER
        self._stopping_at = 0.0

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell which error ended it; what it says may hold content."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, Exception):
            emit(EngineFailed(error=shortened(type(error).__name__)))

    def started(self, site: SiteConfig, parts: Parts, built: Built, *, suspect: bool) -> None:
        """Tell that it runs."""
        emit(
            EngineStarted(
                site=shortened(site.site),
                config_version=parts.config_version,
                channels=len(built.pipelines),
                listeners=len(built.listeners),
                unclean=parts.unclean,
                suspect=suspect,
            )
        )

    def asked(self, number: signal.Signals) -> None:
        """Note the signal that asks for the stop."""
        self._asked = _SIGNALS[number]

    def storage_failed(self, error: BaseException) -> None:
        """Tell of a fault of the storage."""
        fault = StorageFault.FAILED
        if isinstance(error, DiskFullError):
            fault = StorageFault.DISK_FULL
        elif isinstance(error, DamagedPageError):
            fault = StorageFault.DAMAGED_PAGE
        emit(StorageFailed(fault=fault))

    def stopping(self, failure: BaseException | None) -> None:
        """Tell that the stop begins, and why: ``failure`` is what stopped it, None where nobody failed."""
        self._stopping_at = self._clock.monotonic()
        why = self._asked
        if failure is not None:
            is_storage = isinstance(failure, StorageFailedError)
            why = StopReason.STORAGE_FAILED if is_storage else StopReason.UNFORESEEN
        emit(EngineStopping(why=why))

    def stopped(self, code: int) -> int:
        """Tell that the stop is over; returns the exit code."""
        took = self._clock.monotonic() - self._stopping_at
        emit(EngineStopped(code=code, seconds=round(took, 3)))
        return code


def start_lines(
    site: SiteConfig, parts: Parts, built: Built, recovered: int, metrics_port: int
) -> list[str]:
    """Return what a person who starts an engine is shown of it.

    Args:
        site: what it runs.
        parts: its version, and how the last run ended.
        built: its listeners and what waits.
        recovered: messages without a plan.
        metrics_port: the port that is really bound.
    """
    listening = "   ".join(
        f"{listener.name} :{listener.port}"
        + (" tls" if listener.options.ssl_context is not None else "")
        for listener in built.listeners
    )
    waiting = sum(
        d.waiting for outbox in built.outboxes.values() for d in outbox.destinations.values()
    )
    reserve = site.reserve_bytes // (1024 * 1024)
    lines = [
        f"  config {parts.config_version} ({site.digest[:6]})",
        f"  listening  {listening}",
        f"  store {site.store_path}  (reserve {reserve} MiB)"
        f"  metrics {site.metrics_host}:{metrics_port}",
    ]
    if parts.unclean:
        more = "" if built.is_counted() else "more than "
        lines.append(
            f"  the last run ended without a stop:"
            f" {more}{recovered} messages to process, {more}{waiting} to deliver"
        )
    return lines
