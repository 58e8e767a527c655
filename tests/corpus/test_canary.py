"""Nothing readable of a message anywhere but in the messages themselves.

A token stands in every field of every segment: of messages that are delivered, refused, framed
wrongly, stopped by a step, refused by the receiver (whose answer carries it too). Then everything
the engine wrote, said or shows is searched for it.
"""

import base64
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus.loopback import END, START, Line, Receiver, control_id
from crash.serving import Site, wait_until

TOKEN = "QUETZALCANARY"  # content
ID_TOKEN = "OCELOTCANARY"  # control ids: listings may show these, disks and logs may not

CHANNEL = """\
ifengine: 1
channel: birds
about: A step for every way a value can be read or refused.
from: feed
types: [ADT^A01, ADT^A08, ORU^R01]
ignore_types: {identity: no merges here}
order_by: patient
steps:
  - trim: [PID-5.1, PID-5.2]
  - upper: PID-5.1
  - let: {whose: "${PID-5.1} ${PID-3.1}"}
  - when: MSH-9.2 = A08 and EVN-7 exists
    lookup: {table: ward, from: PV1-3.1, missing: dead_letter}
  - when: PV1-2 = REFUSE
    fail: "nobody knows ${PID-5.1}"
  - choose:
      - when: PID-8 = NOBODY
        do: [{drop: "dropped ${PID-5.1}"}]
  - require: {PID-3: no patient identifier}
  - copy: PID-5.1 -> PID-9
to:
  near: {connection: near, retry: {first: 50ms, max: 200ms, refused: 2}}
"""

SEGMENTS = {
    "EVN": 7, "PID": 39, "PD1": 21, "NK1": 39, "PV1": 52, "PV2": 47, "ORC": 30, "OBR": 50, "OBX": 25,
    "NTE": 8, "AL1": 6, "DG1": 21, "IN1": 53, "GT1": 55, "ZPI": 12, "ZZZ": 3,
}  # fmt: skip


def encodings(token: str) -> Iterator[bytes]:
    """Yield how a token may hide: as it is, in UTF-16, hex and base64 at any alignment."""
    plain = token.encode()
    yield plain
    yield token.encode("utf-16-le")
    yield plain.hex().encode()
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + plain)
        # only characters that follow from the token alone, whatever stands around it
        yield coded[4 if shift else 0 : len(coded) - 4]


def hits(data: bytes, *tokens: str) -> list[str]:
    """Return the tokens that occur in any form, whatever the case."""
    upper = data.upper()
    return [
        token
        for token in tokens
        if any(form in data or form.upper() in upper for form in encodings(token))
    ]


def segment(name: str, fields: int, said: dict[int, str]) -> str:
    """Return a segment whose fields all carry the token, in components and repetitions too."""
    values = []
    for number in range(1, fields + 1):
        value = f"{TOKEN}{number}^{TOKEN}^{TOKEN}&{TOKEN}~{TOKEN}"
        values.append(said.get(number, value))
    return "|".join([name, *values])


def message(
    number: int, *, msh: dict[int, str] | None = None, said: dict[str, dict[int, str]] | None = None
) -> bytes:
    """Return a message with the token in every field, except where ``msh`` and ``said`` differ."""
    header = {
        8: TOKEN, 9: "ADT^A01", 10: f"{ID_TOKEN}-{number}", 11: "P", 12: "2.5.1", 13: TOKEN, 14: TOKEN,
        15: "", 16: "", 17: TOKEN, 18: "", 19: TOKEN, 20: TOKEN, 21: TOKEN,
        3: f"{TOKEN}^{TOKEN}", 4: TOKEN, 5: TOKEN, 6: TOKEN, 7: TOKEN, **(msh or {}),
    }  # fmt: skip
    first = "MSH|^~\\&|" + "|".join(header[n] for n in range(3, 22))
    said = said or {}
    patient = {3: f"{TOKEN}{number}^^^MERCY^MR~{TOKEN}^^^SSA^SS", 8: "F"}
    lines = [first]
    for name, fields in SEGMENTS.items():
        base = patient if name == "PID" else {}
        lines.append(segment(name, fields, {**base, **said.get(name, {})}))
    return ("\r".join(lines) + "\r").encode()


def refuse_some(content: bytes) -> bytes:
    """Accept most; NAK some with a talkative answer, and answer one with a foreign id first."""
    control = control_id(content)
    number = int(control.rpartition(b"-")[2])
    header = b"MSH|^~\\&|%s|R|||20260105101500||ACK|R1|P|2.5\r" % TOKEN.encode()
    if number % 10 == 7:
        return (
            header
            + (
                f"MSA|AE|{control.decode()}|{TOKEN} does not exist\r"
                f"ERR||PID^1^3|204^{TOKEN}^HL70357|E|{TOKEN}^{TOKEN}||{TOKEN}|{TOKEN} is unknown\r"
            ).encode()
        )
    if number % 10 == 8:
        return header + f"MSA|AR|{control.decode()}|{TOKEN}\r".encode()
    return header + b"MSA|AA|" + control + b"|" + TOKEN.encode() + b"\r"


