"""The balance of a running engine: `tally`, the gauges, and a fault put into its store."""

import apsw
import pytest

from engine.support import Receiver, Running, Site, adt, metric, running, sender, until


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifengine.engine.balancing.EVERY_SECONDS", 0.1)


async def shown(engine: Running, name: str, **labels: str) -> float:
    answer = await engine.ask("metrics")
    return metric(answer["text"], f"ifengine_{name}", **labels)


async def test_a_tally_counts_every_destination_and_what_its_channel_took(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    site.options["ward"] = "types: [ORU^*]"
    async with running(site) as engine, sender(site) as hospital:
        for number in range(5):
            assert await hospital.send(adt(f"C{number}")) == "AA"
        assert await hospital.send(adt("C0")) == "AA"  # a repeat

        async def is_so() -> bool:
            answer = await engine.ask("tally", channel="adt")
            assert answer["even"], answer
            rows = {row["destination"]: row for row in answer["rows"]}
            return (
                rows[None]["total"] == 6
                and rows[None]["states"] == {"dropped": 1}
                and rows["lab"]["states"] == {"sent": 5}
                and rows["ward"]["states"] == {"filtered": 5}
            )

        await until(is_so)


async def test_the_gauges_show_an_even_balance_and_then_the_fault_put_into_the_store(
    site: Site, lab: Receiver
) -> None:
    site.watched = False
    lab.answer = lambda content: None  # nothing is ever settled
    async with running(site, grace_seconds=0.2) as engine, sender(site) as hospital:
        assert await hospital.send(adt("C1")) == "AA"

        async def is_even() -> bool:
            residue = await shown(engine, "balance_residue", channel="adt", destination="lab")
            return residue == 0 and await shown(engine, "balance_faults") == 0

        await until(is_even)
        struck = await shown(engine, "balance_struck_timestamp_seconds")
        assert abs(struck - engine.engine._clock.now_us() / 1e6) < 60
        # as an engine with a fault would leave it: an exception of no delivery, a row twice
        connection = apsw.Connection(str(site.folder / "var" / "store" / "store.db"))
        connection.set_busy_timeout(5000)
        connection.execute(
            "INSERT INTO outbox SELECT outbox, seq + 50, place, inbox_id, run, channel, destination,"
            " copy_id, ordered, keys, at_us, origin_seq, config_version, part FROM outbox"
        )
        connection.close()

        async def is_uneven() -> bool:
            return await shown(engine, "balance_residue", channel="adt", destination="lab") == -1

        await until(is_uneven)
        assert await shown(engine, "balance_faults") == 1
        answer = await engine.ask("tally", verify=True)
        assert not answer["even"]
        assert [one["what"] for one in answer["named"]] == ["a delivery that no plan names"]
