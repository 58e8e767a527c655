"""What an attempt's result means for a delivery: the table of safety-rules.md 3 and 5."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.patterns import Pattern
from ifengine.routes.config.models import DEFAULT_ON_NAK, NakReaction, RetryConfig
from ifengine.routes.retry import (
    Action,
    Attempt,
    AttemptResult,
    Decision,
    Policy,
    decide,
    delay_seconds,
    reaction_code,
)

ERROR_CODES = [100, 101, 102, 103, 200, 201, 202, 203, 204, 205]
REJECT_CODES = [206, 207]
NAKS = ["AE", "AR", "CE", "CR"]


def policy(
    on_in_doubt: str = "resend", on_nak: dict[str, NakReaction] | None = None, **retry: object
) -> Policy:
    values: dict[str, object] = {"jitter": 0.0, **retry}
    return Policy(RetryConfig(**values), on_nak or DEFAULT_ON_NAK, on_in_doubt)  # type: ignore[arg-type]


def refused(code: str, *errors: int) -> Attempt:
    return Attempt(AttemptResult.REFUSED, code.lower(), code, errors)


def decided(
    attempt: Attempt,
    rules: Policy | None = None,
    *,
    refusals: int = 0,
    doubts: int = 0,
    marked: bool = False,
    dice: float = 0.5,
) -> Decision:
    return decide(
        attempt,
        rules or policy(),
        refusals=refusals,
        doubts=doubts,
        possible_duplicate=marked,
        dice=lambda: dice,
    )


# --- which code decides -------------------------------------------------------------------------


@pytest.mark.parametrize("code", NAKS)
@pytest.mark.parametrize("error", ERROR_CODES)
def test_an_error_of_the_message_itself_is_never_sent_again_whatever_msa_1_says(
    code: str, error: int
) -> None:
    assert reaction_code(refused(code, error)) == code[0] + "E"
    assert decided(refused(code, error)).action is Action.DEAD_LETTER


@pytest.mark.parametrize("code", NAKS)
@pytest.mark.parametrize("error", REJECT_CODES)
def test_an_error_of_the_receiver_is_sent_again_whatever_msa_1_says(code: str, error: int) -> None:
    assert reaction_code(refused(code, error)) == code[0] + "R"
    assert decided(refused(code, error)).action is Action.RETRY


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("AE", Action.DEAD_LETTER),
        ("CE", Action.DEAD_LETTER),
        ("AR", Action.RETRY),
        ("CR", Action.RETRY),
    ],
)
def test_without_err_3_msa_1_decides(code: str, action: Action) -> None:
    assert decided(refused(code)).action is action
    assert decided(refused(code, 999)).action is action  # a code of the partner's own


def test_one_error_of_the_message_outweighs_an_error_of_the_receiver() -> None:
    assert decided(refused("AR", 207, 101)).action is Action.DEAD_LETTER
    assert decided(refused("AR", 101, 207)).action is Action.DEAD_LETTER


def test_a_reaction_can_be_chosen_for_each_code() -> None:
    chosen = {
        "AE": NakReaction.RETRY,
        "AR": NakReaction.STOP,
        "CE": NakReaction.STOP,
        "CR": NakReaction.DEAD_LETTER,
    }
    rules = policy(on_nak=chosen)
    assert decided(refused("AE"), rules).action is Action.RETRY
    assert decided(refused("AR"), rules).action is Action.STOP
    assert decided(refused("CE"), rules).action is Action.STOP
    assert decided(refused("CR"), rules).action is Action.DEAD_LETTER
    # ERR-3 is read first: a 207 makes the E an R, a 101 the R an E
    assert decided(refused("AE", 207), rules).action is Action.STOP
    assert decided(refused("AR", 101), rules).action is Action.RETRY


def test_a_code_without_a_reaction_goes_to_the_dead_letters() -> None:
    rules = Policy(RetryConfig(), {}, "resend")
    for code in NAKS:
        assert decided(refused(code), rules).action is Action.DEAD_LETTER


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "before", "action"),
    [
        (3, 0, Action.RETRY),
        (3, 1, Action.RETRY),
        (3, 2, Action.DEAD_LETTER),
        (3, 7, Action.DEAD_LETTER),
        (1, 0, Action.DEAD_LETTER),
        (None, 0, Action.RETRY),
        (None, 100_000, Action.RETRY),
    ],
)
def test_refused_three_means_three_attempts_in_all_and_never_means_never(
    limit: int | None, before: int, action: Action
) -> None:
    decision = decided(refused("AR"), policy(refused=limit), refusals=before)
    assert decision.action is action
    assert decision.refusals == before + 1


@pytest.mark.parametrize(
    ("limit", "before", "action"),
    [
        (10, 8, Action.RETRY),
        (10, 9, Action.DEAD_LETTER),
        (None, 100_000, Action.RETRY),
    ],
)
def test_doubt_has_a_limit_of_its_own(limit: int | None, before: int, action: Action) -> None:
    attempt = Attempt(AttemptResult.IN_DOUBT, "timeout")
    decision = decided(attempt, policy(in_doubt=limit, refused=1), doubts=before, refusals=5)
    assert decision.action is action
    assert (decision.doubts, decision.refusals) == (before + 1, 5)


def test_doubts_do_not_count_as_refusals_nor_refusals_as_doubts() -> None:
    assert decided(refused("AR"), policy(refused=3), doubts=9).action is Action.RETRY
    doubt = Attempt(AttemptResult.IN_DOUBT, "reset")
    assert decided(doubt, policy(in_doubt=3), refusals=9).action is Action.RETRY


@given(refusals=st.integers(0, 10**6), doubts=st.integers(0, 10**6), marked=st.booleans())
def test_no_connection_never_counts_and_never_gives_up(
    refusals: int, doubts: int, marked: bool
) -> None:
    decision = decided(
        Attempt(AttemptResult.UNREACHABLE, "refused"),
        policy(refused=1, in_doubt=1),
        refusals=refusals,
        doubts=doubts,
        marked=marked,
    )
    assert decision.action is Action.WAIT
    assert (decision.refusals, decision.doubts) == (refusals, doubts)


# --- in doubt -------------------------------------------------------------------------------------


def test_doubt_is_held_for_a_person_where_that_was_chosen() -> None:
    decision = decided(Attempt(AttemptResult.IN_DOUBT, "timeout"), policy("hold", in_doubt=1))
    assert decision.action is Action.HOLD
    assert decision.doubts == 1


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_a_205_on_a_repeat_that_may_have_arrived_is_a_yes(code: str) -> None:
    decision = decided(refused(code, 205), marked=True, refusals=1, doubts=2)
    assert decision.action is Action.SETTLE
    assert decision.accepted_as_duplicate
    assert (decision.refusals, decision.doubts) == (1, 2)


def test_a_205_on_a_first_attempt_is_a_refusal() -> None:
    decision = decided(refused("AE", 205), marked=False)
    assert decision.action is Action.DEAD_LETTER
    assert not decision.accepted_as_duplicate


def test_another_error_on_a_repeat_is_a_refusal() -> None:
    assert decided(refused("AE", 204), marked=True).action is Action.DEAD_LETTER


def test_an_acceptance_settles_without_a_count() -> None:
    decision = decided(Attempt(AttemptResult.ACCEPTED, "aa", "AA"), refusals=2, doubts=3)
    assert decision == Decision(Action.SETTLE, 2, 3)


def test_what_cannot_travel_goes_to_the_dead_letters_at_once() -> None:
    decision = decided(Attempt(AttemptResult.UNSENDABLE, "no control id (MSH-10)"))
    assert decision.action is Action.DEAD_LETTER
    assert decision.reason == "no control id (MSH-10)"


def test_a_reason_names_code_and_error_number_and_never_the_peers_text() -> None:
    attempt = Attempt(AttemptResult.REFUSED, "ae", "AE", (101, 103), b"PID-5 CANARY missing")
    decision = decided(attempt)
    assert decision.reason == "answered AE 101"
    assert "CANARY" not in repr(attempt)
    assert "CANARY" not in repr(decision)


# --- the wait -------------------------------------------------------------------------------------


def test_the_wait_doubles_up_to_its_cap() -> None:
    retry = RetryConfig(first_seconds=5, factor=2, max_seconds=60, jitter=0)
    waits = [delay_seconds(retry, attempt, lambda: 0.5) for attempt in range(1, 8)]
    assert waits == [5, 10, 20, 40, 60, 60, 60]


@given(
    attempt=st.integers(1, 10**9),
    dice=st.floats(0, 1, exclude_max=True),
    first=st.floats(0.01, 3600),
    factor=st.floats(1, 10),
    longest=st.floats(0.01, 86_400),
    jitter=st.floats(0, 1),
)
def test_the_wait_is_within_jitter_of_its_cap_for_any_count_of_attempts(
    attempt: int, dice: float, first: float, factor: float, longest: float, jitter: float
) -> None:
    retry = RetryConfig(first_seconds=first, factor=factor, max_seconds=longest, jitter=jitter)
    wait = delay_seconds(retry, attempt, lambda: dice)
    exact = min(longest, first * factor ** min(attempt - 1, 64))
    assert 0 <= wait <= longest * (1 + jitter) * 1.000001
    assert exact * (1 - jitter) * 0.999999 <= wait <= exact * (1 + jitter) * 1.000001


def test_jitter_uses_its_whole_width() -> None:
    retry = RetryConfig(first_seconds=10, factor=1, max_seconds=10, jitter=0.1)
    assert delay_seconds(retry, 1, lambda: 0.0) == pytest.approx(9)
    assert delay_seconds(retry, 1, lambda: 0.5) == pytest.approx(10)
    assert delay_seconds(retry, 1, lambda: 0.999999) == pytest.approx(11, abs=0.001)


def test_the_wait_after_a_refusal_follows_the_refusals_and_after_a_doubt_the_doubts() -> None:
    rules = policy(first_seconds=1.0, factor=2.0, max_seconds=100.0, refused=None, in_doubt=None)
    assert decided(refused("AR"), rules, refusals=3, doubts=0).delay_seconds == 8
    doubt = Attempt(AttemptResult.IN_DOUBT, "timeout")
    assert decided(doubt, rules, refusals=6, doubts=1).delay_seconds == 2


def test_a_stop_waits_for_a_person_and_not_for_a_time() -> None:
    rules = policy(on_nak={"AE": NakReaction.STOP})
    decision = decided(refused("AE"), rules)
    assert (decision.action, decision.delay_seconds, decision.refusals) == (Action.STOP, 0.0, 1)


# --- the partner's own words for a duplicate -------------------------------------------------------


def test_the_partners_words_for_a_duplicate_count_as_accepted_on_a_marked_attempt() -> None:
    rules = replace(policy(), duplicate_answer=Pattern("already (exists|filed)", fold=True))
    answer = refused("AE", 207)._replace(detail=b"Order ALREADY filed")
    assert decided(answer, rules, marked=True) == Decision(
        Action.SETTLE, 0, 0, accepted_as_duplicate=True
    )


def test_the_same_words_on_a_first_attempt_are_a_refusal() -> None:
    rules = replace(policy(), duplicate_answer=Pattern("already filed"))
    answer = refused("AE")._replace(detail=b"already filed")
    assert decided(answer, rules).action is Action.DEAD_LETTER


def test_other_words_on_a_marked_attempt_are_a_refusal() -> None:
    rules = replace(policy(), duplicate_answer=Pattern("already filed"))
    assert decided(refused("AE")._replace(detail=b"no ward"), rules, marked=True).refusals == 1
