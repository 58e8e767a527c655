"""``use``: a list of steps from a file of its own, with named parameters."""

import difflib
from collections.abc import Mapping
from dataclasses import replace

from ifengine.transforms.reading import Built, Context
from ifengine.transforms.site_files import Snippet, fill
from ifengine.transforms.source import Entries, Node, Problems, Text

_EXAMPLE = "use: {file: snippets/us-phone.yaml, with: {field: PID-13}}"
_FOLDER = "snippets/"
DEEPEST = 3


def build(value: Node, context: Context) -> Built | None:
    """Read ``{file, with}`` and compile the snippet's steps in its place."""
    given = context.parameters(value, required=("file",), optional=("with",), example=_EXAMPLE)
    if given is None:
        return None
    text = context.text(given["file"], "file")
    snippet = None if text is None else _snippet(text, context)
    arguments = _arguments(given.get("with"), context)
    if text is None or snippet is None or arguments is None:
        return None
    if not _fits(snippet, arguments, given.get("with"), context):
        return None

    def value_of(name: str, at: Text, offset: int) -> Text | None:
        return arguments[name]

    inside = Problems()
    node = fill(snippet.steps, "with", value_of, inside)
    deeper = replace(context, problems=inside, snippets=(*context.snippets, snippet.name))
    steps = context.compile_list(node, deeper, context.number)
    used = f"used in {text.position.file}:{text.position.line}"
    for problem in inside.found:
        told = f"{problem.message} ({used})"
        context.problems.found.append(problem._replace(message=told))
    return Built(steps.run, detail=snippet.name, inner=(steps,))


def _snippet(text: Text, context: Context) -> Snippet | None:
    snippets = context.known.snippets
    found = snippets.get(text.value) or snippets.get(_FOLDER + text.value)
    if found is None:
        near = difflib.get_close_matches(text.value, snippets, 1)
        hint = f'did you mean "{near[0]}"?' if near else "put it into channels/snippets/"
        context.error("E353", text.position, f'there is no snippet "{text.value}"', hint)
        return None
    if found.name in context.snippets:
        context.error("E353", text.position, f'the snippet "{text.value}" uses itself')
        return None
    if len(context.snippets) == DEEPEST:
        context.error(
            "E353",
            text.position,
            f"snippets are used more than {DEEPEST} deep",
            "write it out here",
        )
        return None
    return found


def _arguments(node: Node | None, context: Context) -> dict[str, Text] | None:
    if node is None or (isinstance(node, Text) and node.is_null):
        return {}
    if not isinstance(node, Entries):
        context.error("E104", node.position, "with takes named values", _EXAMPLE)
        return None
    found = {key.value: context.text(value, key.value) for key, value in node}
    return {name: text for name, text in found.items() if text is not None}


def _fits(
    snippet: Snippet, arguments: Mapping[str, Text], node: Node | None, context: Context
) -> bool:
    """Whether every parameter of the snippet is given, and no other."""
    listed = ", ".join(sorted(snippet.parameters)) or "nothing"
    unknown = []
    for key, _ in node if isinstance(node, Entries) else ():
        if key.value not in snippet.parameters:
            unknown.append(key.value)
            near = difflib.get_close_matches(key.value, snippet.parameters - set(arguments), 1)
            hint = f'did you mean "{near[0]}"?' if near else f"it takes {listed}"
            context.error(
                "E354", key.position, f'{snippet.name} has no parameter "{key.value}"', hint
            )
    missing = sorted(snippet.parameters - set(arguments))
    if not unknown:  # a misspelt one was reported: do not report it missing as well
        for name in missing:
            hint = f"with: {{{name}: …}}"
            context.error("E354", context.at, f'{snippet.name} needs "{name}"', hint)
    return not unknown and not missing
