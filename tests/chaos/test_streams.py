"""What the network does to bytes, and which misbehaviour comes when. No socket, no clock."""

import random

from ifengine.chaos.acts import Act, Amounts, End, Say, Wait
from ifengine.chaos.choosing import Chooser, Rule
from ifengine.chaos.splitting import Piece, Splitter
from ifengine.chaos.streams import Stream
from ifengine.chaos.table import BY_NAME

DATA = bytes(range(200))


def stream(*toxics: str, **amounts: float) -> Stream:
    return Stream(toxics, Amounts(**amounts), lambda: 0.5)  # type: ignore[arg-type]


def said(acts: list[Act]) -> bytes:
    return b"".join(act.data for act in acts if isinstance(act, Say))


def waited(acts: list[Act]) -> float:
    return sum(act.seconds for act in acts if isinstance(act, Wait))


def test_a_healthy_stream_passes_bytes_as_they_came() -> None:
    healthy = stream()
    assert healthy.passed(DATA) == [Say(DATA)]
    assert healthy.opened() == healthy.closing() == []


def test_latency_waits_before_each_packet_and_a_lot_longer_with_jitter() -> None:
    assert stream("latency", delay=2.0, jitter=1.0).passed(DATA) == [Wait(2.5), Say(DATA)]


def test_bandwidth_takes_as_long_as_the_bytes_need() -> None:
    acts = stream("bandwidth", bytes_per_second=100).passed(DATA)
    assert said(acts) == DATA
    assert abs(waited(acts) - 2.0) < 0.06


def test_slices_are_small_and_keep_the_bandwidth() -> None:
    acts = stream("slicer", slice_bytes=7).passed(DATA)
    assert said(acts) == DATA
    assert max(len(act.data) for act in acts if isinstance(act, Say)) == 7
    both = stream("slicer", "bandwidth", slice_bytes=2, bytes_per_second=1000).passed(DATA)
    assert said(both) == DATA
    assert abs(waited(both) - 0.2) < 0.01


def test_limited_data_ends_at_the_byte_over_several_packets() -> None:
    limited = stream("limit_data", limit_bytes=10)
    assert limited.passed(DATA[:6]) == [Say(DATA[:6])]
    assert limited.passed(DATA[6:20]) == [Say(DATA[6:10]), End.CLOSE]
    assert stream("limit_data", limit_bytes=0).passed(DATA) == [End.CLOSE]


def test_a_timeout_lets_nothing_pass_and_closes() -> None:
    silent = stream("timeout", delay=4.0)
    assert silent.passed(DATA) == []
    assert silent.opened() == [Wait(4.0), End.CLOSE]


def test_a_peer_is_reset_after_a_while_and_a_slow_close_is_late() -> None:
    assert stream("reset_peer", delay=4.0).opened() == [Wait(4.0), End.RESET]
    assert stream("slow_close", delay=4.0).closing() == [Wait(4.0)]


# --- which, when --------------------------------------------------------------------------------


def chooser(*names: str, share: float | None = None, **options: float) -> Chooser:
    rules = [Rule(BY_NAME[name], share) for name in names]
    return Chooser(rules, draw=random.Random(7).random, **options)  # type: ignore[arg-type]


def names(one: Chooser, count: int, at: float = 0.0) -> list[str]:
    chosen = [one.for_message(at) for _ in range(count)]
    return ["-" if row is None else row.name for row in chosen]


def test_every_third_message_is_misbehaved_in_turn() -> None:
    one = chooser("ack_dropped", "code_ae", every=3)
    assert names(one, 9) == ["-", "-", "ack_dropped", "-", "-", "code_ae", "-", "-", "ack_dropped"]


def test_a_share_comes_by_a_lot_that_a_seed_repeats() -> None:
    first, again = (names(chooser("code_ar", share=0.2), 1000) for _ in range(2))
    assert first == again
    assert 150 < first.count("code_ar") < 250


def test_nothing_happens_before_and_after_the_time() -> None:
    one = chooser("ack_dropped", after=30.0, until=40.0)
    assert [names(one, 1, at)[0] for at in (0.0, 29.9, 30.0, 39.9, 40.0)] == [
        "-", "-", "ack_dropped", "ack_dropped", "-",
    ]  # fmt: skip
    one.is_calm = True
    assert names(one, 1, 35.0) == ["-"]


def test_misbehaviours_of_the_network_come_together_and_of_connections_one_by_one() -> None:
    one = chooser("latency", "slicer", "never_reads", "tls_hang", "flap")
    assert [row.name for row in one.for_connection(0.0)] == ["latency", "slicer", "never_reads"]
    assert [row.name for row in one.for_connection(0.0)] == ["latency", "slicer", "tls_hang"]
    assert one.for_message(0.0) is None
    assert one.flaps(0.0)
    assert not chooser("latency").flaps(0.0)


# --- frames -------------------------------------------------------------------------------------

BYTES = b"GET /\r\n\x0bMSH|1\r\x1c\rjunk\x0b\x0bMSH|2\x1c\r\x1c\r\x0bMSH|3\x1c"


def test_any_cut_of_a_stream_gives_the_same_bytes_and_frames() -> None:
    lot = random.Random(3)
    for _ in range(300):
        splitter, pieces, at = Splitter(1000), list[Piece](), 0
        while at < len(BYTES):
            size = lot.randint(1, 9)
            pieces += splitter.received(BYTES[at : at + size])
            at += size
        assert b"".join(piece.data for piece in pieces) + splitter.rest() == BYTES
        frames = [piece.content for piece in pieces if piece.is_frame]
        assert frames == [b"MSH|1\r", b"\x0bMSH|2"]


def test_what_is_too_large_for_a_frame_passes_as_bytes() -> None:
    splitter = Splitter(10)
    assert splitter.received(b"\x0b12345678") == []
    assert splitter.received(b"9012") == [Piece(b"\x0b123456789012", False)]
    assert splitter.received(b"\x0bA\x1c\r") == [Piece(b"\x0bA\x1c\r", True)]
