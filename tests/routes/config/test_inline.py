"""`mllp:` written in a channel: a connection like any other, with a name of its own."""

import pytest

from routes.config.small_site import CHANNEL, SITE

BARE = SITE.split("connections:")[0]
IN = "{mllp: {port: 2575, plaintext: a first try}}"
OUT = "{mllp: {host: lab.example, port: 6661, plaintext: a first try}}"
INLINE = CHANNEL.replace("from: in", f"from: {IN}").replace("{connection: out}", OUT)


def files(channel: str = INLINE, more: str = "") -> dict[str, str]:
    return {"ifengine.yaml": BARE + more, "channels/one.yaml": channel}


def errors(found) -> list[tuple[str, int, str]]:  # type: ignore[no-untyped-def]
    return [(p.code, p.position.line, p.message) for p in found.problems if p.code.startswith("E")]


def test_a_site_without_connections_runs_a_channel_that_writes_its_own(load) -> None:
    found = load(files())
    assert errors(found) == []
    site = found.site
    assert (site.listeners["one.mllp"].port, site.senders["one.lab"].host) == (2575, "lab.example")
    channel = site.channels[0]
    assert channel.sources == ("one.mllp",)
    assert channel.destinations[0].connection == "one.lab"


def test_it_may_use_the_certificates_of_the_site(load) -> None:
    text = INLINE.replace("plaintext: a first try}}\ntests", "tls: lab}}\ntests")
    found = load(files(text, "tls: {lab: {ca: ca.pem}}\n") | {"ca.pem": "x"})
    assert errors(found) == []
    assert found.site.senders["one.lab"].tls.name == "lab"


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "words"),
    [
        ("port: 2575, plaintext: a first try", "port: 2575", "E210", 3, "no TLS and no reason"),
        ("{port: 2575, ", "{prt: 2575, ", "E101", 3, "prt"),
        ("host: lab.example, ", "", "E102", 7, "host"),
        ("{host: lab", "{allow: [10.0.0.0/8], host: lab", "E101", 7, "allow"),
        ("port: 2575", "port: 9464", "E216", 3, "9464"),
        ("{mllp: {host", "{connection: out, mllp: {host", "E102", 7, "both"),
        ("from: {mllp", "from: {files: {dir: a, done: b, bad: c}, mllp", "E102", 3, "both"),
        ("lab.example", "'${env:LAB}'", "E231", 7, "channel"),
    ],
)
def test_a_mistake_in_it_is_shown_where_it_stands(
    load, old: str, new: str, code: str, line: int, words: str
) -> None:
    assert INLINE.count(old) == 1
    (found,) = errors(load(files(INLINE.replace(old, new))))
    assert found[:2] == (code, line)
    assert words in found[2]


def test_two_channels_cannot_want_one_port(load) -> None:
    two = CHANNEL.replace("channel: one", "channel: two").replace("from: in", f"from: {IN}")
    two = two.replace("{connection: out}", "{mllp: {host: b, port: 1, plaintext: x}}")
    found = load(files() | {"channels/two.yaml": two})
    assert [(code, line) for code, line, _ in errors(found)] == [("E216", 3)]
