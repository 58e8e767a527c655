"""A batch that comes in one frame: its messages, or why it is refused, and the batch that answers it.

Pure. All messages of a frame are one transaction, and each gets an answer of its own: one AA for
the whole would be a false promise for the rest (hl7-rules.md 2.12).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ifengine.hl7.ack import AckError, Verdict
from ifengine.hl7.batch import batch_of_answers, split_batch
from ifengine.hl7.header import Header, HeaderFault
from ifengine.hl7.tables import Hl7ErrorCode
from ifengine.routes.config.models import ChannelConfig
from ifengine.routes.gates import Gate
from ifengine.store.base import InboxKind

WAITS = "a message whose sender waits for a destination cannot come in a batch"


@dataclass(slots=True)
class BatchReply:
    """What one frame with a batch is answered, once all of it is on stable storage."""

    header: bytes = field(repr=False)  # BHS or FHS
    left: int  # messages without an answer yet
    answers: list[bytes] = field(default_factory=list, repr=False)

    def add(self, answers: Sequence[bytes]) -> bool:
        """Take the answers to one message; return whether it was the last."""
        self.answers += answers
        self.left -= 1
        return self.left <= 0

    def content(self, at_us: int, number: int) -> bytes:
        """Return the batch of answers; ``number`` is the engine's for the frame."""
        return batch_of_answers(
            self.header, self.answers, at_us=at_us, control_id=b"IFEB%d" % number
        )


@dataclass(frozen=True, slots=True)
class CameInBatch:
    """A frame with a batch as it is taken: ``gate`` says so where all of it is refused."""

    messages: tuple[bytes, ...] = field(repr=False)
    header: bytes = field(repr=False)
    gate: Gate | None = None


def takes_batches(header: Header, channels: Sequence[ChannelConfig]) -> bool:
    """Whether a frame is a batch, and a channel of its listener splits batches."""
    return header.fault is HeaderFault.BATCH and any(channel.unbatch for channel in channels)


def take_batch(content: bytes, channels: Sequence[ChannelConfig]) -> CameInBatch:
    """Split a frame.

    A frame whose counts do not agree is refused as a whole, where one of the channels checks them.
    """
    found = split_batch(content)
    checks = any(channel.unbatch and channel.check_counts for channel in channels)
    if not (found.faults and checks):
        return CameInBatch(found.messages, found.header)
    gate = refused_batch(found.faults[0].value, channels)
    return CameInBatch((content,), found.header, gate)


def refused_batch(reason: str, channels: Sequence[ChannelConfig]) -> Gate:
    """Return the decision about a frame whose batch does not hold together."""
    error = AckError(Hl7ErrorCode.SEGMENT_SEQUENCE, None, reason)
    only = channels[0] if len(channels) == 1 else None
    return Gate(InboxKind.REJECTED, Verdict.INVALID_CONTENT, only, reason, error)


def gate_in_batch(gate: Gate) -> Gate:
    """Return what is decided about one message of a batch: nobody can wait for its answer alone."""
    if gate.kind is not InboxKind.MESSAGE or gate.channel is None or gate.channel.ack is None:
        return gate
    error = AckError(Hl7ErrorCode.INTERNAL_ERROR, None, WAITS)
    return Gate(InboxKind.REJECTED, Verdict.UNACCEPTABLE_HEADER, gate.channel, WAITS, error)