ACCEPTED = {
    1: message(1),
    2: message(2, msh={9: f"ADT^A08^{TOKEN}"}, said={"EVN": {7: ""}}),
    7: message(7),  # AE by the receiver
    8: message(8),  # AR by the receiver, again and again
    11: message(11, msh={9: "ADT^A08"}),  # no such ward
    12: message(12, said={"PV1": {2: "REFUSE"}}),
    13: message(13, said={"PID": {3: ""}}),  # nothing required is there
    14: message(14, said={"PID": {8: "NOBODY"}}),
    15: message(15, msh={9: f"{TOKEN}^{TOKEN}"}),  # a type nobody takes
    16: message(16, msh={18: "UNICODE UTF-8"}),
}

REFUSED = {
    31: message(31, msh={11: TOKEN}),
    32: message(32, msh={10: "", 9: ""}),
    33: TOKEN.encode() * 3,
    34: f"MSH{TOKEN}|{TOKEN}".encode(),
    35: message(35, msh={15: TOKEN, 16: TOKEN, 11: TOKEN}),
}

FAULTY = (
    f"{TOKEN}|{TOKEN}\r".encode(),  # no start block at all
    START + TOKEN.encode() + START + message(41) + END,  # a start block inside
    START + message(42)[:400],  # truncated
    START + TOKEN.encode() * 40_000 + END,  # too large
    START + message(43) + b"\x1cX" + START + message(44) + END,  # no CR after the end block
    f"GET /{TOKEN} HTTP/1.1\r\nHost: {TOKEN}\r\n\r\n".encode(),
    b"\x16\x03\x01\x02\x00\x01\x00" + TOKEN.encode(),  # a TLS hello
)


def test_the_search_finds_a_token_in_every_form() -> None:
    for form in encodings(TOKEN):
        assert hits(b"\x00 before " + form + b" after", TOKEN) == [TOKEN]
    assert hits(TOKEN.lower().encode(), TOKEN) == [TOKEN]
    for shift in range(3):
        text = base64.b64encode(b"-" * shift + TOKEN.encode() + b" and more")
        assert hits(text, TOKEN) == [TOKEN]
    assert hits(b"nothing of the kind", TOKEN, ID_TOKEN) == []
    assert len(TOKEN) > 9


def test_the_messages_carry_the_token_in_every_field() -> None:
    bare = message(1).decode()
    for line in bare.rstrip("\r").split("\r")[1:]:
        name, *fields = line.split("|")
        without = [n for n, field in enumerate(fields, 1) if TOKEN not in field]
        assert without == ([8] if name == "PID" else []), name


def files_with(folder: Path, *tokens: str) -> list[str]:
    """Return the files below a folder that carry a token, in content or name."""
    found = []
    for path in sorted(folder.rglob("*")):
        if hits(str(path).encode(), *tokens):
            found.append(str(path))
        if path.is_file() and (seen := hits(path.read_bytes(), *tokens)):
            found.append(f"{path}: {seen}")
    return found


def metrics_of(site: Site) -> bytes:
    """Scrape the metrics port."""
    url = f"http://127.0.0.1:{site.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def send_everything(site: Site) -> None:
    """Send all kinds of messages and wait for what must be answered."""
    for number, content in ACCEPTED.items():
        line = Line(site.ports["feed"])
        line.send(content)
        answer = line.answer()
        assert answer is not None, f"no answer to message {number}"
        assert b"MSA|AA" in answer, f"message {number} was not accepted"
        line.close()
    for content in REFUSED.values():
        line = Line(site.ports["feed"])
        line.send(content)
        line.peer.settimeout(2)
        try:
            answer = line.answer()
            assert answer is None or b"MSA|AA" not in answer
        except TimeoutError:
            pass
        line.close()
    for data in FAULTY:
        line = Line(site.ports["feed"])
        try:
            line.send_raw(data)
            line.peer.settimeout(0.5)
            answer = line.answer()
            assert answer is None or b"MSA|AA" not in answer
        except (TimeoutError, ConnectionError):
            pass
        line.close()


