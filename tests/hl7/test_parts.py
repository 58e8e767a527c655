"""The quick ways through a field say the same as splitting it all, level by level."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.message import Message
from ifengine.hl7.parts import NoDelimiterError, node_of, with_node

# all that a message may name, down to the component delimiter alone
SHORT = [Delimiters.read(b"|", msh2) for msh2 in (b"^", b"^~", b"^~\\", b"^~\\&", b"$%!;#")]
FIELDS = st.lists(st.sampled_from(list(b"ab1^~\\&$%!;# -")), max_size=24).map(bytes)
PLACES = st.tuples(*[st.one_of(st.none(), st.integers(1, 4))] * 3)


def split(value: bytes, delimiter: bytes) -> list[bytes]:
    return value.split(delimiter) if delimiter else [value]


def part(value: bytes, delimiter: bytes, number: int) -> bytes:
    parts = split(value, delimiter)
    return parts[number - 1] if number <= len(parts) else b""


def split_all_the_way(
    value: bytes, given_: Delimiters, r: int | None, c: int | None, s: int | None
) -> bytes:
    if r is not None or c is not None or s is not None:
        value = part(value, given_.repetition, r or 1)
    if c is not None or s is not None:
        value = part(value, given_.component, c or 1)
    return value if s is None else part(value, given_.subcomponent, s)


@given(value=FIELDS, given_=st.sampled_from(SHORT), place=PLACES)
def test_a_node_is_what_splitting_every_level_gives(
    value: bytes, given_: Delimiters, place: tuple[int | None, int | None, int | None]
) -> None:
    assert node_of(value, given_, *place) == split_all_the_way(value, given_, *place)


@given(value=FIELDS, place=PLACES, f=st.integers(1, 4))
def test_a_message_reads_what_splitting_every_level_gives(
    value: bytes, place: tuple[int | None, int | None, int | None], f: int
) -> None:
    line = b"ZZ1" + b"|" * f + value
    message = Message.parse(b"MSH|^~\\&|||||||ADT^A08|1|P|2.5\r" + line + b"\r")
    node = split_all_the_way(value, message.delimiters, *place)
    assert message.raw(1, f, *place) == node
    _, c, s = place
    inner = b"&" if s is None else b""
    inner += b"^" if c is None and s is None else b""
    inner += b"~" if place == (None, None, None) else b""
    has_parts = any(sign in node for sign in inner)
    wanted = node if has_parts else message.delimiters.unescape(node)
    assert message.text(1, f, *place) == wanted.decode()


@given(
    value=st.one_of(FIELDS, FIELDS.map(lambda field: field + "é~許".encode())),
    f=st.integers(1, 4),
    c=st.integers(1, 4),
    s=st.integers(1, 3),
    msh2=st.sampled_from([b"^", b"^~", b"^~\\&", b"$%!;#"]),
)
def test_the_leaves_of_all_repetitions_are_those_of_each(
    value: bytes, f: int, c: int, s: int, msh2: bytes
) -> None:
    head = b"MSH|" + msh2 + b"|||||||ADT^A08|1|P|2.5||||||UNICODE UTF-8\rZZ1"
    message = Message.parse(head + b"|" * f + value + b"\r")
    count = message.repetition_count(1, f)
    assert message.leaves(1, f, c, s) == [message.text(1, f, r, c, s) for r in range(1, count + 1)]
    assert message.leaves(0, 2, c, s) == [message.text(0, 2, 1, c, s)]


@given(
    old=FIELDS,
    value=st.lists(st.sampled_from(list(b"ab1 -")), max_size=4).map(bytes),
    given_=st.sampled_from(SHORT),
    place=PLACES,
)
def test_a_node_that_is_replaced_is_read_back_and_its_neighbours_stay(
    old: bytes,
    value: bytes,
    given_: Delimiters,
    place: tuple[int | None, int | None, int | None],
) -> None:
    r, c, s = place
    try:
        new = with_node(old, given_, r, c, s, value)
    except NoDelimiterError:
        nameless = (r or 1) > 1 and not given_.repetition
        assert nameless or ((s or 1) > 1 and not given_.subcomponent)
        return
    assert node_of(new, given_, r, c, s) == value
    wanted = (r or (1 if c or s else None), c or (1 if s else None), s)
    for rr in range(1, 6):
        for cc in range(1, 6):
            for ss in range(1, 6):
                here = (rr, cc, ss)
                if any(w is not None and w != h for w, h in zip(wanted, here, strict=True)):
                    assert node_of(new, given_, *here) == node_of(old, given_, *here)


@given(old=FIELDS, given_=st.sampled_from(SHORT), place=PLACES)
def test_emptying_what_is_not_there_adds_no_delimiters(
    old: bytes, given_: Delimiters, place: tuple[int | None, int | None, int | None]
) -> None:
    if place != (None, None, None) and not node_of(old, given_, *place):
        assert with_node(old, given_, *place, b"") == old


@pytest.mark.parametrize("place", [(0, None, None), (1, 0, None), (1, 1, 0), (-1, 1, 1)])
@pytest.mark.parametrize("value", [b"a", b"a^b&c~d"])
def test_parts_count_from_one(value: bytes, place: tuple[int, int | None, int | None]) -> None:
    with pytest.raises(ValueError, match="count from 1"):
        node_of(value, SHORT[3], *place)
