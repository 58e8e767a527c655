"""Every key of a channel file: one row each."""

from typing import Final

from ifengine.hl7.groups import is_known_segment
from ifengine.hl7.lines import is_segment_name
from ifengine.routes.config.keys_answers import ANSWERS
from ifengine.routes.config.keys_common import (
    DURATION,
    FILE,
    NAME,
    ON_NAK,
    PROCESSING_MODE,
    RETRY,
    TEXT,
    WORD,
    YES_NO,
)
from ifengine.routes.config.keys_connection import INLINE_SEND
from ifengine.routes.config.kinds import (
    ConditionKind,
    ListOf,
    OneOf,
    PathKind,
    Raw,
    Scalar,
    TemplateKind,
    TypeKind,
)
from ifengine.routes.config.scalars import ScalarError, parse_time_range, parse_whole
from ifengine.routes.config.sections import Key, SectionKind, later


def _parse_lanes(text: str) -> int:
    return parse_whole(1, 64, text)


def _parse_processing_id(text: str) -> str:
    if not (text.isascii() and text.isalnum() and text.isupper() and len(text) == 1):
        raise ScalarError("is not a processing id", "P, D or T: table 0103")
    return text


def _parse_segment(text: str) -> str:
    if not is_known_segment(text) or not is_segment_name(text):
        raise ScalarError("is no segment", "three characters, as in PV1; local ones begin with Z")
    return text


ORDERS: Final = ("hold_key", "skip_dead", "strict", "none")
TYPES: Final = ListOf(TypeKind())

FILES: Final = (
    Key(
        name="dir", kind=FILE, meaning="Folder, from the site's.", example="var/out", required=True
    ),
    Key(
        name="name",
        kind=TemplateKind(),
        meaning="Name of each file.",
        example='"${msg.id}.hl7"',
        required=True,
    ),
)

FOLLOW: Final = (
    Key(
        name="key",
        kind=PathKind(),
        meaning="What names a visit; an empty one is not followed.",
        example="PV1-19.1",
        required=True,
    ),
    Key(
        name="for",
        kind=DURATION,
        meaning="How long after it was last sent.",
        example="90d",
        required=True,
    ),
)

FHIR: Final = (
    Key(
        name="url",
        kind=TEXT,
        meaning="Base of the server.",
        example='"${env:FHIR_URL}"',
        required=True,
    ),
    Key(name="map", kind=NAME, meaning="Which mapping.", example="lab-us-core", required=True),
    Key(
        name="bundle",
        kind=OneOf(("transaction", "batch", "none")),
        default="transaction",
        meaning="How resources travel.",
        example="transaction",
    ),
)

DESTINATION: Final = (
    Key(name="about", kind=TEXT, meaning="What it is for.", example="The laboratory"),
    Key(
        name="enabled",
        kind=YES_NO,
        default="yes",
        meaning="Off: nothing is planned for it.",
        example="no",
    ),
    Key(name="connection", kind=NAME, meaning="A connection that sends.", example="lis-adt"),
    Key(
        name="mllp",
        kind=SectionKind(INLINE_SEND, "a map of host, port and plaintext or tls"),
        meaning="A connection of this destination alone, for a first try.",
        example="{host: 127.0.0.1, port: 6661, plaintext: a first try}",
    ),
    Key(
        name="files",
        kind=SectionKind(FILES, "a map of dir and name"),
        meaning="A folder that gets one file a message.",
        example='{dir: var/out, name: "${msg.id}.hl7"}',
    ),
    Key(
        name="channel",
        kind=NAME,
        meaning="Another channel of the site that takes `from: channels`.",
        example="archive",
    ),
    Key(
        name="types", kind=TYPES, meaning="Message types; absent: every type.", example="[ADT^A01]"
    ),
    Key(
        name="accept",
        kind=ConditionKind(),
        meaning="Which messages; read after the channel's steps.",
        example="PV1-2 in [I, E]",
    ),
    Key(
        name="steps",
        kind=Raw("a list of steps"),
        meaning="Changes to its own copy.",
        example="[{upper: PID-5.1}]",
    ),
    Key(
        name="order",
        kind=OneOf(ORDERS),
        meaning="What an unsettled message holds back.",
        default="hold_key with order_by, skip_dead without",
        example="skip_dead",
    ),
    Key(
        name="lanes",
        kind=Scalar("a number from 1 to 64", _parse_lanes, 1),
        default="1",
        meaning="How many messages are under way at once.",
        example="4",
    ),
    Key(
        name="settle",
        kind=OneOf(("batched", "strict")),
        default="batched",
        meaning="Whether an outcome is on disk before the next message leaves.",
        example="strict",
    ),
    Key(
        name="retry",
        kind=SectionKind(RETRY),
        meaning="When to try again.",
        example="{first: 5s, max: 2m}",
    ),
    Key(name="on_nak", kind=ON_NAK, meaning="What a negative answer does.", example="{AE: retry}"),
    Key(
        name="on_in_doubt",
        kind=OneOf(("resend", "hold")),
        default="resend",
        meaning="What happens when no answer came.",
        example="hold",
    ),
    Key(name="ack_timeout", kind=DURATION, meaning="Wait for an answer.", example="20s"),
    Key(
        name="follow",
        kind=SectionKind(FOLLOW, "a map of key and for"),
        meaning="Once a visit was sent here, later messages of it are taken although `accept` fails.",
        example="{key: PV1-19.1, for: 90d}",
    ),
    Key(
        name="snapshot",
        kind=ListOf(Scalar("the name of a segment", _parse_segment, "AL1"), least=0),
        meaning="Segments of which the receiver wants all every time: it deletes what is missing.",
        example="[AL1, IN1]",
    ),
    Key(
        name="because",
        kind=WORD,
        meaning="Why steps may leave out some segments of its snapshot.",
        example="the kitchen wants food allergies only",
    ),
    Key(
        name="fhir",
        kind=SectionKind(FHIR, "a map of url and map"),
        meaning="A FHIR server. Tests count it as sent; serve refuses to start with it.",
        example='{url: "${env:FHIR_URL}", map: lab-us-core, bundle: transaction}',
    ),
    *ANSWERS,
    Key(
        name="otherwise",
        kind=YES_NO,
        default="no",
        meaning="It gets only what no sibling takes.",
        example="yes",
    ),
    Key(
        name="control_id",
        kind=OneOf(("keep", "mint")),
        default="keep",
        meaning="MSH-10 as it came, or one of the engine's own, made of message, destination and "
        "part: wanted where several senders meet.",
        example="mint",
    ),
    *later(
        "application_ack",
        "deliver",
        "batch",
    ),
)

