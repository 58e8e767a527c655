"""Which deliveries an application acknowledgment speaks of: by MSA alone, of any message type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.application_matching import COUNTED, Fit, decides, match, read_application
from ifengine.routes.application_waiting import Early, Sent, Stage, Waiting

STAGES = st.lists(st.sampled_from(Stage), max_size=4)


def under(stages: list[Stage], on: str = "") -> Waiting:
    return Waiting(on, [sent(seq, stage) for seq, stage in enumerate(stages)])


def sent(seq: int, stage: Stage) -> Sent:
    return Sent(seq=seq, inbox_id=1, destination=1, rows=1, due_us=0, stage=stage)


@pytest.mark.parametrize("kind", ["ACK^A01^ACK", "ORR^O02", "RRI^I13", "MCF", "ZZZ^Z01", ""])
@pytest.mark.parametrize("code", sorted(COUNTED))
def test_the_message_type_does_not_matter_msa_does(kind: str, code: str) -> None:
    text = f"MSH|^~\\&|A|B|C|D|20260101||{kind}|1|P|2.5.1\rMSA|{code}|M1|not ours\r"
    came = read_application(text.encode(), "d")
    assert came is not None
    assert (came.control_id, came.answer) == (b"M1", Early(code, "d", 0, "not ours"))
    assert decides(text.encode())
    assert "not ours" not in repr(came)


@pytest.mark.parametrize(
    "text",
    [
        "MSH|^~\\&|A|B|C|D|20260101||ORR^O02|1|P|2.5.1\rPID|1\r",
        "MSH|^~\\&|A|B|C|D|20260101||ORR^O02|1|P|2.5.1\rMSA|CA|M1\r",
        "MSH|^~\\&|A|B|C|D|20260101||ORR^O02|1|P|2.5.1\rMSA|AE|\r",
        "MSH|^~\\&|A|B|C|D|20260101||ORR^O02|1|P|2.5.1\rMSA|AE|M1\rMSA|AA|M1\r",
        "MSH|^~\\&|A|B|C|D|20260101||ORR^O02|1|P|2.5.1\rNTE|MSA|AE|M1\r",
        "BHS|^~\\&|A\rMSA|AE|M1\r",
        "MSA|AE|M1\r",
    ],
)
def test_what_says_nothing_of_one_message_is_no_application_acknowledgment(text: str) -> None:
    assert read_application(text.encode()) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    came = read_application(b"MSH|^~\\&|||||||ACK|1|P|2.5\rMSA|AE|" + content)
    assert came is None or came.answer.is_refusal


@given(STAGES, STAGES, st.sampled_from(sorted(COUNTED)))
def test_a_no_is_everybodys_and_a_yes_only_of_one_alone(
    here: list[Stage], there: list[Stage], code: str
) -> None:
    places = {"here": under(here), "there": under(there)}
    fit, concerned = match(places, Early(code, "d"))
    waiting = [s for s in (*here, *there) if s in (Stage.WAITING, Stage.MISSING)]
    if code == "AA":
        assert fit is {0: Fit.REPEATED, 1: Fit.TAKEN}.get(len(waiting), Fit.AMBIGUOUS)
    else:
        hears_a_no = bool(waiting) or Stage.ACCEPTED in (*here, *there)
        assert fit is (Fit.TAKEN if hears_a_no else Fit.REPEATED)
    assert bool(concerned) is (fit is Fit.TAKEN)
    if fit is Fit.TAKEN:
        credited = [d for place in concerned.values() for d in place.credit(Early(code, "d"))]
        assert {d.code for d in credited} == {code}
        # the same bytes once more are no second answer
        assert match(places, Early("AE", "d"))[0] is Fit.REPEATED


def test_where_nothing_is_remembered_it_is_unknown() -> None:
    assert match({}, Early("AE", "d")) == (Fit.UNKNOWN, {})
