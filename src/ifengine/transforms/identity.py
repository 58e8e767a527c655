"""Who is one patient: identifiers of the site's definition, and which of them were retired. Pure.

The crosswalk of a site is kept in ``Space.CROSSWALK``, shared by all channels and never running
out: a retired identifier names the one that took its place, and chains are followed. What
contradicts itself is in ``Space.FROZEN`` until a person decides.

Source: safety-rules.md 12 to 16; HL7 v2.9.1, 3.6.2 (merge, move, change).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ifengine.hl7.identifiers import CX
from ifengine.hl7.message import NULL, Message
from ifengine.hl7.path import Path, parse_path
from ifengine.transforms.base import HeldError, Reason, Steps
from ifengine.transforms.memory import Change, Key, Memory, Remembered, Space

# namespace, universal id and its type of the assigning authority; type; number, normalised
Identifier = tuple[str, str, str, str, str]
Look = Callable[[Space, Key], Remembered | None]

CX_COMPONENTS: Final = 10
_SUBCOMPONENTS: Final = {4: 3, 6: 3, 9: 9, 10: 9}  # HD and CWE; the others have none
LONGEST_CHAIN: Final = 10_000  # merges in a row; a loop ends long before

# what is known of a patient: place, field and component of PID
KNOWN_FIELDS: Final = {"PID-5.1": (5, 1), "PID-5.2": (5, 2), "PID-7": (7, 1), "PID-8": (8, 1)}
# Which patients, accounts and visits belong together, by trigger event (safety-rules.md 13).
# Those that put one patient in the place of another; two of them do not say which identifier.
MERGES: Final = frozenset({b"A18", b"A30", b"A34", b"A36", b"A40", b"A47"})
UNSPECIFIC: Final = frozenset({b"A18", b"A30"})
# Those that change or move an account, a visit or another identifier: the patient in MRG-1 stays
# who it is, also where a move names another one in PID-3 (A43 to A45).
NO_PATIENT: Final = frozenset(
    {b"A35", b"A39", b"A41", b"A42", b"A43", b"A44", b"A45", b"A46", b"A49", b"A50", b"A51"}
)
LINKS: Final = frozenset({b"A24", b"A37"})
IDENTITY_EVENTS: Final = MERGES | NO_PATIENT | LINKS
# registrations: an identifier that was retired must not come back by them (safety-rules.md 14)
REGISTRATIONS: Final = frozenset({b"A01", b"A04", b"A05", b"A28"})

FROZEN_REASON: Final = "an identifier is frozen: what was said of it contradicts itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientIdentity:
    """The site's one definition of a patient (safety-rules.md 12).

    The defaults stand for what senders leave out; empty: what leaves it out is nobody's.
    """

    path: Path
    type: str
    authority: tuple[str, ...]
    authority_default: str = ""
    type_default: str = ""

    def identifier(self, cx: CX) -> Identifier | None:
        """Return an identifier of this definition, None where the CX is of another kind."""
        authority = cx.authority
        if not any(authority):
            authority = (self.authority_default, "", "")
        kind = cx.identifier_type or self.type_default
        if kind != self.type or authority[0] not in self.authority:
            return None
        number = cx.number.strip().upper()
        return (*authority, kind, number) if number and cx.number != NULL else None


# a definition that could not be read: what needs one is not reported a second time
UNREAD: Final = PatientIdentity(path=parse_path("PID-3"), type="", authority=())


def merges(steps: Steps) -> bool:
    """Whether these steps may change who is one patient."""
    return any(step.uses.merges for step in steps.all())


def resolves(steps: Steps) -> bool:
    """Whether these steps ask who is one patient."""
    return any(step.uses.resolves for step in steps.all())


def order_key(identifier: Identifier) -> str:
    """Return what messages of one patient share. Coarser than the identifier: only order hangs on it."""
    return f"{identifier[0]}|{identifier[4]}"


# --- the crosswalk --------------------------------------------------------------------------------


class Link(NamedTuple):
    """A retired identifier: which one took its place, by which message and when."""

    to: Identifier
    written: "Parts"  # how the survivor was written
    message: int
    at_us: int

    def __repr__(self) -> str:
        return f"<Link by {self.message}>"


Parts = tuple[tuple[str, ...], ...]  # of a CX: components, each with its subcomponents, as text


def retired_key(identifier: Identifier) -> Key:
    """Return where a retired identifier stands in Space.CROSSWALK."""
    return ("retired", *identifier)


def into_key(identifier: Identifier) -> Key:
    """Return where those that were retired into an identifier stand in Space.CROSSWALK."""
    return ("into", *identifier)


def is_retirement(change: Change) -> bool:
    """Whether a change retires an identifier, or takes that back."""
    return change.space is Space.CROSSWALK and change.key[0] == "retired"


def identifier_of(key: Key) -> Identifier:
    """Return the identifier of a key of ``retired_key``."""
    namespace, universal, kind, identifier_type, number = key[1:]
    return (namespace, universal, kind, identifier_type, number)


def link_of(look: Look, identifier: Identifier) -> Link | None:
    """Return what took the place of an identifier; None: it was not retired."""
    found = look(Space.CROSSWALK, retired_key(identifier))
    return None if found is None else read_link(found)


def read_link(found: Remembered) -> Link:
    """Return a link as it is remembered."""
    said = json.loads(found.value)
    written = tuple(tuple(parts) for parts in said["written"])
    return Link(_identifier(said["to"]), written, found.message, found.at_us)


def _identifier(parts: Sequence[str]) -> Identifier:
    namespace, universal, kind, identifier_type, number = parts
    return (namespace, universal, kind, identifier_type, number)


class Chain(NamedTuple):
    """An identifier, those that took its place one after the other, and how the last is written."""

    identifiers: tuple[Identifier, ...]
    links: tuple[Link, ...]
    loops: bool  # no merge makes one; if there is one all the same, nothing is decided by it

    @property
    def survivor(self) -> Identifier:
        """The last one, in whose place nothing came."""
        return self.identifiers[-1]

    def __repr__(self) -> str:
        return f"<Chain of {len(self.identifiers)}>"


def chain_of(look: Look, identifier: Identifier) -> Chain:
    """Follow an identifier to the one that survived (A to B to C)."""
    identifiers: dict[Identifier, None] = {identifier: None}
    links: list[Link] = []
    current = identifier
    for _ in range(LONGEST_CHAIN):
        link = link_of(look, current)
        if link is None:
            return Chain(tuple(identifiers), tuple(links), loops=False)
        if link.to in identifiers:
            break
        links.append(link)
        identifiers[link.to] = None
        current = link.to
    return Chain(tuple(identifiers), tuple(links), loops=True)


def merged_into(look: Look, identifier: Identifier) -> tuple[Identifier, ...]:
    """Return the identifiers in whose place this one came at once, in the order they came."""
    found = look(Space.CROSSWALK, into_key(identifier))
    return () if found is None else tuple(_identifier(one) for one in json.loads(found.value))


def all_merged_into(look: Look, identifier: Identifier) -> tuple[Identifier, ...]:
    """Return every identifier whose chain passes through this one."""
    found: dict[Identifier, None] = {}
    todo = [identifier]
    while todo:
        for one in merged_into(look, todo.pop()):
            if one not in found:
                found[one] = None
                todo.append(one)
    return tuple(found)


def retire(memory: Memory, prior: Identifier, survivor: Identifier, written: Parts) -> None:
    """Put one identifier in the place of another. The caller knows that nothing contradicts it."""
    value = json.dumps({"to": survivor, "written": written}, ensure_ascii=False)
    memory.put(Space.CROSSWALK, retired_key(prior), value)
    into = dict.fromkeys((*merged_into(memory.get, survivor), prior))
    memory.put(Space.CROSSWALK, into_key(survivor), json.dumps([*into], ensure_ascii=False))


def take_back(memory: Memory, prior: Identifier) -> Link | None:
    """Remove one link, if it is there: what was retired by it stands for itself again."""
    link = link_of(memory.get, prior)
    if link is None:
        return None
    memory.forget(Space.CROSSWALK, retired_key(prior))
    left = [one for one in merged_into(memory.get, link.to) if one != prior]
    if left:
        memory.put(Space.CROSSWALK, into_key(link.to), json.dumps(left, ensure_ascii=False))
    else:
        memory.forget(Space.CROSSWALK, into_key(link.to))
    return link


# --- what contradicts itself ----------------------------------------------------------------------


def freeze(memory: Memory, identifiers: Iterable[Identifier], why: str) -> None:
    """Let nothing be rewritten that concerns these, until a person decides. ``why`` is safe."""
    for identifier in identifiers:
        if memory.get(Space.FROZEN, identifier) is None:
            value = json.dumps({"why": why, "identifier": identifier}, ensure_ascii=False)
            memory.put(Space.FROZEN, identifier, value)


def thaw(memory: Memory, identifier: Identifier) -> bool:
    """Lift a freeze; return whether there was one."""
    if memory.get(Space.FROZEN, identifier) is None:
        return False
    memory.forget(Space.FROZEN, identifier)
    return True


def read_frozen(found: Remembered) -> tuple[Identifier, str]:
    """Return a frozen identifier and why it is."""
    said = json.loads(found.value)
    return _identifier(said["identifier"]), str(said["why"])


def check_frozen(memory: Memory, identifiers: Iterable[Identifier]) -> None:
    """Hold the message where one of these is frozen.

    Raises:
        HeldError: it is.
    """
    for identifier in identifiers:
        if memory.get(Space.FROZEN, identifier) is not None:
            raise HeldError(Reason(FROZEN_REASON, f"{shown(identifier)}: {FROZEN_REASON}"))


def merge(memory: Memory, prior: Identifier, survivor: Identifier, written: Parts) -> None:
    """Retire ``prior`` in favour of ``survivor``; a merge that is known changes nothing.

    Raises:
        HeldError: it contradicts what is known, and the identifiers are frozen now; or one of
            them was frozen before (safety-rules.md 14).
    """
    onward = chain_of(memory.get, survivor)
    check_frozen(memory, (prior, *onward.identifiers))
    known = chain_of(memory.get, prior)
    if prior in onward.identifiers:
        between = onward.identifiers[1 : onward.identifiers.index(prior)]
        why = "merges run in a loop" if between else "a merge reverses another"
        _contradicted(memory, (survivor, *between, prior), why)
    elif len(known.identifiers) == 1:
        retire(memory, prior, survivor, written)
    elif known.survivor != onward.survivor:
        _contradicted(memory, (prior,), "two merges name different survivors")


def _contradicted(memory: Memory, identifiers: Sequence[Identifier], why: str) -> None:
    freeze(memory, identifiers, why)
    full = f"{', '.join(shown(identifier) for identifier in identifiers)}: {why}"
    raise HeldError(Reason(f"{why}: frozen until a person decides", full))


def freezes(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return what stays of a message that ended in its steps: nothing but what it froze."""
    return tuple(change for change in changes if change.space is Space.FROZEN)


