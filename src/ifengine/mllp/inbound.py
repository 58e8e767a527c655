"""One inbound connection: a decoder, its flow control, and its end."""

import asyncio
from typing import Protocol, cast

from ifengine.failpoints import fp, write_through
from ifengine.mllp.framing import (
    GIANT,
    PEER_CLOSED,
    DecoderCounts,
    Fault,
    Frame,
    FrameDecoder,
    FramingFault,
    Tolerance,
)
from ifengine.mllp.giants import Giant
from ifengine.mllp.turns import LONG_BYTES
from ifengine.pieces import GIANT_BYTES

MAX_PENDING = 128
"""Frames handed over and not answered at which a connection is not read any more.

All that waits for one commit is answered in one turn of the loop: a few that flood must not make it long.
"""

SILENCE_SECONDS = 0.25
"""After this, an end block without CR ends its frame; longer than a TCP retransmission takes."""

FRAMES_A_TURN = 16
"""Frames that a connection hands over before the others have their turn: a millisecond or two."""

LINGER_SECONDS = 2.0
"""How long a closing connection waits for its peer, so that the last answers arrive."""

# Why no frame is taken at the moment.
_BY_LISTENER = 1
_BY_PENDING = 2
_BY_WRITING = 4
_ENDING = 8
_BY_TURN = 16
_BY_GIANT = 32


class Receiver(Protocol):
    """Where frames go. Called on the loop; must not block and must not raise."""

    def frame_received(self, connection: "Inbound", content: bytes) -> None:
        """Take one frame; ``connection.answer`` is owed, in the order of the frames."""
        ...

    def fault_received(self, connection: "Inbound", fault: FramingFault, data: bytes) -> None:
        """Keep what a peer sent that was no frame. No answer is owed."""
        ...

    def connection_opened(self, connection: "Inbound") -> None:
        """Learn of a connection that may send from now on."""
        ...

    def connection_closed(self, connection: "Inbound") -> None:
        """Learn that it is gone; answers to it are without effect."""
        ...


class GiantReceiver(Protocol):
    """A receiver that takes giants in when it has room and time for them.

    One that does not gets them as any other frame.
    """

    def giant_waits(self, connection: "Inbound") -> None:
        """Learn that a giant is whole: ``take_giant`` gets it, and ``go_on`` ends the waiting.

        Until then nothing more is taken of the connection, and the giant counts as unfinished.
        """
        ...


class Home(Protocol):
    """What a connection needs of the listener it belongs to."""

    is_paused: bool
    is_stopping: bool
    receiver: Receiver
    decoder_counts: DecoderCounts
    timeouts: dict[str, int]
    faults: dict[FramingFault, int]

    @property
    def name(self) -> str: ...
    @property
    def max_content_bytes(self) -> int: ...
    @property
    def tolerate(self) -> frozenset[Tolerance]: ...
    @property
    def idle_timeout_seconds(self) -> float: ...
    @property
    def frame_timeout_seconds(self) -> float: ...
    @property
    def frame_total_seconds(self) -> float: ...
    def opened(self, connection: "Inbound") -> None: ...
    def closed(self, connection: "Inbound") -> None: ...
    def settled(self) -> None: ...
    def grew(self, peer: str, more: int) -> None: ...
    def is_long(self, connection: "Inbound", size: int) -> None: ...


