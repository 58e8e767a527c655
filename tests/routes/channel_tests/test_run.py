"""Running the tests of a channel as a library: chosen ones, other processes, every time the same."""

from pathlib import Path

import pytest

from ifengine.hl7.message import Message
from ifengine.routes.channel import Channel
from ifengine.routes.channel_tests.run import Bench, golden_files, run_case, run_tests
from ifengine.routes.channel_tests.world import START_US, World
from ifengine.routes.config.tests_beside import read_test_files
from ifengine.transforms.base import Action, CallNeededError, CompiledStep, Steps, StepScope
from ifengine.transforms.memory import Call, Reply
from routes.channel_tests.small import ADT, HEAD, TO_LAB, site_of, told, write

TESTS = """\
tests:
  - {name: it arrives, given: {sample: adt}, expect: {lab: sent}}
  - {name: it does not, given: {sample: adt}, expect: {lab: filtered}}
  - {name: it cannot be made, given: {sample: adt, change: {ZZZ-1: x}}, expect: {lab: sent}}
"""


def bench(directory: Path, channel: str) -> Bench:
    write(directory, channel)
    site = site_of(directory)
    config = site.channels[0]
    return Bench(site, Channel(config, site), read_test_files(directory, config.tests))


def test_a_report_holds_every_test_in_its_order(tmp_path: Path) -> None:
    made = bench(tmp_path, HEAD + TO_LAB + TESTS)
    report = run_tests(made.site, "one", made.files)
    assert [(r.case.name, r.passed) for r in report.results] == [
        ("it arrives", True),
        ("it does not", False),
        ("it cannot be made", False),
    ]
    assert (report.passed, report.ok, report.file) == (1, False, "channels/one.yaml")
    assert "append" in report.results[2].fault
    some = run_tests(made.site, "one", made.files, chosen_by=lambda case: "arrives" in case.name)
    assert (len(some.results), some.ok) == (1, True)
    with pytest.raises(LookupError):
        run_tests(made.site, "two", made.files)


def test_nothing_of_a_message_stands_in_the_text_of_what_is_handed_on(tmp_path: Path) -> None:
    tests = (
        "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: {fields: {PID-5.1: Nobody}}}}\n"
    )
    made = bench(tmp_path, HEAD + TO_LAB + tests)
    (result,) = run_tests(made.site, "one", made.files).results
    assert told(result) == ["lab PID-5.1: Nobody, Quill"]
    shown = repr(result) + repr(made.files) + repr(made)
    assert "Quill" not in shown
    assert "Nobody" not in shown


def test_every_run_of_a_test_is_the_same(tmp_path: Path) -> None:
    steps = 'steps:\n  - set: {MSH-7: "${now | date(\'YYYYMMDDHHmmss\')}", MSH-10: "${msg.id}"}\n'
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: {same_as: golden/a.hl7}}}\n"
    made = bench(tmp_path, HEAD + steps + TO_LAB + tests)
    cases = made.channel.config.tests
    (first,) = golden_files(made, cases)
    assert b"|20260105120000||ADT^A01^ADT_A01|1|" in first.content
    assert golden_files(made, cases) == [first]


def _asking() -> Action:
    def act(scope: StepScope) -> None:
        number = scope.calls
        scope.calls += 1
        reply = scope.replies.get(number)
        if reply is None:
            content = scope.message.encode()
            raise CallNeededError(Call(number, "python/x.py", "transform", 500_000, content))
        assert reply.content is not None
        scope.message.set_text(scope.message.first("PID"), 5, 1, 1, None, reply.content.decode())

    return act


def test_a_step_that_asks_another_process_runs_again_with_its_reply(tmp_path: Path) -> None:
    made = bench(tmp_path, HEAD + "steps:\n  - upper: PV1-3\n" + TO_LAB)
    asked: list[Call] = []

    def work(call: Call) -> Reply:
        asked.append(call)
        return Reply(Message.parse(call.content).text(2, 5, 1, 2).encode() + b"!")

    upper = made.channel.config.steps.steps[0]
    asking = CompiledStep("2", "python", 1, _asking())
    object.__setattr__(made.channel.config, "steps", Steps((upper, asking, asking)))
    world = World(made.site, made.channel, call=work)
    seen = world.play(0, ADT.replace("\n", "\r").encode(), {})
    (delivery,) = seen.deliveries
    assert b"Ada!^Ada" in delivery.content
    assert [call.number for call in asked] == [0, 1]
    assert world.now_us == START_US
    without = World(made.site, made.channel).play(0, ADT.replace("\n", "\r").encode(), {})
    assert without.deliveries[0].state == "dead_letter"


def test_a_failed_test_is_explained_and_a_quick_look_is_not(tmp_path: Path) -> None:
    tests = "tests:\n  - {name: a, given: {sample: adt}, expect: {lab: {fields: {PID-5.1: x}}}}\n"
    made = bench(tmp_path, HEAD + "steps:\n  - upper: PID-5.1\n" + TO_LAB + tests)
    (case,) = made.channel.config.tests
    assert run_case(made, case).differences[0].notes == ["after step 1 upper"]
    assert run_case(made, case, explained=False).differences[0].notes == []
