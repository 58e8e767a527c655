"""`use:` as an analyst writes it, and `${vars.NAME}`."""

import pytest

from ifengine.transforms.base import StepFailedError
from ifengine.transforms.compile import compile_steps
from ifengine.transforms.reading import Known
from ifengine.transforms.source import Problems
from transforms.written import ADT, SNIPPETS, TABLES, compiled, field, nodes, run, scope_of, snippet


def known(**texts: str) -> Known:
    return Known(
        TABLES,
        snippets={f"snippets/{n}.yaml": snippet(f"snippets/{n}.yaml", t) for n, t in texts.items()},
    )


def told(text: str, around: Known) -> list[tuple[str, str, int, str]]:
    problems = Problems()
    compile_steps(nodes(text), problems, around)
    return [(p.code, p.position.file, p.position.line, p.message) for p in problems.found]


def test_a_snippet_does_its_steps_with_the_parameters_that_it_is_given() -> None:
    message = run("- use: {file: snippets/us-phone.yaml, with: {field: PID-13}}")
    assert field(message, "PID-13") == "55501 47~55502"


def test_a_parameter_may_be_a_key_and_a_part_of_a_text() -> None:
    around = known(mark="- set: {'${with.at}.1': 'x${with.what}${PID-5.2}'}\n")
    problems = Problems()
    made = compile_steps(
        nodes("- use: {file: mark.yaml, with: {at: PID-4, what: y}}"), problems, around
    )
    assert problems.ok, problems.found
    scope = scope_of(ADT)
    made.run(scope)
    assert field(scope.message, "PID-4") == "xyAda"


def test_a_snippet_honours_when_and_for_each() -> None:
    message = run("- {use: {file: us-phone.yaml, with: {field: PID-13}}, when: PV1-2 = O}")
    assert field(message, "PID-13") == "555-01 47~555-02"
    around = known(flag="- set: {AL1-2: '${with.to}'}\n")
    made = compile_steps(
        nodes("- {for_each: AL1, use: {file: flag.yaml, with: {to: FA}}}"), Problems(), around
    )
    scope = scope_of(ADT)
    made.run(scope)
    assert [field(scope.message, "AL1-2"), field(scope.message, "AL1[2]-2")] == ["FA", "FA"]


def test_the_steps_of_a_snippet_are_numbered_under_the_step_that_uses_it() -> None:
    made, _ = compiled("- upper: PID-8\n- use: {file: us-phone.yaml, with: {field: PID-13}}")
    assert [(n, v) for n, v, _ in made.listing()] == [
        ("1", "upper"),
        ("2", "use"),
        ("2.1", "replace"),
    ]
    made, _ = compiled("- use: {file: us-phone.yaml, with: {field: 'PV2-3'}}")
    made.run(scope_of(ADT))  # an in-place verb on what is not there
    around = known(write="- set: {'${with.at}': x}\n")
    failing = compile_steps(
        nodes("- use: {file: write.yaml, with: {at: PV2-3}}"), Problems(), around
    )
    with pytest.raises(StepFailedError) as error:
        failing.run(scope_of(ADT))
    assert error.value.step == "step 1.1 set"


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("- use: {file: us-fone.yaml, with: {field: PID-13}}", "E353", "no snippet"),
        ("- use: {file: us-phone.yaml, with: {feild: PID-13}}", "E354", 'no parameter "feild"'),
        ("- use: {file: us-phone.yaml}", "E354", 'needs "field"'),
        ("- use: {file: us-phone.yaml, with: {field: PID-13, more: x}}", "E354", '"more"'),
        ("- use: {file: us-phone.yaml, with: PID-13}", "E104", "named values"),
        ("- use: us-phone.yaml", "E104", "named parameters"),
    ],
)
def test_a_mistake_at_the_use_is_told_once_there(text: str, code: str, says: str) -> None:
    found = told(text, Known(TABLES, snippets=SNIPPETS))
    assert [(one[0], one[2]) for one in found] == [(code, 1)]
    assert says in found[0][3]


def test_a_mistake_inside_is_told_in_the_snippet_with_the_place_of_its_use() -> None:
    around = known(wrong="- upper: PID-8\n- uper: PID-8\n")
    assert told("- upper: PID-5\n- use: {file: wrong.yaml}", around) == [
        ("E101", "channel.yaml", 2, '"uper" is not known here (used in channel.yaml:2)')
    ]


def test_a_parameter_that_makes_a_key_stand_twice_is_refused() -> None:
    around = known(twice="- set: {PID-4: x, '${with.at}': y}\n")
    found = told("- use: {file: twice.yaml, with: {at: PID-4}}", around)
    assert [one[0] for one in found] == ["E002"]


def test_a_snippet_that_uses_itself_or_goes_too_deep_is_refused() -> None:
    around = known(
        a="- use: {file: b.yaml}\n",
        b="- use: {file: a.yaml}\n",
        one="- use: {file: two.yaml}\n",
        two="- use: {file: three.yaml}\n",
        three="- upper: PID-8\n",
        zero="- use: {file: one.yaml}\n",
    )
    assert [one[0] for one in told("- use: {file: a.yaml}", around)] == ["E353"]
    assert not [one for one in told("- use: {file: one.yaml}", around) if one[0].startswith("E")]
    assert [one[0] for one in told("- use: {file: zero.yaml}", around) if one[0] != "W311"] == [
        "E353"
    ]