DEDUPE: Final = (
    Key(
        name="window",
        kind=DURATION,
        default="7d",
        meaning="How long the same message counts as a repetition.",
        example="7d",
    ),
    Key(
        name="on_reuse",
        kind=OneOf(("process", "dead_letter")),
        default="process",
        meaning="Same control id, other content.",
        example="dead_letter",
    ),
    Key(
        name="key",
        kind=ListOf(PathKind()),
        meaning="What makes a business duplicate, beside equal content.",
        example="[ORC-1, ORC-2, OBR-4]",
    ),
    Key(
        name="per",
        kind=PathKind("a segment"),
        meaning="Once for each of these; every group's values enter the key.",
        example="ORC",
    ),
    Key(
        name="content",
        kind=OneOf(("compare", "ignore")),
        default="compare",
        meaning="Whether the rest must be equal too, MSH-7, MSH-10 and MSH-13 aside.",
        example="compare",
    ),
    Key(
        name="when",
        kind=ConditionKind(),
        meaning="Which messages are compared; read as they were received.",
        example="ORC-1 = NW",
    ),
    Key(
        name="on_repeat",
        kind=OneOf(("ack", "reack_same", "reject", "send")),
        default="ack",
        meaning="Acknowledge and drop, repeat the first positive answer, refuse, or send it again.",
        example="reack_same",
    ),
)

ACK: Final = (
    Key(
        name="when",
        kind=OneOf(("stored", "delivered")),
        default="stored",
        meaning="Once it is on disk, or once a destination has answered.",
        example="delivered",
    ),
    Key(
        name="from",
        kind=NAME,
        meaning="The destination whose answer the sender gets.",
        example="ris",
    ),
    Key(
        name="timeout",
        kind=DURATION,
        meaning="How long the sender waits at most; below its own patience.",
        example="25s",
    ),
    Key(
        name="else",
        kind=OneOf(("AR", "none")),
        default="AR",
        meaning="After the timeout, and where nobody is reached: AR with 207, or no answer and the "
        "connection is closed.",
        example="AR",
    ),
    Key(
        name="not_sent",
        kind=OneOf(("AA", "AR")),
        default="AR",
        meaning="The answer to a message that this destination filters, drops, parks or holds.",
        example="AA",
    ),
    Key(
        name="answer",
        kind=OneOf(("own", "whole")),
        default="own",
        meaning="The engine's own answer with the destination's code, text and errors, or the "
        "destination's as it came, with the sender's control id.",
        example="whole",
    ),
)

EXPECT: Final = (
    Key(
        name="every",
        kind=DURATION,
        meaning="Longest silence that is normal.",
        example="15m",
        required=True,
    ),
    Key(
        name="between",
        kind=Scalar("a time range", parse_time_range, "00:00-24:00"),
        meaning="In which hours of a day.",
        example="06:00-22:00",
    ),
)

UNBATCH: Final = (
    Key(
        name="check_counts",
        kind=YES_NO,
        default="yes",
        meaning="BTS-1 and FTS-1 must agree with what is there; else all of it is one dead letter.",
        example="yes",
    ),
)

