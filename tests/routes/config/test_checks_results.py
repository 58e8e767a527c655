"""The status of a result says what the receiver must do: no step writes over it unasked."""

import pytest

from routes.config.small_site import CHANNEL


def places(load, steps: str) -> list[tuple[int, int]]:
    text = CHANNEL.replace("to:\n", f"steps:\n{steps}to:\n")
    found = load({"channels/one.yaml": text}).problems
    assert [p for p in found if p.severity == "error"] == []
    return [(p.position.line, p.position.column) for p in found if p.code == "W236"]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("  - set: {'OBX[*]-11': F}\n", [(7, 11)]),
        ("  - set:\n      OBX[1]-5: x\n      OBX[1]-11: F\n", [(9, 7)]),
        ("  - copy: OBR-25 -> OBX[1]-11\n", [(7, 11)]),
        ("  - clear: [OBX-5, OBX-11]\n", [(7, 20)]),
        ("  - for_each: OBX\n    do:\n      - trim: OBX-5\n      - null: OBX-11\n", [(10, 15)]),
        ("  - lookup: {table: s, from: 'OBX[1]-11', missing: keep}\n", [(7, 30)]),
    ],
)
def test_writing_a_status_unasked_is_said_where_it_is_written(load, steps, expected) -> None:
    load({"channels/tables/s.csv": "from,to\nA,F\n"})
    assert places(load, steps) == expected


@pytest.mark.parametrize(
    "steps",
    [
        "  - {for_each: OBX, when: OBX-11 = P, set: {OBX-11: F}}\n",
        "  - {for_each: OBX, do: [{when: 'OBX-11 not in [C, D, W, X]', set: {OBX-11: F}}]}\n",
        "  - {for_each: OBX, when: OBX-11 = P, do: [{set: {OBX-11: F}}]}\n",
        "  - {for_each: OBX, do: [{choose: [{when: OBX-11 = P, do: [{set: {OBX-11: F}}]}]}]}\n",
        "  - set: {'OBX(where OBX-11 = P)-11': F}\n",
        "  - default: {'OBX[*]-11': F}\n",
        "  - trim: OBX-11\n",
        "  - copy: OBX[1]-11 -> OBR[1]-25\n",
        "  - set: {'OBX[1]-5': F}\n",
    ],
)
def test_a_status_that_was_looked_at_may_be_written(load, steps) -> None:
    assert places(load, steps) == []