# --- what messages say ----------------------------------------------------------------------------


def cx_at(message: Message, i: int, f: int, r: int) -> CX:
    """Return one repetition as an identifier; its number may be empty."""
    namespace, universal, kind = (_plain(message.text(i, f, r, 4, s)) for s in (1, 2, 3))
    number, identifier_type = (_plain(message.text(i, f, r, c)) for c in (1, 5))
    return CX(number, (namespace, universal, kind), identifier_type)


def _plain(value: str) -> str:
    return "" if value == NULL else value


def parts_at(message: Message, i: int, f: int, r: int, identity: PatientIdentity) -> Parts:
    """Return a CX as text, with the site's defaults for what it leaves out."""
    parts = [
        tuple(message.text(i, f, r, c, s) for s in range(1, _SUBCOMPONENTS.get(c, 1) + 1))
        for c in range(1, CX_COMPONENTS + 1)
    ]
    if not any(parts[3]):
        parts[3] = (identity.authority_default,)
    if not any(parts[4]):
        parts[4] = (identity.type_default,)
    return tuple(_trimmed(component) for component in parts)


def _trimmed(parts: tuple[str, ...]) -> tuple[str, ...]:
    count = len(parts)
    while count > 1 and not parts[count - 1]:
        count -= 1
    return parts[:count]


