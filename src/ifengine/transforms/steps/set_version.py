"""``version``: the message as another version of HL7 writes it, as far as the table of differences knows.

What has no place in the older version and may be ignored there (further fields and segments) stays.
"""

from functools import cache

from ifengine.hl7 import dictionary
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.version_rules import Rule, rules_between
from ifengine.transforms.version_types import Versions

_EXAMPLE = 'version: "2.3"'
# of which the dictionary has no data: read as the one before
_OTHERS = ("2.7.1", "2.9", "2.9.1")
_FIRST_AS_PARTS = "2.3.1"  # MSH-12 has components from here on
_TOUCHED = ("MSH-9", "MSH-12", "PID-2", "PID-3", "PID-4")


@cache
def _rules(source: str, target: str) -> tuple[Versions, tuple[Rule, ...]]:
    versions = Versions(source, target)
    return versions, rules_between(versions)


def build(value: Node, context: Context) -> Built | None:
    """Read a version: ``2.3``."""
    text = context.text(value, "version")
    if text is None:
        return None
    written = text.value
    known = sorted((*dictionary.versions(), *_OTHERS))
    if written not in known:
        message = f'"{written}" is no version of HL7 v2'
        context.error("E103", text.position, message, " ".join(known))
        return None
    target = dictionary.nearest_version(written)
    whole = Versions(target, _FIRST_AS_PARTS).goes_up_to(_FIRST_AS_PARTS)

    def act(scope: StepScope) -> None:
        message = scope.message
        raw, given = message.raw(0, 12), message.delimiters
        plain = given.marks(raw) is None
        first = raw.decode() if plain else message.text(0, 12, 1, 1, 1)
        source = dictionary.nearest_version(first)
        versions, rules = _rules(source, target)
        for rule in rules:
            rule(scope, versions)
        if whole or plain:
            message.set_text(0, 12, None, None, None, written)
        else:
            message.set_text(0, 12, 1, 1, None, written)

    return Built(act, Uses(writes=tuple(parse_path(path) for path in _TOUCHED)), written)
