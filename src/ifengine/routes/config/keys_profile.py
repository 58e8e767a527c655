"""Every key of a profile, ``channels/profiles/NAME.yaml``: one row each."""

import re
from typing import Final

from ifengine.routes.config.keys_common import TEXT, YES_NO, whole
from ifengine.routes.config.keys_destination import TYPES
from ifengine.routes.config.kinds import ListOf, OrWord, Raw, Scalar
from ifengine.routes.config.scalars import ScalarError, parse_words
from ifengine.routes.config.sections import Key
from ifengine.transforms.validation_profile import ANY

_LENGTH = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,6})")
_LOCAL = re.compile(r"Z[A-Z0-9]{2}")


def _parse_length(text: str) -> tuple[int, int]:
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise ScalarError("is not a length", "20 for at the most 20 characters, or 1-20")
    least, most = int(found[1] or 0), int(found[2])
    if most < 1 or least > most:
        raise ScalarError("is not a length", "the smaller number first, as in 1-20")
    return least, most


def _parse_local(text: str) -> str:
    if not _LOCAL.fullmatch(text):
        raise ScalarError("is not a local segment", "they begin with Z, as in ZPI")
    return text


RULE: Final = (
    Key(
        name="required",
        kind=YES_NO,
        meaning="Must be filled, in every such segment. `no`: the standard may require it, we do not.",
        example="yes",
    ),
    Key(name="forbidden", kind=YES_NO, default="no", meaning="Must be empty.", example="yes"),
    Key(
        name="length",
        kind=OrWord(ANY, (0, 0), Scalar("a length", _parse_length, (0, 0))),
        meaning="Characters of one repetition, at the most or from-to; any: the standard's does not count.",
        example="1-20",
    ),
    Key(
        name="table",
        kind=Scalar("a table", parse_words, ANY),
        meaning="A table of the site (its first column), four digits of a table of HL7, or any.",
        example="ward",
    ),
)

RULES: Final = (
    Key(name="types", kind=TYPES, meaning="Message types; absent: every type.", example="[ADT^*]"),
    Key(
        name="fields",
        kind=Raw("a map of paths to rules"),
        meaning="What holds at which segment, field or component.",
        example="{PID-3.1: {required: yes}}",
        required=True,
    ),
)

PROFILE: Final = (
    Key(
        name="ifengine",
        kind=whole(1, 1),
        meaning="Version of the language.",
        example="1",
        required=True,
    ),
    Key(name="about", kind=TEXT, meaning="What it is for.", example="What the RIS insists on"),
    Key(
        name="local",
        kind=ListOf(Scalar("a local segment", _parse_local, "ZZZ")),
        meaning="Local segments that `level: strict` admits.",
        example="[ZPI]",
    ),
    Key(
        name="rules",
        kind=Raw("a list of rules"),
        meaning="Rules, for some message types or for all.",
        example="[{types: [ADT^*], fields: {PID-3.1: {required: yes}}}]",
        required=True,
    ),
)
