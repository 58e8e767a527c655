"""`python:` as an analyst writes it: what it asks for, and what it does with the reply."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.delimiters import DEFAULT_DELIMITERS
from ifengine.hl7.message import Message
from ifengine.routes import worker_message
from ifengine.transforms.base import CallNeededError, RejectedError, StepFailedError, StepScope
from ifengine.transforms.compile import compile_steps
from ifengine.transforms.memory import Reply
from ifengine.transforms.reading import Known
from ifengine.transforms.source import Problems
from transforms.written import ADT, ORU, PYTHON_FILES, TABLES, nodes, scope_of, steps

STEP = "- python: {file: python/strange_lab.py, function: transform, with: {who: '${PID-5.2}'}}"


def answered(reply: Reply, content: bytes = ADT, text: str = STEP) -> StepScope:
    scope = scope_of(content)
    scope.replies = {0: reply}
    steps(text).run(scope)
    return scope


def test_without_a_reply_the_step_asks_for_a_call() -> None:
    with pytest.raises(CallNeededError) as asked:
        steps(STEP).run(scope_of(ADT))
    call = asked.value.call
    assert (call.number, call.file, call.function, call.timeout_us) == (
        0, "channels/python/strange_lab.py", "transform", 500_000,
    )  # fmt: skip
    assert call.content + b"\r" == ADT
    assert call.arguments == (("who", "Ada"),)
    assert call.source.startswith("def transform")
    assert "Ada" not in repr(call)


def test_the_second_call_of_a_run_has_the_second_number() -> None:
    scope = scope_of(ADT)
    scope.replies = {0: Reply(b"")}
    with pytest.raises(CallNeededError) as asked:
        steps(f"{STEP}\n{STEP}").run(scope)
    assert asked.value.call.number == 1


def test_only_what_the_function_wrote_changes() -> None:
    crlf = ADT.replace(b"\r", b"\r\n")
    assert answered(Reply(b""), crlf).message.encode() is crlf
    at = Message.parse(ADT).names().index("AL1")
    after = answered(Reply(b"", lines=((at, b"AL1|1|FA|^Penicillin"),))).message.encode()
    assert after == ADT.replace(b"AL1|1|DA|", b"AL1|1|FA|")


def test_segments_come_go_and_move_and_a_loop_keeps_its_place() -> None:
    count = len(Message.parse(ADT).names())
    order = (0, 1, 2, -1, *range(4, count))  # NK1 goes, NTE comes
    scope = answered(Reply(b"", origins=order, lines=((3, b"NTE|1||x"),)))
    assert scope.message.names()[:5] == ["MSH", "EVN", "PID", "NTE", "PV1"]
    looped = "- for_each: AL1\n  do:\n  - python: {file: strange_lab.py, function: transform}\n  - set: {AL1-2: X}"
    scope = scope_of(ADT)
    scope.replies = {0: Reply(b"", origins=order, lines=((3, b"NTE|1"),)), 1: Reply(b"")}
    steps(looped).run(scope)
    assert scope.message.encode().count(b"|X|") == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", lines=((99, b"PID|1"),)),
        Reply(b"", lines=((2, b"PV1|1"),)),
        Reply(b"", lines=((0, b"MSH|^~&\\|X"),)),
        Reply(b"", lines=((2, b"PID|1\rZZZ|1"),)),
        Reply(b"", origins=(1, 0)),
        Reply(b"", origins=(0, 0)),
        Reply(b"", origins=(0, 99)),
        Reply(b"", origins=(0, 1, -1)),
        Reply(None, "ValueError at x.py:3", "ValueError at x.py:3: Fir"),
    ],
)
def test_an_answer_that_cannot_be_used_fails_the_step_without_telling_a_value(reply: Reply) -> None:
    with pytest.raises(StepFailedError) as failed:
        answered(reply)
    assert failed.value.step == "step 1 python"
    assert "Fir" not in str(failed.value) + repr(failed.value.reason)


def test_a_refusal_reaches_a_sender_with_its_answer() -> None:
    with pytest.raises(RejectedError) as refused:
        answered(Reply(None, "refused", "refused: no", "reject", answer="AR"))
    assert (refused.value.answer, refused.value.reason.full) == ("AR", "refused: no")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("- python: {file: strange_lap.py, function: transform}", "E350"),
        ("- python: {file: strange_lab.py, function: transfrom}", "E350"),
        ("- python: {file: strange_lab.py, function: 'a.b'}", "E350"),
        ("- python: {file: strange_lab.py}", "E102"),
        ("- python: {file: strange_lab.py, function: transform, timeout: 2h}", "E103"),
        ("- python: {file: strange_lab.py, function: transform, timeout: soon}", "E104"),
        ("- python: {file: strange_lab.py, function: transform, as: xml}", "E103"),
        ("- python: {file: strange_lab.py, function: transform, with: x}", "E104"),
    ],
)
def test_a_mistake_is_told_once_at_its_place(text: str, code: str) -> None:
    problems = Problems()
    compile_steps(nodes(text), problems, Known(TABLES, python_files=PYTHON_FILES))
    assert [problem.code for problem in problems.found] == [code]


def test_a_site_may_forbid_python() -> None:
    problems = Problems()
    around = replace(Known(TABLES, python_files=PYTHON_FILES), allows_python=False)
    compile_steps(nodes(STEP), problems, around)
    assert [problem.code for problem in problems.found] == ["E352"]


# --- the message in the worker agrees with the engine's -------------------------------------------

_PLACE = st.tuples(
    st.sampled_from(["1", "3", "5", "13", "30"]),
    st.sampled_from(["", "[1]", "[2]", "[3]"]),
    st.sampled_from(["", ".1", ".4", ".2.1", ".2.3"]),
).map("".join)
_VALUE = st.text(st.sampled_from("ab|^~\\&.\r\nHXE0 é"), max_size=12)


@given(_PLACE, _VALUE)
def test_a_value_written_in_the_worker_stands_as_the_engine_would_write_it(
    place: str, value: str
) -> None:
    content = ADT.replace(b"|2.5.1", b"|2.5.1||||||UNICODE UTF-8")
    ours = Message.parse(content)
    at = ours.names().index("PID")
    theirs = worker_message.Message(content.decode().removesuffix("\r"), "utf-8")
    segment = theirs.segments("PID")[0]
    field, r, c, s = worker_message._place(place)
    if r is None and c is not None:
        r = 1
    assert segment[place] == ours.text(at, field, r, c, s)
    ours.set_text(at, field, r, c, s, value)
    segment[place] = value
    assert segment.encoded().encode() == ours.line(at)
    assert segment[place] == ours.text(at, field, r, c, s)


@given(st.text(st.sampled_from("ab\\FSTREX0D.brHZ1|"), max_size=14))
def test_escapes_are_undone_as_the_engine_does(text: str) -> None:
    marks = worker_message.Marks("|", "^~\\&")
    value = text.replace("|", "")
    assert marks.show(value, "latin-1") == DEFAULT_DELIMITERS.unescape(value.encode()).decode(
        "latin-1"
    )
    assert marks.hide(text).encode() == DEFAULT_DELIMITERS.escape(text.encode())


def test_a_message_in_the_worker_is_read_by_paths() -> None:
    message = worker_message.Message(ORU.decode().removesuffix("\r"), "ascii")
    assert message.field("OBX[2]-5") == "9.9"
    assert (message.field("OBX[9]-5"), message.field("MSH-2")) == ("", "^~\\&")
    assert message.segments("OBX")[0].repetitions("5") == 1
    added = message.add_segment("NTE", after=message.segments("OBX")[0])
    added["3"] = "x^y"
    message.remove_segment(message.segments("NTE")[0])
    origins, written = message.changes()
    assert (len(origins), origins.count(-1), written) == (9, 1, [(4, "NTE|||x\\S\\y")])
    for wrong in ("PID.5", "5", "pid-5"):
        with pytest.raises(KeyError):
            message.field(wrong)
    with pytest.raises(LookupError):
        message.set("ZZZ-1", "x")
    with pytest.raises(ValueError, match="MSH"):
        message.remove_segment(message.segments("MSH")[0])
