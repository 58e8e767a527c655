"""What a store keeps and promises. It sees sealed content, numbers and names of the configuration.

State by exception: inbox, plan, outbox and outcome rows are written once and never updated. A
delivery (an outbox row) is *waiting* unless it has an outcome (settled) or an exception row
(retrying, in doubt, behind, held, dead letter). A cursor says up to where everything of an outbox
or a channel is one of these.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from ifengine.store.space import Space

# --- numbers for names ----------------------------------------------------------------------


class NameKind(IntEnum):
    """What a configured name names; (kind, name) has one number for the life of the store."""

    CHANNEL = 1
    LISTENER = 2
    OUTBOX = 3  # a send connection, or CHANNEL.DESTINATION for a destination of its own
    DESTINATION = 4  # written CHANNEL.DESTINATION


# --- inbox ----------------------------------------------------------------------------------


class InboxKind(IntEnum):
    """What became of a received frame at intake."""

    MESSAGE = 0  # goes to its channel
    REJECTED = 1  # answered negatively or not at all; kept for people
    DUPLICATE = 2  # a retransmission; `origin` holds the message it repeats, no content
    ACKNOWLEDGMENT = 3  # an inbound ACK that nobody waited for
    UNROUTED = 4  # accepted, but no channel takes its type


class GuardVerdict(IntEnum):
    """What the retransmission guard found, set by the store inside the transaction."""

    NEW = 0
    DUPLICATE = 1  # same id, same bytes as the latest under that id: nothing is stored twice
    REUSED = 2  # same id, other bytes: processed, counted, alarmed
    TAGGED = 3  # same id, same bytes, but of a kind that is only tagged: processed
    OFF = 4  # this id was seen with too many contents: the guard no longer decides


MOST_CONTENTS_PER_ID = 3  # safety-rules.md 6


@dataclass(slots=True)
class NewInboxEntry:
    """One received frame on its way to the disk.

    ``verdict`` and ``origin`` are filled by the store when it resolves the guard; a DUPLICATE is
    stored as an entry of kind DUPLICATE without content.
    """

    inbox_id: int
    received_us: int
    listener: int
    channel: int  # 0: none
    kind: InboxKind
    size: int
    peer: str
    sealed: bytes | bytearray = field(repr=False)
    reason: str = ""  # safe form
    guard_key: bytes | None = None  # None: the guard is off for this entry
    digest: bytes = b""
    tag_only: bool = False
    guard_window_us: int = 0
    guard_at_us: int = 0  # when it came, on a clock that no jump moves; 0: received_us
    giant: int = 0  # whose pieces, written before, are the rest of ``sealed``; 0: that is all
    verdict: GuardVerdict = GuardVerdict.NEW
    origin: int = 0


class InboxRow(NamedTuple):
    """One stored frame."""

    inbox_id: int
    received_us: int
    listener: int
    channel: int
    kind: InboxKind
    size: int
    peer: str
    reason: str
    origin: int
    verdict: GuardVerdict
    sealed: bytes  # b"" where nothing is stored or it was not asked for


# --- giants: bodies in pieces ----------------------------------------------------------------


class GiantOf(IntEnum):
    """What the body of a giant belongs to."""

    INBOX = 1  # a message, by inbox id
    COPY = 2  # by copy id


class GiantPiece(NamedTuple):
    """A part of a sealed body, in a batch before the one that holds what it belongs to.

    A reader gives out the whole. Pieces that nothing came to belong to are removed at the next start.
    """

    giant: int
    n: int
    body: bytes | bytearray | memoryview


# --- plan: what a channel decided about a message --------------------------------------------


class Fate(IntEnum):
    """State of one message at one destination. Names are those of safety-rules.md."""

    RECEIVED = 0
    QUEUED = 1
    RETRYING = 2
    IN_DOUBT = 3
    PARKED = 4
    HELD = 5
    DEAD_LETTER = 6
    REJECTED = 7
    DISCARDED = 8
    DROPPED = 9
    FILTERED = 10
    UNROUTED = 11
    EXPIRED = 12
    SENT = 13


class PlannedFate(NamedTuple):
    """What the plan says of one destination.

    ``fate`` is QUEUED (look at the outbox row), FILTERED or DROPPED; a message that failed in its
    steps is QUEUED with a DEAD_LETTER exception, so that it can hold its key.
    """

    destination: int
    fate: Fate
    outbox: int  # 0 unless QUEUED
    seq: int  # 0 unless QUEUED; with DROPPED: the message it is a part of now (`combine`)
    reason: str  # safe form: channel, step or condition, file line


class PlanRow(NamedTuple):
    """The decision of one run of a channel over one message. run 0 is the first, replays count up.

    A later run lists only the destinations it decided anew.
    """

    inbox_id: int
    run: int
    channel: int
    config_version: int
    at_us: int
    fates: tuple[PlannedFate, ...]


# --- outbox -----------------------------------------------------------------------------------


class OutboxRow(NamedTuple):
    """One delivery to make. Written once.

    ``place`` orders deliveries of one key (a replay keeps the place of the original); ``seq``
    orders the outbox. ``keys`` are 8-byte keyed hashes, concatenated; ``b""`` with
    ``ordered=True`` is a message without a key.
    """

    outbox: int
    seq: int
    place: int
    inbox_id: int
    run: int
    channel: int
    destination: int
    copy_id: int  # 0: send the received bytes
    ordered: bool
    keys: bytes
    at_us: int  # on the steady clock (ADR 0029): its age is the age of the delivery
    origin_seq: int  # the dead letter this replays, 0: none
    config_version: int
    part: int = 0  # which of several deliveries of one message to this destination, from 0


class ExceptionState(IntEnum):
    """Why a delivery is neither waiting nor settled."""

    RETRYING = 1
    IN_DOUBT = 2
    BEHIND = 3  # an earlier message of its key is not settled
    HELD = 4
    DEAD_LETTER = 5


class ExceptionRow(NamedTuple):
    """The state of one delivery that is not normal; replaced or removed as things change."""

    outbox: int
    seq: int
    state: ExceptionState
    refusals: int  # attempts that were answered negatively
    doubts: int  # attempts without a recorded outcome
    due_us: int  # the next attempt, on the steady clock (ADR 0029)
    since_us: int
    stage: str  # "steps" or "delivery"
    step: str  # which step, safe
    reason: str  # safe form, a closed vocabulary plus paths and table names
    code: str  # AA AE AR CA CE CR timeout ...
    detail: bytes  # sealed full form; b"": none
    config_version: int
    possible_duplicate: bool


class AttemptRow(NamedTuple):
    """One attempt that did not end in acceptance, for the trace."""

    outbox: int
    seq: int
    number: int
    at_us: int
    result: str  # closed vocabulary of monitoring.md
    code: str
    took_us: int
    detail: bytes  # sealed; b"": none


class OutcomeRow(NamedTuple):
    """How one delivery ended. Written once."""

    outbox: int
    seq: int
    fate: Fate  # SENT DISCARDED DROPPED FILTERED EXPIRED
    code: str
    attempts: int
    at_us: int
    took_us: int
    possible_duplicate: bool
    superseded_by: int  # seq of the replay that took over; 0: this is the end
    reason: str


# --- memory of steps --------------------------------------------------------------------------


class StateRow(NamedTuple):
    """One thing that steps remember. The store sees a number, a keyed hash and sealed content."""

    space: int
    key: bytes  # 16 bytes
    inbox_id: int  # the message that left it
    at_us: int
    until_us: int  # 0: for ever
    sealed: bytes


class ParkedRow(NamedTuple):
    """A message that waits for something to be remembered; its plan says PARKED."""

    channel: int
    inbox_id: int
    since_us: int
    until_us: int
    keys: bytes  # 16-byte keyed hashes of Space.FACT, concatenated
    reason: str  # safe form
    step: str
    detail: bytes  # sealed full form; b"": none
    config_version: int


# --- the rest ----------------------------------------------------------------------------------


class CursorKind(IntEnum):
    """Which reader of the store a cursor belongs to."""

    CHANNEL = 1  # pipeline: inbox id up to which the channel has planned
    OUTBOX = 2  # delivery: seq up to which everything is settled or an exception
    INDEXER = 3  # search index: inbox id
    AUDIT = 4


class NewAudit(NamedTuple):
    """One act. The store numbers and chains it inside the transaction."""

    at_us: int
    actor: str
    action: str
    object: str  # channel, message id, count: names the engine chose
    inbox_id: int  # 0: about no single message
    outcome: str
    detail: bytes  # sealed reason; b"": none


class AuditRow(NamedTuple):
    """One link of the chain. ``digest`` covers all other columns and the previous digest."""

    seq: int
    at_us: int
    actor: str
    action: str
    object: str
    inbox_id: int
    outcome: str
    detail: bytes
    previous: bytes
    digest: bytes


class DataKeyRow(NamedTuple):
    """One data key, wrapped by the key-encryption key."""

    key_id: int
    kek_id: str
    purpose: str  # "content" or "index"
    wrapped: bytes
    created_us: int


class ConfigVersionRow(NamedTuple):
    """One configuration the engine ran with."""

    version: int
    digest: str
    at_us: int


@dataclass(slots=True)
class Batch:
    """All that one transaction writes. Lists are applied in the order of the fields below.

    ``done`` callbacks run on the event loop after COMMIT returned, in order.
    """

    data_keys: list[DataKeyRow] = field(default_factory=list)
    pieces: list[GiantPiece] = field(default_factory=list)
    names: list[tuple[int, NameKind, str]] = field(default_factory=list)
    config_versions: list[ConfigVersionRow] = field(default_factory=list)
    inbox: list[NewInboxEntry] = field(default_factory=list)
    plans: list[PlanRow] = field(default_factory=list)
    copies: list[tuple[int, bytes | bytearray]] = field(default_factory=list)
    # copy id -> giant whose pieces, written before, are the rest of it
    copy_giants: dict[int, int] = field(default_factory=dict)
    lost_giants: list[int] = field(default_factory=list)  # nothing will ever belong to their pieces
    outbox: list[OutboxRow] = field(default_factory=list)
    # ExceptionRow puts, (outbox, seq) removes
    exceptions: list[ExceptionRow | tuple[int, int]] = field(default_factory=list)
    attempts: list[AttemptRow] = field(default_factory=list)
    outcomes: list[OutcomeRow] = field(default_factory=list)
    cursors: dict[tuple[CursorKind, int], int] = field(default_factory=dict)
    tags: list[tuple[bytes, int]] = field(default_factory=list)  # blind index tag, inbox id
    # StateRow puts, (space, key) removes, in the given order
    states: list[StateRow | tuple[int, bytes]] = field(default_factory=list)
    # ParkedRow puts, (channel, inbox_id) removes
    parked: list[ParkedRow | tuple[int, int]] = field(default_factory=list)
    # guard keys whose claim is released if this message still holds it: (key, inbox id)
    released: list[tuple[bytes, int]] = field(default_factory=list)
    # the files of a configuration version, sealed
    config_contents: list[tuple[int, bytes]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    audits: list[NewAudit] = field(default_factory=list)
    done: list[Callable[[], None]] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Return whether there is nothing to write and nobody to tell."""
        return not (
            self.inbox
            or self.outcomes
            or self.plans
            or self.outbox
            or self.exceptions
            or self.copies
            or self.pieces
            or self.lost_giants
            or self.attempts
            or self.cursors
            or self.audits
            or self.tags
            or self.states
            or self.parked
            or self.released
            or self.config_contents
            or self.settings
            or self.data_keys
            or self.names
            or self.config_versions
            or self.done
        )


