"""``split``: one value to several fields. The last one takes the rest: nothing is lost."""

from ifengine.hl7.message import NULL
from ifengine.hl7.path import Path
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.reading_values import written_text
from ifengine.transforms.source import Node
from ifengine.transforms.writing import write_text

_EXAMPLE = 'split: {from: PID-5.1, on: ", ", to: [PID-5.1, PID-5.2]}'


def build(value: Node, context: Context) -> Built | None:
    """Read ``{from, on, to}``. A field for which no piece is left, or an empty one, stays as it is."""
    given = context.parameters(value, required=("from", "on", "to"), example=_EXAMPLE)
    if given is None:
        return None
    from_text = context.text(given["from"], "from")
    source = None if from_text is None else context.reads(from_text)
    on = written_text(given["on"], "on", context, _EXAMPLE)
    texts = context.texts(given["to"], "path")
    written = [context.writes(text) for text in texts]
    if len(texts) == 1:
        context.error("E104", given["to"].position, "split needs two fields or more", _EXAMPLE)
    paths: list[Path] = [path for path in written if path is not None]
    if source is None or on is None or len(paths) != len(texts) or len(paths) < 2:
        return None
    sign = on.value

    def act(scope: StepScope) -> None:
        text = source.read(scope.message, scope)
        if text is None or text == NULL or sign not in text:
            # one piece only: it goes to the first field
            pieces = [text] if text and text != NULL else []
        else:
            pieces = text.split(sign, len(paths) - 1)
        for path, piece in zip(paths, pieces, strict=False):
            if piece:
                write_text(scope, path, piece)

    return Built(act, Uses(reads=(source,), writes=tuple(paths)))
