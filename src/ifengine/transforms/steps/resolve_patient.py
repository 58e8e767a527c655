"""``resolve_patient``: replace a retired identifier by the one that took its place.

An identifier that contradicting merges speak of holds the message, and so does a patient who looks
like somebody else (safety-rules.md 14).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ifengine.hl7.message import Message
from ifengine.hl7.path import NodeRef, Path, parse_path
from ifengine.transforms.base import HeldError, Reason, ReasonError, StepScope, Uses
from ifengine.transforms.identity import (
    FROZEN_REASON,
    KNOWN_FIELDS,
    Chain,
    Identifier,
    PatientIdentity,
    chain_of,
    check_frozen,
    cx_at,
    differs,
    facts_at,
    known_facts,
    shown,
    write_parts,
)
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node, Text
from ifengine.transforms.steps.merge_patient import needed_identity

_EXAMPLE = "resolve_patient: {in: PID-3(where .5 = MR), keep_old_in: PID-4}"
_SAME = ("PID-7", "PID-8", "PID-5.1")
RETIRED = "retired"  # the variable that says so: the identifier is one that should not come again


def build(value: Node, context: Context) -> Built | None:
    """Read ``{in, keep_old_in, same, differ}``."""
    given = context.parameters(
        value, required=("in",), optional=("keep_old_in", "same", "differ"), example=_EXAMPLE
    )
    identity = needed_identity(context)
    if given is None:
        return None
    where = _field(given["in"], "in", context)
    kept = _field(given["keep_old_in"], "keep_old_in", context) if "keep_old_in" in given else None
    if kept is not None and kept.repetition is not None:
        context.error("E306", context.at, "keep_old_in is a whole field", "keep_old_in: PID-4")
        return None
    same = _same(given.get("same"), context)
    differ = context.word(given.get("differ"), "differ", ("hold", "pass"), "hold")
    lacks = where is None or ("keep_old_in" in given and kept is None)
    if lacks or where is None or identity is None or same is None or differ is None:
        return None
    context.variables.add(RETIRED)
    compared = same if differ == "hold" else ()
    written = (where,) if kept is None else (where, kept)
    uses = Uses(
        reads=(where, *(parse_path(place) for place in compared)),
        writes=written,
        sets_variables=(RETIRED,),
        resolves=True,
    )
    return Built(_Resolve(identity, where, kept, compared), uses, where.text)


def _field(node: Node, what: str, context: Context) -> Path | None:
    text = context.text(node, what)
    path = None if text is None else context.in_place(text)
    if path is None or text is None:
        return None
    if path.component is not None:
        hint = f"{what}: {path.head}-{path.field}"
        message = f"{what} is a whole identifier, not a part of one"
        context.error("E306", text.position, message, hint)
        return None
    return path


def _same(node: Node | None, context: Context) -> tuple[str, ...] | None:
    if node is None:
        return _SAME
    found = [text for text in context.texts(node, "path") if _is_known(text, context)]
    return tuple(text.value for text in found) or None


def _is_known(text: Text, context: Context) -> bool:
    if text.value in KNOWN_FIELDS:
        return True
    listed = ", ".join(KNOWN_FIELDS)
    context.error("E103", text.position, "this is not remembered of a patient", f"one of {listed}")
    return False


@dataclass(frozen=True, slots=True)
class _Resolve:
    """The action of one such step."""

    identity: PatientIdentity
    where: Path
    kept: Path | None
    compared: Sequence[str]

    def __call__(self, scope: StepScope) -> None:
        message, memory = scope.message, scope.memory
        nodes = [n for n in self.where.nodes(message, scope, every=True) if message.raw(*n)]
        if not nodes:
            raise ReasonError(f"{self.where.text} has no identifier")
        known = 0
        # from the end, so that a repetition that goes leaves the others where they are
        for node in sorted(nodes, reverse=True, key=lambda n: (n.segment, n.repetition or 1)):
            at = node._replace(repetition=node.repetition or 1)
            identifier = self._identifier(message, at)
            if identifier is None:
                continue
            known += 1
            chain = chain_of(memory.get, identifier)
            check_frozen(memory, chain.identifiers)
            if chain.loops:
                raise HeldError(Reason(FROZEN_REASON, f"{shown(identifier)}: {FROZEN_REASON}"))
            if chain.links:
                self._check_same(scope, at, chain)
                self._rewrite(scope, at, chain)
        if not known:
            raise ReasonError(f"{self.where.text} has no identifier of the site's definition")

    def _identifier(self, message: Message, at: NodeRef) -> Identifier | None:
        return self.identity.identifier(cx_at(message, at.segment, at.field, at.repetition or 1))

    def _check_same(self, scope: StepScope, at: NodeRef, chain: Chain) -> None:
        """Hold a message whose patient does not look like the survivor.

        Raises:
            HeldError: a filled value differs from the survivor's known one.
        """
        if not self.compared:
            return
        message = scope.message
        pid = at.segment if message.names()[at.segment] == "PID" else message.first("PID")
        known = known_facts(scope.memory.get, chain.survivor)
        if known is None or pid < 0:
            return
        said = facts_at(message, pid)
        for place in self.compared:
            if place in said and place in known and differs(place, said[place], known[place]):
                why = f"{place} differs from what is known of the surviving patient"
                raise HeldError(Reason(why, f"{shown(chain.identifiers[0])}: {why}"))

    def _rewrite(self, scope: StepScope, at: NodeRef, chain: Chain) -> None:
        message = scope.message
        i, f, r = at.segment, at.field, at.repetition or 1
        old = message.raw(i, f, r)
        there = {
            self._identifier(message, at._replace(repetition=other))
            for other in range(1, message.repetition_count(i, f) + 1)
            if other != r
        }
        if chain.survivor in there:  # named beside the retired one already
            count = message.repetition_count(i, f)
            message.remove_repetitions(i, f, [n for n in range(1, count + 1) if n != r])
        else:
            write_parts(message, i, f, r, chain.links[-1].written)
        if self.kept is not None:
            self._keep(scope, i, old)
        scope.variables[RETIRED] = "yes"
        scope.note(f"{self.where.text} was retired: the survivor stands there now")

    def _keep(self, scope: StepScope, i: int, old: bytes) -> None:
        """Add the old identifier to the field that keeps it, unless it stands there."""
        message, kept = scope.message, self.kept
        if kept is None:
            return
        names = message.names()
        segment = i if names[i] == kept.segment else message.first(kept.segment)
        if segment < 0:
            raise ReasonError(f"{kept.text}: there is no segment {kept.head}")
        f = kept.field or 1
        count = message.repetition_count(segment, f)
        if all(message.raw(segment, f, r) != old for r in range(1, count + 1)):
            message.set_raw(segment, f, count + 1, None, None, old)