class Counters(NamedTuple):
    """Highest numbers in use, read once at the start; the engine counts on from here."""

    inbox_id: int
    copy_id: int
    key_id: int
    name_id: int
    config_version: int
    giant: int = 0


class InboxFilter(NamedTuple):
    """Which inbox rows a listing looks at; newest first."""

    channel: int = 0
    since_us: int = 0
    until_us: int = 0
    before_id: int = 0
    kinds: tuple[InboxKind, ...] = ()


# --- what a balance reads: numbers and states, never content ------------------------------------


class TallyInbox(NamedTuple):
    """One stored frame."""

    inbox_id: int
    received_us: int
    listener: int
    channel: int
    kind: InboxKind


class TallyDelivery(NamedTuple):
    """One outbox row."""

    outbox: int
    seq: int
    inbox_id: int
    run: int
    destination: int
    origin_seq: int


class TallyPlace(NamedTuple):
    """One place of an outbox with all that says how it stands.

    ``inbox_id`` and ``destination`` are 0 where no delivery lies at the place.
    """

    outbox: int
    seq: int
    inbox_id: int
    destination: int
    fate: Fate | None  # of its outcome
    superseded_by: int
    state: ExceptionState | None  # of its exception


class PurgedRow(NamedTuple):
    """How many of what was purged had ended so.

    ``destination`` 0 counts messages, not deliveries: RECEIVED those that went to a channel,
    DROPPED repeats and acknowledgments, REJECTED and UNROUTED as their names say.
    """

    channel: int
    destination: int
    fate: Fate
    units: int


