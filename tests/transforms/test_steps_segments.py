"""Steps on repetitions and segments: what moves together stays together, numbers begin again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7 import groups
from ifengine.hl7.message import Message
from ifengine.transforms.base import StepFailedError
from transforms.written import ADT, ORU, compiled, field, run, scope_of, steps

MSH = rb"MSH|^~\&|A|B|C|D|20260105||ORU^R01|1|P|2.5.1"


def lines(message: Message) -> list[str]:
    return message.encode().decode().split("\r")[1:-1]


def of(*segments: str) -> bytes:
    return b"\r".join([MSH, *(segment.encode() for segment in segments), b""])


# --- repetitions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "place", "expected"),
    [
        ("- add_repetition: {to: PID-3, value: '7~8'}", "PID-3",
         r"70^^^MERCY^MR~99^^^SSA^SS~7\R\8"),
        ("- add_repetition: {to: PID-3, parts: {1: '${PV1-3.1}', 4.2: x, 5: VN}}", "PID-3",
         "70^^^MERCY^MR~99^^^SSA^SS~4WEST^^^&x^VN"),
        ("- add_repetition: {to: PID-2, value: 7}", "PID-2", "7"),
        ("- add_repetition: {to: PID-16, value: M}", "PID-16", "M"),
        ("- add_repetition: {to: PID-2, value: '${PID-30}'}", "PID-2", ""),
        ("- add_repetition: {to: PID-13, parts: {1: '${PID-30}', 2: null}}", "PID-13",
         "555-01 47~555-02"),
        ("- {for_each: AL1, add_repetition: {to: AL1-5, value: rash}}", "AL1[2]-5", "rash"),
        ("- drop_repetitions: {in: PID-3, where: .5 = SS}", "PID-3", "70^^^MERCY^MR"),
        ("- drop_repetitions: {in: PID-3, where: .5 = XX}", "PID-3", "70^^^MERCY^MR~99^^^SSA^SS"),
        ("- drop_repetitions: {in: PID-13, where: .1 contains 555}", "PID-13", ""),
        ("- drop_repetitions: {in: PID-16, where: .1 != X}", "PID-16", '""'),
    ],
)  # fmt: skip
def test_repetitions_are_added_and_dropped(written: str, place: str, expected: str) -> None:
    assert field(run(written), place) == expected


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("- drop_repetitions: {in: PID-3, where: '.5 in [MR, SS]'}", "no repetition would be left"),
        ("- add_repetition: {to: PV2-3, value: x}", "there is no segment PV2"),
        ("- move_segment: {segment: ZPI, after: PV2}", "no segment PV2"),
        ("- note: {text: x, under: PV2}", "no segment PV2"),
    ],
)
def test_what_cannot_be_done_says_why(written: str, reason: str) -> None:
    with pytest.raises(StepFailedError) as caught:
        run(written)
    assert reason in caught.value.reason.safe


@given(st.text(alphabet="ab^~&| \r", min_size=1, max_size=8))
def test_an_added_repetition_is_one_value_and_the_others_are_as_they_were(value: str) -> None:
    message = run("- add_repetition: {to: PID-3, value: '${MSH-5}'}", _with_receiver(value))
    i = message.first("PID")
    assert message.repetition_count(i, 3) == 3
    assert message.text(i, 3, 3) == value
    assert message.raw(i, 3, 1) == b"70^^^MERCY^MR"


def _with_receiver(value: str) -> bytes:
    message = Message.parse(ADT)
    message.set_text(0, 5, None, None, None, value)
    return message.encode()


# --- moving -------------------------------------------------------------------------------------


def test_a_moved_segment_stands_behind_the_other_and_takes_its_notes_along() -> None:
    assert run("- move_segment: {segment: ZPI, after: PID}").names()[2:4] == ["PID", "ZPI"]
    moved = run("- move_segment: {segment: 'OBX[1]', after: 'OBX[2]'}", ORU)
    assert lines(moved)[3:6] == [
        "OBX|2|NM|2345-7^Glu||9.9|||HH|||C",
        "OBX|1|NM|718-7^Hb||13.1|||N|||F",
        "NTE|1||about the value",
    ]


def test_a_segment_moved_behind_one_with_notes_does_not_take_them_over() -> None:
    content = of("PID|1", "NTE|1||of the patient", "OBR|1", "OBX|1", "ZPI|1")
    moved = run("- move_segment: {segment: ZPI, after: PID}", content)
    assert lines(moved) == ["PID|1", "NTE|1||of the patient", "ZPI|1", "OBR|1", "OBX|1"]
    moved = run("- move_segment: {segment: 'OBR[2]', after: 'OBR[1]'}", ORU)
    assert moved.encode() == ORU


def test_an_order_moves_with_its_results_and_their_notes() -> None:
    moved = run("- move_segment: {segment: 'OBR[1]', after: 'OBR[2]'}", ORU)
    assert [line.split("|")[0] for line in lines(moved)] == [
        "PID", "OBR", "OBX", "OBR", "NTE", "OBX", "NTE", "OBX",
    ]  # fmt: skip
    assert [field(moved, f"OBR[{n}]-2") for n in (1, 2)] == ["P2", "P1"]


def test_all_that_fit_move_and_keep_their_order() -> None:
    moved = run("- move_segment: {segment: AL1, after: PID}")
    assert moved.names()[2:5] == ["PID", "AL1", "AL1"]
    assert [field(moved, f"AL1[{n}]-1") for n in (1, 2)] == ["1", "2"]
    assert run("- move_segment: {segment: ZXX, after: PID}").encode() == ADT


def test_a_note_that_would_slide_to_another_segment_stops_the_move() -> None:
    content = of("PID|1", "OBR|1", "NTE|1||of the order", "OBX|1", "SPM|1", "NTE|1||of the sample")
    with pytest.raises(StepFailedError, match="would come to belong"):
        run(
            "- move_segment: {segment: 'OBR[1]', after: 'SPM[1]'}",
            of("PID|1", "OBR|1", "ZAA|1", "DSC", "NTE|2", "SPM|1"),
        )
    assert run("- move_segment: {segment: NTE, after: 'OBX[1]'}", content).names()[-3:] == [
        "NTE", "NTE", "SPM",
    ]  # fmt: skip


def test_a_segment_cannot_move_behind_itself() -> None:
    with pytest.raises(StepFailedError, match="behind itself"):
        run("- move_segment: {segment: 'OBR[1]', after: 'OBX[1]'}", ORU)


def test_sorted_segments_take_their_notes_along_and_stay_under_their_order() -> None:
    content = of(
        "PID|1", "OBR|1", "OBX|10||B", "NTE|1||ten", "OBX|9||A", "OBX|||C",
        "OBR|2", "OBX|2||E", "OBX|1||D", "NTE|1||one",
    )  # fmt: skip
    assert lines(run("- sort_segments: {segment: OBX, by: OBX-1}", content)) == [
        "PID|1", "OBR|1", "OBX|9||A", "OBX|10||B", "NTE|1||ten", "OBX|||C",
        "OBR|2", "OBX|1||D", "NTE|1||one", "OBX|2||E",
    ]  # fmt: skip
    one = run(
        "- {for_each: OBR, when: OBR-1 = 2, sort_segments: {segment: OBX, by: OBX-3}}", content
    )
    assert [field(one, f"OBX[{n}]-3") for n in range(1, 6)] == ["B", "A", "C", "D", "E"]


def test_sorting_compares_times_as_times_and_further_fields_where_one_is_equal() -> None:
    content = of(
        "OBR|1", "OBX|1||||||||||||20260106", "OBX|2||||||||||||202601051015",
        "OBX|4||||||||||||20260105", "OBX|3||||||||||||20260105",
    )  # fmt: skip
    made = run("- sort_segments: {segment: OBX, by: [OBX-14, OBX-1]}", content)
    assert [field(made, f"OBX[{n}]-1") for n in (1, 2, 3, 4)] == ["1", "2", "3", "4"]
    content = content.replace(b"||||||||||||", b"|||||||||||||")
    made = run("- sort_segments: {segment: OBX, by: [OBX-14, OBX-1]}", content)
    assert [field(made, f"OBX[{n}]-1") for n in (1, 2, 3, 4)] == ["3", "4", "2", "1"]


_NAMES = st.lists(
    st.sampled_from(["OBR", "OBX", "NTE", "ORC", "SPM", "ZPI", "TCD", "AL1"]), max_size=14
)


@given(_NAMES, st.sampled_from(["OBX", "OBR", "ORC", "AL1", "NTE"]), st.integers(0, 9999))
def test_sorting_moves_whole_blocks_and_loses_nothing(
    names: list[str], segment: str, seed: int
) -> None:
    segments = [f"{name}|{(seed * (at + 7)) % 97}|{at}" for at, name in enumerate(names)]
    content = of("PID|1", *segments)
    scope = scope_of(content)
    written = f"- sort_segments: {{segment: {segment}, by: {segment}-1}}"
    steps(written).run(scope)
    before, after = lines(Message.parse(content)), lines(scope.message)
    assert sorted(after) == sorted(before)
    # every comment and every result still belongs to what it belonged to
    assert _owners(after) == _owners(before) or segment == "NTE"


def _owners(segments: list[str]) -> dict[str, str]:
    names = ["MSH", *(segment[:3] for segment in segments)]
    texts = ["MSH", *segments]
    return {
        texts[at]: texts[groups.owner_of_comment(names, at)]
        for at, name in enumerate(names)
        if name == "NTE"
    }


def test_a_loop_goes_on_where_it_was_when_segments_move() -> None:
    content = of("PID|1", "OBR|1", "OBX|3", "OBX|1", "NTE|1||one", "OBX|2")
    written = """
