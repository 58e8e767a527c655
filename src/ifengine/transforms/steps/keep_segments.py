"""``keep_segments``: an allow-list; every other segment goes. MSH always stays."""

from ifengine.transforms.base import Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.delete_segments import Shapes


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of segment names; ``Z*`` stands for all local ones."""
    names: set[str] = {"MSH"}
    for text in context.texts(value, "segment name"):
        path = context.path(text)
        if path is None:
            continue
        if path.field is not None or path.head.index is not None or path.parent is not None:
            context.error("E306", text.at(0), "keep_segments takes names", path.segment)
            continue
        names.add(path.segment)
    if context.loops:
        context.error("E306", context.at, "keep_segments works on the whole message")
    local = "Z*" in names

    def goes(name: str) -> bool:
        return name not in names and not (local and name[0] == "Z")

    return Built(Shapes(goes).delete, Uses(keeps=tuple(sorted(names))))
