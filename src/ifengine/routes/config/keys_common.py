"""Kinds and keys that several tables of keys share."""

from functools import partial
from typing import Final

from ifengine.routes.config.kinds import FreeText, MapOf, OneOf, OrWord, Scalar
from ifengine.routes.config.scalars import (
    parse_host,
    parse_name,
    parse_number,
    parse_port,
    parse_positive_duration,
    parse_positive_size,
    parse_processing_mode,
    parse_whole,
    parse_words,
    parse_yes_no,
)
from ifengine.routes.config.sections import Key

TEXT: Final = FreeText()
NAME: Final = Scalar("a name", parse_name, "unfilled")
YES_NO: Final = Scalar("yes or no", parse_yes_no, True)
DURATION: Final = Scalar("a duration", parse_positive_duration, 60.0)
SIZE: Final = Scalar("a size", parse_positive_size, 1024**2)
HOST: Final = Scalar("a host", parse_host, "unfilled.invalid")
PORT: Final = Scalar("a port", parse_port, 0)
PROCESSING_MODE: Final = Scalar("a processing mode", parse_processing_mode, "I")
WORD: Final = Scalar("a text", parse_words, "unfilled")
FILE: Final = Scalar("a file", parse_words, "unfilled")


def whole(low: int, high: int) -> Scalar:
    """Return the kind of whole numbers between two bounds."""
    return Scalar(f"a number from {low} to {high}", partial(parse_whole, low, high), low)


def number(low: float, high: float) -> Scalar:
    """Return the kind of numbers between two bounds."""
    return Scalar(f"a number from {low:g} to {high:g}", partial(parse_number, low, high), low)


RETRY: Final = (
    Key(
        name="first",
        kind=DURATION,
        default="5s",
        meaning="Delay before the second attempt.",
        example="5s",
    ),
    Key(
        name="factor",
        kind=number(1, 100),
        default="2",
        meaning="Each delay is this much longer.",
        example="2",
    ),
    Key(name="max", kind=DURATION, default="5m", meaning="No delay is longer.", example="5m"),
    Key(
        name="jitter",
        kind=number(0, 1),
        default="0.1",
        meaning="Share of the delay that is random.",
        example="0.1",
    ),
    Key(
        name="unreachable",
        kind=OrWord("never", None, DURATION),
        default="never",
        meaning="How long a receiver may be unreachable before a message becomes a dead letter.",
        example="72h",
    ),
    Key(
        name="refused",
        kind=OrWord("never", None, whole(1, 1_000_000)),
        default="3",
        meaning="How many negative answers make a dead letter.",
        example="20",
    ),
    Key(
        name="in_doubt",
        kind=OrWord("never", None, whole(1, 1_000_000)),
        default="10",
        meaning="How many attempts without an answer make a dead letter.",
        example="10",
    ),
)

ACK_CODES: Final = ("AE", "AR", "CE", "CR")
ON_NAK: Final = MapOf(
    OneOf(ACK_CODES),
    OneOf(("retry", "dead_letter", "stop")),
    "a map of AE, AR, CE, CR to a reaction",
)
