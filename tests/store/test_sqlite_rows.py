import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.errors import DamagedPageError
from ifengine.store.base import Fate, GuardVerdict, InboxKind, PlannedFate
from ifengine.store.sqlite_rows import FATES, INBOX_KINDS, VERDICTS, pack_fates, unpack_fates

FATES_OF_A_PLAN = st.lists(
    st.builds(
        PlannedFate,
        st.integers(0, 2**32 - 1),
        st.sampled_from(Fate),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**63 - 1),
        st.text(max_size=80),
    ),
    max_size=12,
).map(tuple)


@given(FATES_OF_A_PLAN)
def test_planned_fates_are_unpacked_as_they_were_packed(fates: tuple[PlannedFate, ...]) -> None:
    packed = pack_fates(fates)
    assert unpack_fates(packed) == fates
    assert len(packed) == sum(21 + len(f.reason.encode()) for f in fates)


def test_enums_are_found_by_their_number() -> None:
    for members, enum in ((FATES, Fate), (VERDICTS, GuardVerdict), (INBOX_KINDS, InboxKind)):
        assert [members[member] for member in enum] == list(enum)


@given(FATES_OF_A_PLAN, st.data())
def test_fates_that_are_cut_short_are_damage_and_not_a_shorter_reason(
    fates: tuple[PlannedFate, ...], data: st.DataObject
) -> None:
    packed = pack_fates(fates)
    whole = {len(pack_fates(fates[:count])) for count in range(len(fates) + 1)}
    cut = data.draw(st.integers(0, len(packed)))
    if cut in whole:
        assert unpack_fates(packed[:cut]) == fates[: len(unpack_fates(packed[:cut]))]
    else:
        with pytest.raises(DamagedPageError):
            unpack_fates(packed[:cut])
