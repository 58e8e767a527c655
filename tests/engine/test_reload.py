"""Another configuration for a running engine: what switches, what stays, what is refused."""

import asyncio
import itertools
import os

import pytest

from engine.support import Receiver, Running, Site, adt, metric, running, sender, until

MARK = "order_by: patient\nsteps: [{set: {MSH-8: %s}}]"
RELOADS = int(os.environ.get("IFENGINE_RELOADS", "40"))


async def reload(engine: Running, **said: object) -> dict[str, object]:
    engine.site.write()
    answer: dict[str, object] = await engine.ask("config.reload", **said)
    return answer


def mark(content: bytes) -> bytes:
    return content.split(b"\r")[0].split(b"|")[7]


async def test_the_next_message_is_processed_by_the_new_rules(site: Site, lab: Receiver) -> None:
    site.head = MARK % "A"
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        site.head = MARK % "B"
        report = await reload(engine)
        assert report["done"] is True
        assert report["version"] == 2
        assert report["plan"] == ["adt: 1 change in steps"]
        await his.send(adt("M2"))
        await until(lambda: len(lab.received) == 2)
        assert [mark(content) for content in lab.received] == [b"A", b"B"]
        history = await engine.ask("config.history")
        assert [(row["version"], row["running"]) for row in history] == [(2, True), (1, False)]


@pytest.mark.parametrize(
    "head",
    [
        "order_by: patient\nstepps: []",
        MARK
        % "B"
        + '\ntests: [{name: it fails, given: "MSH|^~\\\\&|A|B|C|D|2026||ADT^A01|1|P|2.5", '
        "expect: {lab: filtered}}]",
    ],
)
async def test_a_refused_configuration_changes_nothing(
    site: Site, lab: Receiver, head: str
) -> None:
    site.head = MARK % "A"
    async with running(site) as engine, sender(site) as his:
        site.head = head
        report = await reload(engine)
        assert (report["done"], report["version"]) == (False, 1)
        assert report["refused"]
        await his.send(adt("M1"))
        await until(lambda: len(lab.received) == 1)
        assert mark(lab.received[0]) == b"A"
        text = (await engine.ask("metrics"))["text"]
        assert metric(text, "ifengine_config_last_reload_successful") == 0
        site.head = MARK % "B"
        assert (await reload(engine))["done"] is True
        text = (await engine.ask("metrics"))["text"]
        assert metric(text, "ifengine_config_last_reload_successful") == 1


async def test_a_dry_run_says_what_would_happen_and_switches_nothing(
    site: Site, lab: Receiver
) -> None:
    site.head = MARK % "A"
    async with running(site) as engine, sender(site) as his:
        site.head = MARK % "B"
        report = await reload(engine, dry_run=True)
        assert (report["done"], report["plan"]) == (False, ["adt: 1 change in steps"])
        await his.send(adt("M1"))
        await until(lambda: len(lab.received) == 1)
        assert mark(lab.received[0]) == b"A"


async def test_what_only_a_restart_can_change_is_refused(site: Site) -> None:
    async with running(site) as engine:
        site.write()
        file = site.folder / "ifengine.yaml"
        file.write_text(file.read_text().replace("var/store", "var/elsewhere"))
        report = await engine.ask("config.reload")
        assert report["refused"] == ["store.path changes only with a restart"]


async def test_connections_stay_open_and_what_is_queued_goes_out(site: Site, lab: Receiver) -> None:
    lab.answer = lambda content: None
    site.options["lab"] = "ack_timeout: 30s"
    async with running(site) as engine, sender(site) as his:
        for number in range(5):
            await his.send(adt(f"M{number}"))
        await until(lambda: len(lab.received) == 1)
        site.head = "order_by: patient\nsteps: [{set: {MSH-8: B}}]"
        assert (await reload(engine))["done"] is True
        assert lab.connections == 1
        from engine.support import ack

        lab.answer = ack
        lab.send_unasked(ack(lab.received[0]))
        await his.send(adt("M5"))
        await until(lambda: lab.ids == [f"M{n}" for n in range(6)])
        assert [mark(c) for c in lab.received] == [b""] * 5 + [b"B"]
        assert lab.connections == 1