def write_parts(message: Message, i: int, f: int, r: int, parts: Parts) -> None:
    """Write a whole CX into one repetition: nothing stays of the one that stood there.

    Raises:
        FieldError: the message's character set or delimiters cannot hold it.
    """
    message.set_raw(i, f, r, None, None, b"")
    for c, component in enumerate(parts, 1):
        for s, text in enumerate(component, 1):
            if text:
                message.set_text(i, f, r, c, s if len(component) > 1 else None, text)


def shown(identifier: Identifier) -> str:
    """Return an identifier for a person: content, to be sealed."""
    namespace, universal, kind, identifier_type, number = identifier
    authority = "&".join((namespace, universal, kind)).rstrip("&")
    return f"{number}^^^{authority}^{identifier_type}"


def facts_at(message: Message, i: int) -> dict[str, str]:
    """Return the filled ones of KNOWN_FIELDS of the PID at a position."""
    said = {place: message.text(i, f, 1, c, 1) for place, (f, c) in KNOWN_FIELDS.items()}
    return {place: text for place, text in said.items() if text and text != NULL}


def known_facts(look: Look, identifier: Identifier) -> dict[str, str] | None:
    """Return what is known of a patient; None: the identifier was never seen."""
    found = look(Space.PATIENT, identifier)
    if found is None:
        return None
    said: dict[str, str] = json.loads(found.value)
    return said


