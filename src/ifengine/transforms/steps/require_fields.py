"""``require``: stop with a reason where a field is empty. HL7 null counts as empty."""

from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.path import Path
from ifengine.transforms.base import Reason, ReasonError, RejectedError, StepScope
from ifengine.transforms.plain_fields import Reader, reader
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.set_fields import uses_of
from ifengine.transforms.template import Template
from ifengine.transforms.together import Change, Short

_NULL = b'""'


def build(value: Node, context: Context) -> Built | None:
    """Read ``{PATH: text}``."""
    wanted: list[tuple[Path, Template]] = []
    for key, text in context.pairs(value, "require: {PID-3: no patient identifier}"):
        path, template = context.field(key, written=False), context.template(text)
        if path is None or template is None or context.is_unsaid(path, key):
            continue
        if not template.text.strip():
            context.error("E104", text.position, "a reason is missing", "no patient identifier")
            continue
        wanted.append((path, template))

    def act(scope: StepScope) -> None:
        message = scope.message
        for path, template in wanted:
            raw = path.raw(message, scope)
            if raw.isalnum():
                continue
            if raw == _NULL or not raw.strip(message.delimiters.parts):
                if scope.sender_waits:
                    raise RejectedError("AE", Reason(template.text, template.render(scope)))
                raise ReasonError(template.text, template.render(scope))

    uses = uses_of(wanted)
    return Built(
        act,
        type(uses)(
            reads=(*uses.reads, *uses.writes),
            tables=uses.tables,
            reads_variables=uses.reads_variables,
        ),
        short=_short([path for path, _ in wanted]),
    )


def _short(paths: list[Path]) -> tuple[Short, ...]:
    """Return what looks at each path; the step itself says what is missing."""
    found = []
    for path in paths:
        read = reader(path)
        if read is None:
            return ()
        found.append(Short(path.segment, _asking(read)))
    return tuple(found)


def _asking(read: Reader) -> Change:
    def holds_something(fields: list[bytes], given: Delimiters, _: object) -> bool:
        raw = read(fields, given)
        return raw is not None and (
            raw.isalnum() or (raw != _NULL and raw.strip(given.parts) != b"")
        )

    return holds_something
