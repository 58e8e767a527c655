"""A wall clock that was set by more than a day is not believed until a person says so, audited."""

from typing import Any

import pytest

from admin.world import READER, World
from ifengine.admin.request import RequestError
from ifengine.admin.service import Service

DAY = 86_400


async def ask(world: World, verb: str, **params: object) -> Any:
    return await Service(world).answer(verb, params, READER)


async def test_a_clock_that_nobody_set_is_believed_and_there_is_nothing_to_accept(
    world: World,
) -> None:
    shown = await ask(world, "clock.show")
    assert shown["believed"] is True
    assert shown["wall"] == shown["steady"]
    assert shown["ahead_seconds"] == 0
    with pytest.raises(RequestError, match="nothing to accept"):
        await ask(world, "clock.accept", reason="NTP")


@pytest.mark.parametrize("days", [40, -40])
async def test_a_person_accepts_a_clock_and_nothing_runs_out_by_it(world: World, days: int) -> None:
    world.clock.jump(days * DAY)
    shown = await ask(world, "clock.show")
    assert (shown["believed"], shown["ahead_seconds"]) == (False, days * DAY)
    with pytest.raises(RequestError, match="reason"):
        await ask(world, "clock.accept")
    before = world.steady.now_us()
    done = await ask(world, "clock.accept", reason="the battery was changed")
    assert (done["believed"], done["ahead_seconds"]) == (True, 0)
    assert world.steady.now_us() == before
    act = world.store.reader().audit_after(0, 100)[-1]
    assert (act.action, act.object, act.actor) == ("clock.accepted", "it was set", "tester")
    assert b"battery" not in act.detail


async def test_a_person_may_say_that_the_engine_was_off_that_long(world: World) -> None:
    world.clock.jump(40 * DAY)
    before = world.steady.now_us()
    await ask(world, "clock.accept", reason="the move", time_passed=True)
    assert world.steady.now_us() - before == 40 * DAY * 1_000_000
    assert world.store.reader().audit_after(0, 100)[-1].object == "the time passed"
