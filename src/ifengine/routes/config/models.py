"""What a site and its channels say, once read and checked: frozen values, units in the names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ifengine.hl7.condition import Condition
from ifengine.hl7.path import Path as Hl7Path
from ifengine.hl7.patterns import Pattern
from ifengine.routes.combining import CombineConfig
from ifengine.routes.config.cases import Case
from ifengine.routes.dedupe import DedupeConfig
from ifengine.routes.splitting import SplitConfig
from ifengine.transforms.base import Steps
from ifengine.transforms.identity import PatientIdentity
from ifengine.transforms.tables import Table
from ifengine.transforms.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Certificates by file. ``pinned`` are SHA-256 digests of the peer's certificate (DER)."""

    name: str
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    client: str = "none"  # listeners: none, optional, required
    pinned: tuple[bytes, ...] = ()
    server_name: str | None = None
    minimum: str = "1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenConnection:
    """Where messages come in."""

    name: str
    host: str
    port: int
    tls: TlsConfig | None
    plaintext: str | None  # the written reason
    allow: tuple[str, ...] = ()  # CIDR networks; empty: everybody
    max_message_bytes: int = 16 * 1024 * 1024
    max_unfinished_bytes: int = 256 * 1024 * 1024
    max_connections: int = 512
    max_connections_per_address: int = 64
    idle_timeout_seconds: float = 3600.0
    frame_timeout_seconds: float = 30.0
    # names of mllp.framing.Tolerance that are switched on
    tolerate: frozenset[str] = frozenset(
        {"whitespace_between_frames", "missing_cr_after_end_block"}
    )
    unknown_types: str = "accept"  # accept: unrouted, AA; reject: AR 200/201
    processing_missing: str = "P"  # P or refuse
    versions: tuple[str, ...] = ()  # empty: any MSH-12
    accept_mode: frozenset[str] = frozenset()  # MSH-11.2 of A, R, I that are not held
    guard_ignore_msh7: bool = False  # safety-rules.md 6, `ignore: [MSH-7]`
    charset_default: str = "ascii"
    charset_forced: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SendConnection:
    """Where messages go."""

    name: str
    host: str
    port: int
    tls: TlsConfig | None
    plaintext: str | None
    ack_timeout_seconds: float = 30.0
    connect_timeout_seconds: float = 10.0
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """When a delivery is tried again. ``None`` means never give up."""

    first_seconds: float = 5.0
    factor: float = 2.0
    max_seconds: float = 300.0
    jitter: float = 0.1  # share of the delay that is random
    unreachable_seconds: float | None = None
    refused: int | None = 3
    in_doubt: int | None = 10


class NakReaction(StrEnum):
    """What a negative answer does."""

    RETRY = "retry"
    DEAD_LETTER = "dead_letter"
    STOP = "stop"


class Order(StrEnum):
    """What an unsettled message holds back (safety-rules.md 17)."""

    HOLD_KEY = "hold_key"
    SKIP_DEAD = "skip_dead"
    STRICT = "strict"
    NONE = "none"


