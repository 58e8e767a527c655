"""Times and promises that are fine alone and break a word together."""

import pytest

from routes.config.small_site import CHANNEL, SITE

IGNORED = ("W201", "W202", "W208", "W209")


def codes(loaded) -> list[str]:
    return [p.code for p in loaded.problems if p.code not in IGNORED]


def channel(line: str) -> dict[str, str]:
    return {"channels/one.yaml": CHANNEL.replace("to:\n", f"{line}\nto:\n")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ack: {when: delivered, from: lab, timeout: 60s}", []),
        ("ack: {when: delivered, from: lab, timeout: 61s}", ["W247"]),
        ("ack: {when: stored}", []),
        (
            "ack: {when: delivered, from: lab, timeout: 10m}\ndedupe: {window: 10m}",
            ["W247", "E248"],
        ),
        ("ack: {when: delivered, from: lab, timeout: 40s}\ndedupe: {window: 30s}", ["E248"]),
        (
            "ack: {when: delivered, from: lab, timeout: 40s}\n"
            "dedupe: {key: PID-3, window: 30s, on_repeat: reack_same}",
            ["E248"],
        ),
        ("ack: {when: delivered, from: lab, timeout: 40s}\ndedupe: {window: 41s}", []),
        ("dedupe: {window: 30s}", []),
        ("dedupe: {window: 60d}", ["W248"]),
        ("dedupe: {window: soon}", ["E104"]),
    ],
)
def test_what_a_channel_promises_its_times_allow(load, line: str, expected: list[str]) -> None:
    assert sorted(codes(load(channel(line)))) == sorted(expected)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("{messages: 7d}", []),
        ("{messages: 3d}", ["W248"]),  # the window is seven days where nobody says it
        ("{messages: 90d, dead_letters: 60d}", ["W248"]),
        ("{messages: 200d}", ["W248"]),
        ("{dead_letters: 10d}", ["W248"]),
        ("{messages: 90d, dead_letters: 90d}", []),
    ],
)
def test_nothing_is_forgotten_before_it_has_done_its_service(load, keep, expected) -> None:
    site = SITE.replace("connections:", f"keep: {keep}\nconnections:")
    assert codes(load({"ifengine.yaml": site})) == expected


@pytest.mark.parametrize(
    ("types", "order_by", "expected"),
    [
        ("[ADT^*]", "PID-3.1", ["W249"]),
        ("[ADT^A40]", "[PID-3.1, PID-3.4]", ["W249"]),
        ("[ADT^*]", "patient", []),
        ("[ORU^R01]", "PID-3.1", []),
        ("[ADT^A01]", "PID-3.1", []),
        ("[ADT^A24]", "PID-3.1", []),
    ],
)
def test_a_merge_is_ordered_by_both_its_patients(load, types, order_by, expected) -> None:
    text = CHANNEL.replace("[ORU^R01]", types).replace("order_by: patient", f"order_by: {order_by}")
    text = text.replace("to:\n", "ignore_types: {identity: a test}\nto:\n")
    assert codes(load({"channels/one.yaml": text})) == expected


@pytest.mark.parametrize(
    ("order", "order_by", "expected"),
    [
        ("none", "order_by: patient\n", ["W206"]),
        ("none", "", []),
        ("skip_dead", "order_by: patient\n", []),
        ("hold_key", "order_by: patient\n", []),
    ],
)
def test_no_destination_gives_up_the_order_that_its_channel_promises(
    load, order, order_by, expected
) -> None:
    text = CHANNEL.replace("order_by: patient\n", order_by)
    text = text.replace("{connection: out}", f"{{connection: out, order: {order}}}")
    assert codes(load({"channels/one.yaml": text})) == expected
