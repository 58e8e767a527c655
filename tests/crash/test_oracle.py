"""The checker finds what it is there to find: fabricated logs, one fault each."""

import pytest

from crash.messages import digest, make
from crash.oracle import Verdict, check, read_receiver, read_sender

IDS = [make(0, number).control_id for number in range(4)]
ORDER = {"east": "key", "west": "connection"}


def sender_log(keys: str = "aaaa") -> list[str]:
    lines = []
    for number, key in enumerate(keys):
        made = make(0, number)
        east, west = (digest(made.expected[name]) for name in ("east", "west"))
        lines += [
            f"S {made.control_id} 0 {key} {digest(made.content)} {east} {west}",
            f"A {made.control_id} AA",
        ]
    return lines


def receiver_log(name: str, order: tuple[int, ...] = (0, 1, 2, 3)) -> list[str]:
    made = [make(0, number) for number in range(4)]
    return [f"{made[n].control_id} {digest(made[n].expected[name])} AA" for n in order]


def judge(
    *,
    sender: list[str] | None = None,
    east: list[str] | None = None,
    west: list[str] | None = None,
    marked: dict[str, set[str]] | None = None,
    stored: tuple[str, ...] = (),
    states: dict[str, dict[str, str]] | None = None,
    settled: bool = True,
) -> Verdict:
    arrivals = {
        "east": read_receiver(receiver_log("east") if east is None else east),
        "west": read_receiver(receiver_log("west") if west is None else west),
    }
    sendings = read_sender(sender or sender_log())
    return check(
        sendings,
        arrivals,
        marked=marked or {},
        ordered_by=ORDER,
        stored=stored,
        states=states,
        settled=settled,
    )


def test_a_run_in_which_all_arrived_once_and_in_order_is_clean() -> None:
    verdict = judge()
    assert verdict.is_clean()
    assert not verdict.duplicates


@pytest.mark.parametrize("missing", range(4))
def test_an_acknowledged_message_that_arrived_nowhere_is_lost(missing: int) -> None:
    order = tuple(n for n in range(4) if n != missing)
    verdict = judge(west=receiver_log("west", order))
    assert verdict.lost == [f"west:{IDS[missing]}"]
    assert not verdict.is_clean()


def test_a_message_without_an_answer_may_arrive_or_not() -> None:
    sender = [line for line in sender_log() if line != f"A {IDS[3]} AA"] + [f"U {IDS[3]}"]
    assert judge(sender=sender).is_clean()
    without = {name: receiver_log(name, (0, 1, 2)) for name in ("east", "west")}
    assert judge(sender=sender, **without).is_clean()


def test_a_message_that_the_engine_lists_is_owed_even_without_an_answer() -> None:
    sender = [line for line in sender_log() if line != f"A {IDS[3]} AA"] + [f"U {IDS[3]}"]
    verdict = judge(sender=sender, west=receiver_log("west", (0, 1, 2)), stored=(IDS[3],))
    assert verdict.lost == [f"west:{IDS[3]}"]


def test_a_message_nobody_sent_is_a_phantom() -> None:
    verdict = judge(east=[*receiver_log("east"), "K9-0000001 abc AA"])
    assert verdict.phantom == ["east:K9-0000001"]
    assert not verdict.is_clean()


def test_a_message_of_the_same_patient_that_overtakes_is_found() -> None:
    verdict = judge(east=receiver_log("east", (0, 2, 1, 3)))
    assert verdict.reordered == [f"east:{IDS[1]}"]
    assert not verdict.is_clean()


def test_messages_of_different_patients_may_overtake_where_the_key_orders() -> None:
    order = (0, 2, 1, 3)
    assert judge(sender=sender_log("abcd"), east=receiver_log("east", order)).is_clean()
    verdict = judge(sender=sender_log("abcd"), west=receiver_log("west", order))
    assert verdict.reordered == [f"west:{IDS[1]}"]


