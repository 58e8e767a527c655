"""What a test remembers from one message to the next, in memory. Pure."""

from collections.abc import Iterable

from ifengine.errors import EngineError
from ifengine.hl7.identifiers import CX
from ifengine.routes.config.cases import Case
from ifengine.transforms.facts import fact_text, facts_of_delivered
from ifengine.transforms.identity import (
    Identifier,
    PatientIdentity,
    all_merged_into,
    chain_of,
    identifier_of,
    is_retirement,
    learn,
    order_key,
    read_link,
    retire,
)
from ifengine.transforms.memory import Change, Document, Key, Remembered, Scratch, Space

FACT_SECONDS = 90 * 86_400


def tag(key: Key) -> bytes:
    """Return what stands for a key among those that wait."""
    return repr(key).encode("utf-8", "surrogatepass")


class StartError(EngineError):
    """The state that a test starts from cannot be made."""

    code = "test_start"


class Recall:
    """The memory of one test. Satisfies ``transforms.memory.Lookup``."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Space, Key], Remembered] = {}
        self._documents: dict[tuple[str, str], bytes] = {}

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        """Return what is remembered under a key, run out or not."""
        return self._kept.get((space, key))

    def onward(self, identifier: Identifier) -> tuple[Identifier, ...]:
        """Return those that took an identifier's place, one after the other."""
        return chain_of(self.look_up, identifier).identifiers[1:]

    def alike(self, identifier: Identifier) -> tuple[Identifier, ...]:
        """Return every other identifier of the same patient, by all merges so far."""
        chain = chain_of(self.look_up, identifier)
        merged = all_merged_into(self.look_up, chain.survivor)
        found = dict.fromkeys((*chain.identifiers, *merged))
        del found[identifier]
        return tuple(found)

    def scratch(self, message: int, now_us: int) -> Scratch:
        """Return what one message sees and leaves; ``now_us`` is its time of receipt."""
        return Scratch(message, now_us, self)

    def write(self, changes: Iterable[Change]) -> None:
        """Take what a message left."""
        for change in changes:
            place = (change.space, change.key)
            if change.remembered is None:
                self._kept.pop(place, None)
            else:
                self._kept[place] = change.remembered

    def release(self, space: Space, message: int) -> None:
        """Forget what one message left in a space."""
        for place, kept in [*self._kept.items()]:
            if place[0] is space and kept.message == message:
                del self._kept[place]

    def delivered(self, message: int, now_us: int) -> tuple[Change, ...]:
        """Return what counts from now on, because this message was delivered."""
        place = (str(message),)
        awaited = self._kept.get((Space.AWAITED, place))
        return () if awaited is None else facts_of_delivered(awaited, place, now_us)

    def keep(self, documents: Iterable[Document]) -> None:
        """Take documents; what is there with other bytes is never replaced.

        Raises:
            EngineError: a document of that name holds other bytes.
        """
        for document in documents:
            place = (document.store, document.name)
            if self._documents.setdefault(place, document.content) != document.content:
                raise EngineError("a document of this name is there with other content")

    def start(
        self,
        case: Case,
        channel: str,
        shared: Iterable[str],
        identity: PatientIdentity | None,
        now_us: int,
    ) -> None:
        """Begin with the facts and the cross reference that a test names.

        Raises:
            StartError: an identifier is not one of the site's definition.
        """
        memory = self.scratch(0, now_us)
        for fact in case.facts:
            key = ("" if fact.name in shared else channel, fact.name, fact.key)
            until_us = now_us + FACT_SECONDS * 1_000_000
            memory.put(Space.FACT, key, fact_text(dict(fact.values)), until_us=until_us)
        if case.patients and identity is None:
            raise StartError("patients: the site defines no identity")
        for retired, kept in case.patients:
            if identity is not None:
                prior, survivor = _identifier(retired, identity), _identifier(kept, identity)
                retire(memory, prior, survivor, _written(survivor))
                learn(memory, survivor, {})
        self.write(memory.changes())


def order_keys_of_merges(changes: Iterable[Change]) -> list[str]:
    """Return the order keys of the patients whose identifiers were retired, or are so no more."""
    concerned: list[str] = []
    for change in changes:
        if is_retirement(change):
            concerned.append(order_key(identifier_of(change.key)))
            if change.remembered is not None:
                concerned.append(order_key(read_link(change.remembered).to))
    return concerned


def _identifier(text: str, identity: PatientIdentity) -> Identifier:
    """Read ``700123`` or ``700123^^^MERCY^MR``; what is left out is the site's own."""
    parts = [*text.split("^"), "", "", "", "", ""][:5]
    namespace, universal, kind = [*parts[3].split("&"), "", ""][:3]
    if not parts[3]:
        namespace = identity.authority_default or identity.authority[0]
    found = identity.identifier(
        CX(parts[0], (namespace, universal, kind), parts[4] or identity.type)
    )
    if found is None:
        raise StartError("patients: not an identifier of the site's definition")
    return found


def _written(identifier: Identifier) -> tuple[tuple[str, ...], ...]:
    namespace, universal, kind, identifier_type, number = identifier
    authority = (namespace, universal, kind) if universal or kind else (namespace,)
    return ((number,), ("",), ("",), authority, (identifier_type,))