async def test_a_new_destination_gets_what_comes_and_a_removed_one_is_drained(
    site: Site, lab: Receiver
) -> None:
    ward = Receiver()
    await ward.start()
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        site.receivers["ward"] = ward
        assert (await reload(engine))["done"] is True
        await his.send(adt("M2"))
        await until(lambda: lab.ids == ["M1", "M2"] and ward.ids == ["M2"])
        ward.answer = lambda content: None
        await his.send(adt("M3"))
        await until(lambda: ward.ids == ["M2", "M3"])
        await his.send(adt("M4"))
        del site.receivers["ward"]
        assert (await reload(engine))["done"] is True
        await his.send(adt("M5"))
        from engine.support import ack

        ward.answer = ack
        ward.send_unasked(ack(ward.received[-1]))
        await until(lambda: ward.ids == ["M2", "M3", "M4"])
        await until(lambda: lab.ids == ["M1", "M2", "M3", "M4", "M5"])
    await ward.stop()


async def all_are_sent(engine: Running) -> bool:
    return all(state == {"lab": "sent"} for state in (await engine.states()).values())


async def test_another_place_for_a_receiver_gets_what_waits(site: Site, lab: Receiver) -> None:
    other = Receiver()
    await other.start()
    await lab.stop()
    site.options["lab"] = "retry: {first: 50ms, max: 50ms, jitter: 0}"
    async with running(site) as engine, sender(site) as his:
        for number in range(4):
            await his.send(adt(f"M{number}"))
        await asyncio.sleep(0.1)
        site.receivers["lab"] = other
        assert (await reload(engine))["done"] is True
        await until(lambda: other.ids == ["M0", "M1", "M2", "M3"])
        await until(lambda: all_are_sent(engine))  # outcomes reach the disk a little later
    await other.stop()


async def test_lanes_and_order_change_with_messages_waiting(site: Site, lab: Receiver) -> None:
    lab.delay_seconds = 0.01
    async with running(site) as engine, sender(site) as his:
        for number in range(30):
            await his.send(adt(f"M{number}", patient=str(number % 3)))
        site.options["lab"] = "lanes: 4"
        assert (await reload(engine))["done"] is True
        for number in range(30, 60):
            await his.send(adt(f"M{number}", patient=str(number % 3)))
        await until(lambda: len(lab.received) == 60)
        for patient in range(3):
            mine = [int(i[1:]) for i in lab.ids if int(i[1:]) % 3 == patient]
            assert mine == sorted(mine)


async def test_a_listener_moves_to_another_port_and_a_taken_port_changes_nothing(
    site: Site, lab: Receiver
) -> None:
    from engine.support import free_port

    async with running(site) as engine:
        site.port = lab.port  # the receiver listens there
        report = await reload(engine)
        assert "cannot listen" in str(report["refused"])
        site.port = free_port()
        assert (await reload(engine))["done"] is True
        async with sender(site) as his:
            assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])


