from hypothesis import given
from hypothesis import strategies as st

from ifengine.store.base import GuardVerdict, InboxKind
from ifengine.store.guard import first_claim, judge, may_claim
from store.builders import entry, guarded

STEPS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from([b"A", b"B", b"C", b"D", b"E"]), st.booleans()),
    min_size=1,
    max_size=30,
)


@given(STEPS)
def test_only_the_latest_content_within_the_window_is_a_repetition(
    steps: list[tuple[int, bytes, bool]],
) -> None:
    """An independent telling of rule 6: look back through the whole history each time."""
    held = None
    now = 0
    history: list[tuple[int, int, bytes]] = []  # stored ones since the id was last new
    for inbox_id, (passed, digest, tag_only) in enumerate(steps, 1):
        now += passed
        frame = guarded(
            inbox_id, b"id", digest, received_us=now, guard_window_us=50, tag_only=tag_only
        )
        claim = first_claim(frame) if held is None else judge(frame, held)
        held = claim or held

        if not history or now - history[-1][0] > 50:
            history = [(now, inbox_id, digest)]
            assert frame.verdict is GuardVerdict.NEW
        elif len(history) <= 3 and history[-1][2] == digest:
            expected = GuardVerdict.TAGGED if tag_only else GuardVerdict.DUPLICATE
            assert (frame.verdict, frame.origin) == (expected, history[-1][1])
        else:
            latest = history[-1][1]
            history.append((now, inbox_id, digest))
            off = len(history) > 3
            assert frame.verdict is (GuardVerdict.OFF if off else GuardVerdict.REUSED)
            assert frame.origin == (0 if off else latest)


def test_other_content_is_never_a_duplicate() -> None:
    held = first_claim(guarded(1, b"id", b"A"))
    for i, digest in enumerate([b"B", b"C", b"D"] * 5, 2):
        frame = guarded(i, b"id", digest)
        if held.digest == digest:
            continue
        held = judge(frame, held) or held
        assert frame.verdict is not GuardVerdict.DUPLICATE


def test_a_wall_clock_that_went_back_does_not_make_a_repetition_new() -> None:
    held = first_claim(guarded(1, b"id", b"A", received_us=10**15))
    frame = guarded(2, b"id", b"A", received_us=5)
    assert judge(frame, held) is None
    assert frame.verdict is GuardVerdict.DUPLICATE


def test_only_messages_with_a_key_are_looked_at() -> None:
    assert may_claim(guarded(1, b"id", b"A"))
    assert may_claim(guarded(1, b"id", b"A", kind=InboxKind.UNROUTED))
    assert not may_claim(guarded(1, b"id", b"A", kind=InboxKind.REJECTED))
    assert not may_claim(guarded(1, b"id", b"A", kind=InboxKind.ACKNOWLEDGMENT))
    assert not may_claim(entry(1))
