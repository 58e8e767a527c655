"""From written steps to something that runs: once at load, with every mistake at its place.

A step is a mapping with one verb, and beside it ``when``, ``for_each`` and ``name``.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import replace

from ifengine.hl7.condition import Condition
from ifengine.transforms.base import CompiledStep, Steps, Uses, guarded
from ifengine.transforms.looping import loop, read_loop
from ifengine.transforms.reading import Built, Context, Known, Room
from ifengine.transforms.source import Entries, Node, Problems, Text
from ifengine.transforms.table_of_steps import BY_VERB, NOT_YET, StepRow

__all__ = ["Known", "compile_steps"]

_EVERYWHERE = ("when", "for_each", "name")
_BESIDE = frozenset(key for row in BY_VERB.values() for key in row.beside)
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_DEEPEST = 3
# a snippet of steps cannot be written deeper than this: the loader has its own limit before it
_REFUSED_DEPTH = 20
MOST_STEPS = 500  # of one list with all that stands under it; a long channel has fifty


def compile_steps(node: Node | None, problems: Problems, known: Known) -> Steps:
    """Compile a list of steps; None is an empty list.

    Never raises for what is written: each mistake is added to ``problems``, and what could be
    read is in the result.
    """
    if node is None:
        return Steps()
    context = Context(
        problems=problems,
        known=known,
        verb="steps",
        at=node.position,
        compile_list=_nested,
        room=Room(MOST_STEPS),
    )
    return _list(node, context, "")


def _nested(node: Node, context: Context, number: str) -> Steps:
    deeper = replace(context, depth=context.depth + 1)
    if deeper.depth == _DEEPEST + 1:
        context.problems.warning(
            "W311", node.position, "steps are nested more than three deep", "split the channel"
        )
    if deeper.depth > _REFUSED_DEPTH:
        context.error("E104", node.position, "steps are nested too deep")
        return Steps()
    return _list(node, deeper, f"{number}.")


def _list(node: Node, context: Context, prefix: str) -> Steps:
    if isinstance(node, Entries):
        context.error("E104", node.position, "steps are a list", 'begin each step with "- "')
        return Steps()
    if isinstance(node, Text):
        if not node.is_null:
            context.error("E104", node.position, "steps are a list", 'begin each step with "- "')
        return Steps()
    found: list[CompiledStep] = []
    ending = ""  # the verb after which nothing runs, until it was said
    for number, item in enumerate(node, 1):
        if ending:
            message = f"nothing after {ending} runs"
            context.problems.warning("W310", item.position, message, f"give {ending} a when:")
            ending = ""
        step = _step(item, replace(context, number=f"{prefix}{number}"))
        if step is None:
            continue
        found.append(step)
        if BY_VERB[step.verb].ends and step.when is None and not _has_loop(item):
            ending = step.verb
    return Steps(tuple(found))


def _has_loop(item: Node) -> bool:
    return isinstance(item, Entries) and item.get("for_each") is not None


def _step(item: Node, context: Context) -> CompiledStep | None:
    if not context.room:
        return None
    if not context.room.take():
        context.error(
            "E004", item.position, f"more than {MOST_STEPS:,} steps, snippets counted in full"
        )
        return None
    if not isinstance(item, Entries):
        hint = f"- {item.value}: …" if isinstance(item, Text) and item.value in BY_VERB else ""
        context.error("E104", item.position, "a step is a verb with what it works on", hint)
        return None
    keys = {key.value: (key, value) for key, value in item}
    row = _verb(item, keys, context)
    if row is None:
        return None
    key, value = keys[row.verb]
    options = {name: node for name, (_, node) in keys.items() if name in row.beside}
    inside = replace(context, verb=row.verb, at=key.position, options=options)
    name = _name(keys, inside)
    over = None
    if "for_each" in keys and row.verb != "for_each":
        over = read_loop(keys["for_each"][1], inside)
        if over is not None:
            inside = replace(inside, loops=(*inside.loops, over.segment))
    if row.verb == "for_each" and isinstance(value, Text):
        segment = re.match(r"[A-Z][A-Z0-9]{2}", value.value.rpartition("/")[2])
        looped = (*inside.loops, segment[0]) if segment else inside.loops
        when = _when(keys, replace(inside, loops=looped))
    else:
        when = _when(keys, inside)
    built = row.build(value, inside)
    if built is None:
        return None
    if row.verb == "for_each" and when is not None:
        return _looped_when(built, when, context, item, name)
    action, when_once, uses = built.action, when, built.uses
    if over is not None:
        action, when_once = loop(over, guarded(built.action, when)), None
        reads = (*uses.reads, over, *(when.paths() if when is not None else ()))
        uses = replace(uses, reads=reads)
    return CompiledStep(
        context.number, row.verb, key.position.line, action, when_once, name, built.detail, uses,
        built.inner, built.short if over is None else (),
    )  # fmt: skip


def _looped_when(
    built: Built, when: Condition, context: Context, item: Entries, name: str
) -> CompiledStep | None:
    """``when`` beside ``for_each`` is asked of each segment: it speaks of this one."""
    path, steps = built.uses.reads[0], built.inner[0]
    uses = Uses(
        reads=(path, *when.paths()), tables=when.table_names(), reads_variables=when.variables()
    )
    action = loop(path, guarded(steps.run, when))
    return CompiledStep(
        context.number, "for_each", item.position.line, action, None, name, built.detail, uses,
        built.inner,
    )  # fmt: skip


def _verb(item: Entries, keys: dict[str, tuple[Text, Node]], context: Context) -> StepRow | None:
    """Return the verb of a step; report a second one, an unknown key, or none at all."""
    verbs = [name for name in keys if name in BY_VERB or name in NOT_YET]
    if "for_each" in verbs and (len(verbs) > 1 or ("do" not in keys and len(keys) > 1)):
        verbs.remove("for_each")
    row = BY_VERB.get(verbs[0]) if verbs else None
    beside = (*_EVERYWHERE, *(row.beside if row is not None else ()))
    unknown = [
        name for name in keys if name not in verbs and name not in beside and name != "for_each"
    ]
    for name in unknown:
        _report_unknown(keys[name][0], row, context)
    for name in verbs:
        if name in NOT_YET:
            message = f'"{name}" is part of the language but not in this release'
            context.error("E190", keys[name][0].position, message)
    if len(verbs) > 1:
        second = keys[verbs[1]][0]
        context.error(
            "E105", second.position, f'a step does one thing: "{verbs[0]}" or "{verbs[1]}"',
            f'put "- " before {verbs[1]}',
        )  # fmt: skip
        return None
    if not verbs and not unknown:
        context.error("E106", item.position, "this step has no verb", "set, copy, lookup, …")
    return row


def _report_unknown(key: Text, row: StepRow | None, context: Context) -> None:
    if key.value in _BESIDE and row is not None:
        message = f'"{key.value}" does not go with {row.verb}'
        owners = ", ".join(other.verb for other in BY_VERB.values() if key.value in other.beside)
        context.error("E101", key.position, message, f"it goes with {owners}")
        return
    if not context.problems.takes_hints:
        context.error("E101", key.position, f'"{key.value}" is not known here')
        return
    names: Iterable[str] = (*BY_VERB, *_EVERYWHERE, *NOT_YET)
    near = difflib.get_close_matches(key.value, [*names], 1)
    hint = f'did you mean "{near[0]}"?' if near else "the verbs: " + " ".join(BY_VERB)
    context.error("E101", key.position, f'"{key.value}" is not known here', hint)


def _name(keys: dict[str, tuple[Text, Node]], context: Context) -> str:
    if "name" not in keys:
        return ""
    text = context.text(keys["name"][1], "name")
    if text is None:
        return ""
    if not _NAME.fullmatch(text.value):
        hint = "small letters, digits and -, a letter first"
        context.error("E103", text.position, f'"{text.value}" cannot name a step', hint)
    return text.value


def _when(keys: dict[str, tuple[Text, Node]], context: Context) -> Condition | None:
    if "when" not in keys:
        return None
    text = context.text(keys["when"][1], "when")
    return None if text is None else context.condition(text)
