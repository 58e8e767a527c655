"""Every key of a channel's ``tests:``. ``tests_shape`` reads them, ``routes.channel_tests`` runs them."""

from typing import Final

from ifengine.routes.config.keys_common import DURATION, NAME, TEXT, WORD
from ifengine.routes.config.kinds import FreeText, ListOf, MapOf, OneOf, PathKind, Raw
from ifengine.routes.config.sections import Key, SectionKind, later

STATES: Final = (
    "received",
    "queued",
    "retrying",
    "in_doubt",
    "parked",
    "held",
    "dead_letter",
    "rejected",
    "discarded",
    "dropped",
    "filtered",
    "unrouted",
    "expired",
    "sent",
)
ANSWERS: Final = ("AA", "AE", "AR", "CA", "CE", "CR", "timeout", "refused", "garbage")
APPLICATION: Final = ("waiting", "accepted", "refused", "missing")
ACKS: Final = ("AA", "AE", "AR", "CA", "CE", "CR", "none")

_ANY_NAME: Final = PathKind()

CHANGED: Final = (
    Key(
        name="sample",
        kind=WORD,
        meaning="channels/samples/NAME.hl7.",
        example="adt_a01",
        required=True,
    ),
    Key(
        name="change",
        kind=MapOf(_ANY_NAME, FreeText(), "a map of paths to texts"),
        meaning="Fields set before the test; null empties.",
        example="{PV1-2: O}",
    ),
    Key(
        name="remove",
        kind=ListOf(PathKind(), least=0),
        meaning="Segments or fields left out.",
        example="[NK1]",
    ),
    Key(
        name="append", kind=ListOf(WORD), meaning="Segments added at the end.", example='"NTE|1||x"'
    ),
)

ANSWER: Final = (
    Key(
        name="first",
        kind=Raw("an answer"),
        meaning="At once: MSA-1, timeout, refused, garbage or a whole message; CA unless it is said.",
        example="CA",
    ),
    Key(
        name="application",
        kind=Raw("an answer"),
        meaning="Later: AA, AE, AR or a whole message, whose empty MSA-2 is filled in. In a step "
        "with `given` for what is stored in it, else for all that waits there.",
        example="AE",
    ),
)
LATER: Final = ("AA", "AE", "AR")

_STEP: Final = (
    Key(name="given", kind=Raw("a message"), meaning="What comes in.", example="{sample: adt_a01}"),
    Key(name="after", kind=DURATION, meaning="Moves the clock first.", example="31m"),
    Key(
        name="answer",
        kind=Raw("answers"),
        meaning="What a destination replies: at once, or a map of `first` and `application`.",
        example="{lab: AE}",
    ),
    Key(
        name="expect",
        kind=Raw("what is expected"),
        meaning="What must be true then.",
        example="{lab: sent}",
    ),
)

TEST: Final = (
    Key(
        name="name",
        kind=WORD,
        meaning="A sentence.",
        example="an inpatient goes to both",
        required=True,
    ),
    Key(
        name="sequence",
        kind=Raw("a list of steps"),
        meaning="Several messages on one clock.",
        example="[…]",
    ),
    Key(
        name="fact",
        kind=Raw("a map of facts"),
        meaning="Facts to start from: a key, a list of keys, or keys with their values.",
        example="{order: P900}",
    ),
    Key(
        name="patients",
        kind=Raw("a map of patients"),
        meaning="The cross reference to start from: a retired identifier and its survivor.",
        example='{"700999": "700123"}',
    ),
    *_STEP,
)
STEP: Final = _STEP

DETAILS: Final = (
    Key(name="state", kind=Raw("a state"), meaning="What became of it.", example="sent"),
    Key(
        name="fields",
        kind=MapOf(_ANY_NAME, FreeText(), "a map of paths to texts"),
        meaning="Values of the sent message; null: empty or missing.",
        example="{PID-8: M}",
    ),
    Key(
        name="absent",
        kind=ListOf(PathKind()),
        meaning="Segments or paths that must not be there.",
        example="[NK1]",
    ),
    Key(
        name="segments",
        kind=ListOf(WORD),
        meaning="Exactly these, each as often as it stands here, in any order.",
        example="[MSH, PID]",
    ),
    Key(name="contains", kind=ListOf(WORD), meaning="Text that is there.", example="NTE|1"),
    Key(name="not_contains", kind=ListOf(WORD), meaning="Text that is not there.", example="[SSN]"),
    Key(
        name="count",
        kind=Raw("a number"),
        meaning="How many were sent, or came to the state that is expected.",
        example="2",
    ),
    Key(name="reason", kind=TEXT, meaning="Part of the reason.", example="no record number"),
    Key(
        name="application",
        kind=OneOf(APPLICATION),
        meaning="Where its application acknowledgment stands: waiting, accepted, refused, or "
        "missing once the time of application_ack is over.",
        example="missing",
    ),
    Key(name="same_as", kind=WORD, meaning="A golden file.", example="golden/a01.hl7"),
    Key(
        name="ignore",
        kind=ListOf(PathKind()),
        meaning="Paths the golden file does not fix.",
        example="[MSH-7]",
    ),
    Key(
        name="file",
        kind=Raw("a map"),
        meaning="The written file: its name, or a list of names where several were written.",
        example="{name: 1.hl7}",
    ),
    *later("fhir"),
)

FILE_DETAILS: Final = (
    Key(name="name", kind=ListOf(WORD), meaning="Names, in the order written.", example="1.hl7"),
)

BESIDE: Final = (
    Key(
        name="ifengine",
        kind=OneOf(("1",)),
        meaning="Version of the language.",
        example="1",
        required=True,
    ),
    Key(name="channel", kind=NAME, meaning="Whose tests these are.", example="adt-fanout"),
    Key(
        name="tests",
        kind=Raw("a list of tests"),
        meaning="As in a channel file.",
        example="[{name: …, given: …}]",
        required=True,
    ),
)

ALIKE: Final = SectionKind(DETAILS, "a state, or a map")