- for_each: OBX
  do:
    - {when: OBX-1 = 3, sort_segments: {segment: OBX, by: OBX-1}}
    - {set: {OBX-4: '${OBX-1}'}}
"""
    made = run(written, content)
    # inside the loop OBX is this one: nothing to sort, every one is visited once
    assert [field(made, f"OBX[{n}]-4") for n in (1, 2, 3)] == ["3", "1", "2"]
    scope = scope_of(content)
    scope.loops.append([3, 4, 6])
    scope.segment = 3
    scope.reorder_segments([0, 1, 2, 4, 5, 6, 3])
    assert (scope.segment, scope.loops) == (6, [[6, 3, 5]])


def test_what_is_carried_behind_a_segment_moves_with_it() -> None:
    content = ADT.replace(b"ZPI|1|VIP", b"ZPI|1|VIP\nno segment")
    moved = run("- move_segment: {segment: ZPI, after: PID}", content).encode()
    assert b"ZPI|1|VIP\nno segment" in moved
    assert moved.index(b"no segment") < moved.index(b"PV1")


# --- numbers ------------------------------------------------------------------------------------


def test_set_ids_begin_again_under_each_parent() -> None:
    content = of(
        "PID|7", "NTE|7", "ORC|RE", "OBR|7", "NTE|7", "NTE|7", "OBX|7", "NTE|7", "OBX|7",
        "SPM|7", "OBX|7", "ORC|RE", "OBR|7", "OBX|7", "NTE|7", "PID|7", "OBR|7", "OBX|7",
    )  # fmt: skip
    made = run("- renumber: [PID, OBR, OBX, NTE, SPM]", content)
    assert lines(made) == [
        "PID|1", "NTE|1", "ORC|RE", "OBR|1", "NTE|1", "NTE|2", "OBX|1", "NTE|1", "OBX|2",
        "SPM|1", "OBX|1", "ORC|RE", "OBR|2", "OBX|1", "NTE|1", "PID|2", "OBR|1", "OBX|1",
    ]  # fmt: skip
    made = run("- renumber: [NK1, AL1, Z01]", of("PID|1", "NK1|4", "AL1|1", "AL1|1", "Z01|9"))
    assert lines(made)[1:] == ["NK1|1", "AL1|1", "AL1|2", "Z01|1"]


def test_renumbering_in_a_loop_changes_that_turn_only() -> None:
    content = ORU.replace(b"OBX|1|", b"OBX|8|").replace(b"OBX|2|", b"OBX|9|")
    made = run("- {for_each: OBR, when: OBR-1 = 1, renumber: OBX}", content)
    assert [field(made, f"OBX[{n}]-1") for n in (1, 2, 3)] == ["1", "2", "8"]


def test_no_number_is_invented_for_what_has_no_set_id() -> None:
    for written in ("renumber: ORC", "renumber: [OBX-1]", "renumber: RXA", "renumber: 'Z*'"):
        _, problems = compiled(f"- {written}")
        assert [p.code for p in problems.found if p.code.startswith("E")] == ["E306"], written


def test_no_built_in_changes_the_status_of_a_result() -> None:
    content = ORU.replace(b"|||F", b"|||D").replace(b"|||C", b"|||W")
    written = (
        "- renumber: [OBX, NTE]\n- sort_segments: {segment: OBX, by: OBX-3}\n"
        "- {for_each: OBX, note: seen}\n"
    )
    made = run(written, content)
    assert sorted(field(made, f"OBX[{n}]-11") for n in (1, 2, 3)) == ["D", "D", "W"]


# --- notes --------------------------------------------------------------------------------------


def test_a_note_stands_behind_the_notes_of_its_segment_with_the_next_number() -> None:
    made = run("- {for_each: OBX, note: 'Seen ${OBX-3.1} & filed'}", ORU)
    assert lines(made)[2:] == [
        "NTE|1||about the order",
        "OBX|1|NM|718-7^Hb||13.1|||N|||F",
        "NTE|1||about the value",
        r"NTE|2||Seen 718-7 \T\ filed",
        "OBX|2|NM|2345-7^Glu||9.9|||HH|||C",
        r"NTE|1||Seen 2345-7 \T\ filed",
        "OBR|2|P2||K",
        "OBX|1|NM|2823-3^K||4|||L|||F",
        r"NTE|1||Seen 2823-3 \T\ filed",
    ]
    made = run("- {for_each: OBX, when: OBX-11 = C, note: Corrected result.}", ORU)
    assert lines(made).count("NTE|1||Corrected result.") == 1
    assert run("- {for_each: OBR, note: x}", ORU).names()[3:6] == ["NTE", "NTE", "OBX"]


def test_a_note_under_a_path_needs_no_loop() -> None:
    made = run("- note: {text: new, under: 'OBX(where OBX-8 = HH)', source: L, type: RE}", ORU)
    assert lines(made)[5:7] == ["OBX|2|NM|2345-7^Glu||9.9|||HH|||C", "NTE|1|L|new|RE"]
    made = run("- note: {text: new, under: 'OBX[*]'}", ORU)
    assert made.names().count("NTE") == 5
    assert run("- note: {text: new, under: PID}", ORU).names()[2] == "NTE"
    assert run("- note: {text: new, under: 'OBX(where OBX-8 = ZZ)'}", ORU).encode() == ORU


def test_a_note_at_the_front_moves_the_numbers_of_the_others() -> None:
    made = run("- note: {text: new, under: 'OBX[1]', at: first}", ORU)
    assert lines(made)[4:6] == ["NTE|1||new", "NTE|2||about the value"]


def test_a_note_counts_on_from_the_highest_number() -> None:
    content = of("PID|1", "OBX|1", "NTE|7||a", "NTE|||b")
    assert lines(run("- {for_each: OBX, note: c}", content))[-1] == "NTE|8||c"
    content = of("PID|1", "OBX|1", "NTE|x||a", "NTE|||b")
    assert lines(run("- {for_each: OBX, note: c}", content))[-1] == "NTE|3||c"


def test_the_lines_of_a_note_become_line_breaks_of_hl7() -> None:
    made = run("- for_each: OBR\n  do:\n    - note: |\n        one\n        two\n", ORU)
    assert field(made, "NTE[2]-3") == r"one\.br\two"


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("- note: x", "E102"),
        ("- note: {text: x, under: OBX}", "E305"),
        ("- note: {text: x, under: OBX-3}", "E306"),
        ("- note: {text: x, under: EVN}", "E306"),
        ("- {for_each: DSP, note: x}", "E306"),
        ("- note: {text: null, under: PID}", "E104"),
        ("- note: {text: x, under: PID, at: front}", "E103"),
        ("- note: {txt: x, under: PID}", "E101"),
        ("- add_repetition: {to: PID-3, value: x, parts: {1: x}}", "E102"),
        ("- add_repetition: {to: PID-3, parts: {x: y}}", "E110"),
        ("- add_repetition: {to: AL1-3, value: x}", "E305"),
        ("- add_repetition: {to: 'PID-3[2]', value: x}", "E306"),
        ("- drop_repetitions: {in: PID-3.1, where: .5 = SS}", "E306"),
        ("- move_segment: {segment: PID, after: PV1}", "E306"),
        ("- move_segment: {segment: ZPI, after: AL1}", "E305"),
        ("- move_segment: {segment: ZPI-1, after: PID}", "E306"),
        ("- sort_segments: {segment: PID, by: PID-1}", "E306"),
        ("- sort_segments: {segment: OBX, by: OBR-1}", "E306"),
        ("- sort_segments: {segment: 'OBX[1]', by: OBX-1}", "E306"),
    ],
)
def test_a_step_written_wrongly_is_an_error_at_its_place(written: str, code: str) -> None:
    _, problems = compiled(written)
    assert [p.code for p in problems.found if p.code.startswith("E")] == [code]
    assert problems.found[0].position.line == 1


def test_these_steps_say_what_they_touch() -> None:
    made, _ = compiled(
        "- add_repetition: {to: PID-3, value: '${PV1-19}'}\n- renumber: [OBX, NTE]\n"
        "- {for_each: OBX, note: '${OBX-3}'}\n- sort_segments: {segment: OBX, by: OBX-4}"
    )
    assert {path.text for path in made.paths_read()} == {"PV1-19", "OBX", "OBX-3", "OBX-4"}
    assert [path.text for path in made.paths_written()] == ["PID-3", "OBX", "NTE", "NTE", "OBX"]
