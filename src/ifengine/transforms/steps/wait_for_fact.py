"""``wait_for``: park the message until a fact is remembered for every group.

The message starts over from the start of its channel (safety-rules.md 9). Messages that wait for
one key leave in the order in which they came.
"""

from ifengine.hl7.condition import Condition
from ifengine.transforms.base import Action, ParkedError, Reason, ReasonError, StepScope, Uses
from ifengine.transforms.facts import fact_key
from ifengine.transforms.keyed import Keyed, read_keyed
from ifengine.transforms.memory import Key, Space
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node

_EXAMPLE = "wait_for: {fact: order, per: OBR, key: OBR-2.1, up_to: 30m}"
WAITED_OUT, UNSOLICITED = "waited_out", "unsolicited"


def build(value: Node, context: Context) -> Built | None:
    """Read ``{fact, per, key, up_to, then, never_wait}``."""
    given = context.parameters(
        value,
        required=("fact", "key", "up_to"),
        optional=("per", "then", "never_wait"),
        example=_EXAMPLE,
    )
    if given is None:
        return None
    fact = context.name(given["fact"], "fact")
    keyed, _ = read_keyed(given, context)
    up_to = context.duration(given["up_to"], "up_to")
    then = context.word(given.get("then"), "then", ("deliver", "dead_letter"), "deliver")
    never = None
    if "never_wait" in given:
        text = context.text(given["never_wait"], "never_wait")
        never = None if text is None else context.condition(text)
        if never is None:
            return None
    if context.is_destination:
        hint = "a parked message starts over from the start of its channel"
        context.error("E309", context.at, "wait_for stands in the channel's steps", hint)
    if fact is None or keyed is None or up_to is None or then is None:
        return None
    context.variables.update((WAITED_OUT, UNSOLICITED))
    shown, seconds = up_to
    shared = fact in context.known.facts
    uses = Uses(
        reads=(*keyed.uses.reads, *(never.paths() if never is not None else ())),
        sets_variables=(WAITED_OUT, UNSOLICITED),
        waits=True,
    )
    return Built(_action(fact, keyed, shared, shown, seconds, then, never), uses, fact)


def _action(
    fact: str,
    keyed: Keyed,
    shared: bool,
    shown: str,
    seconds: float,
    then: str,
    never: Condition | None,
) -> Action:
    def act(scope: StepScope) -> None:
        if never is not None and never.holds(scope):
            return
        awaited: list[Key] = []
        missing: dict[Key, str] = {}
        waits: dict[Key, str] = {}  # what is missing, and what an earlier message waits for

        def one(inner: StepScope) -> None:
            value = keyed.value(inner)
            if not value:
                inner.variables[UNSOLICITED] = "yes"
                return
            key = fact_key(inner, fact, value, shared=shared)
            awaited.append(key)
            if inner.memory.get(Space.FACT, key) is None:
                missing[key] = waits[key] = keyed.shown(inner)
            elif inner.waits_behind(key):
                waits[key] = keyed.shown(inner)

        keyed.each(scope, one)
        if not waits:
            return
        listed = ", ".join(waits.values())
        if not (scope.waited_out or scope.released or scope.memory.is_replay):
            reason = Reason(f"waiting for {fact}", f"waiting for {fact} {listed}")
            # all of them: later messages of a key that is there already stay behind this one
            raise ParkedError(tuple(dict.fromkeys(awaited)), int(seconds * 1e6), reason)
        if not missing:
            return  # it waited for others only: nothing is missing
        listed = ", ".join(missing.values())
        if then == "dead_letter" and not scope.released:
            raise ReasonError(f"no {fact} within {shown}", f"no {fact} {listed} within {shown}")
        scope.variables[WAITED_OUT] = "yes"

    return act
