"""A channel that writes its connections itself, through a whole engine."""

from engine.support import Receiver, Site, adt, free_port, running, sender, until


async def test_messages_pass_over_connections_that_stand_in_the_channel(
    site: Site, lab: Receiver
) -> None:
    site.port, listed = free_port(), site.port
    site.channels["try"] = (
        "ifengine: 1\nchannel: try\n"
        f"from: {{mllp: {{port: {site.port}, plaintext: test}}}}\n"
        "order_by: patient\n"
        f"to:\n  mine: {{mllp: {{host: 127.0.0.1, port: {lab.port}, plaintext: test}}}}\n"
    )
    here = Site(site.folder, site.receivers, port=listed, channels=site.channels)
    async with running(here) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.received == [adt("M1")])
        row = await engine.row("M1")
        assert (row["channel"], [d["name"] for d in row["destinations"]]) == ("try", ["mine"])
