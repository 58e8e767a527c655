"""The search index: keyed hashes of control ids and patient identifiers, never the values."""

from pathlib import Path

import pytest

from engine.support import adt
from ifengine.routes import indexer
from ifengine.routes.indexer import control_tag, next_tags, patient_tag, tags_of
from ifengine.store.base import Batch, CursorKind, InboxKind
from routes.sealed import Sealed


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return Sealed(tmp_path)


def test_a_message_is_found_by_its_control_id_and_each_of_its_patients(sealed: Sealed) -> None:
    content = adt("M1", patient="700^^^RIVER^MR~99^^^SSA^SS|", extra="MRG|701^^^RIVER^MR\r")
    content = content.replace(b"^^^RIVER^MR~99^^^SSA^SS|^^^RIVER^MR", b"^^^RIVER^MR~99^^^SSA^SS")
    tags = tags_of(sealed.ring, content)
    assert control_tag(sealed.ring, b"M1") in tags
    for number in ("700", "99", "701"):
        assert patient_tag(sealed.ring, number) in tags
    assert len(tags) == len(set(tags)) == 4
    assert not any(value in b"".join(tags) for value in (b"M1", b"700", b"701"))


def test_a_patient_is_found_however_the_number_is_written(sealed: Sealed) -> None:
    tags = tags_of(sealed.ring, adt("M1", patient=" ab12 "))
    assert patient_tag(sealed.ring, "AB12") in tags
    assert patient_tag(sealed.ring, "  aB12") in tags
    assert patient_tag(sealed.ring, "AB1") not in tags


def test_a_control_id_is_compared_byte_for_byte(sealed: Sealed) -> None:
    tags = tags_of(sealed.ring, adt("m1"))
    assert control_tag(sealed.ring, b"m1") in tags
    assert control_tag(sealed.ring, b"M1") not in tags


def test_an_identifier_and_a_control_id_of_one_text_have_different_tags(sealed: Sealed) -> None:
    assert control_tag(sealed.ring, b"700") != patient_tag(sealed.ring, "700")


def test_another_store_has_other_tags(sealed: Sealed, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Sealed(tmp_path / "other")
    assert control_tag(sealed.ring, b"M1") != control_tag(other.ring, b"M1")


@pytest.mark.parametrize("content", [b"", b"no message", b"MSH", b"\xff\xfe", b"MSH|^~\\&|A"])
def test_what_cannot_be_read_has_no_tag_and_raises_nothing(sealed: Sealed, content: bytes) -> None:
    assert tags_of(sealed.ring, content) == []


def test_the_index_is_filled_page_by_page_and_ends(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "PAGE", 4)
    for number in range(1, 11):
        sealed.put(number, adt(f"M{number}", patient=str(number)))
    before = -1
    while True:
        after, tags = next_tags(sealed.store.reader(), sealed.ring)
        if after == before:
            assert tags == []
            break
        assert after > before
        before = after
        batch = Batch()
        batch.tags.extend(tags)
        batch.cursors[CursorKind.INDEXER, 0] = after
        sealed.commit(batch)
    for number in range(1, 11):
        reader = sealed.store.reader()
        assert reader.tagged(control_tag(sealed.ring, b"M%d" % number), 10) == [number]
        assert reader.tagged(patient_tag(sealed.ring, str(number)), 10) == [number]


def test_a_damaged_message_and_a_repeat_are_passed_over(sealed: Sealed) -> None:
    sealed.put(1, adt("M1"))
    sealed.put(2, adt("M2"), sealed=b"damaged bytes of no seal at all, long enough")
    sealed.put(3, adt("M1"), kind=InboxKind.DUPLICATE, origin=1)
    sealed.put(4, adt("M4"), kind=InboxKind.REJECTED)
    after, tags = next_tags(sealed.store.reader(), sealed.ring)
    assert after == 4
    assert {number for _, number in tags} == {1, 4}
