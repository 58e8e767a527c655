"""``merge_patient``: one patient took the place of another, as a merge says; the crosswalk follows.

Every PID with its MRG is walked; an identifier in MRG-1 goes with the one in PID-3 of the same type
and assigning authority (safety-rules.md 13). Moves of accounts and visits retire no patient.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ifengine.hl7.message import Message
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import Action, HeldError, Reason, ReasonError, StepScope, Uses
from ifengine.transforms.identity import (
    MERGES,
    NO_PATIENT,
    UNSPECIFIC,
    Identifier,
    PatientIdentity,
    chain_of,
    check_frozen,
    cx_at,
    facts_at,
    known_facts,
    learn,
    merge,
    merged_into,
    parts_at,
    shown,
)
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node

_EXAMPLE = "merge_patient: {keep: PID-3, retire: MRG-1}"
_KEEP, _RETIRE = ("PID", 3), ("MRG", 1)
_NEW_BY_NATURE = b"A47"  # a changed identifier: the new one was never seen before


class _Pair(NamedTuple):
    """What one MRG-1 repetition says: this identifier goes into that repetition of a PID-3."""

    prior: Identifier
    survivor: Identifier
    segment: int  # of the PID
    repetition: int


def build(value: Node, context: Context) -> Built | None:
    """Read ``{keep, retire, unknown_keep}``."""
    given = context.parameters(
        value, required=("keep", "retire"), optional=("unknown_keep",), example=_EXAMPLE
    )
    if context.is_destination:
        hint = "who is one patient does not depend on the receiver"
        context.error("E309", context.at, "merge_patient stands in the channel's steps", hint)
    identity = needed_identity(context)
    if given is None:
        return None
    good = [_is(given[key], key, place, context) for key, place in _PLACES.items()]
    unknown = context.word(given.get("unknown_keep"), "unknown_keep", ("create", "hold"), "create")
    if identity is None or unknown is None or not all(good):
        return None
    paths = tuple(parse_path(place) for place in (*_PLACES.values(), "PID-5", "PID-7", "PID-8"))
    uses = Uses(reads=paths, remembers=True, merges=True)
    return Built(_action(identity, unknown), uses)


_PLACES = {"keep": "PID-3", "retire": "MRG-1"}


def needed_identity(context: Context) -> PatientIdentity | None:
    """Return the site's definition of a patient; report that it has none."""
    identity = context.known.identity
    if identity is None:
        hint = "identity: {patient: {path: PID-3, type: MR, authority: [NAME]}} in ifengine.yaml"
        message = f"{context.verb} needs the site's definition of a patient"
        context.error("E340", context.at, message, hint)
    return identity


def _is(node: Node, key: str, place: str, context: Context) -> bool:
    text = context.text(node, key)
    if text is None:
        return False
    path = context.path(text)
    if path is not None and path.text != place:
        hint = f"{key}: {place}: the survivor stands in PID-3, the retired one in MRG-1"
        context.error("E306", text.position, f"{key} is {place} here", hint)
    return path is not None and path.text == place


def _action(identity: PatientIdentity, unknown: str) -> Action:
    def act(scope: StepScope) -> None:
        message = scope.message
        header = message.header
        event = header.trigger_event
        if header.message_code != b"ADT" or event not in MERGES:
            if header.message_code == b"ADT" and event in NO_PATIENT:
                scope.note("this event retires no patient: the cross reference stays")
                return
            raise ReasonError("merge_patient: this event is no merge")
        pairs = list(_pairs(message, identity))
        if event in UNSPECIFIC and len(pairs) != 1:
            raise ReasonError("merge_patient: the event does not say which identifier changed")
        for pair in pairs:
            _apply(scope, identity, pair, holds=unknown == "hold" and event != _NEW_BY_NATURE)

    return act


def _apply(scope: StepScope, identity: PatientIdentity, pair: _Pair, *, holds: bool) -> None:
    memory, message = scope.memory, scope.message
    prior, survivor = pair.prior, pair.survivor
    if memory.is_replay:
        # the cross reference is read, not written (safety-rules.md 27)
        check_frozen(memory, (prior, survivor))
        if survivor not in chain_of(memory.get, prior).identifiers:
            why = "a replay does not write this merge into the cross reference"
            raise HeldError(Reason(f"{why}: ifengine patients merge", ""))
        return
    if (
        holds
        and known_facts(memory.get, survivor) is None
        and not merged_into(memory.get, survivor)
    ):
        full = f"{shown(survivor)}: the survivor was never seen"
        raise HeldError(Reason("the survivor of this merge was never seen", full))
    merge(memory, prior, survivor, parts_at(message, pair.segment, 3, pair.repetition, identity))
    learn(memory, survivor, facts_at(message, pair.segment))


def _pairs(message: Message, identity: PatientIdentity) -> Iterator[_Pair]:
    """Yield every pair of every group.

    Raises:
        ReasonError: a group does not say who took whose place.
    """
    patient = -1
    merged = True  # whether the PID before had its MRG
    for i, name in enumerate(message.names()):
        if name == "PID":
            if not merged:
                break
            patient, merged = i, False
        elif name == "MRG":
            if patient < 0:
                raise ReasonError("merge_patient: an MRG stands before any PID")
            yield from _pairs_of(message, patient, i, identity)
            merged = True
    if patient < 0 or not merged:
        raise ReasonError("merge_patient: a PID has no MRG")


def _pairs_of(
    message: Message, patient: int, merge_segment: int, identity: PatientIdentity
) -> Iterator[_Pair]:
    priors = _identifiers(message, merge_segment, _RETIRE[1], identity)
    if not message.raw(merge_segment, _RETIRE[1]):
        raise ReasonError("merge_patient: MRG-1 is empty")
    if not priors:
        raise ReasonError("merge_patient: MRG-1 has no identifier of the site's definition")
    kept = _identifiers(message, patient, _KEEP[1], identity)
    for prior in priors:
        # type and every part of the assigning authority are the same
        candidates = {one: r for one, r in reversed(kept.items()) if one[:4] == prior[:4]}
        if not candidates:
            raise ReasonError(
                "merge_patient: no PID-3 has the type and assigning authority of MRG-1"
            )
        if len(candidates) > 1:
            raise ReasonError("merge_patient: two PID-3 could be the survivor")
        ((survivor, repetition),) = candidates.items()
        if survivor == prior:
            raise ReasonError("merge_patient: PID-3 and MRG-1 are the same identifier")
        yield _Pair(prior, survivor, patient, repetition)


def _identifiers(
    message: Message, i: int, f: int, identity: PatientIdentity
) -> dict[Identifier, int]:
    """Return the identifiers of the site's definition in one field, with their repetition."""
    found: dict[Identifier, int] = {}
    for r in range(1, message.repetition_count(i, f) + 1):
        identifier = identity.identifier(cx_at(message, i, f, r))
        if identifier is not None:
            found.setdefault(identifier, r)
    return found