def test_a_repeated_delivery_counts_only_where_it_is_not_marked() -> None:
    twice = receiver_log("east", (0, 1, 2, 1, 2, 3))
    verdict = judge(east=twice, marked={"east": {IDS[1]}})
    assert verdict.unmarked == [f"east:{IDS[2]}"]
    assert verdict.duplicates["east"] == 2
    assert not verdict.is_clean()
    assert judge(east=twice, marked={"east": {IDS[1], IDS[2]}}).is_clean()


def test_a_mark_at_another_destination_does_not_excuse() -> None:
    verdict = judge(east=receiver_log("east", (0, 1, 1, 2, 3)), marked={"west": {IDS[1]}})
    assert verdict.unmarked == [f"east:{IDS[1]}"]


def test_a_refused_arrival_is_no_delivery() -> None:
    refused = [receiver_log("east")[1].replace(" AA", " AR")]
    good = receiver_log("east")
    assert judge(east=[good[0], *refused, *good[1:]]).is_clean()
    verdict = judge(east=[good[0], *refused, *good[2:]])
    assert verdict.lost == [f"east:{IDS[1]}"]


def test_a_delivery_that_was_not_answered_is_a_delivery() -> None:
    silent = receiver_log("east")[1].replace(" AA", " none")
    good = receiver_log("east")
    verdict = judge(east=[good[0], silent, *good[1:]])
    assert verdict.unmarked == [f"east:{IDS[1]}"]


def test_other_bytes_than_the_channel_makes_are_found() -> None:
    lines = receiver_log("east")
    lines[2] = f"{IDS[2]} {digest(make(0, 2).content)} AA"  # delivered as it came
    assert judge(east=lines).garbled == [f"east:{IDS[2]}"]


def test_a_line_that_is_no_log_line_stops_the_check() -> None:
    with pytest.raises(ValueError, match="not a line"):
        read_sender(["Z what"])


def test_what_the_engine_calls_sent_and_no_receiver_has_is_untrue() -> None:
    sent = {"west": dict.fromkeys(IDS, "sent")}
    assert judge(states=sent).is_clean()
    verdict = judge(west=receiver_log("west", (0, 1, 3)), states=sent)
    assert verdict.untrue == [f"west:{IDS[2]}"]
    assert verdict.lost == [f"west:{IDS[2]}"]


def test_what_its_sender_was_told_no_about_must_not_arrive() -> None:
    sender = [line.replace(f"A {IDS[1]} AA", f"A {IDS[1]} AE") for line in sender_log()]
    verdict = judge(sender=sender, west=receiver_log("west", (0, 2, 3)))
    assert verdict.untrue == [f"east:{IDS[1]}"]
    both = {name: receiver_log(name, (0, 2, 3)) for name in ("east", "west")}
    assert judge(sender=sender, **both).is_clean()  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["held", "dead_letter", "parked", "in_doubt", "queued"])
def test_what_the_engine_shows_in_another_state_is_not_lost_while_it_is_under_way(
    state: str,
) -> None:
    west, shown = receiver_log("west", (0, 1, 3)), {"west": {IDS[2]: state}}
    assert judge(west=west, states=shown, settled=False).is_clean()
    assert judge(west=west, states=shown).lost == [f"west:{IDS[2]}"]
    gone = {"west": {IDS[2]: "filtered"}}
    assert judge(west=west, states=gone, settled=False).lost == [f"west:{IDS[2]}"]
    assert judge(west=west, settled=False).lost == [f"west:{IDS[2]}"]


def test_a_message_that_is_not_for_a_destination_is_not_owed_there_and_must_not_arrive() -> None:
    lines = sender_log()
    lines[2] = " ".join([*lines[2].split()[:-1], "-"])
    assert judge(sender=lines, west=receiver_log("west", (0, 2, 3))).is_clean()
    assert judge(sender=lines).phantom == [f"west:{IDS[1]}"]
