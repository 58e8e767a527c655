"""Delivery into another channel of the same site: it is on disk there before it counts as sent.

Each delivery has a guard key of its own. One that is tried again after a crash is found by it, so
that the other channel gets every delivery exactly once.
"""

from collections.abc import Callable

from ifengine.errors import EngineError
from ifengine.hl7.header import Header, read_header
from ifengine.pieces import GIANT_BYTES
from ifengine.routes.config.models import ChannelConfig
from ifengine.routes.endpoints.base import LaneOwner, Parcel
from ifengine.routes.gates import Gate, Gates
from ifengine.routes.giants import Ahead, ahead_of, forget_unplaced
from ifengine.routes.parts import Entrance, Parts
from ifengine.routes.received import Received
from ifengine.routes.retry import Attempt, AttemptResult
from ifengine.store.base import GuardVerdict, InboxKind, NewInboxEntry
from ifengine.store.sealing import BlobKind

# longer than any engine stands still between a commit and its record
GUARD_WINDOW_US = 365 * 86_400 * 1_000_000
NOT_TAKEN = "the channel does not take this type"


class ChannelLane:
    """Puts one message after the other into the inbox of a channel."""

    def __init__(
        self,
        parts: Parts,
        owner: LaneOwner,
        find: Callable[[], Entrance | None],
        *,
        source: str,
        listener: int,
    ) -> None:
        """Take where messages go.

        Args:
            parts: of the engine.
            owner: is told how each attempt ended.
            find: the other channel as it is configured at that moment; None: it is not there.
            source: ``CHANNEL.DESTINATION``, where messages come from.
            listener: the number under which this way stands among the listeners.
        """
        self._parts = parts
        self._owner = owner
        self._find = find
        self._source = source
        self._listener = listener
        self._gates: tuple[ChannelConfig, Gates] | None = None
        self._under_way: Parcel | None = None

    @property
    def is_connected(self) -> bool:
        """The inbox needs no connection."""
        return True

    def begin(self, parcel: Parcel) -> None:
        """Add one message to the open batch."""
        self._under_way = parcel
        if len(parcel.content) >= GIANT_BYTES:
            self._parts.spawn(self._begin_giant(parcel))
        else:
            self._put(parcel, None)

    async def _begin_giant(self, parcel: Parcel) -> None:
        try:
            ahead = await ahead_of(self._parts, parcel.content)
        except EngineError:
            return  # of a commit: the engine stops
        if self._under_way is parcel:
            self._put(parcel, ahead)
        if ahead is not None:
            forget_unplaced(self._parts, ahead.sealed)

    def _put(self, parcel: Parcel, ahead: Ahead | None) -> None:
        entrance = self._find()
        if entrance is None:
            self._end_soon(Attempt(AttemptResult.UNREACHABLE, "the channel is off"))
            return
        header = read_header(parcel.content)
        gate = self._gate(entrance.config, header)
        if gate.kind is not InboxKind.MESSAGE:
            self._end_soon(Attempt(AttemptResult.UNSENDABLE, self._why(gate)))
            return
        parts, content = self._parts, parcel.content
        entry = self._entry(entrance, parcel, ahead)
        batch = parts.group.batch
        batch.inbox.append(entry)

        def committed() -> None:
            if entry.verdict is not GuardVerdict.DUPLICATE:
                entrance.count_received(
                    header, len(content), entry.received_us, parts.clock.monotonic()
                )
                entrance.feed(
                    Received(
                        entry.inbox_id,
                        entry.received_us,
                        content,
                        entry.verdict,
                        header,
                        listener=self._listener,
                    )
                )
            self._end(parcel, Attempt(AttemptResult.ACCEPTED, "channel"))

        batch.done.append(committed)
        parts.group.soon()

    def _gate(self, config: ChannelConfig, header: Header) -> Gate:
        if self._gates is None or self._gates[0] is not config:
            self._gates = (config, Gates(None, [config]))
        return self._gates[1].decide(header)

    @staticmethod
    def _why(gate: Gate) -> str:
        return NOT_TAKEN if gate.kind is InboxKind.UNROUTED else gate.reason

    def _entry(self, entrance: Entrance, parcel: Parcel, ahead: Ahead | None) -> NewInboxEntry:
        parts, content = self._parts, parcel.content
        ring = parts.ring
        inbox_id = parts.numbers.next_inbox_id()
        return NewInboxEntry(
            inbox_id=inbox_id,
            received_us=parts.steady.stamp(inbox_id),
            listener=self._listener,
            channel=entrance.number,
            kind=InboxKind.MESSAGE,
            size=len(content),
            peer=f"{self._source} {parcel.inbox_id}",
            sealed=(
                ring.seal(BlobKind.INBOX, inbox_id, 0, content)
                if ahead is None
                else ring.place(BlobKind.INBOX, inbox_id, 0, ahead.sealed)
            ),
            guard_key=ring.tag("guard", b"channel", self._source.encode(), b"%d" % parcel.seq),
            digest=ring.digest(content) if ahead is None else ahead.digest,
            giant=0 if ahead is None else ahead.sealed.giant,
            guard_window_us=GUARD_WINDOW_US,
        )

    def _end_soon(self, attempt: Attempt) -> None:
        parcel = self._under_way
        if parcel is not None:
            self._parts.loop.call_soon(self._end, parcel, attempt)

    def _end(self, parcel: Parcel, attempt: Attempt) -> None:
        if self._under_way is parcel:
            self._under_way = None
            self._owner.attempt_ended(self, attempt)

    def sweep(self, now: float) -> None:
        """A commit has no deadline: where it fails, the engine stops."""

    async def close(self) -> None:
        """End what is not on disk yet in doubt: the guard knows it again."""
        parcel = self._under_way
        if parcel is not None:
            self._end(parcel, Attempt(AttemptResult.IN_DOUBT, "closed"))
