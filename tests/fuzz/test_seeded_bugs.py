"""A fuzzer that finds nothing is suspected first: bugs put in on purpose, each found by its target."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from fuzz.targets import TARGETS
from ifengine.admin import request
from ifengine.hl7 import (
    ack,
    ack_reading,
    batch,
    charset,
    condition_values,
    delimiters,
    message,
    quantities,
    times,
)
from ifengine.hl7.message_view import MessageView
from ifengine.mllp.framing import FrameDecoder
from ifengine.store import audit, sealing
from ifengine.transforms import validation_segments

MOST_TRIES = 20_000


def half_a_frame(decoder: FrameDecoder, after: int) -> bool:
    return True


def neighbours_lost(
    old: bytes, given: object, r: int | None, c: int | None, s: int | None, value: bytes
) -> bytes:
    return value


def places_shifted(kind: int, a: int, b: int) -> bytes:
    return bytes((kind,)) + a.to_bytes(8, "big")


def replacing(codec: charset.Codec, raw: bytes) -> str:
    return raw.decode(codec.name, "replace")


def first_only(view: MessageView, i: int, f: int, c: int, s: int) -> list[str]:
    return [view.text(i, f, 1, c, s)] if view.repetition_count(i, f) else []


def in_whole_days(left: times.Hl7Time, right: times.Hl7Time) -> int | None:
    a, b = left.start.date(), right.start.date()
    return (a > b) - (a < b)


def without_outcome(seq: int, record: Any) -> bytes:
    return repr((seq, *record[1:6])).encode()


def said_yes(fault: object, verdict: ack.Verdict, error: object) -> tuple[ack.Verdict, object]:
    return verdict, error


BUGS: dict[str, tuple[str, object, str, Callable[..., Any]]] = {
    "an end block always ends a frame": ("framer", FrameDecoder, "_is_ended", half_a_frame),
    "a header with a fault is answered with yes": ("answers", ack, "_refused", said_yes),
    "MSA-1 is believed whatever it is": (
        "ack_reader", ack_reading, "_CODES", type("Any", (), {"__contains__": lambda s, v: True})(),
    ),
    "a write loses what stands beside it": ("writing", message, "with_node", neighbours_lost),
    "a repetition is not looked at": ("view", MessageView, "leaves", first_only),
    "delimiters are not escaped": (
        "escapes", delimiters.Delimiters, "_hide", lambda marks, value: value,
    ),
    "bytes that are no character are replaced": ("charsets", charset.Codec, "decode", replacing),
    "a count that does not fit is taken": (
        "batches", batch._Splitter, "_agree", lambda found, line, count, fault: None,
    ),
    "quotes in a condition are printed as they are": (
        "conditions", condition_values, "quote", lambda text: f"'{text}",
    ),
    "times are compared by their day": ("times", times, "compare_times", in_whole_days),
    "an open end counts as closed": (
        "quantities", quantities, "_below",
        lambda a, b: a.high is not None and b.low is not None and a.high <= b.low,
    ),
    "the type a message names is repeated": (
        "validation", validation_segments, "_safe_name", lambda version, kind: kind,
    ),
    "a sealed value opens in another row": ("sealed", sealing, "_PLACE", places_shifted),
    "the outcome is not part of the chain": ("audit", audit, "canonical", without_outcome),
    "half a character is let through": (
        "admin", request, "_require_characters", lambda name, text: None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_put_in_on_purpose_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, where, what, instead = BUGS[name]
    monkeypatch.setattr(where, what, instead)
    if target == "times":
        monkeypatch.setattr("fuzz.values.compare_times", instead)
    assert tries_until_found(TARGETS[target].run) < MOST_TRIES


def tries_until_found(run: Callable[[bytes], None]) -> int:
    """Return how many examples it took, ``MOST_TRIES`` where it was not found."""
    rnd = random.Random(1)
    for number in range(MOST_TRIES):
        try:
            run(rnd.randbytes(rnd.choice((16, 60, 200, 500))))
        except Exception:
            return number
    return MOST_TRIES
