"""``set``: write text into fields."""

from ifengine.hl7.path import Path
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.plain_fields import puts
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.template import Template
from ifengine.transforms.together import Short
from ifengine.transforms.writing import write_text


def build(value: Node, context: Context) -> Built | None:
    """Read ``{PATH: text}``, with ``create: yes`` beside it where a segment may be made."""
    create = context.flag("create")
    writes: list[tuple[Path, Template]] = []
    for key, text in context.pairs(value, "set: {MSH-5: LAB}"):
        path, template = context.writes(key), context.template(text)
        if path is not None and template is not None:
            writes.append((path, template))

    plain = _plain_fields(writes)

    def act(scope: StepScope) -> None:
        for path, template in writes:
            write_text(scope, path, template.render(scope), create=create)

    short = () if plain is None else (Short(plain[0], puts(plain[1])),)
    return Built(act, uses_of(writes), short=short)


def _plain_fields(
    writes: list[tuple[Path, Template]],
) -> tuple[str, tuple[tuple[int, bytes], ...]] | None:
    """Return the segment and the values where all are plain text for whole fields of one segment."""
    values: list[tuple[int, bytes]] = []
    for path, template in writes:
        at, text = path.write_at, template.text.encode()
        if (
            at is None
            or at[1] <= 2
            or at[2:] != (None, None, None)
            or at[0] != writes[0][0].segment
        ):
            return None
        if not template.is_constant or not text.isalnum():
            return None
        values.append((at[1], text))
    return (writes[0][0].segment, tuple(values)) if values else None


def uses_of(writes: list[tuple[Path, Template]]) -> Uses:
    """Return what pairs of path and text touch."""
    return Uses(
        reads=tuple(path for _, template in writes for path in template.paths()),
        writes=tuple(path for path, _ in writes),
        tables=tuple(name for _, template in writes for name in template.tables()),
        reads_variables=tuple(name for _, template in writes for name in template.variables()),
    )
