"""``ifengine chaos``: a proxy that misbehaves as told, for trying partners and channels."""

import asyncio
import ipaddress
import math
import random  # noqa: TID251 - a seed repeats a run; nothing secret hangs on it
import signal
import ssl
from pathlib import Path
from typing import Any, NamedTuple

import click

from ifengine.chaos.acts import Amounts
from ifengine.chaos.certificates import STRANGER, bad_context
from ifengine.chaos.choosing import Chooser, Rule
from ifengine.chaos.proxy import Contexts, Options, Proxy
from ifengine.chaos.table import BY_NAME, MISBEHAVIOURS
from ifengine.cli.failure import CommandError, ExitCode, refused, usage
from ifengine.cli.options import Duration, Place, site_options
from ifengine.cli.output import Column, field, output_option, plural, print_json, print_table
from ifengine.clock import SystemClock
from ifengine.mllp.sockets import shown
from ifengine.mllp.tls import client_context, server_context

PATH = click.Path(dir_okay=False, path_type=Path)


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    @property
    def is_own(self) -> bool:
        """Whether it can only be this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@click.command(epilog="--do NAME=0.1 comes by lot, for about one message (connection) in ten.")
@click.option("--list", "listing", is_flag=True, help="Show every misbehaviour and its meaning.")
@click.option("--listen", metavar="HOST:PORT", help="Where the sender connects; port 0 takes a free one.")  # fmt: skip
@click.option("--to", metavar="HOST:PORT", help="The receiver.")
@click.option("--do", "wanted", metavar="NAME[=SHARE]", multiple=True,
              help="A misbehaviour; may be given several times.")  # fmt: skip
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True,
              help="One without a share happens at every Nth message (connection).")  # fmt: skip
@click.option(
    "--seed", type=int, help="Repeats the lots of a run; without it a new one is printed."
)
@click.option("--after", type=Duration(), default="0s", help="Behave well for so long first.")
@click.option("--for", "lasting", type=Duration(), help="Behave well again after so long.")
@click.option(
    "--count", type=click.IntRange(min=1), help="Behave well after so many misbehaviours."
)
@click.option("--stop-after", type=Duration(), help="End by itself; else with Ctrl-C.")
@click.option("--lose", is_flag=True,
              help="A message whose answer will be no yes does not reach the receiver.")  # fmt: skip
@click.option("--side", type=click.Choice(["requests", "answers", "both"]), default="both",
              show_default=True, help="Which bytes the misbehaviours of the network touch.")  # fmt: skip
@click.option("--delay", type=Duration(), default="1s", show_default=True, help="How late is late.")
@click.option("--jitter", type=Duration(), default="0s", help="At most so much more, by lot.")
@click.option("--bytes-per-second", type=click.IntRange(min=1), default=1024, show_default=True,
              help="Of bandwidth.")  # fmt: skip
@click.option("--slice", "slice_bytes", type=click.IntRange(min=1), default=16, show_default=True,
              help="Bytes in a packet of slicer.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0), default=64, show_default=True,
              help="Bytes until limit_data closes.")  # fmt: skip
@click.option("--heal", type=Duration(), default="10s", show_default=True,
              help="How long half_open lasts.")  # fmt: skip
@click.option("--flap", type=Duration(), default="200ms", show_default=True,
              help="Between two resets of flap.")  # fmt: skip
@click.option("--size", type=click.IntRange(1, 1024 * 1024 * 1024), default=64 * 1024 * 1024,
              show_default=True, help="Bytes of huge_ack.")  # fmt: skip
@click.option("--cert", type=PATH, help="Listen with TLS: certificate, PEM.")
@click.option("--key", type=PATH, help="Its key, where it is another file.")
@click.option("--expired-cert", type=PATH, help="For tls_expired; else one that nobody signed.")
@click.option("--wrong-cert", type=PATH, help="For tls_wrong; else one that nobody signed.")
@click.option("--to-tls", is_flag=True, help="Speak TLS to the receiver.")
@click.option("--to-ca", type=PATH, help="Who signs the receiver; else the machine's CAs.")
@click.option("--to-name", metavar="NAME", help="The receiver's name, where it is not its host.")
@click.option("--partner", is_flag=True,
              help="Allow other machines than this one. Answers will be changed.")  # fmt: skip
@output_option("text", "json")
@site_options
def chaos(listing: bool, output: str, place: Place, **given: Any) -> int:
    """Stand between a sender and a receiver and misbehave: for trying what they make of it.

    Only between systems that hold no patients: messages are answered wrongly, and with --lose lost.
    Prints how often each misbehaviour happened; nothing of a message is shown or kept.
    """
    if listing:
        return _list(output)
    if not given["wanted"]:
        raise usage("--do is missing", "ifengine chaos --list shows what there is")
    listen, to = (_address(given[name], f"--{name}") for name in ("listen", "to"))
    for address, option in ((listen, "--listen"), (to, "--to")):
        if not address.is_own and not given["partner"]:
            raise refused(
                f"{option}: {address.host} is not this machine",
                "--partner allows it: never between systems that hold patients",
            )
    seed = given["seed"] if given["seed"] is not None else random.SystemRandom().randrange(10**6)
    after = given["after"]
    chooser = Chooser(
        [_rule(text) for text in given["wanted"]],
        every=given["every"],
        draw=random.Random(seed).random,  # noqa: S311 - a lot that can be repeated
        after=after,
        until=math.inf if given["lasting"] is None else after + given["lasting"],
    )
    options = Options(
        host=listen.host, port=listen.port, to_host=to.host, to_port=to.port,
        server_name=given["to_name"], lose=given["lose"], most=given["count"],
        sides=frozenset({"requests", "answers"} if given["side"] == "both" else {given["side"]}),
    )  # fmt: skip
    proxy = Proxy(
        options, chooser, SystemClock(), amounts=_amounts(given), contexts=_contexts(given)
    )
    interrupted = asyncio.run(_run(proxy, seed, given["stop_after"]))
    _report(proxy, seed, output)
    return ExitCode.INTERRUPTED if interrupted else ExitCode.DONE


def _list(output: str) -> int:
    rows = [
        {"name": row.name, "decided": f"each {row.scope.value}", "meaning": row.meaning}
        for row in MISBEHAVIOURS
    ]
    if output == "json":
        print_json(rows)
    else:
        print_table(rows, [Column("NAME", field("name")), Column("MEANING", field("meaning"))])
    return ExitCode.DONE


async def _run(proxy: Proxy, seed: int, stop_after: float | None) -> bool:
    """Serve to the end; return whether a person interrupted it."""
    loop = asyncio.get_running_loop()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        proxy.stop()

    loop.add_signal_handler(signal.SIGTERM, proxy.stop)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    options = proxy.options
    try:
        proxy.start()
    except OSError as error:
        raise CommandError(
            f"{shown(options.host, options.port)}: cannot listen "
            f"({error.strerror or 'no such address'})",
            hint="port 0 takes a free one",
        ) from None
    click.echo(
        f"listening on {shown(options.host, proxy.port)}, "
        f"passing to {shown(options.to_host, options.to_port)}, seed {seed}",
        err=True,
    )
    if stop_after is not None:
        loop.call_later(stop_after, proxy.stop)
    await proxy.run()
    return interrupted


def _report(proxy: Proxy, seed: int, output: str) -> None:
    rows = [{"name": name, "times": times} for name, times in proxy.done.most_common()]
    if output == "json":
        print_json(
            {
                "seed": seed,
                "connections": proxy.connections,
                "messages": proxy.requests,
                "answers": proxy.answers,
                "done": dict(proxy.done),
            }
        )
        return
    click.echo(
        f"{plural(proxy.connections, 'connection')}, {plural(proxy.requests, 'message')}, "
        f"{plural(proxy.answers, 'answer')} of the receiver"
    )
    if rows:
        times = Column("TIMES", lambda row: f"{row['times']:,}", right=True)
        print_table(rows, [Column("MISBEHAVIOUR", field("name")), times])


def _address(text: str | None, option: str) -> Address:
    if not text:
        raise usage(f"{option} is missing", "HOST:PORT, as 127.0.0.1:6661")
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise usage(f"{option}: is not HOST:PORT", "as 127.0.0.1:6661")
    return Address(host.strip("[]"), int(port))


def _rule(text: str) -> Rule:
    name, has_share, share = text.partition("=")
    row = BY_NAME.get(name)
    if row is None:
        from ifengine.cli.main import nearest

        hint = nearest(name, list(BY_NAME)) or "ifengine chaos --list shows what there is"
        raise usage(f"--do: there is no misbehaviour {name}", hint)
    if not has_share:
        return Rule(row)
    try:
        number = float(share)
    except ValueError:
        number = -1.0
    if not 0 < number <= 1:
        raise usage(f"--do {name}: a share is above 0 and at most 1", f"as {name}=0.1")
    return Rule(row, number)


def _amounts(given: dict[str, Any]) -> Amounts:
    return Amounts(
        delay=given["delay"],
        jitter=given["jitter"],
        bytes_per_second=given["bytes_per_second"],
        slice_bytes=given["slice_bytes"],
        limit_bytes=given["limit"],
        heal=given["heal"],
        flap=max(given["flap"], 0.01),
        huge_bytes=given["size"],
    )


def _contexts(given: dict[str, Any]) -> Contexts:
    names = {text.partition("=")[0] for text in given["wanted"]}

    def bad(option: str, misbehaviour: str, name: str) -> ssl.SSLContext | None:
        if misbehaviour not in names:
            return None
        path = given[option]
        if path is not None:
            return server_context(cert=path)
        expired = misbehaviour == "tls_expired"
        return bad_context(SystemClock(), name=name, expired=expired)

    cert, key = given["cert"], given["key"]
    return Contexts(
        listen=None if cert is None else server_context(cert=cert, key=key),
        send=client_context(ca=given["to_ca"]) if given["to_tls"] else None,
        expired=bad("expired_cert", "tls_expired", "localhost"),
        wrong=bad("wrong_cert", "tls_wrong", STRANGER),
    )
