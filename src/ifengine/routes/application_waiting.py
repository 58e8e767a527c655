"""What waits for an application acknowledgment under one control id, as it is remembered. Pure."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum

MOST_SEEN = 8  # answers that are known again when they are repeated
MOST_OPEN = 100
"""Deliveries under one control id that wait. A sender whose ids are all alike must not fill the disk:
all of them are written again with each one that is added."""


class Stage(StrEnum):
    """Where one delivery stands after its accept acknowledgment."""

    WAITING = "waiting"
    MISSING = "missing"  # its time is over; an answer still counts
    ACCEPTED = "accepted"
    REFUSING = "refusing"  # refused; its dead letter is not written yet
    REFUSED = "refused"


OPEN = frozenset({Stage.WAITING, Stage.MISSING})


@dataclass(slots=True, kw_only=True)
class Sent:
    """One delivery that its receiver stored. ``rows`` counts the attempts written of it."""

    seq: int
    inbox_id: int
    destination: int
    rows: int
    due_us: int
    stage: Stage = Stage.WAITING
    code: str = ""
    reason: str = ""
    detail: str = field(default="", repr=False)  # the peer's text: sealed with all of this


@dataclass(slots=True)
class Waiting:
    """The deliveries of one outbox under one control id, and which answers came to it."""

    on: str  # the listening connection where answers come in; "": the one that delivers
    deliveries: list[Sent] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def open(self) -> list[Sent]:
        """Return the deliveries that have no answer yet."""
        return [sent for sent in self.deliveries if sent.stage in OPEN]

    def concerned(self, *, is_refusal: bool) -> list[Sent]:
        """Return the deliveries that an answer counts for. A no counts even after a yes."""
        return self.open() or (self.at(Stage.ACCEPTED) if is_refusal else [])

    def at(self, stage: Stage) -> list[Sent]:
        """Return the deliveries at one stage."""
        return [sent for sent in self.deliveries if sent.stage is stage]

    def add(self, sent: Sent) -> Sent | None:
        """Add a delivery; what has its answer under this id makes room.

        Returns the one that is not waited for any more, where more than ``MOST_OPEN`` would be: the
        oldest whose time is over, else the oldest.
        """
        kept = {*OPEN, Stage.REFUSING}
        self.deliveries = [d for d in self.deliveries if d.stage in kept]
        self.deliveries.append(sent)
        waiting = self.open()
        if len(waiting) <= MOST_OPEN:
            return None
        given_up = next(iter(self.at(Stage.MISSING)), waiting[0])
        self.deliveries = [d for d in self.deliveries if d is not given_up]
        return given_up

    def credit(self, answer: "Early") -> list[Sent]:
        """Write an answer to what it counts for, and return that, its stage still as it was."""
        self.note(answer.digest)
        concerned = self.concerned(is_refusal=answer.is_refusal)
        for sent in concerned:
            sent.code = answer.code
            if answer.is_refusal:
                sent.reason, sent.detail = answer.reason, answer.detail
        return concerned

    def note(self, digest: str) -> None:
        """Know an answer again."""
        self.seen = [*self.seen, digest][-MOST_SEEN:]

    def text(self) -> str:
        """Return all of it as it is stored."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def read(text: str) -> "Waiting":
        """Return what ``text`` made."""
        value = json.loads(text)
        found = Waiting(value["on"], [], value["seen"])
        for sent in value["deliveries"]:
            found.deliveries.append(Sent(**{**sent, "stage": Stage(sent["stage"])}))
        return found


@dataclass(frozen=True, slots=True)
class Early:
    """An answer that came before its delivery was known to be stored, or to nothing at all."""

    code: str
    digest: str
    error: int = 0  # ERR-3, 0: none
    detail: str = field(default="", repr=False)

    @property
    def is_refusal(self) -> bool:
        """Whether it says no."""
        return self.code != "AA"

    @property
    def stage(self) -> Stage:
        """What it makes of a delivery."""
        return Stage.REFUSING if self.is_refusal else Stage.ACCEPTED

    @property
    def result(self) -> str:
        """What it says, in a word."""
        return "refused" if self.is_refusal else "accepted"

    @property
    def reason(self) -> str:
        """Return why there is a dead letter, safe."""
        number = f" {self.error}" if self.error else ""
        return f"application refused {self.code}{number}"

    def text(self) -> str:
        """Return it as it is stored."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def read(text: str) -> "Early":
        """Return what ``text`` made."""
        return Early(**json.loads(text))
