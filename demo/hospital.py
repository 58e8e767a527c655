"""The invented hospital: patients who come, move, change and leave. Every name is made up here."""

import random
from collections.abc import Iterator

from demo.sending import Told

FAMILIES = ("Alder", "Birch", "Cedar", "Elmwood", "Fircroft", "Hazel", "Juniper", "Larch", "Rowan")
GIVEN = ("Ada", "Bruno", "Clara", "Dario", "Edda", "Flora", "Gus", "Hilda", "Ivo", "Jonna")
WARDS = ("4WEST", "ICU", "ED")
NEW_WARD = "9EAST"  # nobody has entered it in the ward table yet
WRONG_WARD = "ROOF"  # and this one does not exist
STRANGER_EVERY = 61  # patients the lab system does not know
NEW_WARD_EVERY = 47
WRONG_WARD_EVERY = 151

ADMIT, TRANSFER, UPDATE, DISCHARGE = "A01", "A02", "A08", "A03"


class Hospital:
    """Makes messages until it is closed; the same seed makes the same hospital."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)
        self.numbers = 0
        self.patients = 0
        self.strangers: set[str] = set()  # patients the lab system does not know (yet)
        self.wards = list(WARDS)
        self.admits_to_new_ward = True
        self.closed = False

    def close(self) -> None:
        """Admit nobody any more."""
        self.closed = True

    def messages(self) -> Iterator[Told]:
        """Yield what happens, a few patients at a time, each patient's events in order."""
        present: list[Iterator[Told]] = []
        while True:
            while len(present) < 12 and not self.closed:
                present.append(self.stay())
            if not present:
                return
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
            control, "adt-fanout", str(number), text.encode() + b"\r",
            {"lab": lab, "pharmacy": "sent" if kind == "I" else "filtered"}, trouble,
        )  # fmt: skip
