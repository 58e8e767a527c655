"""What the outboxes hear of a replay or a discard once it is on stable storage."""

from dataclasses import dataclass, field

from ifengine.routes.delivery import Outbox
from ifengine.routes.lanes import Entry, EntryState
from ifengine.routes.letters import FoundLetter


@dataclass(slots=True)
class SettledLetters:
    """Changes of one act, by outbox. Nothing is told before the commit."""

    replaced: list[tuple[Outbox, int, EntryState, str, Entry]] = field(default_factory=list)
    removed: list[tuple[Outbox, int, EntryState, str, int]] = field(default_factory=list)
    fed: list[tuple[Outbox, Entry, EntryState]] = field(default_factory=list)
    relabelled: list[tuple[Outbox, int, str, str]] = field(default_factory=list)
    runs: dict[int, int] = field(default_factory=dict)  # the newest of a message in this act

    def next_run(self, item: FoundLetter) -> int:
        """Return a run that no other plan of the message has."""
        inbox_id = item.delivery.inbox_id
        run = self.runs[inbox_id] = max(item.runs, self.runs.get(inbox_id, 0)) + 1
        return run

    def tell(self) -> None:
        """Tell every outbox. Several parts may take the place of one letter, which leaves once."""
        left: set[tuple[int, int]] = set()
        for outbox, seq, state, label, entry in self.replaced:
            is_first = (outbox.number, seq) not in left
            left.add((outbox.number, seq))
            outbox.replaced(seq, state if is_first else None, label, entry)
        for outbox, seq, state, label, destination in self.removed:
            outbox.removed(seq, state, label, destination)
        for outbox, destination, before, after in self.relabelled:
            outbox.relabelled(destination, before, after)
        for outbox, entry, state in self.fed:
            outbox.feed([(entry, state)])
