"""What a waiting sender is told, and what its message becomes with it (safety-rules.md 1 and 2). Pure.

A sender keeps the responsibility until it is told yes. So whatever makes the answer a no also
makes sure that nothing of the message goes anywhere.
"""

from dataclasses import dataclass
from enum import Enum, auto

from ifengine.hl7.ack import AckError
from ifengine.hl7.ack_passing import SILENCE, Told, ToldError, read_told, told_of
from ifengine.hl7.tables import AckCode, Hl7ErrorCode
from ifengine.routes.config.models import AckConfig
from ifengine.routes.decisions import UNMATCHED, Decision, PlannedDelivery
from ifengine.routes.retry import Action, Attempt, AttemptResult, reaction_code
from ifengine.routes.retry import Decision as Reaction
from ifengine.store.base import Fate
from ifengine.transforms.base import Reason
from ifengine.transforms.identity import freezes

POSITIVE = Told("AA")
TOLD_NO = Reason("its sender was told no", "")
IN_DOUBT = "no answer, and its sender was told so"
DAMAGED = "stored content is damaged"  # nothing is wrong with what the sender has
# 99zzz is a local coding system by table 0396: table 0357 has no code for a rule of an interface
LOCAL_CODES = "99IFENGINE"

_GOES_SOMEWHERE = frozenset({Fate.QUEUED, Fate.HELD, Fate.PARKED, Fate.DEAD_LETTER})


class Standing(Enum):
    """What one attempt makes of a message whose sender waits."""

    SENT = auto()
    REJECTED = auto()
    IN_DOUBT = auto()


@dataclass(frozen=True, slots=True)
class Weighed:
    """A decision as it takes effect for a waiting sender.

    ``told`` None: the answer of the destination is waited for; or, where ``original`` says so, the
    sender hears what that message was answered.
    """

    decision: Decision
    told: Told | None = None
    original: int = 0


# --- what the plan says -----------------------------------------------------------------------


def weigh(decision: Decision, ack: AckConfig, *, is_held: bool) -> Weighed:
    """Return what a channel's decision means for the sender.

    Args:
        decision: of the channel, which knew that the sender waits.
        ack: how it is answered.
        is_held: nothing of the message may go yet, whatever the plan says (MSH-11.2).
    """
    refusal = decision.refusal
    if refusal is not None:
        text = refusal.reason.full or refusal.reason.safe
        return Weighed(decision, _refused(refusal.answer, text, refusal.errors))
    own = (p for p in decision.plan if p.destination == ack.source and p.part == 0)
    source = next(own, None)
    if source is not None and source.fate is Fate.QUEUED and not is_held:
        return Weighed(decision)
    if decision.repeat.original and source is not None and source.fate is Fate.DROPPED:
        return Weighed(decision, None, decision.repeat.original)
    if source is not None and source.fate in (Fate.DEAD_LETTER, Fate.REJECTED):
        reason = source.reason or Reason("", "")
        told = _refused("AE", reason.full or reason.safe, ())
        return Weighed(nowhere(decision), told)
    if ack.not_sent == "AA":
        return Weighed(decision, POSITIVE)
    reason = (source.reason if source is not None else None) or Reason("not sent", "")
    return Weighed(nowhere(decision), _refused("AR", f"not sent: {reason.safe}", ()))


def nowhere(decision: Decision) -> Decision:
    """Return a decision by which a message goes nowhere and leaves nothing behind.

    What contradicts itself stays frozen all the same.
    """
    plan = tuple(
        _rejected(planned) if planned.fate in _GOES_SOMEWHERE else planned
        for planned in decision.plan
        if planned.destination != UNMATCHED and planned.part == 0
    )
    return decision._replace(
        plan=plan, changes=freezes(decision.changes), documents=(), waiting=None
    )


def _rejected(planned: PlannedDelivery) -> PlannedDelivery:
    reason = planned.reason or TOLD_NO
    return PlannedDelivery(planned.destination, Fate.REJECTED, reason=reason, step=planned.step)


def _refused(code: str, text: str, errors: tuple[AckError, ...]) -> Told:
    if errors:
        return told_of(code, text, errors)
    error = ToldError("refused", "Refused by a rule of the interface", LOCAL_CODES, text=text)
    return Told(code, text, (error,))


# --- what an attempt says ---------------------------------------------------------------------


def standing_after(attempt: Attempt, reaction: Reaction, *, possible_duplicate: bool) -> Standing:
    """Return what one attempt makes of the message: there is no second one while a sender waits.

    ``possible_duplicate``: an earlier attempt may have arrived, so that failing to reach the
    destination now leaves it in doubt.
    """
    if reaction.action is Action.SETTLE:
        return Standing.SENT
    if attempt.result is AttemptResult.IN_DOUBT:
        return Standing.IN_DOUBT
    if attempt.result in (AttemptResult.UNREACHABLE, AttemptResult.UNSENDABLE):
        return Standing.IN_DOUBT if possible_duplicate else Standing.REJECTED
    return Standing.REJECTED


def told_after(attempt: Attempt, standing: Standing, ack: AckConfig) -> Told:
    """Return what the sender is told after an attempt."""
    if standing is Standing.SENT:
        if attempt.result is AttemptResult.REFUSED or not attempt.answer:
            return POSITIVE  # known there already; or it answers by taking it
        return read_told(attempt.answer, AckCode.AA.value, whole=ack.whole)
    if standing is Standing.REJECTED:
        if attempt.result is AttemptResult.REFUSED:
            code = "A" + reaction_code(attempt)[1:]
            return read_told(attempt.answer, code, whole=ack.whole)
        if attempt.result is AttemptResult.UNSENDABLE and attempt.label != DAMAGED:
            return _refused("AE", attempt.label, ())
    return too_late(ack)


def too_late(ack: AckConfig) -> Told:
    """Return what the sender is told where no answer came in time, or nobody was reached.

    Never AE: an error means "do not send it again".
    """
    if ack.on_timeout == "none":
        return SILENCE
    text = f"no answer from {ack.source}"
    return told_of("AR", text, (AckError(Hl7ErrorCode.INTERNAL_ERROR, None, text),))
