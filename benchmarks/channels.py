"""What channels cost: reading and compiling a site, and the steps of one message.

In this process, on one core, without disk and network. The best of many rounds counts: what is
above it was the machine's.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hl7
from ifengine.hl7.header import read_header
from ifengine.hl7.message import Message
from ifengine.routes.channel import Channel
from ifengine.routes.config.loading import load_site
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.decisions import MessageContext
from ifengine.transforms.memory import Blank, Scratch

ROUNDS = 25
A_ROUND = 400
NOW_US = 1_767_607_200_000_000


@dataclass(frozen=True)
class Cost:
    """Microseconds of processor for one message; ``compile_ms`` for the whole file."""

    channel: str
    sample: str
    destinations: int
    steps_us: float  # the channel's steps and every destination's, its own copies encoded
    with_parse_us: float  # and reading the message, and its order keys


def best(work: Callable[[], object], rounds: int = ROUNDS, each: int = A_ROUND) -> float:
    """Return the least microseconds of one call."""
    found = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(each):
            work()
        found = min(found, (time.perf_counter() - started) / each)
    return found * 1e6


def sample_of(site: SiteConfig, folder: Path, name: str) -> bytes:
    """Return a sample as a sender sends it."""
    content = (folder / "channels" / "samples" / f"{name}.hl7").read_bytes()
    return content.replace(b"\r\n", b"\r").replace(b"\n", b"\r")


def costs(folder: Path, samples: dict[str, str]) -> tuple[float, list[Cost]]:
    """Return milliseconds to load the site, and what each channel costs with its sample."""
    load_ms = best(lambda: load_site(folder, environ={}), 5, 1) / 1000
    site = load_site(folder, environ={}).site
    assert site is not None
    found = []
    for config in site.channels:
        if config.name in samples:
            found.append(_cost(site, Channel(config, site), folder, samples[config.name]))
    return load_ms, found


def _cost(site: SiteConfig, channel: Channel, folder: Path, name: str) -> Cost:
    content = sample_of(site, folder, name)
    header = read_header(content)
    read = Message.parse(content, header=header)

    def process(message: Message) -> object:
        context = MessageContext("1", NOW_US, Scratch(1, NOW_US, Blank()), nobody_retired=True)
        return channel.process(message, context)

    def whole() -> object:
        message = Message.parse(content, header=header)
        channel.order_keys(message)
        return process(message)

    copied = best(lambda: read.copy())
    return Cost(
        channel.name,
        name,
        len(channel.destinations),
        best(lambda: process(read.copy())) - copied,
        best(whole),
    )


def foreign(content: bytes) -> float:
    """Return what `hl7` takes to read a message, set five fields and write it."""
    text = content.decode()

    def once() -> str:
        message = hl7.parse(text)
        for number in (3, 4, 5, 6, 8):
            message.segment("MSH").assign_field("X", number)
        return str(message)

    return best(once, 5, 20)


def page(folder: Path, samples: dict[str, str]) -> str:
    """Return the table for the report."""
    load_ms, found = costs(folder, samples)
    lines = [
        "| channel | sample | destinations | steps us/msg | with reading and order keys us/msg |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {c.channel} | {c.sample} | {c.destinations} | {c.steps_us:.0f} | {c.with_parse_us:.0f} |"
        for c in found
    ]
    first = sample_of(load_site(folder, environ={}).site, folder, next(iter(samples.values())))  # type: ignore[arg-type]
    return "\n".join(
        [
            *lines,
            "",
            f"- reading, checking and compiling the whole site: {load_ms:.0f} ms",
            f"- `hl7` reads the first sample, sets five fields and writes it: {foreign(first):,.0f} us",
            "- the prototype of the design read such a message, set five fields and wrote it in"
            " 7 us on its machine; it had no traces, no conditions and no checks in between",
        ]
    )
