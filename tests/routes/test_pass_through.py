"""What a waiting sender is told, and that a no leaves a message nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.ack import AckError, ErrorLocation
from ifengine.hl7.tables import Hl7ErrorCode
from ifengine.routes.config.models import AckConfig, NakReaction, RetryConfig
from ifengine.routes.decisions import (
    UNMATCHED,
    Decision,
    PlannedDelivery,
    Refusal,
    Waiting,
)
from ifengine.routes.dedupe import Repeat
from ifengine.routes.pass_through import (
    DAMAGED,
    Standing,
    nowhere,
    standing_after,
    told_after,
    too_late,
    weigh,
)
from ifengine.routes.retry import Attempt, AttemptResult, Policy, decide
from ifengine.store.base import Fate
from ifengine.transforms.base import Reason
from ifengine.transforms.memory import Change, Document, Remembered, Space

ACK = AckConfig(source="ris", timeout_seconds=25)
POLICY = Policy(RetryConfig(), {"AE": NakReaction.DEAD_LETTER, "AR": NakReaction.RETRY}, "resend")
KEPT = Remembered("", 7, 0, 0)


def planned(ris: Fate, ward: Fate = Fate.QUEUED, **more: object) -> Decision:
    plan = (
        PlannedDelivery("ris", ris, reason=Reason("step 2 drop", "step 2 drop of 4711")),
        PlannedDelivery("ward", ward, content=b"x"),
    )
    return Decision(plan, **more)  # type: ignore[arg-type]


def fates(decision: Decision) -> list[Fate]:
    return [one.fate for one in decision.plan]


def attempt_of(result: AttemptResult, code: str = "", *errors: int, answer: bytes = b"") -> Attempt:
    return Attempt(result, code.lower() or "timeout", code, errors, b"", answer)


def after(attempt: Attempt, *, possible_duplicate: bool = False) -> tuple[Standing, str]:
    reaction = decide(
        attempt,
        POLICY,
        refusals=0,
        doubts=0,
        possible_duplicate=possible_duplicate,
        dice=lambda: 0.5,
    )
    standing = standing_after(attempt, reaction, possible_duplicate=possible_duplicate)
    return standing, told_after(attempt, standing, ACK).code


def test_a_queued_message_waits_for_its_destination() -> None:
    weighed = weigh(planned(Fate.QUEUED), ACK, is_held=False)
    assert weighed.told is None
    assert fates(weighed.decision) == [Fate.QUEUED, Fate.QUEUED]


def test_a_refusal_of_the_steps_is_told_with_its_places() -> None:
    error = AckError(Hl7ErrorCode.REQUIRED_FIELD_MISSING, ErrorLocation("PID", 1, 3), "no number")
    refusal = Refusal("AE", Reason("no number", "no number of Ada"), (error,))
    weighed = weigh(planned(Fate.REJECTED, Fate.REJECTED, refusal=refusal), ACK, is_held=False)
    assert weighed.told is not None
    assert (weighed.told.code, weighed.told.text) == ("AE", "no number of Ada")
    assert weighed.told.errors[0].code == "101"


@pytest.mark.parametrize("fate", [Fate.FILTERED, Fate.DROPPED, Fate.PARKED, Fate.HELD])
@pytest.mark.parametrize("said", ["", "AR", "AA"])
def test_what_is_not_sent_is_told_as_was_said_and_an_ar_leaves_it_nowhere(
    fate: Fate, said: str
) -> None:
    ack = AckConfig(source="ris", timeout_seconds=25, not_sent=said)
    decision = planned(fate, changes=(Change(Space.FACT, ("a",), KEPT),))
    weighed = weigh(decision, ack, is_held=False)
    assert weighed.told is not None
    assert weighed.told.code == (said or "AR")
    if said == "AA":
        assert weighed.decision == decision
    else:
        assert not {Fate.QUEUED, Fate.HELD, Fate.PARKED} & set(fates(weighed.decision))
        assert weighed.decision.changes == ()
        assert "4711" not in weighed.told.text


def test_a_message_that_waits_for_a_person_as_a_whole_is_not_sent() -> None:
    weighed = weigh(planned(Fate.QUEUED), ACK, is_held=True)
    assert weighed.told is not None
    assert weighed.told.code == "AR"
    assert fates(weighed.decision) == [Fate.REJECTED, Fate.REJECTED]


def test_a_failure_in_the_steps_is_an_ae_and_no_dead_letter() -> None:
    weighed = weigh(planned(Fate.DEAD_LETTER, Fate.DEAD_LETTER), ACK, is_held=False)
    assert weighed.told is not None
    assert weighed.told.code == "AE"
    assert fates(weighed.decision) == [Fate.REJECTED, Fate.REJECTED]


def test_a_business_repetition_hears_what_the_first_was_answered() -> None:
    decision = planned(Fate.DROPPED, Fate.DROPPED, repeat=Repeat(("k",), 41))
    weighed = weigh(decision, ACK, is_held=False)
    assert (weighed.told, weighed.original) == (None, 41)


@given(st.lists(st.sampled_from(list(Fate)), min_size=1, max_size=4), st.booleans())
def test_nowhere_is_nowhere(given: list[Fate], unmatched: bool) -> None:
    plan = [PlannedDelivery(f"d{n}", fate, content=b"x") for n, fate in enumerate(given)]
    if unmatched:
        plan.append(PlannedDelivery(UNMATCHED, Fate.DEAD_LETTER))
    frozen = Change(Space.FROZEN, ("f",), KEPT)
    decision = nowhere(
        Decision(
            tuple(plan),
            changes=(Change(Space.FACT, ("a",), KEPT), frozen),
            documents=(Document("store", "name", b""),),
            waiting=Waiting((("k",),), 1, Reason("", ""), ""),
        )
    )
    assert not {Fate.QUEUED, Fate.HELD, Fate.PARKED, Fate.DEAD_LETTER} & set(fates(decision))
    assert (decision.documents, decision.waiting) == ((), None)
    assert decision.changes == (frozen,)
    assert len(decision.plan) == len(given)


YES = b"MSH|^~\\&|R|S|C|N|||ACK|1|P|2.4\rMSA|AA|7|filed\r"


def test_one_attempt_decides() -> None:
    accepted, refused = AttemptResult.ACCEPTED, AttemptResult.REFUSED
    assert after(attempt_of(accepted, "AA", answer=YES)) == (Standing.SENT, "AA")
    assert after(attempt_of(accepted, "CA", answer=YES)) == (Standing.SENT, "AA")
    assert after(attempt_of(accepted)) == (Standing.SENT, "AA")  # it answers by taking it
    for code, told in (("AE", "AE"), ("AR", "AR"), ("CE", "AE"), ("CR", "AR")):
        assert after(attempt_of(refused, code)) == (Standing.REJECTED, told)
    assert after(attempt_of(refused, "AR", 101)) == (Standing.REJECTED, "AE")
    assert after(attempt_of(refused, "AE", 207)) == (Standing.REJECTED, "AR")
    assert after(attempt_of(AttemptResult.IN_DOUBT)) == (Standing.IN_DOUBT, "AR")
    assert after(attempt_of(AttemptResult.UNREACHABLE)) == (Standing.REJECTED, "AR")


def test_after_a_doubt_a_known_key_is_a_yes_and_not_reaching_anybody_stays_a_doubt() -> None:
    again = attempt_of(AttemptResult.REFUSED, "AE", 205, answer=YES)
    assert after(again, possible_duplicate=True) == (Standing.SENT, "AA")
    gone = attempt_of(AttemptResult.UNREACHABLE)
    assert after(gone, possible_duplicate=True) == (Standing.IN_DOUBT, "AR")


def test_what_cannot_travel_is_an_ae_unless_the_fault_is_ours() -> None:
    unsendable = AttemptResult.UNSENDABLE
    assert after(Attempt(unsendable, "no control id (MSH-10)")) == (Standing.REJECTED, "AE")
    assert after(Attempt(unsendable, DAMAGED)) == (Standing.REJECTED, "AR")


def test_late_is_207_or_silence_and_never_ae() -> None:
    told = too_late(ACK)
    assert (told.code, told.errors[0].code) == ("AR", "207")
    assert too_late(AckConfig(source="ris", timeout_seconds=1, on_timeout="none")).code == ""


def test_the_destinations_words_go_back_or_its_whole_answer() -> None:
    attempt = attempt_of(AttemptResult.ACCEPTED, "AA", answer=YES)
    assert told_after(attempt, Standing.SENT, ACK).text == "filed"
    whole = AckConfig(source="ris", timeout_seconds=25, whole=True)
    assert told_after(attempt, Standing.SENT, whole).whole == YES