class Inbound(asyncio.Protocol):
    """A connection of a listener.

    Attributes:
        peer: the peer's address, without port.
        listener: the name of the listener.
        pending: frames given to the receiver and not answered yet.
        frames: frames given to the receiver in all.
        unfinished: bytes received that were not given to the receiver.
    """

    __slots__ = (
        "_active",
        "_blocked_at",
        "_decoder",
        "_eof",
        "_frame_at",
        "_frame_number",
        "_giants",
        "_gone",
        "_held",
        "_home",
        "_last",
        "_leaving_at",
        "_pumping",
        "_reading",
        "_receiver",
        "_silence",
        "_tls",
        "_transport",
        "frames",
        "listener",
        "peer",
        "pending",
        "unfinished",
    )

    def __init__(self, home: Home, peer: str) -> None:
        self.peer = peer
        self.listener = home.name
        self.pending = 0
        self.frames = 0
        self.unfinished = 0
        self._home = home
        self._receiver = receiver = home.receiver
        self._giants = cast(GiantReceiver, receiver) if hasattr(receiver, "giant_waits") else None
        self._decoder = FrameDecoder(
            max_content_bytes=home.max_content_bytes,
            tolerate=home.tolerate,
            counts=home.decoder_counts,
            giant_bytes=None if self._giants is None else GIANT_BYTES,
        )
        self._transport: asyncio.Transport | None = None
        self._tls = False
        self._held = 0
        self._reading = True
        self._pumping = False
        self._eof = False
        self._gone = False  # nothing is written any more
        self._silence: asyncio.TimerHandle | None = None
        # Deadlines are noticed by the sweep, never early: it sets these when it first sees.
        self._active = True
        self._last = 0.0
        self._frame_at: float | None = None
        self._frame_number = 0
        self._blocked_at: float | None = None
        self._leaving_at: float | None = None

    def __repr__(self) -> str:
        return f"Inbound({self.listener}, {self.peer}, pending={self.pending})"

    @property
    def is_made(self) -> bool:
        """Whether the loop has given it a transport, under TLS after the handshake."""
        return self._transport is not None

    # Called by the receiver and the listener.

    def answer(self, frames: bytes, answered: int = 1) -> None:
        """Write answers, already framed; ``b""`` is silence.

        Args:
            frames: goes out at once, after all that went before.
            answered: how many of the oldest pending frames this settles.
        """
        if self._gone:
            return
        if frames and self._transport is not None:
            write_through(self._transport, frames, "intake.mid_ack", "intake.post_ack")
        self.pending -= answered
        if self._held:
            self._go_on()

    def refuse_and_close(self) -> None:
        """Close without another answer; answers already given still leave."""
        if not self._gone:
            self._held |= _ENDING
            self._leave()

    def hold(self) -> None:
        """Take no frame until ``release``: the listener is paused."""
        self._hold(_BY_LISTENER)

    def release(self) -> None:
        """Go on after ``hold``: with what is read already after the others were read from."""
        if self.unfinished:
            self._held |= _BY_TURN
            # twice: what a turn of the loop reads is handed over behind what was due before
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._release, _BY_TURN)
        self._release(_BY_LISTENER)

    def take_giant(self) -> Giant | None:
        """Return the giant that waits; an answer is owed for it, as for any frame.

        None: there is none any more, or the listener is paused; nothing need be done about it.
        """
        if not self._held & (_ENDING | _BY_LISTENER):
            event = self._decoder.take_giant()
            if type(event) is Giant:
                self.frames += 1
                self.pending += 1
                self._measure()
                return event
            if type(event) is Fault:
                self._report(event)
                self.end()
        self.go_on()  # where the listener is paused, it waits anew afterwards
        return None

    def go_on(self) -> None:
        """Take what comes behind a giant."""
        self._release(_BY_GIANT)

    def end(self) -> None:
        """Take no further frame, ever; close when all that was handed over is answered."""
        if self._gone:
            return
        self._held |= _ENDING
        self._update_reading()
        if self.pending <= 0:
            self._leave()

    def give_up_unfinished(self) -> None:
        """Let go of what is no whole frame yet and close: nobody was promised it."""
        self._decoder.take_rest(wanted=False)
        self._measure()
        self.end()

    def abort(self) -> None:
        """Close at once, whatever is still to be written."""
        self._gone = True
        if self._transport is not None:
            self._transport.abort()

    def wait_for_turn(self) -> None:
        """Read no more of a long message before ``read_on``."""
        self._hold(_BY_TURN)

    def read_on(self) -> None:
        """Go on behind ``wait_for_turn``."""
        self._release(_BY_TURN)

    def sweep(self, now: float) -> None:
        """Look at the deadlines; ``now`` is in seconds on the monotonic clock."""
        if self._gone:
            if self._leaving_at is None:
                self._leaving_at = now
            elif now - self._leaving_at >= LINGER_SECONDS:
                self.abort()
            return
        if self._is_stuck(now):
            return
        if self._active or self._held:
            # Held: it is us who do not read, the peer is not to blame.
            self._active = False
            self._last = now
        if self._held or not self._decoder.is_mid_frame:
            self._frame_at = None
            if not self.pending and now - self._last >= self._home.idle_timeout_seconds:
                self._home.timeouts["idle"] += 1
                self.end()
        elif self._frame_at is None or self._frame_number != self.frames:
            self._frame_at, self._frame_number = now, self.frames
        elif (
            now - self._last >= self._home.frame_timeout_seconds
            or now - self._frame_at >= self._home.frame_total_seconds
        ):
            self._home.timeouts["frame"] += 1
            self._decoder.receive_data(b"")
            self._pump()

    def _is_stuck(self, now: float) -> bool:
        """End a connection whose peer does not read its answers; return whether it was ended."""
        if not self._held & _BY_WRITING:
            self._blocked_at = None
        elif self._blocked_at is None:
            self._blocked_at = now
        elif now - self._blocked_at >= self._home.frame_timeout_seconds:
            self._home.timeouts["write"] += 1
            self.abort()
            return True
        return False

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a paused listener does not read the new connection either."""
        self._transport = cast(asyncio.Transport, transport)
        self._tls = transport.get_extra_info("sslcontext") is not None
        self._home.opened(self)
        if self._home.is_stopping:
            self.end()
        elif self._home.is_paused:
            self.hold()

    def data_received(self, data: bytes) -> None:
        """Decode, and hand over every frame that is whole."""
        if self._held & _ENDING:
            return
        self._active = True
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._decoder.receive_data(data)
        self._pump()
        if self.unfinished >= LONG_BYTES and not self._held:
            self._home.is_long(self, len(data))

    def eof_received(self) -> bool:
        """Answer what is pending before closing, as far as the transport can (not under TLS)."""
        self._eof = True
        if self._gone:
            return False
        self._decoder.receive_data(b"")
        self._pump()
        if self._tls:
            self.refuse_and_close()
            return False
        return True

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read its answers."""
        self._hold(_BY_WRITING)

    def resume_writing(self) -> None:
        """Read again."""
        self._release(_BY_WRITING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a frame that was cut off; whole ones not taken yet stay the sender's."""
        if not self._held and not self._eof and not self._gone:
            self._decoder.receive_data(b"")
            event = self._decoder.next_event()
            if type(event) is Fault:
                self._report(event)
        self._gone = True
        self._held |= _ENDING
        self.pending = 0
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._decoder.take_rest(wanted=False)
        self._measure()
        self._home.closed(self)

    # The pump.

    def _pump(self) -> None:
        """Hand over what the decoder has, as long as nothing holds this connection."""
        if self._pumping:
            return
        self._pumping = True
        take = self._decoder.take_frame
        turn_ends = self.frames + FRAMES_A_TURN
        try:
            while not self._held:
                if self.frames >= turn_ends:
                    self._held |= _BY_TURN
                    asyncio.get_running_loop().call_soon(self._release, _BY_TURN)
                    break
                content = take()
                if content is not None:
                    self._hand_over(content)
                elif self._decoder.is_drained or not self._take_event():
                    break
        except BaseException:
            self._held |= _ENDING  # a frame was not taken: nothing behind it may be
            raise
        finally:
            self._pumping = False
            self._measure()
        if self._held:
            self._update_reading()

    def _measure(self) -> None:
        """Tell the listener what is buffered here, where it changed."""
        held = self._decoder.settle()
        if held != self.unfinished:
            more, self.unfinished = held - self.unfinished, held
            self._home.grew(self.peer, more)

    def _hand_over(self, content: bytes) -> None:
        fp("intake.frame_done")
        self.frames += 1
        self.pending += 1
        if self.pending >= MAX_PENDING:
            self._held |= _BY_PENDING
        self._receiver.frame_received(self, content)

    def _take_event(self) -> bool:
        """Take the slow way for one event; return whether there may be more."""
        event = self._decoder.next_event()
        if type(event) is Frame:
            self._hand_over(event.content)
            return True
        if type(event) is Fault:
            self._report(event)
            if event.fatal:
                self.end()
            return not event.fatal
        if event is GIANT and self._giants is not None:
            self._held |= _BY_GIANT
            self._giants.giant_waits(self)
        elif event is PEER_CLOSED:
            self.end()
        elif self._decoder.waits_for_cr and self._silence is None:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(SILENCE_SECONDS, self._silent)
        elif self._decoder.is_mid_frame:
            fp("intake.mid_frame")
        return False

    def _report(self, event: Fault) -> None:
        self._home.faults[event.fault] += 1
        self._receiver.fault_received(self, event.fault, event.data)

    def _silent(self) -> None:
        self._silence = None
        self._decoder.receive_silence()
        self._pump()

    def _go_on(self) -> None:
        """After an answer: read again, or close if that was the last one owed."""
        if self._held & _ENDING:
            if self.pending <= 0:
                self._leave()
        elif self._held & _BY_PENDING and self.pending <= MAX_PENDING // 2:
            self._release(_BY_PENDING)

    def _hold(self, reason: int) -> None:
        self._held |= reason
        self._update_reading()

    def _release(self, reason: int) -> None:
        self._held &= ~reason
        self._pump()
        self._update_reading()

    def _update_reading(self) -> None:
        """Read unless held; an ending connection is read too, to see its peer close."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        wanted = not self._held or bool(self._held & _ENDING)
        if wanted and not self._reading:
            transport.resume_reading()
        elif self._reading and not wanted:
            transport.pause_reading()
        self._reading = wanted

    def _leave(self) -> None:
        """Close after what is written has left.

        Closing a socket that holds unread bytes would reset it, and the reset can overtake the
        last answers: so only the sending side is closed, and the peer or the sweep does the rest.
        """
        if self._gone:
            return
        self._gone = True
        self.pending = 0
        self._update_reading()
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if self._eof or self._tls or not transport.can_write_eof():
                transport.close()
            else:
                try:
                    transport.write_eof()
                except OSError:  # its peer is gone, and the loop has not heard yet
                    transport.abort()
        self._home.settled()