SPLIT_MESSAGE: Final = (
    Key(
        name="by",
        kind=OneOf(("OBR", "ORC", "PID")),
        meaning="What each part has one of: a report, an order, a patient.",
        example="OBR",
        required=True,
    ),
    Key(
        name="carry",
        kind=ListOf(Scalar("the name of a segment", _parse_segment, "PID")),
        default="all of them",
        meaning="Which segments above the first one go into every part; the others stay in the "
        "first part of their patient.",
        example="[PID, PV1]",
    ),
    Key(
        name="control_id",
        kind=OneOf(("mint", "keep")),
        default="mint",
        meaning="MSH-10 of the parts: the engine's own, or the same for all.",
        example="mint",
    ),
)

IGNORE_TYPES: Final = (
    Key(
        name="identity",
        kind=WORD,
        meaning="Why merges and other identity events are not taken here.",
        example="they come on hub-in",
        required=True,
    ),
)

CHANNEL: Final = (
    Key(
        name="ifengine",
        kind=OneOf(("1",)),
        meaning="Version of the language.",
        example="1",
        required=True,
    ),
    Key(name="channel", kind=NAME, meaning="The file's name.", example="adt-fanout", required=True),
    Key(name="about", kind=TEXT, meaning="What it is for.", example="Admissions to the lab"),
    Key(name="owner", kind=TEXT, meaning="Who answers for it.", example="interfaces@mercy.example"),
    Key(name="enabled", kind=YES_NO, default="yes", meaning="Off: it takes nothing.", example="no"),
    Key(
        name="from",
        kind=Raw("a connection, a list of them, or files"),
        meaning="Where messages come from: connections that listen, `channels` for other channels "
        "that hand theirs over, or a folder.",
        example="epic-adt",
        required=True,
    ),
    Key(
        name="types",
        kind=TYPES,
        meaning="Message types; absent: every type.",
        example="[ADT^A01, ADT^A08]",
    ),
    Key(
        name="accept",
        kind=ConditionKind(),
        meaning="Which messages; the rest is filtered.",
        example="MSH-11 = P",
    ),
    Key(
        name="accept_processing",
        kind=ListOf(Scalar("a processing id", _parse_processing_id, "P")),
        default="[P]",
        meaning="MSH-11.1 that are taken.",
        example="[P, T]",
    ),
    Key(
        name="accept_mode",
        kind=ListOf(PROCESSING_MODE),
        meaning="MSH-11.2 of historical loads that are taken; without it they are held.",
        example="[I]",
    ),
    Key(
        name="ignore_types",
        kind=SectionKind(IGNORE_TYPES, "a map of identity to the reason"),
        meaning="Why identity events are left out.",
        example="{identity: they come on hub-in}",
    ),
    Key(
        name="order_by",
        kind=Raw("patient, or paths"),
        meaning="Messages with the same value never overtake each other.",
        example="patient",
    ),
    Key(
        name="ack",
        kind=SectionKind(ACK),
        meaning="When the sender is answered, and by whom.",
        example="{when: delivered, from: ris, timeout: 25s}",
    ),
    Key(
        name="dedupe",
        kind=SectionKind(DEDUPE),
        meaning="Repeated messages.",
        example="{window: 7d}",
    ),
    Key(
        name="no_match",
        kind=OneOf(("filtered", "dead_letter")),
        default="filtered",
        meaning="A message that no destination accepts.",
        example="dead_letter",
    ),
    Key(
        name="expect",
        kind=SectionKind(EXPECT),
        meaning="How often a message should come.",
        example="{every: 15m}",
    ),
    Key(
        name="steps",
        kind=Raw("a list of steps"),
        meaning="Changes for every destination.",
        example="[{trim: PID-5.1}]",
    ),
    Key(
        name="to",
        kind=Raw("a map of destinations"),
        meaning="Where messages go.",
        example="{lab: {connection: lis-adt}}",
        required=True,
    ),
    Key(
        name="tests",
        kind=Raw("a list of tests"),
        meaning="What must be true.",
        example="[{name: …, given: …}]",
    ),
    Key(
        name="shared",
        kind=Raw("anything"),
        meaning="Anchors for use below.",
        example="{us: &us [{trim: PID-5.1}]}",
    ),
    Key(
        name="unbatch",
        kind=SectionKind(UNBATCH, "a map"),
        meaning="Split files and frames with FHS or BHS into their messages.",
        example="{check_counts: yes}",
    ),
    Key(
        name="split_message",
        kind=SectionKind(SPLIT_MESSAGE, "a map of by"),
        meaning="Make one message of each report, order or patient, before `accept` and the steps; "
        "the sender gets one answer, and a part that fails is a dead letter alone.",
        example="{by: OBR, carry: [PID, PV1]}",
    ),
    Key(
        name="route",
        kind=OneOf(("all", "first")),
        default="all",
        meaning="Every destination that accepts, or the first one as they are written.",
        example="first",
    ),
)
