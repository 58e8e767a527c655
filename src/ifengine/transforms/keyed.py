"""`per:` and `key:` of steps that remember: one key for each group of a message.

A bare path into a group is an error without `per:` (safety-rules.md 10).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ifengine.hl7 import groups
from ifengine.hl7.path import Path
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.facts import SEPARATOR, plain_key
from ifengine.transforms.looping import loop, read_loop
from ifengine.transforms.reading import Context
from ifengine.transforms.source import Node, Text

_BETWEEN_SEGMENTS = "\x1d"


@dataclass(frozen=True, slots=True)
class Keyed:
    """The key of each group: the values of some paths, all components included where unsaid."""

    per: Path | None
    paths: tuple[Path, ...]

    def each(self, scope: StepScope, body: Callable[[StepScope], None]) -> None:
        """Run ``body`` once a group, with the group's segment as the current one."""
        if self.per is None:
            body(scope)
        else:
            loop(self.per, body)(scope)

    def value(self, scope: StepScope) -> str:
        """Return this group's key; ``""`` where every part is empty."""
        values = [self._part(path, scope) for path in self.paths]
        return SEPARATOR.join(values) if any(values) else ""

    def _part(self, path: Path, scope: StepScope) -> str:
        """Return one part: of a segment that stands under the group's own, all that are there."""
        if self.per is None or not groups.stands_under(path.segment, self.per.segment):
            return plain_key(path.read(scope.message, scope))
        return _BETWEEN_SEGMENTS.join(map(plain_key, path.values(scope.message, scope)))

    def shown(self, scope: StepScope) -> str:
        """Return this group's key for a person: content, to be sealed."""
        parts = self.value(scope).replace(_BETWEEN_SEGMENTS, SEPARATOR).split(SEPARATOR)
        return " ".join(filter(None, parts))

    @property
    def uses(self) -> Uses:
        """What is read."""
        reads = self.paths if self.per is None else (self.per, *self.paths)
        return Uses(reads=reads)


def read_keyed(given: Mapping[str, Node], context: Context) -> tuple[Keyed | None, Context]:
    """Read ``per`` and ``key``; return them, and the context inside the group."""
    inside, per = context, None
    good = True
    if "per" in given:
        per = read_loop(given["per"], context)
        good = per is not None
        if per is not None:
            inside = replace(context, loops=(*context.loops, per.segment))
    paths: list[Path] = []
    for text in inside.texts(given["key"], "path"):
        path = inside.field(text, written=False)
        if path is None or _is_unsaid(path, text, inside):
            good = False
        else:
            paths.append(path)
    return (Keyed(per, tuple(paths)) if good and paths else None), inside


def _is_unsaid(path: Path, text: Text, context: Context) -> bool:
    name = path.segment
    if not context.is_ambiguous(path):
        return False
    if any(groups.stands_under(name, loop) for loop in context.loops):
        return False  # all of this group
    context.error(
        "E305", text.at(0), f'"{name}" may be there several times: say which', f"per: {name}"
    )
    return True
