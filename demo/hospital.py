"""The invented hospital: patients who come, move, change and leave, and a sender that tells of it.

Every name and number is made up here. The sender is an ordinary MLLP client: one connection, one
message outstanding, and after a lost connection the unanswered message is sent again unchanged.
"""

import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

START, END = b"\x0b", b"\x1c\r"

FAMILIES = ("Alder", "Birch", "Cedar", "Elmwood", "Fircroft", "Hazel", "Juniper", "Larch", "Rowan")
GIVEN = ("Ada", "Bruno", "Clara", "Dario", "Edda", "Flora", "Gus", "Hilda", "Ivo", "Jonna")
WARDS = ("4WEST", "ICU", "ED")
NEW_WARD = "9EAST"  # nobody has entered it in the ward table yet
WRONG_WARD = "ROOF"  # and this one does not exist
STRANGER_EVERY = 61  # patients the lab system does not know
NEW_WARD_EVERY = 47
WRONG_WARD_EVERY = 151
SECOND_SEND_EVERY = 40  # messages sent twice, as a nervous sender does

ADMIT, TRANSFER, UPDATE, DISCHARGE = "A01", "A02", "A08", "A03"


@dataclass(frozen=True)
class Told:
    """One message, and what the two receivers should make of it."""

    control_id: str
    patient: str
    content: bytes
    lab: str  # sent, filtered, dead_letter (new ward, wrong ward) or refused
    pharmacy: str  # sent or filtered
    reason: str = ""


class Hospital:
    """Makes messages without end; the same seed makes the same hospital."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)
        self.numbers = 0
        self.patients = 0
        self.strangers: set[str] = set()  # patients the lab system does not know (yet)
        self.wards = list(WARDS)
        self.admits_to_new_ward = True

    def messages(self) -> Iterator[Told]:
        """Yield what happens, a few patients at a time, each patient's events in order."""
        present: list[Iterator[Told]] = []
        while True:
            while len(present) < 12:
                present.append(self.stay())
            chosen = self.random.randrange(len(present))
            told = next(present[chosen], None)
            if told is None:
                del present[chosen]
            else:
                yield told

    def stay(self) -> Iterator[Told]:
        """Yield one patient's events, from admission to discharge."""
        self.patients += 1
        number = 700_000 + self.patients
        # patient classes: inpatient, emergency, outpatient, and preadmission, which nobody takes
        kind = self.random.choices("IEOP", weights=(60, 15, 20, 5))[0]
        ward = self.random.choice(self.wards)
        trouble = ""
        if self.patients % NEW_WARD_EVERY == 5 and self.admits_to_new_ward:
            kind, ward, trouble = "I", NEW_WARD, "new ward"
        elif self.patients % WRONG_WARD_EVERY == 9:
            kind, ward, trouble = "I", WRONG_WARD, "wrong ward"
        elif self.patients % STRANGER_EVERY == 7:
            kind, trouble = "E", "stranger"
            self.strangers.add(str(number))
        person = (
            self.random.choice(FAMILIES), self.random.choice(GIVEN), self.random.choice("12"),
            f"{self.random.randint(1930, 2020)}0{self.random.randint(1, 9)}15",
        )  # fmt: skip
        # who will be a dead letter has one event only: the balance then needs no second guess
        events = [ADMIT]
        if not trouble:
            events += self.random.choices((TRANSFER, UPDATE), k=self.random.randint(0, 3))
            events.append(DISCHARGE)
        for event in events:
            if event == TRANSFER:
                ward = self.random.choice(self.wards)
            yield self.tell(event, number, kind, ward, person, trouble)

    def tell(
        self,
        event: str,
        number: int,
        kind: str,
        ward: str,
        person: tuple[str, str, str, str],
        trouble: str,
    ) -> Told:
        """Return one event as a message."""
        self.numbers += 1
        control = f"RIV{self.numbers:07d}"
        family, given, sex, born = person
        text = "\r".join(
            (
                f"MSH|^~\\&|EPIC|RIVERSIDE|IFENGINE|RIVERSIDE|20260105101500||ADT^{event}^ADT_{event}|{control}|P|2.5.1",
                f"EVN|{event}|20260105101500",
                f"PID|1||{number}^^^RIVERSIDE^MR~900-{number % 100:02d}-{number % 10_000:04d}^^^SSA^SS||"
                f"{family} ^{given}||{born}|{sex}|||1 Invented Street^^Nowhere^OH^43604|||||||||"
                f"900-{number % 100:02d}-{number % 10_000:04d}",
                f"NK1|1|{family}^Kin|SPO",
                f"PV1|1|{kind}|{ward}^{number % 40 + 1}^A|||||1234^Gale^Meryl|||||||||||V{number}",
                "AL1|1|DA|^Penicillin",
            )
        )
        lab = "filtered" if kind == "P" else "sent"
        if trouble:
            lab = "refused" if trouble == "stranger" else "dead_letter"
        return Told(
            control, str(number), text.encode() + b"\r", lab,
            "sent" if kind == "I" else "filtered", trouble,
        )  # fmt: skip


class Sender(threading.Thread):
    """Sends at a rate until told to stop; keeps what it sent and what it was told."""

    def __init__(self, port: int, rate: float, seed: int = 7) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.rate = rate
        self.hospital = Hospital(seed)
        self.sent: dict[str, Told] = {}
        self.accepted: set[str] = set()
        self.refused: dict[str, str] = {}
        self.second_sends = 0  # whole messages sent twice on purpose
        self.repeats = 0  # messages sent again because no answer came
        self.losses = 0  # connections lost
        self.stopping = threading.Event()
        self.peer: socket.socket | None = None
        self.buffer = b""

    def run(self) -> None:
        due = time.monotonic()
        for told in self.hospital.messages():
            if self.stopping.is_set():
                break
            due = max(due + 1 / self.rate, time.monotonic() - 0.2)
            self.stopping.wait(max(0.0, due - time.monotonic()))
            self.sent[told.control_id] = told
            self.deliver(told)
            if len(self.sent) % SECOND_SEND_EVERY == 0:
                self.second_sends += 1
                self.deliver(told)
        if self.peer is not None:
            self.peer.close()

    def deliver(self, told: Told) -> None:
        """Send one message until it is answered."""
        first = True
        while True:
            try:
                peer = self.peer or self.connect()
                if not first:
                    self.repeats += 1
                first = False
                peer.sendall(START + told.content + END)
                code = self.answer(peer, told.control_id)
            except OSError:
                self.losses += self.peer is not None
                self.peer = None
                time.sleep(0.05)
                continue
            if code in ("AA", "CA"):
                self.accepted.add(told.control_id)
            else:
                self.refused[told.control_id] = code
            return

    def connect(self) -> socket.socket:
        """Open the connection."""
        self.peer = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        return self.peer

    def answer(self, peer: socket.socket, control_id: str) -> str:
        """Return MSA-1 of the answer to this message."""
        while True:
            while END not in self.buffer:
                data = peer.recv(65536)
                if not data:
                    raise ConnectionError("closed without an answer")
                self.buffer += data
            frame, _, self.buffer = self.buffer.partition(END)
            fields = frame.partition(b"\rMSA|")[2].split(b"\r", 1)[0].split(b"|")
            if len(fields) > 1 and fields[1].decode("ascii", "replace") == control_id:
                return fields[0].decode("ascii", "replace")

    def stop(self) -> None:
        """End after the message under way."""
        self.stopping.set()
        self.join()
