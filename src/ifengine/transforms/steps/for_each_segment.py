"""``for_each`` … ``do``: run steps once per segment. Inside, the segment's name means this one."""

from dataclasses import replace

from ifengine.transforms.base import Uses
from ifengine.transforms.looping import loop, read_loop
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node


def build(value: Node, context: Context) -> Built | None:
    """Read a segment path, with ``do`` beside it."""
    path = read_loop(value, context)
    do = context.options.get("do")
    if do is None:
        context.error("E102", context.at, 'for_each needs "do" or a verb beside it', "do: [ … ]")
        return None
    inside = context if path is None else replace(context, loops=(*context.loops, path.segment))
    steps = context.compile_list(do, inside, context.number)
    if path is None:
        return None
    return Built(loop(path, steps.run), Uses(reads=(path,)), path.segment, (steps,))
