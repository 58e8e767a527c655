"""``choose`` … ``otherwise``: run the first branch whose condition holds."""

from ifengine.hl7.condition import Condition
from ifengine.transforms.base import Steps, StepScope, Uses
from ifengine.transforms.reaching import check_branches
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Items, Node, Text

_EXAMPLE = "choose: [{when: PV1-2 = I, do: [{set: {PV1-18: A}}]}]"


def build(value: Node, context: Context) -> Built | None:
    """Read a list of ``{when, do}``, with ``otherwise`` beside it."""
    if not isinstance(value, Items) or not value.items:
        context.error("E104", value.position, "choose is a list of branches", _EXAMPLE)
        return None
    branches: list[tuple[Condition | None, Steps]] = []
    written: list[tuple[Condition | None, Text | None]] = []
    for number, branch in enumerate(value, 1):
        if not context.room:
            break
        given = context.parameters(branch, required=("when", "do"), example=_EXAMPLE)
        if given is None:
            continue
        text = context.text(given["when"], "when")
        when = None if text is None else context.condition(text)
        steps = context.compile_list(given["do"], context, f"{context.number}.{number}")
        branches.append((when, steps))
        written.append((when, text))
    check_branches(written, context.problems)
    otherwise = context.options.get("otherwise")
    fallback = (
        Steps()
        if otherwise is None
        else context.compile_list(otherwise, context, f"{context.number}.{len(value.items) + 1}")
    )

    def act(scope: StepScope) -> None:
        for when, steps in branches:
            if when is not None and when.holds(scope):
                steps.run(scope)
                return
        fallback.run(scope)

    conditions = [when for when, _ in branches if when is not None]
    uses = Uses(
        reads=tuple(path for when in conditions for path in when.paths()),
        tables=tuple(name for when in conditions for name in when.table_names()),
        reads_variables=tuple(name for when in conditions for name in when.variables()),
    )
    return Built(act, uses, inner=(*(steps for _, steps in branches), fallback))
