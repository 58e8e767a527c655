"""Gauges, brought up to date when somebody looks: depth is kept as numbers, never counted."""

import os

from ifengine.clock import MICROSECONDS, as_datetime
from ifengine.engine.building import Built
from ifengine.engine.watch import Watch
from ifengine.mllp.listener import MllpListener
from ifengine.mllp.tls import certificate_expiry
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.parts import Parts
from ifengine.settings import Settings

CHANNEL_STATES = ("running", "paused")


class Gauges:
    """Writes what the parts know into the metric families."""

    def __init__(self, settings: Settings, parts: Parts, built: Built, watch: Watch) -> None:
        self._site = settings.site
        self._parts = parts
        self._built = built
        self._watch = watch
        self._shown: set[tuple[str, str]] = set()
        self._counted: dict[tuple[str, str, str], int] = {}
        metrics = parts.metrics
        metrics.config_last_reload_successful.set(1)
        metrics.config_last_reload_success_timestamp_seconds.set(
            parts.clock.now_us() / MICROSECONDS
        )
        self.switched(self._site)

    def switched(self, site: SiteConfig) -> None:
        """Show what another configuration says."""
        self._site = site
        metrics = self._parts.metrics
        metrics.disk_reserve_bytes.set(site.reserve_bytes)
        for name, table in site.tables.items():
            metrics.table_entries.labels(name).set(len(table.rows))
        self._certificates()
        self._expectations()

    def _expectations(self) -> None:
        """How often each channel should hear something at this hour; 0 where it may be silent."""
        now = as_datetime(self._parts.clock.now_us()).astimezone()  # the hours of the people here
        for channel in self._site.channels:
            if channel.enabled:
                every = channel.expect_every_seconds or 0.0
                open_now = is_within(channel.expect_between, now.hour * 60 + now.minute)
                expected = every if open_now else 0.0
                self._parts.metrics.expected_interval_seconds.labels(channel.name).set(expected)

    def _certificates(self) -> None:
        for tls in (
            *(listener.tls for listener in self._site.listeners.values()),
            *(sender.tls for sender in self._site.senders.values()),
        ):
            if tls is not None and tls.cert is not None:
                self._parts.metrics.certificate_expiry_timestamp_seconds.labels(
                    tls.name, "own"
                ).set(certificate_expiry(tls.cert).timestamp())

    def update(self) -> None:
        """Bring every gauge up to date."""
        self._queues()
        self._channels()
        self._expectations()
        for listener in self._built.listeners:
            self._listener(listener)
        metrics, watch = self._parts.metrics, self._watch
        metrics.event_loop_lag_seconds.set(watch.lag.seconds)
        metrics.disk_free_bytes.set(watch.disk.free_bytes)
        metrics.disk_ballast_bytes.set(watch.disk.ballast_bytes)
        metrics.disk_full.set(watch.disk.full)
        metrics.intake_paused.labels("disk").set(watch.disk.low)
        now_us = self._parts.clock.now_us()
        for key in self._parts.ring.status().keys:
            if key.current and key.purpose == "content":
                age = (now_us - key.created_us) / MICROSECONDS
                metrics.key_age_seconds.labels("content").set(age)
        for part, size in self._store_sizes().items():
            metrics.store_size_bytes.labels(part).set(size)

    def _store_sizes(self) -> dict[str, int]:
        sizes = {}
        for part, name in (("messages", "store.db"), ("wal", "store.db-wal")):
            try:
                sizes[part] = os.stat(self._site.store_path / name).st_size
            except OSError:
                sizes[part] = 0
        return sizes

    def _queues(self) -> None:
        metrics = self._parts.metrics
        for outbox in self._built.outboxes.values():
            for destination in outbox.destinations.values():
                labels = (destination.channel, destination.name)
                if destination.is_quiet and labels not in self._shown:
                    continue
                self._shown.add(labels)
                metrics.queue_messages.labels(*labels).set(destination.waiting)
                oldest = outbox.oldest_us(destination) if destination.waiting else 0
                metrics.queue_oldest_timestamp_seconds.labels(*labels).set(oldest / MICROSECONDS)
                metrics.queue_blocked.labels(*labels).set(outbox.is_blocked())
                if destination.application is not None and self._parts.answers is not None:
                    waiting = self._parts.answers.waiting[destination.number]
                    metrics.application_answers_waiting.labels(*labels).set(waiting)
                for reason, count in destination.dead_by_reason.items():
                    metrics.dead_letters.labels(*labels, reason).set(count)
            if outbox.up is not None:
                metrics.destination_up.labels(outbox.name).set(outbox.up)

    def _channels(self) -> None:
        metrics = self._parts.metrics
        for number, pipeline in self._built.pipelines.items():
            name = pipeline.channel.name
            state = "paused" if pipeline.paused else "running"
            for known in CHANNEL_STATES:
                metrics.channel_state.labels(name, known).set(known == state)
            for fact, count in pipeline.parking.by_fact().items():
                metrics.parked_messages.labels(name, fact).set(count)
            intake = self._built.intakes[number]
            metrics.last_received_timestamp_seconds.labels(name).set(
                intake.last_received_us / MICROSECONDS
            )

    def _listener(self, listener: MllpListener) -> None:
        metrics, counts, name = self._parts.metrics, listener.counts, listener.name
        for intake in self._built.intakes.values():
            if name in intake.channel.config.sources:
                metrics.connections.labels(intake.channel.name, "in").set(counts.connections)
        for tolerance, used in counts.tolerated.items():
            self._raise_to(metrics.mllp_tolerances_total, (name, tolerance.value), used)
        failures = {
            "not_allowed": counts.not_allowed,
            "limit": counts.over_limit + counts.over_address_limit,
            "tls": counts.tls_failures,
            "memory": counts.over_memory,
            "timeout": sum(counts.timeouts.values()),
        }
        for reason, count in failures.items():
            self._raise_to(metrics.connection_failures_total, (name, reason), count)

    def _raise_to(self, family: object, labels: tuple[str, str], count: int) -> None:
        """Bring a counter up to a number that is counted elsewhere."""
        key = (str(id(family)), *labels)
        more = count - self._counted.get(key, 0)
        if more > 0:
            family.labels(*labels).inc(more)  # type: ignore[attr-defined]
            self._counted[key] = count


def is_within(between: str, minute: int) -> bool:
    """Whether a minute of the day lies in hours such as ``06:00-22:00`` or ``22:00-05:00``."""
    if not between:
        return True
    start, end = (int(part[:2]) * 60 + int(part[3:]) for part in between.split("-"))
    return start <= minute < end if start < end else minute >= start or minute < end
