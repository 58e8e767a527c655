"""Application acknowledgments in a test: what waits for them, and what one makes of it. Pure.

Matching, crediting and what becomes of a no are the engine's own (``application_matching``,
``application_waiting``); here is only where the answers of a test come from.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from ifengine.hl7.ack_reading import read_ack
from ifengine.hl7.header import read_header
from ifengine.routes.application_matching import SAYS_ALL, Fit, match, read_application
from ifengine.routes.application_waiting import Early, Sent, Stage, Waiting
from ifengine.routes.config.cases import as_it_travels
from ifengine.routes.config.models import ApplicationAck

WAITING, ACCEPTED, REFUSED, MISSING = "waiting", "accepted", "refused", "missing"


class Said(NamedTuple):
    """What a test says of one destination: a code, or a whole message."""

    destination: str
    text: str

    def __repr__(self) -> str:
        return f"<Said to {self.destination}>"


class LaterAnswers:
    """What the receivers of one queue still owe an answer for. Deliveries go by their seq."""

    def __init__(self) -> None:
        self._under: dict[bytes, Waiting] = {}  # by control id
        self._destinations: dict[int, str] = {}
        self._said = 0

    def expect(
        self,
        rule: ApplicationAck,
        seq: int,
        destination: str,
        control_id: bytes,
        code: str,
        now_us: int,
    ) -> tuple[str, int]:
        """Wait for what becomes of a delivery that its receiver stored.

        Returns where it stands, and the seq that is not waited for any more because too many are
        under its control id; 0: none.
        """
        if code == SAYS_ALL:
            return ACCEPTED, 0
        due_us = now_us + int(rule.within_seconds * 1e6)
        waiting = self._under.setdefault(control_id, Waiting(rule.on))
        given_up = waiting.add(Sent(seq=seq, inbox_id=0, destination=0, rows=0, due_us=due_us))
        self._destinations[seq] = destination
        return WAITING, 0 if given_up is None else given_up.seq

    def next_us(self) -> int:
        """Return when the next one is missing; 0: nothing waits."""
        return min((sent.due_us for sent in self._all(Stage.WAITING)), default=0)

    def missing(self, now_us: int) -> list[int]:
        """End the time of those that are due; return their seqs."""
        late = [sent for sent in self._all(Stage.WAITING) if sent.due_us <= now_us]
        for sent in late:
            sent.stage = Stage.MISSING
        return [sent.seq for sent in late]

    def came(self, said: Said, only: Collection[int] | None) -> Iterator[tuple[int, Early]]:
        """Let a receiver answer what it stored; yield each seq that the answer counts for.

        Args:
            said: one answer for each control id of the destination.
            only: the seqs it is about; None: all.
        """
        for control_id, waiting in list(self._under.items()):
            asked = any(
                self._destinations[sent.seq] == said.destination
                and (only is None or sent.seq in only)
                for sent in waiting.deliveries
            )
            if asked:
                yield from self._take(control_id, waiting, said.text)

    def _take(self, control_id: bytes, waiting: Waiting, text: str) -> Iterator[tuple[int, Early]]:
        self._said += 1  # each is a message of its own, and none the same as one before
        came = read_application(_written(text, control_id), f"{self._said}")
        if came is None or came.control_id != control_id:
            return
        fit, _ = match({control_id: waiting}, came.answer)
        for sent in waiting.credit(came.answer) if fit is Fit.TAKEN else ():
            sent.stage = Stage.REFUSED if came.answer.is_refusal else came.answer.stage
            yield sent.seq, came.answer

    def _all(self, stage: Stage) -> Iterator[Sent]:
        for waiting in self._under.values():
            yield from waiting.at(stage)


def acknowledgment(code: str, control_id: bytes, version: bytes = b"2.5.1") -> bytes:
    """Return the acknowledgment that a code stands for."""
    return b"MSH|^~\\&|||||||ACK|1|P|%b\rMSA|%b|%b\r" % (version, code.encode(), control_id)


def _written(text: str, control_id: bytes) -> bytes:
    """Return an answer of a test as it travels; an empty MSA-2 is filled in."""
    if not text.lstrip().startswith("MSH"):
        return acknowledgment(text, control_id)
    content = as_it_travels(text)
    found = read_ack(content)
    if not found.is_ack or found.control_id:
        return content
    separator = read_header(content).delimiters.field
    lines = content.split(b"\r")
    at = next(n for n, line in enumerate(lines) if line.startswith(b"MSA" + separator))
    fields = [*lines[at].split(separator), b""]
    fields[2] = control_id
    lines[at] = separator.join(fields)
    return b"\r".join(lines)
