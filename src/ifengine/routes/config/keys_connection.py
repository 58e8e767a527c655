"""Every key of a connection and of its certificates: one row each."""

from typing import Final

from ifengine.routes.config.keys_common import (
    DURATION,
    FILE,
    HOST,
    NAME,
    PORT,
    PROCESSING_MODE,
    SIZE,
    TEXT,
    WORD,
    whole,
)
from ifengine.routes.config.kinds import ListOf, OneOf, Scalar
from ifengine.routes.config.scalars import parse_fingerprint, parse_network
from ifengine.routes.config.sections import Key

TOLERANCES: Final = (
    "whitespace_between_frames",
    "missing_cr_after_end_block",
    "bytes_before_start_block",
    "doubled_start_block",
    "bare_end_block_inside",
)
DEFAULT_TOLERANCES: Final = frozenset({"whitespace_between_frames", "missing_cr_after_end_block"})

# what both kinds of connection take
_ANY_CONNECTION: Final = (
    Key(name="about", kind=TEXT, meaning="What it is for.", example="ADT from the EHR"),
    Key(name="port", kind=PORT, meaning="TCP port.", example="2575", required=True),
    Key(name="tls", kind=NAME, meaning="A name under `tls:`.", example="hospital"),
    Key(name="plaintext", kind=WORD, meaning="Why there is no TLS.", example="same machine"),
)

LISTEN_CONNECTION: Final = (
    Key(
        name="listen",
        kind=OneOf(("mllp",), ("http", "sftp")),
        meaning="Messages come in.",
        example="mllp",
        required=True,
    ),
    *_ANY_CONNECTION,
    Key(
        name="host", kind=HOST, default="127.0.0.1", meaning="Address to bind.", example="10.20.0.5"
    ),
    Key(
        name="allow",
        kind=ListOf(Scalar("a network", parse_network, "127.0.0.0/8")),
        meaning="Who may connect; absent: everybody.",
        example="[10.20.0.0/16]",
    ),
    Key(
        name="max_message", kind=SIZE, default="16MiB", meaning="Longest message.", example="20MiB"
    ),
    Key(
        name="max_unfinished",
        kind=SIZE,
        default="256MiB",
        meaning="What all its connections together may hold of messages that are not whole; at the "
        "bound a connection of the address that holds most is closed.",
        example="64MiB",
    ),
    Key(
        name="max_connections",
        kind=whole(1, 65535),
        default="512",
        meaning="In all.",
        example="512",
    ),
    Key(
        name="max_connections_per_address",
        kind=whole(1, 65535),
        default="64",
        meaning="From one address.",
        example="64",
    ),
    Key(
        name="idle_timeout",
        kind=DURATION,
        default="1h",
        meaning="Between two messages.",
        example="1h",
    ),
    Key(
        name="frame_timeout",
        kind=DURATION,
        default="30s",
        meaning="Within one message.",
        example="30s",
    ),
    Key(
        name="tolerate",
        kind=ListOf(OneOf(TOLERANCES), least=0),
        default="[whitespace_between_frames, missing_cr_after_end_block]",
        meaning="Framing mistakes that are forgiven and counted.",
        example="[whitespace_between_frames]",
    ),
    Key(
        name="unknown_types",
        kind=OneOf(("accept", "reject")),
        default="accept",
        meaning="Types that no channel takes: AA and `unrouted`, or AR with 200 or 201.",
        example="reject",
    ),
    Key(
        name="processing_missing",
        kind=OneOf(("P", "refuse")),
        default="P",
        meaning="What an empty MSH-11 means.",
        example="refuse",
    ),
    Key(
        name="versions",
        kind=ListOf(WORD),
        meaning="MSH-12 that are taken; absent: any.",
        example='["2.5.1"]',
    ),
    Key(
        name="ignore",
        kind=ListOf(OneOf(("MSH-7",)), least=0),
        meaning="What the retransmission guard leaves out when it compares.",
        example="[MSH-7]",
    ),
    Key(
        name="charset",
        kind=WORD,
        default="ascii",
        meaning="Character set where MSH-18 is empty, by its name in table 0211.",
        example="8859/1",
    ),
    Key(
        name="charset_forced",
        kind=WORD,
        meaning="Character set whatever MSH-18 says.",
        example="UNICODE UTF-8",
    ),
    Key(
        name="accept_mode",
        kind=ListOf(PROCESSING_MODE),
        meaning="MSH-11.2 of historical loads that are taken from here, beside those that a "
        "channel names; others are held.",
        example="[I]",
    ),
)

SEND_CONNECTION: Final = (
    Key(
        name="send",
        kind=OneOf(("mllp",), ("http", "sftp", "sql")),
        meaning="Messages go out.",
        example="mllp",
        required=True,
    ),
    *_ANY_CONNECTION,
    Key(name="host", kind=HOST, meaning="The receiver.", example="lis.example", required=True),
    Key(
        name="ack_timeout",
        kind=DURATION,
        default="30s",
        meaning="Wait for an answer.",
        example="20s",
    ),
    Key(
        name="connect_timeout",
        kind=DURATION,
        default="10s",
        meaning="Wait for a connection.",
        example="10s",
    ),
)

_LIMITS: Final = (
    "max_message",
    "max_unfinished",
    "max_connections",
    "max_connections_per_address",
    "idle_timeout",
    "frame_timeout",
)
LIMITS: Final = tuple(row for row in LISTEN_CONNECTION if row.name in _LIMITS)

# a connection written where it is used: the key says the direction
INLINE_LISTEN: Final = tuple(row for row in LISTEN_CONNECTION if row.name != "listen")
INLINE_SEND: Final = tuple(row for row in SEND_CONNECTION if row.name != "send")

TLS: Final = (
    Key(name="cert", kind=FILE, meaning="Own certificate chain (PEM).", example="certs/engine.pem"),
    Key(name="key", kind=FILE, meaning="Its private key (PEM).", example='"${secret:engine-key}"'),
    Key(
        name="ca",
        kind=FILE,
        meaning="Authorities the peer's certificate must come from.",
        example="certs/ca.pem",
    ),
    Key(
        name="client",
        kind=OneOf(("none", "optional", "required")),
        default="none",
        meaning="Listeners: whether senders show a certificate.",
        example="required",
    ),
    Key(
        name="pinned",
        kind=ListOf(Scalar("a SHA-256 digest", parse_fingerprint, bytes(32))),
        meaning="The only certificates a receiver may show, by digest.",
        example='["9f86d0…"]',
    ),
    Key(
        name="server_name",
        kind=HOST,
        meaning="The name in the receiver's certificate.",
        example="lis.example",
    ),
    Key(
        name="minimum",
        kind=OneOf(("1.2", "1.3")),
        default="1.2",
        meaning="Oldest TLS.",
        example="1.3",
    ),
)