class TallyRecords(Protocol):
    """The reading side of a balance (``store.account``). Each method reads what lies after a place.

    Numbers ascend; ``limit`` is the most that is returned.
    """

    def snapshot(self) -> AbstractContextManager[None]:
        """While open, every method sees one state of the store."""
        ...

    def inbox(self, after: int, limit: int) -> Sequence[TallyInbox]: ...
    def newest(self) -> int:
        """Return the highest id in the inbox, 0 when it is empty."""
        ...

    def plans(self, inbox_id: int) -> Sequence[PlanRow]: ...
    def first_plans(self, first: int, last: int) -> Sequence[PlanRow]:
        """Return the plans of run 0 with ``first <= inbox_id <= last``."""
        ...

    def outboxes(self) -> Mapping[int, int]:
        """Return every outbox that was ever used with the highest seq it has now."""
        ...

    def deliveries(self, outbox: int, after: int, limit: int) -> Sequence[TallyDelivery]: ...
    def delivery(self, outbox: int, seq: int) -> TallyDelivery | None: ...
    def places(self, outbox: int, after: int, through: int, limit: int) -> Sequence[TallyPlace]:
        """Return the deliveries with ``after < seq <= through`` and how each stands."""
        ...

    def place(self, outbox: int, seq: int) -> TallyPlace: ...
    def ended_after(self, outbox: int, seq: int) -> Sequence[TallyPlace]:
        """Return every outcome after a seq, with or without a delivery."""
        ...

    def stuck(self) -> Sequence[TallyPlace]:
        """Return every exception of all outboxes, with or without a delivery."""
        ...

    def parked(self) -> Sequence[tuple[int, bool]]:
        """Return every parked message, and whether a later run has decided about it."""
        ...

    def cursors(self) -> Mapping[tuple[CursorKind, int], int]: ...
    def purged(self) -> Sequence[PurgedRow]: ...
    def purged_through(self) -> tuple[int, Mapping[int, int]]:
        """Return the highest inbox id that was purged, and the highest seq by outbox."""
        ...

    def setting(self, key: str) -> str | None: ...