async def test_a_certificate_that_cannot_be_used_changes_nothing_and_leaves_nothing_bound(
    site: Site, lab: Receiver
) -> None:
    from engine.support import free_port

    async with running(site) as engine, sender(site) as his:
        old, site.port = site.port, free_port()
        site.write()
        file = site.folder / "ifengine.yaml"
        plain = f"port: {lab.port}, plaintext: test"
        text = file.read_text()
        assert plain in text
        text = text.replace(plain, f"port: {lab.port}, tls: broken")
        file.write_text(text + "tls: {broken: {ca: broken.pem}}\n")
        (site.folder / "broken.pem").write_text("not a certificate")
        report = await engine.ask("config.reload")
        assert (report["done"], report["version"]) == (False, 1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", site.port)
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        site.port = old
        site.head = MARK % "B"
        assert (await reload(engine))["done"] is True


async def test_a_replay_and_a_reload_that_rebuilds_its_queue_do_not_meet(
    site: Site, lab: Receiver
) -> None:
    from engine.support import ack

    lab.answer = lambda content: ack(content, "AE" if b"|M1|" in content else "AA")
    async with running(site) as engine, sender(site) as his:
        for number in range(1, 6):
            await his.send(adt(f"M{number}"))
        await until(lambda: _has_letters(engine))
        lab.answer = ack
        (group,) = await engine.ask("dlq.list")
        for lanes in (2, 3, 4, 5):
            site.options["lab"] = f"lanes: {lanes}"
            jobs = [reload(engine)]
            if lanes == 2:
                jobs.append(engine.ask("dlq.replay", ids=group["messages"], reason="again"))
            for job in asyncio.as_completed(jobs):
                await job
        await until(lambda: len(lab.received) == 6)
        await asyncio.sleep(0.2)
        assert lab.ids == ["M1", "M1", "M2", "M3", "M4", "M5"]


async def _has_letters(engine: Running) -> bool:
    return bool(await engine.ask("dlq.list"))


async def test_a_channel_comes_and_goes(site: Site, lab: Receiver) -> None:
    site.head = "order_by: patient\ntypes: [ADT^A01]\nignore_types: {identity: not here}"
    async with running(site) as engine, sender(site) as his:
        site.channels["more"] = (
            "ifengine: 1\nchannel: more\nfrom: in\ntypes: [ADT^A08]\norder_by: patient\n"
            "ignore_types: {identity: not here}\n"
            "to: {lab: {connection: to-lab}}\n"
        )
        assert (await reload(engine))["done"] is True
        await his.send(adt("M1", event="A08"))
        await until(lambda: lab.ids == ["M1"])
        (site.folder / "channels" / "more.yaml").unlink()
        del site.channels["more"]
        assert (await reload(engine))["done"] is True
        await his.send(adt("M2", event="A08"))  # unrouted now
        await his.send(adt("M3"))
        await until(lambda: lab.ids == ["M1", "M3"])
        names = [row["name"] for row in await engine.ask("channels.list")]
        await until(lambda: len(engine.engine._built.pipelines) == 1)
        assert "adt" in names


async def test_a_channel_with_parked_messages_cannot_go(site: Site, lab: Receiver) -> None:
    site.head = "order_by: patient\ntypes: [ADT^A01]\nignore_types: {identity: not here}"
    site.channels["late"] = (
        "ifengine: 1\nchannel: late\nfrom: in\ntypes: [ORU^R01]\norder_by: patient\n"
        "steps: [{wait_for: {fact: order, key: PID-3.1, up_to: 1h}}]\n"
        "to: {lab: {connection: to-lab}}\n"
    )
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", event="R01", message_type="ORU"))
        await until(lambda: _parked(engine))
        (site.folder / "channels" / "late.yaml").unlink()
        del site.channels["late"]
        report = await reload(engine)
        assert report["refused"] == ["late cannot go: 1 messages are parked in it"]


async def _parked(engine: Running) -> bool:
    return bool(await engine.ask("parked.list"))


async def test_a_hangup_signal_reloads(site: Site, lab: Receiver) -> None:
    import signal

    site.head = MARK % "A"
    async with running(site) as engine, sender(site) as his:
        site.head = MARK % "B"
        site.write()
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: _version(engine, 2))
        await his.send(adt("M1"))
        await until(lambda: len(lab.received) == 1)
        assert mark(lab.received[0]) == b"B"


async def _version(engine: Running, number: int) -> bool:
    return bool((await engine.ask("status"))["config_version"] == number)


async def planned_versions(engine: Running) -> dict[str, int]:
    """Return control id -> the version that the plan of the message records."""
    pipeline = next(iter(engine.engine._built.pipelines.values()))
    rows = await engine.ask("messages.list", limit=100_000)
    found = {}
    for row in rows:
        number = int(row["id"])
        plans = await pipeline._parts.read(lambda reader, number=number: reader.plans(number))
        found[row["control_id"]] = plans[-1].config_version
    return found


async def test_many_reloads_under_load_lose_and_mix_nothing(site: Site, lab: Receiver) -> None:
    """Each message carries the mark of exactly the version that its plan records."""
    site.head = MARK % "V1"
    site.options["lab"] = "lanes: 2"
    marks = {1: b"V1"}
    ward = Receiver()
    await ward.start()
    done = asyncio.Event()
    sent: list[str] = []

    async with running(site) as engine, sender(site) as his:

        async def load() -> None:
            for number in itertools.count():
                if done.is_set():
                    return
                await his.send(adt(f"M{number}", patient=str(number % 5)))
                sent.append(f"M{number}")

        sending = asyncio.create_task(load())
        for turn in range(2, RELOADS + 2):
            site.head = MARK % f"V{turn}"
            site.options["lab"] = f"lanes: {2 + turn % 7 // 6}"
            if turn % 5 == 0:
                site.receivers["ward"] = ward
            elif turn % 5 == 2:
                site.receivers.pop("ward", None)
            report = await reload(engine, skip_tests=True, reason="load")
            assert report["done"] is True, report
            marks[int(str(report["version"]))] = f"V{turn}".encode()
            await asyncio.sleep(0.01)
        done.set()
        await sending
        await until(lambda: len(lab.received) == len(sent), 30)
        assert sorted(lab.ids) == sorted(sent)
        for patient in range(5):
            mine = [int(i[1:]) for i in lab.ids if int(i[1:]) % 5 == patient]
            assert mine == sorted(mine)
        versions = await planned_versions(engine)
        for content in lab.received:
            control = content.split(b"|")[9].decode()
            assert marks[versions[control]] == mark(content), control
        assert len({versions[c] for c in sent}) > 5
    await ward.stop()