def masked_outputs(site: Site, ids: list[str]) -> Iterator[tuple[str, bytes]]:
    """Run every command that shows something, without ``--phi``."""
    commands = [
        ("messages", "list"), ("messages", "list", "-o", "json"), ("dlq", "list"),
        ("dlq", "list", "-o", "json"), ("channels", "list"), ("audit", "verify"), ("keys", "status"),
        ("doctor",), ("metrics",),
    ]  # fmt: skip
    for one in ids:
        commands += [("messages", "show", one), ("messages", "trace", one), ("dlq", "show", one)]
    for words in commands:
        done = site.command(*words)
        yield " ".join(words), (done.stdout + done.stderr).encode()


def settled(site: Site) -> bool:
    """Return whether every record has come to rest."""
    records = site.json("messages", "list", "--limit", "1000")
    moving = {"received", "queued", "retrying", "in_doubt"}
    return not any(record["state"] in moving for record in records)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_token_leaves_the_messages(tmp_path: Path) -> None:
    receiver = Receiver(refuse_some)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    site = Site(
        tmp_path / "site",
        listen={"feed": ", max_message: 64KiB"},
        send={"near": receiver.port},
        channels={"birds": CHANNEL},
        environ={"TMPDIR": str(temporary)},
    )
    tables = tmp_path / "site" / "channels" / "tables"
    tables.mkdir()
    (tables / "ward.csv").write_text("from,to\n4WEST,W4\n")
    try:
        site.start()
        send_everything(site)
        wait_until("everything settles", lambda: settled(site), 30)
        assert any(TOKEN.encode() in content for content in receiver.received)
        records = site.json("messages", "list", "--limit", "1000")
        states = {record["state"] for record in records}
        assert {"sent", "dead_letter", "rejected", "dropped"} <= states
        look_everywhere(site, temporary)
        ids = [record["id"] for record in records]
        look_at_outputs(site, ids)
        look_at_a_search(site)
        look_at_revealed_content(site, records)
        look_everywhere(site, temporary)  # what showing leaves behind
        site.kill()  # with a live WAL
        assert not files_with(tmp_path / "site", TOKEN, ID_TOKEN)
        site.start()
        time.sleep(0.3)
        look_everywhere(site, temporary)
        assert site.stop() == 0
        assert not files_with(tmp_path / "site", TOKEN, ID_TOKEN)
    finally:
        site.close()
        receiver.close()


def look_everywhere(site: Site, temporary: Path) -> None:
    """Search disk, log, temporary files, metrics and the process's own lines."""
    assert site.process is not None
    assert not files_with(site.folder, TOKEN, ID_TOKEN)
    assert not files_with(temporary, TOKEN, ID_TOKEN)
    assert not hits(metrics_of(site), TOKEN, ID_TOKEN)
    for name in ("cmdline", "environ", "comm"):
        data = Path(f"/proc/{site.process.pid}/{name}").read_bytes()
        assert not hits(data, TOKEN, ID_TOKEN)
    # the search looked at something
    assert (site.folder / "var" / "store" / "store.db").stat().st_size > 4096
    assert b"ifengine_messages_received_total" in metrics_of(site)


def look_at_outputs(site: Site, ids: list[str]) -> None:
    """Search what the commands print; control ids may be listed."""
    assert len(ids) >= len(ACCEPTED) + len(REFUSED)
    for words, shown in masked_outputs(site, ids):
        assert shown, words
        assert not hits(shown, TOKEN), words
        assert b"Traceback" not in shown, words


def look_at_a_search(site: Site) -> None:
    """Searching by patient takes the value from standard input and does not repeat it."""
    done = site.command("messages", "list", "--patient", "-", "-o", "json", given=f"{TOKEN}1\n")
    assert done.returncode == 0, "the search failed"
    assert f"{ID_TOKEN}-1" in done.stdout
    assert not hits((done.stdout + done.stderr).encode(), TOKEN)


def look_at_revealed_content(site: Site, records: list[dict]) -> None:
    """The token is there for who asks with a reason, and the asking is in the audit."""
    first = next(one["id"] for one in records if one["control_id"] == f"{ID_TOKEN}-1")
    refused = site.command("messages", "show", first, "--phi")
    assert refused.returncode in (2, 4)
    assert not hits(refused.stdout.encode(), TOKEN)
    before = audit_records(site)
    shown = site.command("messages", "show", first, "--phi", "--reason", "the canary test")
    assert shown.returncode == 0
    assert hits(shown.stdout.encode(), TOKEN) == [TOKEN]
    assert audit_records(site) > before
    assert "view" in site.command("messages", "trace", first).stdout
    assert site.command("audit", "verify").returncode == 0


def audit_records(site: Site) -> float:
    """Return how many audit records the metrics count."""
    found = re.findall(rb"^ifengine_audit_records_total\S* (\S+)$", metrics_of(site), re.MULTILINE)
    return sum(float(value) for value in found)
