"""Placeholders: what they read, what filters do, and where they are wrong."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.errors import NotationError
from ifengine.transforms.base import ReasonError
from ifengine.transforms.template import parse_template
from transforms.written import ADT, scope_of


def rendered(text: str, content: bytes = ADT) -> str:
    scope = scope_of(content)
    scope.variables["ward"] = "w 4"
    return parse_template(text).render(scope)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, nothing else", "plain, nothing else"),
        ("", ""),
        ("${PID-5.2}", "Ada"),
        ("<${PID-5.1 | trim | upper}, ${PID-5.2}>", "<FIR, Ada>"),
        ("${ PID-3(where .5 = SS).1 }", "99"),
        ("${PV1-3}", "4WEST^401^A"),
        ("${PID-40}", ""),
        ("${PID-40 | default(none)}", "none"),
        ("${PID-40 | default('a | b}') | upper}", "A | B}"),
        ("${PID-16}", '""'),
        ("${PID-16 | default(none)}", '""'),
        ("${PID-16 | upper | left(1) | sha256}", '""'),
        ("${PID-40 | pad(4,0) | sha256}", ""),
        ("${msg.id}.hl7", "01J8K3Q.hl7"),
        ("${msg.type}", "ADT^A01"),
        ("${now}", "20260105100000+0000"),
        ('${now | date("YYYY-MM-DD HH:mm")}', "2026-01-05 10:00"),
        ("${PID-7 | date('DD.MM.YYYY')}", "15.02.1980"),
        ("${ward | title}", "W 4"),
        ("${ward | digits}", "4"),
        ("${PID-3.1 | pad(6, 0)}", "000070"),
        ("${PID-3.1 | pad(1, 0)}", "70"),
        ("${PV1-3.1 | left(2)}${PV1-3.1 | right(2)}", "4WST"),
        ("${PV1-3.1 | table(ward)}", "W4"),
        ("${PID-5.2 | lower | title}", "Ada"),
        ("${PID-8 | sha256}", hashlib.sha256(b"2").hexdigest()),
        ("$${PID-5.1} costs $5", "${PID-5.1} costs $5"),
        ("a $ b } c {", "a $ b } c {"),
    ],
)
def test_a_placeholder_gives_its_text(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        ("x ${PID-5.1", 2, "without its }", ""),
        ("x ${}", 3, "names a path", ""),
        ("${PID.5}", 5, "did not expect", "PID-5"),
        ("${PID-5-1}", 7, "did not expect", "PID-5.1"),
        ("ab ${pid-5}", 5, "capitals", "PID-5"),
        ("${PID}", 2, "reads a field", "PID-1"),
        ("${PID-5 | uper}", 10, '"uper" is not a filter', "upper"),
        ("${PID-5 | }", 9, "name of a filter is missing", ""),
        ("${PID-5 | left}", 10, "takes one value", "left(x)"),
        ("${PID-5 | upper(1)}", 10, "takes nothing", ""),
        ("${PID-5 | left(x)}", 10, "a number", ""),
        ("${PID-5 | pad(3,00)}", 10, "one character", ""),
        ("${PID-5 | date(hello)}", 10, "YYYY", ""),
        ("${PID-5 | left 3}", 14, "did not expect", ""),
        ("${PID-5 | default('a)}", 0, "without its }", ""),
        ("${env:HOST}", 2, "ifengine.yaml", ""),
        ("${secret:KEY}", 2, "ifengine.yaml", ""),
        ("${msg.date}", 2, "not known", "msg.id"),
    ],
)
def test_a_mistake_in_a_placeholder_is_shown_at_its_place(
    text: str, offset: int, message: str, hint: str
) -> None:
    with pytest.raises(NotationError) as caught:
        parse_template(text)
    assert caught.value.offset == offset
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_template_says_what_it_reads() -> None:
    template = parse_template("${PID-5.1 | table(sex)} ${ward} ${msg.id} ${now}")
    assert [path.text for path in template.paths()] == ["PID-5.1"]
    assert template.variables() == ("ward",)
    assert template.tables() == ("sex",)
    assert not template.is_constant
    assert parse_template("x $${y}").is_constant


def test_a_filter_that_cannot_be_applied_does_not_name_the_value() -> None:
    for text in ("${PID-5.2 | date('YYYY')}", "${PID-5.2 | table(sex)}"):
        with pytest.raises(ReasonError) as caught:
            rendered(text)
        assert "Ada" not in f"{caught.value} {caught.value!r}"


@given(st.text(alphabet="${}|'\"()PID-5.1 abc,ward", max_size=25))
def test_any_text_is_a_template_or_an_error_inside_the_text(text: str) -> None:
    try:
        template = parse_template(text)
    except NotationError as error:
        place = error.offset
    else:
        place = 0
        assert template.text == text
    assert 0 <= place <= max(len(text) - 1, 0)


@given(st.text(st.characters(exclude_characters="$"), max_size=30))
def test_text_without_placeholders_is_itself(text: str) -> None:
    assert rendered(text) == text
