"""One channel as its listeners see it: which messages are its own, and what is counted of them."""

from collections.abc import Callable

from ifengine.hl7.header import Header
from ifengine.routes.channel import Channel
from ifengine.routes.config.models import ChannelConfig
from ifengine.routes.intake_load import LastHour
from ifengine.routes.parts import Parts
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.received import Received
from ifengine.routes.waiting_senders import WaitingSenders
from ifengine.store.base import GuardVerdict
from ifengine.telemetry.metrics import type_label


class ChannelIntake:
    """One channel as its listener sees it: which messages are its own, and the counters."""

    def __init__(self, parts: Parts, channel: Channel, number: int, pipeline: Pipeline) -> None:
        self.channel = channel
        self.number = number
        self.pipeline = pipeline
        self.window_us = int(channel.config.dedupe_window_seconds * 1e6)
        self.last_received_us = 0
        self.received = 0
        self.recent = LastHour()
        metrics, name = parts.metrics, channel.name
        self._metrics = metrics
        self._types = frozenset(f"{t.code}^{t.event}" for t in channel.config.types)
        self._received: dict[tuple[bytes, bytes], Callable[[], None]] = {}
        self.bytes = metrics.received_bytes_total.labels(name)
        self.duplicates = metrics.duplicates_total.labels(name)
        self.reused = metrics.control_id_reused_total.labels(name)
        self.guard_off = metrics.guard_off_total.labels(name)
        self.ack_seconds = metrics.ack_duration_seconds.labels(name)
        self.last = metrics.last_received_timestamp_seconds.labels(name)
        self._acks: dict[str, Callable[[], None]] = {}

    def switch(self, channel: Channel) -> None:
        """Go by another configuration of the same channel."""
        self.channel = channel
        self.window_us = int(channel.config.dedupe_window_seconds * 1e6)
        self._types = frozenset(f"{t.code}^{t.event}" for t in channel.config.types)
        self._received = {}

    @property
    def senders(self) -> WaitingSenders | None:
        """Return where senders wait for what a destination answers; None: they do not."""
        senders = self.pipeline.senders
        return None if senders is None or not senders.is_on else senders

    @property
    def config(self) -> ChannelConfig:
        """Return the configuration that counts now."""
        return self.channel.config

    def feed(self, message: Received) -> None:
        """Take a message whose commit returned."""
        self.pipeline.feed(message)

    def count_received(self, header: Header, size: int, at_us: int, now: float) -> None:
        """Count a frame that came for this channel."""
        key = (header.message_code, header.trigger_event)
        inc = self._received.get(key)
        if inc is None:
            label = type_label(key[0].decode("latin-1"), key[1].decode("latin-1"), self._types)
            inc = self._metrics.messages_received_total.labels(self.channel.name, label).inc
            if len(self._received) < 512:
                self._received[key] = inc
        inc()
        self.bytes.inc(size)
        self.last_received_us = at_us
        self.received += 1
        self.recent.add(now)

    def count_verdict(self, verdict: GuardVerdict) -> None:
        """Count a message whose id came before."""
        match verdict:
            case GuardVerdict.DUPLICATE | GuardVerdict.TAGGED:
                self.duplicates.inc()
            case GuardVerdict.REUSED:
                self.reused.inc()
            case GuardVerdict.OFF:
                self.guard_off.inc()
            case GuardVerdict.NEW:
                pass

    def count_ack(self, code: str) -> None:
        """Count an answer."""
        inc = self._acks.get(code)
        if inc is None:
            inc = self._acks[code] = self._metrics.acks_sent_total.labels(
                self.channel.name, code
            ).inc
        inc()
