"""What an attempt's result means: settled, again later, dead letter, held, stopped. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from ifengine.hl7.patterns import Pattern
from ifengine.routes.config.models import NakReaction, RetryConfig

ALWAYS_ERROR = frozenset({100, 101, 102, 103, 200, 201, 202, 203, 204, 205})
ALWAYS_REJECT = frozenset({206, 207})
DUPLICATE_KEY = 205


class AttemptResult(Enum):
    """How one attempt ended."""

    ACCEPTED = auto()
    REFUSED = auto()  # a negative answer to this very message
    IN_DOUBT = auto()  # bytes left, no answer that counts
    UNREACHABLE = auto()  # nothing left: no connection
    UNSENDABLE = auto()  # the content cannot travel this way, ever


class Attempt(NamedTuple):
    """One attempt, as an endpoint reports it."""

    result: AttemptResult
    label: str  # closed vocabulary: aa ae ar ca ce cr timeout reset refused none file ...
    code: str = ""  # MSA-1
    error_codes: tuple[int, ...] = ()  # ERR-3
    detail: bytes = b""  # the peer's text, to be sealed
    answer: bytes = b""  # the peer's answer as it came
    control_id: bytes = b""  # MSH-10 as it was sent

    def __repr__(self) -> str:
        return f"<Attempt {self.result.name} {self.label}>"


class Action(Enum):
    """What to do with the delivery now."""

    SETTLE = auto()
    RETRY = auto()
    DEAD_LETTER = auto()
    HOLD = auto()
    STOP = auto()
    WAIT = auto()  # no connection: nothing counts, the outbox waits


class Decision(NamedTuple):
    """The action, with the counts after it and the safe reason."""

    action: Action
    refusals: int
    doubts: int
    reason: str = ""
    delay_seconds: float = 0.0
    accepted_as_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """The reactions of one destination (channel-language.md, decision 2)."""

    retry: RetryConfig
    on_nak: Mapping[str, NakReaction]
    on_in_doubt: str
    duplicate_answer: Pattern | None = None  # what a receiver says to a message that it has


# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_ACCEPTED: Final = AttemptResult.ACCEPTED
_SETTLE = Action.SETTLE


def delay_seconds(retry: RetryConfig, attempt: int, dice: Callable[[], float]) -> float:
    """Return the wait before the next attempt: exponential, capped, with jitter.

    Args:
        retry: the policy.
        attempt: how many attempts failed so far, from 1.
        dice: gives a uniform random number in [0, 1).
    """
    exponent = min(attempt - 1, 64)
    base = min(retry.max_seconds, retry.first_seconds * retry.factor**exponent)
    return base * (1 + retry.jitter * (2 * dice() - 1))


def reaction_code(attempt: Attempt) -> str:
    """Return the MSA-1 code that decides: ERR-3 is read first (safety-rules.md 5)."""
    enhanced = attempt.code.startswith("C")
    if any(code in ALWAYS_ERROR for code in attempt.error_codes):
        return "CE" if enhanced else "AE"
    if any(code in ALWAYS_REJECT for code in attempt.error_codes):
        return "CR" if enhanced else "AR"
    return attempt.code


def decide(
    attempt: Attempt,
    policy: Policy,
    *,
    refusals: int,
    doubts: int,
    possible_duplicate: bool,
    dice: Callable[[], float],
) -> Decision:
    """Say what an attempt's result means for the delivery.

    ``refusals`` and ``doubts`` are the counts before this attempt; failures to connect count as
    neither.
    """
    if attempt.result is _ACCEPTED:
        return Decision(_SETTLE, refusals, doubts)
    match attempt.result:
        case AttemptResult.UNREACHABLE:
            return Decision(Action.WAIT, refusals, doubts, reason="no connection")
        case AttemptResult.UNSENDABLE:
            return Decision(Action.DEAD_LETTER, refusals, doubts, reason=attempt.label)
        case AttemptResult.IN_DOUBT:
            return _in_doubt(attempt, policy, refusals, doubts + 1, dice)
        case AttemptResult.REFUSED:
            if possible_duplicate and _is_known_there(attempt, policy):
                # the first copy arrived: this refusal of a repeat is a yes (safety-rules.md 3)
                return Decision(Action.SETTLE, refusals, doubts, accepted_as_duplicate=True)
            return _refused(attempt, policy, refusals + 1, doubts, dice)


def _is_known_there(attempt: Attempt, policy: Policy) -> bool:
    if DUPLICATE_KEY in attempt.error_codes:
        return True
    pattern = policy.duplicate_answer
    return pattern is not None and pattern.search(attempt.detail.decode("utf-8", "replace"))


def _in_doubt(
    attempt: Attempt, policy: Policy, refusals: int, doubts: int, dice: Callable[[], float]
) -> Decision:
    reason = f"no answer ({attempt.label})"
    if policy.on_in_doubt == "hold":
        return Decision(Action.HOLD, refusals, doubts, reason=reason)
    limit = policy.retry.in_doubt
    if limit is not None and doubts >= limit:
        return Decision(Action.DEAD_LETTER, refusals, doubts, reason=reason)
    wait = delay_seconds(policy.retry, doubts, dice)
    return Decision(Action.RETRY, refusals, doubts, reason=reason, delay_seconds=wait)


def _refused(
    attempt: Attempt, policy: Policy, refusals: int, doubts: int, dice: Callable[[], float]
) -> Decision:
    code = reaction_code(attempt)
    reason = f"answered {attempt.code}"
    if attempt.error_codes:
        reason += f" {attempt.error_codes[0]}"
    match policy.on_nak.get(code, NakReaction.DEAD_LETTER):
        case NakReaction.DEAD_LETTER:
            return Decision(Action.DEAD_LETTER, refusals, doubts, reason=reason)
        case NakReaction.STOP:
            return Decision(Action.STOP, refusals, doubts, reason=reason)
        case NakReaction.RETRY:
            limit = policy.retry.refused
            if limit is not None and refusals >= limit:
                return Decision(Action.DEAD_LETTER, refusals, doubts, reason=reason)
            wait = delay_seconds(policy.retry, refusals, dice)
            return Decision(Action.RETRY, refusals, doubts, reason=reason, delay_seconds=wait)
