"""What waits under a control id comes back from its text as it was."""

from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.application_waiting import MOST_OPEN, MOST_SEEN, Early, Sent, Stage, Waiting

SENT = st.builds(
    Sent,
    seq=st.integers(1, 2**40),
    inbox_id=st.integers(1),
    destination=st.integers(1),
    rows=st.integers(0),
    due_us=st.integers(0),
    stage=st.sampled_from(Stage),
    code=st.sampled_from(["", "AA", "AE"]),
    reason=st.text(),
    detail=st.text(st.characters(codec=None)),
)


@given(st.text(), st.lists(SENT), st.lists(st.text()))
def test_any_text_of_a_peer_is_kept_as_it_is(on: str, sent: list[Sent], seen: list[str]) -> None:
    waiting = Waiting(on, sent, seen)
    assert Waiting.read(waiting.text()) == waiting


@given(st.text(), st.integers(0, 300))
def test_an_early_answer_is_kept_as_it_is(detail: str, error: int) -> None:
    early = Early("AE", "d", error, detail)
    assert Early.read(early.text()) == early
    assert "Fir^Ada" not in repr(Early("AE", "d", error, "Fir^Ada" + detail))


def test_what_has_its_answer_makes_room_and_what_is_refused_waits_for_its_letter() -> None:
    waiting = Waiting("", [made(stage) for stage in Stage])
    waiting.add(made(Stage.WAITING))
    kept = [sent.stage for sent in waiting.deliveries]
    assert kept == [Stage.WAITING, Stage.MISSING, Stage.REFUSING, Stage.WAITING]


def test_a_no_counts_after_a_yes_and_a_yes_only_for_what_is_open() -> None:
    waiting = Waiting("", [made(Stage.ACCEPTED)])
    assert waiting.concerned(is_refusal=False) == []
    assert len(waiting.concerned(is_refusal=True)) == 1
    waiting.deliveries.append(made(Stage.MISSING))
    assert [s.stage for s in waiting.concerned(is_refusal=True)] == [Stage.MISSING]


def test_only_the_newest_answers_are_known_again() -> None:
    waiting = Waiting("")
    for number in range(MOST_SEEN + 3):
        waiting.note(str(number))
    assert waiting.seen == [str(number) for number in range(3, MOST_SEEN + 3)]


OPEN_ONES = st.sampled_from([Stage.WAITING, Stage.MISSING])


@given(st.lists(OPEN_ONES, min_size=MOST_OPEN - 3, max_size=MOST_OPEN + 30))
def test_however_many_wait_under_one_id_so_many_are_kept_and_none_vanishes(
    stages: list[Stage],
) -> None:
    waiting = Waiting("")
    given_up: list[Sent | None] = []
    for seq, stage in enumerate(stages):
        given_up.append(waiting.add(made(stage, seq)))
        assert len(waiting.deliveries) <= MOST_OPEN
    gone = [sent for sent in given_up if sent is not None]
    assert len(gone) == max(0, len(stages) - MOST_OPEN)
    seqs = sorted(sent.seq for sent in [*waiting.deliveries, *gone])
    assert seqs == list(range(len(stages)))


def test_what_is_given_up_first_is_what_nobody_waits_for_any_more() -> None:
    waiting = Waiting("", [made(Stage.WAITING, seq) for seq in range(MOST_OPEN)])
    waiting.deliveries[7].stage = Stage.MISSING
    gone = [waiting.add(made(Stage.WAITING, MOST_OPEN + more)) for more in range(3)]
    assert [sent.seq for sent in gone if sent is not None] == [7, 0, 1]
    # what was refused and has no dead letter yet is never given up
    waiting = Waiting("", [made(Stage.REFUSING, seq) for seq in range(5 * MOST_OPEN)])
    assert waiting.add(made(Stage.WAITING)) is None
    assert len(waiting.at(Stage.REFUSING)) == 5 * MOST_OPEN


def made(stage: Stage, seq: int = 1) -> Sent:
    return Sent(seq=seq, inbox_id=1, destination=1, rows=1, due_us=0, stage=stage)
