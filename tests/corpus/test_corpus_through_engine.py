"""Other people's messages through a pass-through channel of a real engine.

Each arrives byte for byte, or is refused and found again as a record, or, being an
acknowledgment, is kept unanswered. Who asks for silence in MSH-15/16 gets it.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corpus.loopback import BOM, Line, Receiver, answered, control_id
from crash.serving import Site, wait_until

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"

CHANNEL = """\
ifengine: 1
channel: through
about: Passes everything on as it came.
from: feed
accept_processing: [P, T, D]
accept_mode: [A, R, I]
to:
  far:
    connection: far
"""


@dataclass(frozen=True)
class Piece:
    """One message, or what stands before the first one, of a corpus file."""

    file: str
    content: bytes

    def field(self, number: int) -> bytes:
        """Return a field of MSH by its number, as it stands."""
        text = self.content.removeprefix(BOM)
        first = re.split(rb"[\r\n]", text, maxsplit=1)[0]
        fields = first.split(text[3:4]) if text[3:4] else []
        return fields[number - 1] if len(fields) >= number else b""

    def is_message(self) -> bool:
        """Return whether it starts with a header."""
        return self.content.removeprefix(BOM).startswith(b"MSH") and len(self.content) > 8

    def is_acknowledgment(self) -> bool:
        """Return whether MSH-9 says ACK, MCF or the like."""
        component = self.content[4:5] or b"^"
        return self.is_message() and self.field(9).split(component)[0] == b"ACK"

    def answers_on_success(self) -> list[str] | None:
        """Return what MSH-15/16 ask for after acceptance; None where they name no known condition.

        hl7-rules.md 2.2: both empty is original mode; AL and SU hold on success, NE and ER do not.
        """
        accept, application = self.field(15), self.field(16)
        if not accept and not application:
            return ["AA"]
        known = (b"AL", b"NE", b"ER", b"SU")
        if accept not in known or application not in (*known, b""):
            return None
        holds = (b"AL", b"SU")
        return ["CA"] * (accept in holds) + ["AA"] * (application in holds)

    def wants_no_refusal(self) -> bool:
        """Return whether MSH-15/16 say that a refusal is not to be answered."""
        accept, application = self.field(15), self.field(16)
        return bool(accept or application) and accept not in (b"AL", b"ER")


def pieces() -> Iterator[Piece]:
    """Cut every file of the corpus at its headers; nothing else is changed but MLLP's own bytes."""
    with (CORPUS / "index.csv").open(encoding="utf-8", newline="") as index:
        names = [row["path"] for row in csv.DictReader(index)]
    for name in names:
        data = (CORPUS / name).read_bytes()
        data = re.sub(rb"\x1c\r?", b"", data).replace(b"\x0b", b"")
        for content in re.split(rb"(?<=[\r\n])(?=MSH)", data):
            if content:
                yield Piece(name, content)


def marker(number: int) -> bytes:
    """A message of our own behind each piece: its answer shows that the piece got none."""
    return (
        b"MSH|^~\\&|MARK|MERCY|IE|MERCY|20260105101500||ADT^A08|MARK-%06d|P|2.5.1\r"
        b"EVN|A08|20260105101500\r" % number
    )


@dataclass
class Told:
    """What happened to one piece at the sender's end."""

    piece: Piece
    codes: list[str]  # empty: no answer


def send_all(line: Line, given: list[Piece]) -> list[Told]:
    """Send every piece with its marker; answers come in order."""
    told = []
    for number, piece in enumerate(given):
        line.send(piece.content)
        line.send(marker(number))
        codes: list[str] = []
        while True:
            answer = line.answer()
            assert answer is not None, f"the engine closed the connection at {piece.file}"
            got, control = answered(answer)
            if control == b"MARK-%06d" % number:
                assert got == "AA"
                break
            assert control == control_id(piece.content), f"a foreign MSA-2: {piece.file}"
            codes.append(got)
        told.append(Told(piece, codes))
    return told


@pytest.mark.slow
@pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus ../shared/corpus is not on this machine"
)
def test_every_message_of_the_corpus_arrives_or_is_found_again(tmp_path: Path) -> None:
    given = list(pieces())
    assert len(given) > 600
    receiver = Receiver()
    site = Site(
        tmp_path / "site",
        listen={"feed": ""},
        send={"far": receiver.port},
        channels={"through": CHANNEL},
    )
    try:
        site.start()
        line = Line(site.ports["feed"])
        told = send_all(line, given)
        line.close()
        records = sorted(
            site.json("messages", "list", "--limit", "100000"), key=lambda one: int(one["id"])
        )
        expected, kinds = account(told, records)
        wait_until("everything arrives", lambda: len(receiver.received) >= len(expected), 60)
        assert receiver.received == expected, "not the same bytes in the same order"
        assert kinds["sent"] > 450
        assert kinds["acknowledgment"] >= 9
        assert kinds["silent"] > 20
        assert site.stop() == 0
    finally:
        site.close()
        receiver.close()


def account(told: list[Told], records: list[dict]) -> tuple[list[bytes], Counter[str]]:
    """Compare the sender's view with the engine's records, one by one, in the order of receipt.

    Returns what the receiver must have, in order, and how many went which way.
    """
    assert len(records) == 2 * len(told), "one frame, one record"
    expected: list[bytes] = []
    kinds: Counter[str] = Counter()
    for number, (one, record) in enumerate(zip(told, records[::2], strict=True)):
        place = f"{one.piece.file}: {one.codes} {record['state']} {reasons(record)}"
        state = record["state"]
        if one.piece.is_acknowledgment():
            assert not one.codes, place
            assert (state, reasons(record)) == ("dropped", ["acknowledgment"]), place
            kinds["acknowledgment"] += 1
        elif state == "rejected":
            # what cannot be read as a header at all may stay unanswered
            if one.piece.is_message() and not one.piece.wants_no_refusal():
                assert one.codes, place
            assert set(one.codes) <= {"AE", "AR", "CE", "CR"}, place
            assert all(reasons(record)), place
            kinds["rejected"] += 1
        else:
            assert one.piece.is_message(), place
            assert record["control_id"] == shown(control_id(one.piece.content)), place
            wanted = one.piece.answers_on_success()
            if wanted is None:
                assert set(one.codes) <= {"AA", "CA"}, place
            else:
                assert one.codes == wanted, place
            kinds["silent"] += not one.codes
            if (state, reasons(record)) == ("dropped", ["duplicate"]):
                assert one.piece.content in expected, place
                kinds["duplicate"] += 1
            elif state == "held":
                mode = one.piece.field(11).split(one.piece.content[4:5])[1:]
                assert mode[:1] in ([b"A"], [b"R"], [b"I"]), place
                kinds["held"] += 1
            else:
                expected.append(one.piece.content)
                kinds["sent"] += 1
        expected.append(marker(number))
    print(dict(kinds))
    return expected, kinds


def reasons(record: dict) -> list[str]:
    """Return why a record is where it is: its own reason, else those of its destinations."""
    return (
        [record["reason"]]
        if record.get("reason")
        else [one["reason"] for one in record["destinations"]]
    )


def shown(control: bytes) -> str:
    """Return how a listing writes a control id."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in control)
