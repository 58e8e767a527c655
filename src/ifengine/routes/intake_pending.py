"""What intake holds of a frame until its answer has left."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ifengine.hl7.ack_passing import Told, write_told
from ifengine.hl7.header import Header
from ifengine.mllp.framing import encode_frame
from ifengine.mllp.listener import Inbound
from ifengine.routes.answer_lines import AnswerLines, Slot
from ifengine.routes.batches import BatchReply
from ifengine.routes.channel_intake import ChannelIntake
from ifengine.routes.gates import Gate
from ifengine.routes.parts import Parts
from ifengine.routes.waiting_senders import WaitingSenders
from ifengine.store.base import GuardVerdict, NewInboxEntry

# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_DUPLICATE = GuardVerdict.DUPLICATE


class Decision(NamedTuple):
    """What intake decided about one frame before it is stored."""

    gate: Gate
    channel: "ChannelIntake | None"


class Pending(NamedTuple):
    """One frame whose batch is not yet on stable storage."""

    connection: Inbound
    header: Header | None
    content: bytes
    entry: NewInboxEntry
    decision: Decision
    started: float
    senders: WaitingSenders | None = None  # its sender waits for what a destination answers
    reply: BatchReply | None = None  # of the frame it came in with others

    def __repr__(self) -> str:
        return f"<Pending {self.entry.inbox_id}>"


class Judged(NamedTuple):
    """One message of a frame, decided and sealed."""

    header: Header
    content: bytes
    entry: NewInboxEntry
    decision: Decision

    def __repr__(self) -> str:
        return f"<Judged {self.entry.inbox_id}>"


class Asked:
    """One frame whose answer comes later, in its turn on its connection."""

    __slots__ = ("_channel", "_item", "_lines", "_parts", "_slot", "deadline")

    def __init__(
        self, parts: Parts, item: Pending, channel: ChannelIntake, lines: AnswerLines, slot: Slot
    ) -> None:
        senders = item.senders
        wait = 0.0 if senders is None else senders.ack.timeout_seconds
        self.deadline = item.started + wait
        self._parts = parts
        self._item = item
        self._channel = channel
        self._lines = lines
        self._slot = slot

    def tell(self, told: Told) -> None:
        """Write the answer; without one the connection is closed."""
        item, clock = self._item, self._parts.clock
        header = item.header
        self._channel.ack_seconds.observe(clock.monotonic() - item.started)
        if header is None or not told.code:
            self._lines.fill(self._slot, b"", closes=True)
            return
        answer = write_told(
            header, told, at_us=clock.now_us(), control_id=b"IFE%d" % answered_as(item.entry)
        )
        if answer is None:
            self._lines.fill(self._slot, b"")
            return
        self._channel.count_ack(answer.code)
        self._lines.fill(self._slot, encode_frame(answer.content))


def answered_as(entry: NewInboxEntry) -> int:
    """Return whose number the answer carries: a repetition gets the answer to the first."""
    return entry.origin if entry.verdict is _DUPLICATE else entry.inbox_id


def in_fair_order(
    pending: Sequence[Pending],
) -> Iterable[tuple[Inbound, Sequence[Pending]]]:
    """Return what one commit stored by connection: who sent least is answered first.

    So a flood does not come before those who behave. Where senders wait for what a destination
    answers, a repetition must not come before what it repeats: all stays in its order.
    """
    by_connection: dict[Inbound, list[Pending]] = {}
    for item in pending:
        if item.senders is not None:
            return [(one.connection, (one,)) for one in pending]
        by_connection.setdefault(item.connection, []).append(item)
    return sorted(by_connection.items(), key=_how_many)


def _how_many(sent: tuple[Inbound, Sequence[Pending]]) -> int:
    return len(sent[1])
