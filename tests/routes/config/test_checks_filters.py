"""A filter deletes at the receiver: what must not be left out, and what may with a reason."""

import pytest

from routes.config.small_site import CHANNEL


def channel(steps: str, destination: str = "", types: str = "[ORU^R01]") -> dict[str, str]:
    text = CHANNEL.replace("[ORU^R01]", types).replace("to:\n", f"steps: {steps}\nto:\n")
    return {
        "channels/one.yaml": text.replace(
            "{connection: out}", "{connection: out" + destination + "}"
        )
    }


def codes(loaded) -> list[str]:
    return [p.code for p in loaded.problems if p.code not in ("W208", "W209")]


SOME = "[{delete_segments: 'AL1(where AL1-2 = DA)'}]"


@pytest.mark.parametrize(
    ("steps", "destination", "expected"),
    [
        (SOME, "", ["W235"]),
        (SOME, ", snapshot: []", []),  # said: no snapshots here
        (SOME, ", snapshot: [IN1]", []),
        (SOME, ", snapshot: [AL1]", ["E235"]),
        (SOME, ", snapshot: AL1", ["E235"]),
        (SOME, ", snapshot: [AL1], because: the kitchen wants food only", []),
        (SOME, ", snapshot: [QQQ]", ["E104"]),
        (SOME, ", snapshott: [AL1]", ["E101"]),
        ("[{delete_segments: 'OBX(where OBX-11 = X)'}]", "", []),  # results have their status
        ("[{delete_segments: 'OBX(where OBX-11 = X)'}]", ", snapshot: [OBX]", ["E235"]),
        # all of them, always, is a receiver that never had them
        ("[{delete_segments: AL1}]", ", snapshot: [AL1]", []),
        ("[{keep_segments: [MSH, PID, OBR]}]", ", snapshot: [AL1]", []),
        ("[{when: PV1-2 = O, delete_segments: AL1}]", ", snapshot: [AL1]", ["E235"]),
        ("[{when: PV1-2 = O, keep_segments: [MSH, PID, OBR]}]", ", snapshot: [AL1]", ["E235"]),
        (
            "[{choose: [{when: PV1-2 = O, do: [{delete_segments: AL1}]}]}]",
            ", snapshot: [AL1]",
            ["E235"],
        ),
        (
            "[{choose: [{when: PV1-2 = O, do: [{trim: PID-5}]}], otherwise: [{delete_segments: AL1}]}]",
            ", snapshot: [AL1]",
            ["E235"],
        ),
        ("[{for_each: AL1, when: AL1-2 = FA, delete_segments: AL1}]", ", snapshot: AL1", ["E235"]),
        ("[]", ", because: a reason for nothing", ["E102"]),
        ("[]", ", snapshot: [], because: a reason for nothing", ["E102"]),
    ],
)
def test_leaving_out_some_of_a_snapshot_wants_a_reason(load, steps, destination, expected) -> None:
    assert codes(load(channel(steps, destination, "'*'"))) == expected


def test_a_destinations_own_steps_count_for_it_alone(load) -> None:
    text = CHANNEL.replace(
        "  lab: {connection: out}\n",
        f"  lab: {{connection: out, snapshot: [AL1]}}\n"
        f'  copy: {{files: {{dir: out, name: "${{msg.id}}"}}, snapshot: [], steps: {SOME}}}\n',
    ).replace("types: [ORU^R01]\n", "")
    assert codes(load({"channels/one.yaml": text})) == []


def test_what_a_destination_says_of_snapshots_is_known_to_the_engine(load) -> None:
    loaded = load(channel(SOME, ", snapshot: [AL1, IN1], because: food only", "'*'"))
    assert loaded.site is not None
    destination = loaded.site.channels[0].destinations[0]
    assert (destination.snapshot, destination.because) == (("AL1", "IN1"), "food only")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("[{clear: PID-3}]", ["E233"]),
        ("[{null: [PID-5, PID-3.1]}]", ["E233"]),
        ("[{move: PID-3 -> PID-4}]", ["E233"]),
        ("[{clear: 'PID-3[2]'}]", []),
        ("[{when: PV1-2 = O, clear: PID-3}]", []),
        ("[{clear: PID-3}, {set: {PID-3.1: unknown}}]", []),  # written anew
        ("[{set: {PID-3.1: unknown}}, {clear: PID-3}]", ["E233"]),
        ("[{clear: PID-3}, {clear: PID-3.1}]", ["E233", "E233"]),
        ("[{deidentify: {profile: safe-harbor}}]", []),
    ],
)
def test_the_last_identifier_is_not_taken_away(load, steps, expected) -> None:
    assert codes(load(channel(steps))) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("[{keep_repetitions: {in: PID-3, where: .5 in [MR, PI]}}]", []),
        ("[{keep_repetitions: {in: PID-3, where: .5 = SS}}]", ["E233"]),
        ("[{keep_repetitions: {in: PID-3, where: .5 != MR}}]", ["E233"]),
        ("[{keep_repetitions: {in: PID-3, where: .4 = A}}]", []),
        ("[{keep_repetitions: {in: PID-4, where: .5 = SS}}]", []),
        ("[{drop_repetitions: {in: PID-3, where: .5 = SS}}]", []),
        ("[{drop_repetitions: {in: PID-3, where: .5 in [SS, MR]}}]", ["E233"]),
        ("[{drop_repetitions: {in: PID-3, where: .5 = MR and .4 = B}}]", []),
        ("[{when: PV1-2 = O, keep_repetitions: {in: PID-3, where: .5 = SS}}]", []),
    ],
)
def test_the_sites_own_identifier_stays(load, steps, expected) -> None:
    assert (
        codes(load(channel(steps.replace("where: ", "where: '").replace("}}", "'}}")))) == expected
    )


@pytest.mark.parametrize(
    ("types", "steps", "expected"),
    [
        ("[ADT^A40]", "[{delete_segments: MRG}]", ["E232"]),
        ("[ADT^A40]", "[{keep_segments: [MSH, EVN, PID]}]", ["E232"]),
        ("[ADT^A40]", "[{when: PV1-2 = O, delete_segments: MRG}]", []),
        ("[ORU^R01]", "[{delete_segments: [OBR, OBX, NTE]}]", ["E232"]),
        ("[ORU^R01]", "[{delete_segments: NTE}]", []),
        ("[ORU^R01, ORM^O01]", "[{keep_segments: [MSH, PID, OBR, OBX]}]", ["E232"]),
    ],
)
def test_what_a_type_requires_stays(load, types, steps, expected) -> None:
    files = channel(steps, ", on_in_doubt: hold", types)
    text = files["channels/one.yaml"].replace("order_by", "ignore_types: {identity: x}\norder_by")
    assert codes(load({"channels/one.yaml": text})) == expected
