"""The sender's side of a test: the retransmission guard, and what is answered. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.hl7.ack import due_answers
from ifengine.hl7.header import Header
from ifengine.routes.channel import Decision
from ifengine.routes.channel_tests.receivers import Delivery
from ifengine.routes.config.models import AckConfig, ChannelConfig, ListenConnection
from ifengine.routes.gates import TAG_ONLY, Gate, compared_bytes
from ifengine.store.base import InboxKind, NewInboxEntry
from ifengine.store.guard import Claim, first_claim, judge, may_claim


class Answered(NamedTuple):
    """What the sender got."""

    code: str  # MSA-1
    text: str

    @property
    def is_positive(self) -> bool:
        """Whether it says that the message was taken."""
        return self.code in ("AA", "CA")

    def __repr__(self) -> str:
        return f"<Answered {self.code}>"


@dataclass(slots=True)
class CameIn:
    """A message that came in."""

    number: int
    received_us: int
    content: bytes = field(repr=False)
    header: Header = field(repr=False)
    reused: bool = False
    run: int = 0
    sender_waits: bool = False


class Sender:
    """What the engine remembers of one sender: latest contents by id, and positive answers."""

    def __init__(self, config: ChannelConfig, listener: ListenConnection | None) -> None:
        """Begin with nothing known.

        Args:
            config: the channel that is tested.
            listener: where it listens; None: it reads a folder.
        """
        self.is_a_folder = config.files_source is not None
        self.waits = config.ack is not None and not self.is_a_folder
        self._config = config
        self._ignores_msh7 = listener is not None and listener.guard_ignore_msh7
        self._claims: dict[bytes, Claim] = {}
        self._first_answers: dict[int, Answered] = {}  # positive ones, passed through

    # --- the retransmission guard -------------------------------------------------------------

    def judge(self, message: CameIn) -> NewInboxEntry:
        """Let the guard look at a message (safety-rules.md 6)."""
        header = message.header
        parts = (header.sending_application, header.sending_facility, header.control_id)
        key = repr(parts).encode() if header.control_id else None
        entry = NewInboxEntry(
            inbox_id=message.number,
            received_us=message.received_us,
            listener=1,
            channel=1,
            kind=InboxKind.MESSAGE,
            size=len(message.content),
            peer="",
            sealed=b"",
            guard_key=key,
            digest=compared_bytes(header, message.content, ignore_msh7=self._ignores_msh7),
            tag_only=header.message_code in TAG_ONLY,
            guard_window_us=int(self._config.dedupe_window_seconds * 1e6),
        )
        if key is None or not may_claim(entry):
            return entry
        held = self._claims.get(key)
        claim = first_claim(entry) if held is None else judge(entry, held)
        if claim is not None:
            self._claims[key] = claim
        return entry

    def release(self, number: int) -> None:
        """Let the id of a message that was not taken count as new."""
        self._claims = {k: claim for k, claim in self._claims.items() if claim.inbox_id != number}

    # --- answers ------------------------------------------------------------------------------

    def answer(self, message: CameIn, gate: Gate, now_us: int) -> tuple[Answered, ...]:
        """Return what intake answers once a message is stored, or refused at the gates."""
        if self.is_a_folder or gate.verdict is None:
            return ()
        due = due_answers(
            message.header,
            gate.verdict,
            at_us=now_us,
            control_id=b"IFE%d" % message.number,
            error=gate.error,
        )
        text = gate.error.text if gate.error is not None else ""
        return tuple(Answered(answer.code.value, text) for answer in due)

    def again(self, message: CameIn, gate: Gate, now_us: int, origin: int) -> tuple[Answered, ...]:
        """Return what a repetition is answered: the first positive answer where one was passed."""
        first = self._first_answers.get(origin)
        return self.answer(message, gate, now_us) if first is None else (first,)

    def passed_through(
        self, message: CameIn, ack: AckConfig, decision: Decision, delivery: Delivery | None
    ) -> tuple[Answered, ...]:
        """Return what a waiting sender is told (safety-rules.md 1 and 2).

        Args:
            message: what it sent.
            ack: how it is answered.
            decision: of the channel.
            delivery: at the destination that answers, None where there is none.
        """
        answer = self._outcome(ack, decision, delivery)
        if answer.code == "none":
            return ()
        if answer.is_positive:
            self._first_answers[message.number] = answer
        return (answer,)

    def _outcome(self, ack: AckConfig, decision: Decision, delivery: Delivery | None) -> Answered:
        if decision.refusal is not None:
            reason = decision.refusal.reason
            return Answered(decision.refusal.answer, reason.full or reason.safe)
        if decision.repeat.original and delivery is not None and delivery.state == "dropped":
            first = self._first_answers.get(decision.repeat.original)
            return first or Answered("AA", "")
        if delivery is None or not delivery.sender_waits:
            return Answered(ack.not_sent or "AR", "" if delivery is None else delivery.reason)
        if delivery.state == "sent":
            return Answered("AA", delivery.answer_text)
        if delivery.answer:
            return Answered(f"A{delivery.answer[-1]}", delivery.answer_text)
        return Answered(ack.on_timeout, "")
