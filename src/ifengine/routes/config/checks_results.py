"""What steps must not make of results: a correction, a deletion, a wrong patient that look final.

Source: safety-rules.md 20; HL7 v2.9.1 table 0085.
"""

import re
from collections.abc import Iterator
from typing import Final

from ifengine.hl7.path import Path
from ifengine.routes.config.channel_file import ChannelDraft, step_nodes
from ifengine.routes.config.sections import Section
from ifengine.transforms.base import CompiledStep, Steps
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text

_STATUS: Final = re.compile(r"OBX(\[[^]]*\]|\(.*\))?-11(\.1)*")
# what these read is asked by a condition: of a branch, or of the `when` beside a `for_each`
_ASKS: Final = frozenset({"choose", "for_each", "set", "clear", "null"})
# these leave a filled field as it is, or change its writing only
_HARMLESS: Final = frozenset({"default", "trim", "upper", "add_segment"})


def check_results(channel: ChannelDraft, problems: Problems) -> None:
    """Warn about steps that write OBX-11 whatever it says: C, D, W and X tell the receiver to act."""
    parts = [(channel.section, channel.steps)]
    parts += [(d.section, d.steps) for d in channel.destinations]
    for section, steps in parts:
        for step in _unguarded(steps, is_guarded=False):
            problems.warning(
                "W236",
                _place(section, step.line),
                "OBX-11 is written whatever it says: a correction or deletion would look like any other",
                "give the step a when:, as in when: OBX-11 not in [C, D, W, X]",
            )


def _unguarded(steps: Steps, *, is_guarded: bool) -> Iterator[CompiledStep]:
    for step in steps.steps:
        asked = step.when.paths() if step.when is not None else ()
        if step.verb in _ASKS:
            asked = (*asked, *step.uses.reads)
        guarded = is_guarded or any(_is_status(path) for path in asked)
        written = step.verb not in _HARMLESS and any(_is_status(p) for p in step.uses.writes)
        if written and not guarded and not _is_guarded_by_path(step):
            yield step
        for inner in step.inner:
            yield from _unguarded(inner, is_guarded=guarded)


def _is_status(path: Path) -> bool:
    return path.segment == "OBX" and path.field == 11


def _is_guarded_by_path(step: CompiledStep) -> bool:
    """Whether what is written is chosen by its status, as in ``OBX(where OBX-11 = P)-11``."""
    return all("OBX-11" in path.text[:-3] for path in step.uses.writes if _is_status(path))


def _place(section: Section, line: int) -> Position:
    """Return where the field is written, the first text of the line where it cannot be found."""
    found: list[Position] = []
    todo: list[Node] = list(reversed(step_nodes(section)))
    while todo:
        node = todo.pop()
        if isinstance(node, Items):
            todo.extend(reversed(node.items))
        elif isinstance(node, Entries):
            for key, value in reversed(node.entries):
                todo += [value, key]
        elif node.position.line >= line:
            found.append(node.position)
            if _names_status(node):
                return node.position
    return min(found, default=section.at("steps"))


def _names_status(text: Text) -> bool:
    target = text.value.rpartition("->")[2].strip()
    return _STATUS.fullmatch(target) is not None