class Reader(Protocol):
    """A consistent look at the store. Used from one thread at a time, never the event loop.

    Every method returns complete lists, ascending by id unless said otherwise, at most ``limit``.
    """

    def inbox(self, inbox_id: int) -> InboxRow | None: ...
    def inbox_after(
        self, channel: int, inbox_id: int, limit: int, *, scan_to: int
    ) -> Sequence[InboxRow]:
        """Return entries of kind MESSAGE of a channel with ``inbox_id < id <= scan_to``, sealed.

        Ends with the entry that makes ``pages.MOST_PAGE_BYTES``, as ``inbox_range`` does.
        """
        ...

    def inbox_count(self, channel: int, after: int, through: int) -> int:
        """Return how many messages of a channel have an id with ``after < id <= through``."""
        ...

    def inbox_newest(self, where: InboxFilter, limit: int) -> Sequence[InboxRow]:
        """Return entries newest first, content included."""
        ...

    def inbox_range(self, after_id: int, limit: int) -> Sequence[InboxRow]:
        """Return entries of every kind and channel after an id, content included.

        Ends with the entry that makes ``pages.MOST_PAGE_BYTES``: a page of documents must not take more
        memory than all the rest.
        """
        ...

    def plans(self, inbox_id: int) -> Sequence[PlanRow]:
        """Return every run over a message, oldest first."""
        ...

    def outbox_after(self, outbox: int, seq: int, limit: int) -> Sequence[OutboxRow]: ...
    def outbox_entry(self, outbox: int, seq: int) -> OutboxRow | None: ...
    def outbox_head(self, outbox: int) -> int:
        """Return the highest seq of an outbox, 0 when it is empty."""
        ...

    def outbox_counts(self, outbox: int, after: int, through: int) -> Mapping[int, int]:
        """Return how many deliveries with ``after < seq <= through`` there are, by destination."""
        ...

    def copy(self, copy_id: int) -> bytes | None: ...
    def exceptions(self, outbox: int) -> Sequence[ExceptionRow]:
        """Return all exceptions of an outbox, by seq."""
        ...

    def exception(self, outbox: int, seq: int) -> ExceptionRow | None: ...
    def exceptions_in(self, state: ExceptionState, limit: int) -> Sequence[ExceptionRow]:
        """Return exceptions of all outboxes in one state, by (outbox, seq)."""
        ...

    def outcome(self, outbox: int, seq: int) -> OutcomeRow | None: ...
    def outcomes_after(self, outbox: int, seq: int) -> Sequence[OutcomeRow]: ...
    def attempts(self, outbox: int, seq: int) -> Sequence[AttemptRow]: ...
    def newest_sent(self, outbox: int, destination: int, after_seq: int) -> dict[bytes, int]:
        """Return, per 8-byte order key, the highest inbox id sent there among seqs after one."""
        ...

    def cursor(self, kind: CursorKind, number: int) -> int:
        """Return a cursor's position, 0 when it was never set."""
        ...

    def tagged(self, tag: bytes, limit: int) -> Sequence[int]:
        """Return inbox ids under a blind index tag, newest first."""
        ...

    def audit_after(self, seq: int, limit: int) -> Sequence[AuditRow]: ...
    def audit_of(self, inbox_id: int) -> Sequence[AuditRow]: ...
    def names(self) -> Sequence[tuple[int, NameKind, str]]: ...
    def data_keys(self) -> Sequence[DataKeyRow]: ...
    def config_versions(self) -> Sequence[ConfigVersionRow]:
        """Return all, oldest first."""
        ...

    def config_content(self, version: int) -> bytes | None:
        """Return the sealed files of a configuration version."""
        ...

    def state(self, space: int, key: bytes) -> StateRow | None: ...
    def states(self, space: int, after: bytes, limit: int) -> Sequence[StateRow]:
        """Return what is remembered in one space, by key, after a key."""
        ...

    def states_until(self, until_us: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return (space, key) of what ran out before a time; what lasts for ever is not among it."""
        ...

    def parked(self, channel: int) -> Sequence[ParkedRow]:
        """Return every parked message of a channel, by inbox id."""
        ...

    def parked_message(self, inbox_id: int) -> Sequence[ParkedRow]: ...
    def setting(self, key: str) -> str | None: ...
    def tally(self) -> TallyRecords:
        """Return what a balance reads, over the same connection; see ``store.balance``."""
        ...

    def counters(self) -> Counters: ...
    def sizes(self) -> dict[str, int]:
        """Return bytes by part: messages (the whole file), wal."""
        ...

    def integrity(self) -> list[str]:
        """Return what a quick check finds wrong; empty when nothing."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """A durable queue with one writer.

    Backends: ``sqlite`` and ``memory``; both pass ``tests/store/contract.py``.
    """

    store_id: bytes  # 16 random bytes, made with the store, part of every AAD
    space: Space  # what is done when the disk is full
    commit_seconds: float  # what the disk took for a commit lately
    failing: Callable[[BaseException], None]  # told of the first failure, in the writer's thread

    @property
    def is_behind(self) -> bool:
        """Whether much that was committed is still to be moved: what is large should wait a moment."""
        ...

    def submit(self, batch: Batch, finished: Callable[[BaseException | None], None]) -> None:
        """Write a batch; returns at once.

        ``finished`` is called from the writer's thread when COMMIT returned (None) or failed.
        After a failure every later batch fails with ``StorageFailedError`` too. Batches take
        effect in the order of submission, each whole or not at all, and are on stable storage
        when ``finished(None)`` is called.
        """
        ...

    def reader(self) -> Reader:
        """Open a reader of its own; close it after use."""
        ...

    def purge(
        self,
        inbox_ids: Iterable[int],
        finished: Callable[[BaseException | None], None],
        ended_us: int | None = None,
    ) -> None:
        """Remove these messages with their plans, copies, outbox and outcome rows, in one batch.

        The pieces of giants follow, a few in a batch, others between; ``finished`` is called when they
        are gone. The caller has checked that the messages are settled. Claims of the guard whose
        window ended before ``ended_us`` go too; None: before the newest of these messages came.
        """
        ...

    def protect_audit(self, mac: Callable[[int, bytes], bytes]) -> None:
        """Prove the head of the audit log with this MAC over (seq, digest), from the next record on.

        Set once, before the first audit record of the process: ``KeyRing.audit_mac``. The MAC is
        computed in the writer's thread and kept in setting ``audit_head``.
        """
        ...

    def checkpoint(self) -> None:
        """Ask the writer to move the log into the database when it is next idle."""
        ...

    def close(self) -> None:
        """Finish what was submitted, then close. Blocks."""
        ...