DEFAULT_ON_NAK: Mapping[str, NakReaction] = {
    "AE": NakReaction.DEAD_LETTER,
    "CE": NakReaction.DEAD_LETTER,
    "AR": NakReaction.RETRY,
    "CR": NakReaction.RETRY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesTarget:
    """A directory to write one file per message into."""

    directory: Path
    name: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class TypePattern:
    """``ADT^A01``, ``ADT^*`` or ``*``; compares MSH-9.1 and MSH-9.2 only."""

    code: str
    event: str  # "*": any

    def admits(self, code: str, event: str) -> bool:
        """Return whether a message of this type is meant."""
        return self.code in ("*", code) and self.event in ("*", event)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowConfig:
    """`follow:`: a visit that a destination got goes on to it (safety-rules.md 23)."""

    key: Hl7Path
    lasts_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationAck:
    """`application_ack:`: what a receiver makes of a message comes after it stored it."""

    on: str = ""  # the listening connection where it comes in; "": the one that delivers
    within_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationConfig:
    """One named target of a channel."""

    name: str
    line: int
    about: str = ""
    enabled: bool = True
    connection: str | None = None
    files: FilesTarget | None = None
    channel: str | None = None  # another channel of the site
    otherwise: bool = False  # only what no sibling takes
    mints: bool = False  # `control_id: mint`: MSH-10 is the engine's
    types: tuple[TypePattern, ...] = ()  # empty: every type
    accept: Condition | None = None
    accept_line: int = 0
    steps: Steps
    retry: RetryConfig = field(default_factory=RetryConfig)
    on_nak: Mapping[str, NakReaction] = field(default_factory=lambda: DEFAULT_ON_NAK)
    on_in_doubt: str = "resend"  # or hold
    snapshot: tuple[str, ...] = ()  # segments that the receiver wants whole every time
    because: str = ""  # why steps may leave out some of them
    duplicate_answer: Pattern | None = None  # how the receiver says that it has it already
    acks: str = ""  # a key of ``ASKED``: what MSH-15 and MSH-16 say; "": as they are
    application: ApplicationAck | None = None  # with `acks: accept+application`
    stop_after: int | None = None  # failures in a row that stop the queue
    order: Order
    lanes: int = 1
    settle: str = "batched"  # or strict
    follow: FollowConfig | None = None
    fhir: str = ""  # the name of a mapping: part of the language, delivered by a later release
    ack_timeout_seconds: float | None = None  # None: the connection's


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesSource:
    """A folder whose files hold messages; a file goes to ``done`` or ``bad`` once it is stored."""

    directory: Path
    done: Path
    bad: Path
    pattern: str = "*.hl7"
    stable_seconds: float = 10.0
    every_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AckConfig:
    """`ack: {when: delivered}`: the sender waits for the answer of one destination."""

    source: str  # the destination that answers
    timeout_seconds: float
    on_timeout: str = "AR"  # or none: no answer, the connection is closed
    not_sent: str = ""  # AA or AR where the destination filters, drops, parks or holds; "": AR
    whole: bool = False  # `answer: whole`: the destination's answer as it came, MSA-2 put right


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfig:
    """One channel file."""

    name: str
    file: str
    about: str = ""
    owner: str = ""
    enabled: bool = True
    sources: tuple[str, ...] = ()  # names of ListenConnections
    files_source: "FilesSource | None" = None
    from_channels: bool = False  # other channels hand their messages to it
    unbatch: bool = False
    split: SplitConfig | None = None  # `split_message`
    combine: CombineConfig | None = None
    check_counts: bool = True  # BTS-1 and FTS-1 must agree
    types: tuple[TypePattern, ...] = ()  # empty: every type
    accept: Condition | None = None
    accept_line: int = 0
    accept_names_processing_id: bool = False  # `accept` reads MSH-11: then only it decides
    accept_processing: frozenset[str] = frozenset({"P"})
    accept_mode: frozenset[str] = frozenset()  # MSH-11.2 of A, R, I that are not held
    ignore_types: Mapping[str, str] = field(default_factory=dict)
    # None: no order_by; "patient": by the site's identity; else paths
    order_by: str | tuple[Hl7Path, ...] | None = None
    dedupe_window_seconds: float = 7 * 86400.0
    dedupe_on_reuse: str = "process"  # or dead_letter
    dedupe: DedupeConfig | None = None  # business duplicates
    route: str = "all"  # or first
    no_match: str = "filtered"  # or dead_letter
    ack: "AckConfig | None" = None  # None: AA or CA once it is stored
    steps: Steps
    destinations: tuple[DestinationConfig, ...] = ()
    tests: tuple[Case, ...] = field(default=(), repr=False)
    expect_every_seconds: float | None = None
    expect_between: str = ""  # hours of a day in the machine's own time, `06:00-22:00`; "": always


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsConfig:
    """A folder for documents that steps take out of messages."""

    name: str
    directory: Path
    encrypt: bool = True


MOST_BALLAST_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """The site file with its overlay, and every channel."""

    directory: Path
    site: str
    about: str = ""
    environment: str = "production"
    admin_socket: Path
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9464
    store_path: Path
    reserve_bytes: int = 2 * 1024**3
    ballast_bytes: int | None = None  # None: MOST_BALLAST_BYTES, or the reserve where that is less
    suspect_path: Path | None = None  # None: beside the admin socket
    kek: str  # "file:/absolute/path"
    reload_auto: bool = False  # files that changed are taken without being asked to
    keep_messages_seconds: float = 30 * 86400.0
    keep_dead_letters_seconds: float = 180 * 86400.0
    keep_audit_seconds: float = 7 * 365.25 * 86400.0
    listeners: Mapping[str, ListenConnection] = field(default_factory=dict)
    senders: Mapping[str, SendConnection] = field(default_factory=dict)
    identity: PatientIdentity | None = None
    facts: Mapping[str, float] = field(default_factory=dict)  # shared ones: seconds each lasts
    documents: Mapping[str, DocumentsConfig] = field(default_factory=dict)  # by name
    channels: tuple[ChannelConfig, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    digest: str = ""  # SHA-256 over every file read, the configuration's version

    @property
    def ballast(self) -> int:
        """Return how much room is held for a full disk, in bytes."""
        if self.ballast_bytes is not None:
            return self.ballast_bytes
        return min(MOST_BALLAST_BYTES, self.reserve_bytes)

    @property
    def suspect(self) -> Path:
        """Return where it is marked that the storage failed."""
        return self.suspect_path or self.admin_socket.with_name("store.suspect")
