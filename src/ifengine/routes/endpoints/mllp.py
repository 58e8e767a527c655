"""Delivery over MLLP: one outstanding message, its answer matched by MSA-2 byte for byte."""

import asyncio
import contextlib
from collections.abc import Callable

from ifengine.clock import Clock
from ifengine.failpoints import fp
from ifengine.hl7.ack import Acknowledgment, read_ack
from ifengine.hl7.header import read_header
from ifengine.mllp.client import ClientOptions, MllpClient
from ifengine.routes.endpoints.base import LaneOwner, Parcel
from ifengine.routes.retry import Attempt, AttemptResult

REMEMBERED_IDS = 4096  # control ids sent on this connection
MOST_STRAY_ANSWERS = 3  # malformed answers before the connection is given up

_YES = AttemptResult.ACCEPTED
_ACCEPTED = frozenset({"AA", "CA"})
_APPLICATION = frozenset({"AA", "AE", "AR"})
_REFUSED = frozenset({"AE", "AR", "CE", "CR"})


class MllpLane:
    """One persistent connection to a receiver."""

    def __init__(
        self,
        options: ClientOptions,
        owner: LaneOwner,
        clock: Clock,
        spawn: Callable[..., object],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._options = options
        self._owner = owner
        self._clock = clock
        self._loop = loop
        self._client = MllpClient(options, self, spawn)
        self._parcel: Parcel | None = None
        self._control_id = b""
        self._silent = False
        self._sent = False
        self._deadline = 0.0
        self._strays = 0
        self._unframed = False
        self._used: dict[bytes, None] = {}  # ids sent on this connection, oldest first

    @property
    def is_connected(self) -> bool:
        """Whether the next parcel needs no new connection."""
        return self._client.is_connected

    def begin(self, parcel: Parcel) -> None:
        """Send a message, over a new connection where needed."""
        header = read_header(parcel.content)
        is_connected = self._client.is_connected
        if header.control_id in self._used and is_connected:
            # An answer to the earlier message of this id could still come on this connection
            # and be taken for the answer to this one: only a new connection tells them apart.
            self._client.close("control id again")
            self._used.clear()
            is_connected = False
        self._parcel = parcel
        self._control_id = header.control_id
        self._silent = header.silent
        self._sent = False
        self._strays = 0
        self._unframed = False
        if not header.control_id:
            self._end_soon(Attempt(AttemptResult.UNSENDABLE, "no control id (MSH-10)"))
            return
        if is_connected:
            self._send(parcel)
        else:
            self._deadline = self._clock.monotonic() + self._options.connect_timeout_seconds + 1.0
            self._client.connect()

    def _send(self, parcel: Parcel) -> None:
        try:
            self._client.send(parcel.content)
        except ValueError:
            self._end_soon(Attempt(AttemptResult.UNSENDABLE, "MLLP framing bytes in the content"))
            return
        self._sent = True
        self._deadline = self._clock.monotonic() + parcel.timeout_seconds
        self._used[self._control_id] = None
        if len(self._used) > REMEMBERED_IDS:
            del self._used[next(iter(self._used))]

    def _end(self, attempt: Attempt) -> None:
        self._parcel = None
        self._owner.attempt_ended(self, attempt)

    def _end_soon(self, attempt: Attempt) -> None:
        # nothing is under way from here on: no deadline, no close may end this attempt once more
        self._parcel = None
        self._loop.call_soon(self._owner.attempt_ended, self, attempt)

    # --- what the connection reports ------------------------------------------------------

    def connected(self, client: MllpClient) -> None:
        """Send what waited for the connection."""
        self._used.clear()
        if self._parcel is not None:
            self._send(self._parcel)

    def frame_received(self, client: MllpClient, content: bytes) -> None:
        """Match an answer to the message under way, or ignore it."""
        answer = read_ack(content)
        under_way = self._sent and self._parcel is not None
        if not answer.is_ack:
            self._stray("malformed")
        elif under_way and answer.control_id == self._control_id:
            self._answered(answer, content)
        elif answer.code in _APPLICATION and self._owner.application_answer(content, self._reply):
            return  # of a message that was delivered before
        elif not under_way:
            self._owner.answer_ignored(
                "duplicate" if answer.control_id in self._used else "foreign"
            )
        elif answer.control_id in self._used:
            self._owner.answer_ignored("late")
        else:
            self._owner.answer_ignored("foreign")
            self._give_up("foreign")

    def _reply(self, content: bytes) -> None:
        """Send an accept acknowledgment; a connection that is gone meanwhile needs none."""
        with contextlib.suppress(ConnectionError, ValueError):
            self._client.send(content)

    def _stray(self, kind: str) -> None:
        self._owner.answer_ignored(kind)
        self._strays += 1
        if self._strays >= MOST_STRAY_ANSWERS:
            self._give_up(kind)

    def _answered(self, answer: Acknowledgment, content: bytes) -> None:
        fp("deliver.ack_checked")
        code = answer.code
        if code in _ACCEPTED:
            self._end(Attempt(_YES, code.lower(), code, (), b"", content, self._control_id))
        elif code in _REFUSED:
            detail = answer.text.encode("utf-8", "surrogateescape")
            self._end(
                Attempt(
                    AttemptResult.REFUSED,
                    code.lower(),
                    code,
                    answer.error_codes,
                    detail,
                    content,
                    self._control_id,
                )
            )
        else:
            # neither yes nor no (hl7-rules.md 2.5)
            self._give_up("unknown code")

    def unframed_received(self, client: MllpClient, data: bytes) -> None:
        """Remember that the peer answered without a frame: it names a later timeout's cause."""
        self._unframed = True
        self._owner.answer_ignored("unframed")

    def disconnected(self, client: MllpClient, reason: str) -> None:
        """End the attempt under way: in doubt where bytes had left, unreachable where none had."""
        self._used.clear()
        if self._parcel is None:
            return
        if self._sent:
            self._end(Attempt(AttemptResult.IN_DOUBT, reason))
        else:
            self._end(Attempt(AttemptResult.UNREACHABLE, reason))

    # --- deadlines ----------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """End an attempt whose answer did not come in time."""
        if self._parcel is None or now < self._deadline:
            return
        if self._sent and self._silent and self._client.is_connected:
            # the message itself forbids an answer (MSH-15/16): silence is all there will be
            self._end(Attempt(_YES, "none"))
            return
        self._give_up("unframed" if self._unframed else "timeout")

    def _give_up(self, label: str) -> None:
        """Close: a late answer on this connection could be credited to the next message."""
        parcel, self._parcel = self._parcel, None
        if parcel is None:
            self._client.close(label)
            self._used.clear()
            return
        # what is still in the write buffer must not arrive behind newer messages
        self._client.abort(label)
        self._used.clear()
        result = AttemptResult.IN_DOUBT if self._sent else AttemptResult.UNREACHABLE
        self._end(Attempt(result, label))

    async def close(self) -> None:
        """Close the connection; an attempt under way ends in doubt."""
        self._give_up("closed")
