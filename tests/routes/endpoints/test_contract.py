"""What an outbox may rely on in any lane: one end for each begin, never from inside, and it goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.support import ack, adt
from ifengine.mllp.client import ClientOptions
from ifengine.routes.endpoints.base import Parcel
from ifengine.routes.endpoints.files import FilesLane
from ifengine.routes.endpoints.mllp import MllpLane
from ifengine.routes.retry import Attempt, AttemptResult
from routes.endpoints.harness import Driver, Peer, driving, framed


@dataclass
class Way:
    """A lane, and what makes its destination accept, refuse or be away."""

    driver: Driver
    _carry: Callable[[str], "asyncio.Future[Attempt]"]
    refuse: Callable[[str], None]
    vanish: Callable[[], None]
    return_: Callable[[], "asyncio.Future[None]"]
    hang: Callable[[], object]
    refusal: AttemptResult
    doubt_on_close: bool

    async def carry(self, name: str) -> Attempt:
        return await self._carry(name)


@asynccontextmanager
async def mllp(folder: Path) -> AsyncIterator[Way]:
    refused: set[str] = set()
    state = {"hangs": False}

    async def serve(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            content = await peer.request(reader)
            if state["hangs"]:
                continue
            name = content.split(b"|")[9].decode()
            writer.write(framed(ack(content, "AE" if name in refused else "AA")))

    async with Peer([serve]) as peer:
        options = ClientOptions(
            name="to", host="127.0.0.1", port=peer.port, connect_timeout_seconds=1.0
        )

        def make(driver: Driver) -> MllpLane:
            loop = asyncio.get_running_loop()
            return MllpLane(options, driver.owner, driver.clock, driver.spawn, loop)

        async def come_back() -> None:
            peer._server = await asyncio.start_server(peer._serve, "127.0.0.1", peer.port)

        def go_away() -> None:
            assert peer._server is not None
            peer._server.close()
            for task in peer._tasks:
                task.cancel()

        async with driving(make) as driver:
            yield Way(
                driver,
                lambda name: asyncio.ensure_future(driver.carry(adt(name), timeout=5.0)),
                refused.add,
                go_away,
                lambda: asyncio.ensure_future(come_back()),
                lambda: state.update(hangs=True),
                AttemptResult.REFUSED,
                True,
            )


@asynccontextmanager
async def files(folder: Path) -> AsyncIterator[Way]:
    out = folder / "out"
    out.mkdir()

    def make(driver: Driver) -> FilesLane:
        return FilesLane(out, driver.owner, asyncio.get_running_loop(), driver.spawn)

    def refuse(name: str) -> None:
        (out / f"{name}.hl7").write_bytes(b"of somebody else")

    def vanish() -> None:
        out.rename(folder / "elsewhere")
        out.write_bytes(b"a file where a directory was")

    async def come_back() -> None:
        out.unlink()
        (folder / "elsewhere").rename(out)

    async with driving(make) as driver:
        yield Way(
            driver,
            lambda name: asyncio.ensure_future(driver.carry(adt(name), name=f"{name}.hl7")),
            refuse,
            vanish,
            lambda: asyncio.ensure_future(come_back()),
            lambda: None,
            AttemptResult.UNSENDABLE,
            False,
        )


@pytest.fixture(params=[mllp, files])
async def way(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    async with request.param(tmp_path) as made:
        yield made


async def test_many_in_a_row_are_accepted_one_end_for_each(way: Way) -> None:
    for number in range(50):
        assert (await way.carry(f"M{number}")).result is AttemptResult.ACCEPTED
    assert len(way.driver.owner.attempts) == 50


async def test_a_refusal_ends_its_own_attempt_and_the_lane_goes_on(way: Way) -> None:
    way.refuse("M1")
    assert (await way.carry("M1")).result is way.refusal
    assert (await way.carry("M2")).result is AttemptResult.ACCEPTED


async def test_a_destination_that_is_away_is_unreachable_and_served_when_it_is_back(
    way: Way,
) -> None:
    assert (await way.carry("M1")).result is AttemptResult.ACCEPTED
    way.vanish()
    async with asyncio.timeout(2):
        while way.doubt_on_close and way.driver.lane.is_connected:
            await asyncio.sleep(0.005)
    for _ in range(3):
        assert (await way.carry("M2")).result is AttemptResult.UNREACHABLE
    await way.return_()
    assert (await way.carry("M2")).result is AttemptResult.ACCEPTED


async def test_sweeping_an_idle_lane_says_nothing(way: Way) -> None:
    way.driver.lane.sweep(float("inf"))
    assert (await way.carry("M1")).result is AttemptResult.ACCEPTED
    way.driver.lane.sweep(float("inf"))
    await way.driver.settle_down()
    assert len(way.driver.owner.attempts) == 1


async def test_closing_ends_what_is_under_way_exactly_once_and_never_as_accepted(
    tmp_path: Path,
) -> None:
    """Over MLLP only: a file is written or not, nothing can hang on the way."""
    async with mllp(tmp_path) as way:
        assert (await way.carry("M1")).result is AttemptResult.ACCEPTED
        way.hang()
        way.driver.begin(adt("M2"), timeout=30.0)
        await way.driver.settle_down()
        await way.driver.lane.close()
        await way.driver.settle_down()
        attempts = way.driver.owner.attempts
        assert [a.result for a in attempts] == [AttemptResult.ACCEPTED, AttemptResult.IN_DOUBT]
        await way.driver.lane.close()
        assert len(way.driver.owner.attempts) == 2


async def test_closing_before_the_connection_stands_ends_as_nothing_sent(tmp_path: Path) -> None:
    async with mllp(tmp_path) as way:
        way.driver.begin(adt("M1"))
        await way.driver.lane.close()
        await way.driver.settle_down()
        assert [a.result for a in way.driver.owner.attempts] == [AttemptResult.UNREACHABLE]


def test_a_parcel_and_an_attempt_do_not_show_what_they_carry() -> None:
    parcel = Parcel(b"CANARY", "CANARY.hl7")
    attempt = Attempt(AttemptResult.REFUSED, "ae", "AE", (), b"CANARY")
    assert "CANARY" not in repr(parcel) + repr(attempt)
