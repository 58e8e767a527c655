"""``remember``: record that something was seen, with values if asked, once a group."""

from collections.abc import Mapping

from ifengine.transforms.base import Action, ReasonError, StepScope, Uses
from ifengine.transforms.facts import DEFAULT_SECONDS, fact_key, fact_text, when_delivered
from ifengine.transforms.keyed import Keyed, read_keyed
from ifengine.transforms.memory import Space
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Entries, Node
from ifengine.transforms.template import Template

_EXAMPLE = "remember: {fact: order, per: ORC, key: ORC-2.1}"


def build(value: Node, context: Context) -> Built | None:
    """Read ``{fact, per, key, value, once}``."""
    given = context.parameters(
        value, required=("fact", "key"), optional=("per", "value", "once"), example=_EXAMPLE
    )
    if given is None:
        return None
    fact = context.name(given["fact"], "fact")
    keyed, inside = read_keyed(given, context)
    values = _values(given.get("value"), inside)
    once = context.word(given.get("once"), "once", ("planned", "delivered"), "planned")
    if fact is None or keyed is None or values is None or once is None:
        return None
    if once == "delivered" and context.is_destination:
        context.error("E309", context.at, "remember once delivered stands in the channel's steps")
    seconds = context.known.facts.get(fact)
    return Built(_action(fact, keyed, values, once, seconds), _uses(keyed, values), fact)


def _action(
    fact: str, keyed: Keyed, values: Mapping[str, Template], once: str, seconds: float | None
) -> Action:
    lasts_us = int((DEFAULT_SECONDS if seconds is None else seconds) * 1e6)
    shared = seconds is not None

    def one(scope: StepScope) -> None:
        key_value = keyed.value(scope)
        if not key_value:
            raise ReasonError(f"{fact}: the key is empty")
        key = fact_key(scope, fact, key_value, shared=shared)
        text = fact_text({name: made.render(scope) for name, made in values.items()})
        until_us = scope.memory.now_us + lasts_us
        if once == "delivered":
            when_delivered(scope, key, text, until_us)
        else:
            scope.memory.put(Space.FACT, key, text, until_us=until_us)

    return lambda scope: keyed.each(scope, one)


def _values(node: Node | None, context: Context) -> dict[str, Template] | None:
    """Read ``value``: one text, or a map of names to texts."""
    if node is None:
        return {}
    if isinstance(node, Entries):
        named = {key.value: context.any_text(value, key.value) for key, value in node}
    else:
        named = {"": context.any_text(node, "value")}
    found = {name: made for name, made in named.items() if made is not None}
    return found if len(found) == len(named) else None


def _uses(keyed: Keyed, values: Mapping[str, Template]) -> Uses:
    made = values.values()
    return Uses(
        reads=(*keyed.uses.reads, *(path for template in made for path in template.paths())),
        tables=tuple(name for template in made for name in template.tables()),
        reads_variables=tuple(name for template in made for name in template.variables()),
        remembers=True,
    )
