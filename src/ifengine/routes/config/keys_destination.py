"""Every key of a destination of a channel: one row each."""

from typing import Final

from ifengine.hl7.groups import is_known_segment
from ifengine.hl7.lines import is_segment_name
from ifengine.routes.config.keys_answers import ANSWERS
from ifengine.routes.config.keys_common import (
    DURATION,
    FILE,
    NAME,
    ON_NAK,
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
from ifengine.routes.config.scalars import ScalarError, parse_whole
from ifengine.routes.config.sections import Key, SectionKind, later


def _parse_lanes(text: str) -> int:
    return parse_whole(1, 64, text)


def parse_segment(text: str) -> str:
    """Return the name of a segment.

    Raises:
        ScalarError: it is none.
    """
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
        kind=ListOf(Scalar("the name of a segment", parse_segment, "AL1"), least=0),
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
        "deliver",
        "batch",
    ),
)
