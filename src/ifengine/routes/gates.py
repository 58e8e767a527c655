"""What a listener decides about a message from its header alone. Pure; intake and `try` share it."""

from collections.abc import Sequence
from typing import NamedTuple

from ifengine.hl7.ack import ACKNOWLEDGMENT_TYPES, AckError, ErrorLocation, Verdict, refusal_of
from ifengine.hl7.header import Header, HeaderFault
from ifengine.hl7.tables import Hl7ErrorCode
from ifengine.routes.config.models import ChannelConfig, ListenConnection
from ifengine.store.base import InboxKind

# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_REJECTED = InboxKind.REJECTED

NULL = '""'
TAG_ONLY = frozenset({b"DFT", b"BAR"})  # safety-rules.md 6: charges are never dropped as repeats
HISTORICAL_MODES = frozenset({b"A", b"R", b"I"})  # MSH-11.2: archive, restore, initial load
_TYPES = (Hl7ErrorCode.UNSUPPORTED_MESSAGE_TYPE, Hl7ErrorCode.UNSUPPORTED_EVENT_CODE)


class Gate(NamedTuple):
    """The decision: what the record becomes, what is answered (None: nothing), and why, safe."""

    kind: InboxKind
    verdict: Verdict | None
    channel: ChannelConfig | None = None
    reason: str = ""
    error: AckError | None = None

    @property
    def may_answer(self) -> bool:
        """Whether what comes in so may be the application acknowledgment of a delivery.

        What is refused for another reason than its type is not: its sender is told, and sends it
        again once it is right.
        """
        if self.kind is not _REJECTED:
            return True
        return self.channel is None and self.error is not None and self.error.code in _TYPES


def compared_bytes(header: Header, content: bytes, *, ignore_msh7: bool) -> bytes:
    """Return the bytes that must be equal for a repeat: all, or all but MSH-7 where said."""
    if not ignore_msh7 or not header.timestamp:
        return content
    at = content.find(header.delimiters.field + header.timestamp + header.delimiters.field)
    return content if at < 0 else content[:at] + content[at + 1 + len(header.timestamp) :]


MOST_REMEMBERED = 1024  # kinds of headers whose decision is kept


class Gates:
    """The decisions of one listener.

    A decision depends on the fault, MSH-9, MSH-11 and MSH-12 alone, and a sender repeats these:
    so it is made once for each kind of header.
    """

    def __init__(
        self, connection: ListenConnection | None, channels: Sequence[ChannelConfig]
    ) -> None:
        """Take the listener and the channels that listen there, each type taken by one of them.

        Args:
            connection: None tries a channel without its listener.
            channels: in the order of the site.
        """
        self._connection = connection
        self._channels = channels
        self._made: dict[tuple[object, ...], Gate] = {}

    def decide(self, header: Header) -> Gate:
        """Decide about one message."""
        kind = (
            header.fault,
            header.message_code,
            header.trigger_event,
            header.fields[10],
            header.fields[11],
        )
        gate = self._made.get(kind)
        if gate is None:
            if len(self._made) >= MOST_REMEMBERED:
                self._made.clear()
            gate = self._made[kind] = _decide(header, self._connection, self._channels)
        return gate


def _decide(
    header: Header, connection: ListenConnection | None, channels: Sequence[ChannelConfig]
) -> Gate:
    only = channels[0] if len(channels) == 1 else None
    unanswered = (None, HeaderFault.NO_CONTROL_ID)
    if header.message_code in ACKNOWLEDGMENT_TYPES and header.fault in unanswered:
        # an acknowledgment is never acknowledged and never routed (hl7-rules.md 2.2)
        return Gate(InboxKind.ACKNOWLEDGMENT, None, only, "acknowledgment")
    if header.fault is not None:
        verdict, error = refusal_of(header.fault)
        return Gate(_REJECTED, verdict, only, header.fault.value, error)
    code, event = header.message_code.decode("latin-1"), header.trigger_event.decode("latin-1")
    for channel in channels:
        types = channel.types
        if not types or any(pattern.admits(code, event) for pattern in types):
            return _header_values(header, connection, channel)
    if connection is not None and connection.unknown_types == "reject":
        return _unknown_type(code, channels)
    return Gate(InboxKind.UNROUTED, Verdict.COMMITTED, None, "no channel takes this type")


def _header_values(
    header: Header, connection: ListenConnection | None, channel: ChannelConfig
) -> Gate:
    if not channel.accept_names_processing_id:
        processing = header.processing_id.decode("latin-1")
        if processing in ("", NULL):
            processing = connection.processing_missing if connection is not None else "P"
        if processing not in channel.accept_processing:
            return _refuse(
                channel,
                Hl7ErrorCode.UNSUPPORTED_PROCESSING_ID,
                ErrorLocation("MSH", 1, 11, 1, 1),
                "processing id not accepted",
            )
    versions = connection.versions if connection is not None else ()
    if versions and header.version.decode("latin-1") not in versions:
        return _refuse(
            channel,
            Hl7ErrorCode.UNSUPPORTED_VERSION_ID,
            ErrorLocation("MSH", 1, 12, 1, 1),
            "version not accepted",
        )
    return Gate(InboxKind.MESSAGE, Verdict.COMMITTED, channel)


def _unknown_type(code: str, channels: Sequence[ChannelConfig]) -> Gate:
    """Refuse by MSH-9.1 (200), or by MSH-9.2 (201) where the type as such is known."""
    if any(pattern.code in ("*", code) for c in channels for pattern in c.types):
        location = ErrorLocation("MSH", 1, 9, 1, 2)
        return _refuse(None, Hl7ErrorCode.UNSUPPORTED_EVENT_CODE, location, "unknown event")
    location = ErrorLocation("MSH", 1, 9, 1, 1)
    return _refuse(None, Hl7ErrorCode.UNSUPPORTED_MESSAGE_TYPE, location, "unknown message type")


def _refuse(
    channel: ChannelConfig | None, number: Hl7ErrorCode, location: ErrorLocation, reason: str
) -> Gate:
    error = AckError(number, location, reason)
    return Gate(_REJECTED, Verdict.UNACCEPTABLE_HEADER, channel, reason, error)
