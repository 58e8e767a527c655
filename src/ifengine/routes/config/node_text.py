"""Nodes back to text on one line, as the flow form of YAML: for people, and readable again."""

import json
import re

from ifengine.transforms.source import Entries, Items, Node, Text

# a plain text that YAML would read as something else, inside a flow or at its start
_UNSAFE = re.compile(
    r"^[\s\-?:,\[\]{}#&*!|>'\"%@`]|[,\[\]{}]|: |:$| #|\s$|[^ -~\u00a0-\ud7ff\ue000-\ufffd]"
)
_PLAIN_DASH = re.compile(r"^-[^\s\-?:,\[\]{}#&*!|>'\"%@`]")


def flow_text(node: Node) -> str:
    """Return a node on one line; reading it again gives the same values."""
    match node:
        case Text():
            return scalar_text(node)
        case Items():
            return f"[{', '.join(flow_text(item) for item in node)}]"
        case Entries():
            pairs = (f"{scalar_text(key)}: {flow_text(value)}" for key, value in node)
            return f"{{{', '.join(pairs)}}}"


def scalar_text(text: Text) -> str:
    """Return a scalar, quoted where it was quoted to be text, or has to be."""
    value = text.value
    if text.is_null:
        return "null"
    bare = text.plain or value not in ("", "null", "~")
    if bare and (not _UNSAFE.search(value) or _is_plain_dash(value)):
        return value
    # JSON's form of a text is YAML's double-quoted one
    return json.dumps(value, ensure_ascii=False)


def _is_plain_dash(value: str) -> bool:
    return bool(_PLAIN_DASH.match(value)) and not _UNSAFE.search(value[1:])
