"""Keys of a destination about what its receiver answers: read and checked (safety-rules.md 3, 4)."""

from dataclasses import dataclass
from typing import Any, Final

from ifengine.errors import NotationError
from ifengine.hl7.patterns import Pattern
from ifengine.routes.config.filled import quoted
from ifengine.routes.config.keys_common import DURATION, NAME, whole
from ifengine.routes.config.kinds import BAD, OneOf, want_text
from ifengine.routes.config.sections import Key, Section, SectionKind
from ifengine.transforms.source import Node, Problems

MOST_FAILURES: Final = 1_000_000
_EXAMPLE: Final = "as in /already (exists|filed)/i"


@dataclass(frozen=True, slots=True)
class PatternKind:
    """A regular expression between slashes, ``/i`` for any case."""

    says: str = "an expression between slashes"

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the Pattern."""
        text = want_text(key, self.says, node, problems)
        if text is None:
            return BAD
        written, fold = text.value, text.value.endswith("/i")
        inner = written[1:-2] if fold else written[1:-1]
        if not inner or not written.startswith("/") or not (fold or written.endswith("/")):
            problems.error("E104", text.position, f"{quoted(text)} is not {self.says}", _EXAMPLE)
            return BAD
        try:
            pattern = Pattern(inner, fold=fold)
        except NotationError as error:
            problems.error("E110", text.at(error.offset + 1), error.message, error.hint)
            return BAD
        if pattern.search(""):
            # it would take every refusal for a yes
            problems.error("E103", text.position, f"{quoted(text)} matches any text", _EXAMPLE)
            return BAD
        return pattern


APPLICATION: Final = (
    Key(
        name="on",
        kind=NAME,
        default="same",
        meaning="Where it comes in: a connection that listens, or same, the one that delivers.",
        example="same",
    ),
    Key(
        name="within",
        kind=DURATION,
        default="10m",
        meaning="After this time it is missing; one that comes later still counts.",
        example="10m",
    ),
    Key(
        name="missing",
        kind=OneOf(("alarm",)),
        default="alarm",
        meaning="A missing one is counted and alarmed; the message is not sent again.",
        example="alarm",
    ),
)

ANSWERS: Final = (
    Key(
        name="duplicate_answer",
        kind=PatternKind(),
        meaning="How this receiver says that it has the message already: MSA-3, else ERR-8. It "
        "counts as accepted where an earlier attempt may have arrived; ERR-3 205 always does.",
        example="/already (exists|filed)/i",
    ),
    Key(
        name="acks",
        kind=OneOf(("original", "accept", "accept+application")),
        meaning="Which answers are asked for: the engine writes MSH-15 and MSH-16 to match. "
        "original: both empty; accept: AL and NE; accept+application: AL and AL. Without it they "
        "go out as they are.",
        example="accept",
    ),
    Key(
        name="application_ack",
        kind=SectionKind(APPLICATION, "a map of on and within"),
        meaning="What becomes of a message that was stored there: AA is noted with it, AE and AR "
        "make a dead letter of it, silence is counted. With `acks: accept+application`.",
        example="{on: same, within: 10m}",
    ),
    Key(
        name="stop_after",
        kind=whole(1, MOST_FAILURES),
        meaning="So many refusals or missing answers in a row stop the queue, until a person "
        "says `ifengine channels resume` or the engine starts again. A receiver that cannot be "
        "reached is waited for and does not count.",
        example="20",
    ),
)


def check_answers(name: str, inner: Section, problems: Problems) -> None:
    """Add a problem for each key that wants answers where a destination has none: a folder."""
    if not inner.says("files"):
        return
    for row in ANSWERS:
        if inner.says(row.name):
            problems.error(
                "E102",
                inner.keys[row.name].position,
                f'"{row.name}" wants a receiver that answers, and "{name}" is a folder',
                "leave it out",
            )
