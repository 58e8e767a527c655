"""The codes that reading steps and tables can report, in one sentence each, beside the general ones."""

from collections.abc import Mapping
from typing import Final

STEP_CODES: Final[Mapping[str, str]] = {
    "E101": "A key is not known at this place.",
    "E102": "A key is missing, or two stand together of which only one can.",
    "E103": "A value is not one of those that are possible here.",
    "E104": "A value is not of the kind its key takes: duration, size, port, name, list, map.",
    "E105": "A step does one thing: it has two verbs.",
    "E106": "A step has no verb.",
    "E110": "A path, condition or placeholder is not written as it must be.",
    "E190": "This belongs to the language, but this release does not do it yet.",
    "W213": "A condition is allowed and probably does not mean what it says.",
    "E301": "A step names a table that is not there.",
    "E302": "A step reads a variable that no `let` before it makes.",
    "W303": "A path names a segment that is not in the standard and not a local one.",
    "E305": "A write or `require` does not say which of several segments it means.",
    "W305": "A segment repeats, and this reads the first.",
    "E306": "This verb cannot do this to such a place.",
    "E307": "Deleting these segments leaves others without the one they belong to.",
    "E308": "A table does not have these key or result columns.",
    "E340": "A verb that merges or resolves patients needs the site's definition of one.",
    "E309": "This verb stands in the channel's steps, before its destinations.",
    "W310": "Nothing runs after an unconditional drop or fail.",
    "W311": "Steps are nested more than three deep: hard to read, harder to test.",
    "E401": "The header of a table is missing or not usable.",
    "W401": "A table has no rows.",
    "E402": "A row of a table does not have as many cells as the header.",
    "E403": "Two rows of a table have the same keys: which one counts?",
    "E404": "A row of a table is not CSV, or holds a control character.",
}