def learn(memory: Memory, identifier: Identifier, said: dict[str, str]) -> None:
    """Remember what a message says of a patient; what it leaves empty stays as it was."""
    before = known_facts(memory.get, identifier)
    after = {**(before or {}), **said}
    if before != after:
        text = json.dumps(after, ensure_ascii=False, sort_keys=True)
        memory.put(Space.PATIENT, identifier, text)


def differs(place: str, one: str, other: str) -> bool:
    """Whether two filled values say different things; dates as far as both go."""
    first, second = one.strip().upper(), other.strip().upper()
    if place == "PID-7":
        length = min(len(first), len(second), 8)
        first, second = first[:length], second[:length]
    return first != second


def observe(
    memory: Memory, message: Message, identity: PatientIdentity, own: int, *, learns: bool
) -> None:
    """Notice what an ADT message says of who a patient is, before any step.

    A registration under an identifier that an earlier message retired freezes it. ``own`` is the
    number of this message: a merge that came later says nothing against it. ``learns``: what a
    patient is called and when born is remembered too; identity events are left to their step.
    """
    event = message.header.trigger_event
    again = event in REGISTRATIONS
    learns = learns and event not in IDENTITY_EVENTS
    if not (again or learns):
        return
    for i in message.indexes("PID"):
        for r in range(1, message.repetition_count(i, 3) + 1):
            identifier = identity.identifier(cx_at(message, i, 3, r))
            if identifier is None:
                continue
            link = link_of(memory.get, identifier)
            if link is None:
                if learns:
                    learn(memory, identifier, facts_at(message, i))
            elif again and link.message < own:
                freeze(memory, (identifier,), "a retired identifier was registered again")
