"""Every key of a channel file: one row each."""

from typing import Final

from ifengine.routes.combining import MOST_TOGETHER, REPORT, RESULT
from ifengine.routes.config.keys_common import (
    DURATION,
    NAME,
    PROCESSING_MODE,
    TEXT,
    WORD,
    YES_NO,
    whole,
)
from ifengine.routes.config.keys_destination import TYPES, parse_segment
from ifengine.routes.config.kinds import (
    ConditionKind,
    ListOf,
    OneOf,
    PathKind,
    Raw,
    Scalar,
)
from ifengine.routes.config.scalars import ScalarError, parse_time_range
from ifengine.routes.config.sections import Key, SectionKind


def _parse_processing_id(text: str) -> str:
    if not (text.isascii() and text.isalnum() and text.isupper() and len(text) == 1):
        raise ScalarError("is not a processing id", "P, D or T: table 0103")
    return text


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
        kind=ListOf(Scalar("the name of a segment", parse_segment, "PID")),
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

COMBINE: Final = (
    Key(
        name="by",
        kind=OneOf((RESULT, REPORT)),
        meaning="What each message brings: results (OBX) of one report, or whole reports (OBR).",
        example="OBX",
        required=True,
    ),
    Key(
        name="key",
        kind=ListOf(PathKind()),
        meaning="What messages of one collection share, beside MSH-3 and MSH-4; where all of it is "
        "empty, a message goes alone.",
        example="OBR-3",
        required=True,
    ),
    Key(
        name="until",
        kind=ConditionKind(),
        meaning="What the last message says; read as it was received.",
        example="OBR-25 = F",
    ),
    Key(
        name="count",
        kind=whole(1, MOST_TOGETHER),
        meaning="How many messages make it whole.",
        example="4",
    ),
    Key(
        name="up_to",
        kind=DURATION,
        meaning="How long the first message waits at most.",
        example="2h",
        required=True,
    ),
    Key(
        name="then",
        kind=OneOf(("deliver", "dead_letter")),
        default="deliver",
        meaning="What becomes of a collection whose time is over before it is whole: it goes, with "
        "`$waited_out`, or it is a dead letter.",
        example="dead_letter",
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
    Key(
        name="for",
        kind=Raw("a name and its table"),
        meaning="One channel for each row of a table, named after its first cell; "
        "${NAME.COLUMN} in this file is a cell of the row.",
        example="{site: table sites}",
    ),
    Key(
        name="combine",
        kind=SectionKind(COMBINE, "a map of by, key and up_to"),
        meaning="Collect messages of one key into one, after `accept` and `dedupe` and before the "
        "steps: the last message, with what the earlier ones brought. Those end as dropped, and "
        "name it.",
        example="{by: OBX, key: OBR-3, until: OBR-25 = F, up_to: 2h}",
    ),
)
