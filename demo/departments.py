"""What the other systems of the invented hospital send: registry hub, laboratory, order entry.

Each makes small stories: a result before its order, a merge between a result and its order, a late
preliminary, a double click. The same seed tells the same stories.
"""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from demo.hospital import FAMILIES, GIVEN
from demo.sending import Told

HUB, LAB, ORDERS = "identity-and-waiting", "lab-results", "radiology-orders"
UNKNOWN_PROCEDURE = "XX999"  # the radiology system refuses it
LAB_MERGE = (
    500_000  # added to a number: the retired one of a patient whom the laboratory knows by it
)
HUB_MERGE = 900_000

Story = Iterator[Told]


def person(number: int) -> str:
    """Return PID-5 to PID-8 of a patient, always the same."""
    family, given = FAMILIES[number % len(FAMILIES)], GIVEN[number % len(GIVEN)]
    return f"{family}^{given}||{1930 + number % 80}0415|{'FM'[number % 2]}"


def header(sender: str, kind: str, control: str, version: str = "2.5.1") -> str:
    """Return an MSH segment."""
    return f"MSH|^~\\&|{sender}|RIVERSIDE|IFENGINE|RIVERSIDE|20260105101500||{kind}|{control}|P|{version}"


def pid(number: int, shown: int) -> str:
    """Return a PID segment of the patient ``number`` under the number ``shown``."""
    return f"PID|1||{shown}^^^RIVERSIDE^MR||{person(number)}"


def message(*segments: str) -> bytes:
    """Return segments as they go over the wire."""
    return ("\r".join(segments) + "\r").encode()


class Merges:
    """Which merges the hub has taken over, for those who wait for one."""

    def __init__(self) -> None:
        self.done: dict[int, threading.Event] = defaultdict(threading.Event)


class Stories:
    """Tells stories side by side, each in its order, until it is closed."""

    side_by_side = 5

    def __init__(self, prefix: str, seed: int, stories: Sequence[Callable[[int], Story]]) -> None:
        self.random = random.Random(seed)
        self.prefix = prefix
        self.stories = stories
        self.begun = 0
        self.numbers = 0
        self.closed = False

    def close(self) -> None:
        """Begin no story any more."""
        self.closed = True

    def messages(self) -> Iterator[Told]:
        """Yield what happens."""
        present: list[Story] = []
        while True:
            while len(present) < self.side_by_side and not self.closed:
                self.begun += 1
                present.append(self.stories[self.begun % len(self.stories)](self.begun))
            if not present:
                return
            chosen = self.random.randrange(len(present))
            told = next(present[chosen], None)
            if told is None:
                del present[chosen]
            else:
                yield told

    def control(self) -> str:
        """Return the next control id."""
        self.numbers += 1
        return f"{self.prefix}{self.numbers:07d}"


class Hub(Stories):
    """Registrations, merges, orders and results over one connection."""

    def __init__(self, merges: Merges, seed: int = 11) -> None:
        super().__init__(
            "HUB", seed,
            (
                self.in_order, self.result_first, self.merge_first, self.for_the_lab,
                self.late_merge, self.critical, self.in_order, self.for_the_lab, self.never,
            ),
        )  # fmt: skip
        self.merges = merges
        self.lab_merges = 0

    def registered(self, number: int) -> Told:
        """A patient comes."""
        control = self.control()
        text = message(
            header("EPIC", "ADT^A01^ADT_A01", control), "EVN|A01|20260105101500",
            pid(number, number), "PV1|1|O",
        )  # fmt: skip
        return Told(control, HUB, str(number), text, {"registry": "sent", "ehr": "filtered"})

    def merged(self, number: int, prior: int, marks: threading.Event | None = None) -> Told:
        """The number ``prior`` turns out to be the same person."""
        control = self.control()
        text = message(
            header("EPIC", "ADT^A40^ADT_A39", control), "EVN|A40|20260105101500",
            pid(number, number), f"MRG|{prior}^^^RIVERSIDE^MR",
        )  # fmt: skip
        wanted = {"registry": "sent", "ehr": "filtered"}
        return Told(control, HUB, str(number), text, wanted, "merge", marks=marks)

    def order(self, number: int, story: int) -> Told:
        """An order is placed."""
        control = self.control()
        text = message(
            header("CPOE", "ORM^O01^ORM_O01", control), pid(number, number),
            f"ORC|NW|H{story}", f"OBR|1|H{story}||LIPID^Lipid panel^L",
        )  # fmt: skip
        wanted = {"registry": "filtered", "ehr": "filtered"}
        return Told(control, HUB, str(number), text, wanted)

    def result(
        self, number: int, story: int, *, shown: int = 0, flag: str = "N",
        state: str = "sent", alone: bool = False,
    ) -> Told:  # fmt: skip
        """A result comes, under the number ``shown`` where it is another one."""
        control = self.control()
        text = message(
            header("LAB", "ORU^R01^ORU_R01", control), pid(number, shown or number),
            f"ORC|RE|H{story}|HF{story}", f"OBR|1|H{story}|HF{story}|LIPID^Lipid panel^L",
            f"OBX|1|NM|CHOL^Cholesterol^L||5.2|mmol/L|<5.0|{flag}|||F",
        )  # fmt: skip
        wanted = {"registry": "parked" if state == "parked" else "filtered", "ehr": state}
        reason = "no order" if state == "parked" else ""
        return Told(control, HUB, str(number), text, wanted, reason, alone=alone)

    def in_order(self, story: int) -> Story:
        """As it should be."""
        number = 810_000 + story
        yield self.registered(number)
        yield self.order(number, story)
        yield self.result(number, story)

    def result_first(self, story: int) -> Story:
        """The result is faster than its order, and waits for it."""
        number = 810_000 + story
        yield self.registered(number)
        yield self.result(number, story, alone=True)
        yield self.order(number, story)

    def merge_first(self, story: int) -> Story:
        """The laboratory still uses the number that was retired."""
        number = 810_000 + story
        yield self.registered(number)
        yield self.order(number, story)
        yield self.merged(number, number + HUB_MERGE)
        yield self.result(number, story, shown=number + HUB_MERGE)

    def late_merge(self, story: int) -> Story:
        """The number is retired while the result under it waits for its order."""
        number = 810_000 + story
        yield self.registered(number)
        yield self.result(number, story, shown=number + HUB_MERGE, alone=True)
        yield self.merged(number, number + HUB_MERGE)
        yield self.order(number, story)

    def critical(self, story: int) -> Story:
        """A critical result does not wait."""
        number = 810_000 + story
        yield self.registered(number)
        yield self.result(number, story, flag="HH")

    def never(self, story: int) -> Story:
        """An order that is never placed."""
        number = 810_000 + story
        yield self.registered(number)
        yield self.result(number, story, state="parked", alone=True)

    def for_the_lab(self, story: int) -> Story:
        """A merge after which the laboratory reports, on its own connection, under the old number."""
        self.lab_merges += 1
        number = 830_000 + self.lab_merges
        yield self.merged(number, number + LAB_MERGE, self.merges.done[self.lab_merges])


class Lab(Stories):
    """Results of the laboratory: preliminaries, finals, corrections, reports as PDF."""

    def __init__(self, merges: Merges, seed: int = 13) -> None:
        super().__init__(
            "LAB", seed, (self.in_order, self.late, self.report, self.in_order, self.retired)
        )
        self.merges = merges
        self.retired_reports = 0

    def result(
        self, number: int, story: int, status: str, *, shown: int = 0, state: str = "sent",
        minute: int = 10, pdf: bool = False, waits_for: threading.Event | None = None,
    ) -> Told:  # fmt: skip
        """One report in one of its states."""
        control = self.control()
        text = [
            header("LAB", "ORU^R01^ORU_R01", control),
            pid(number, shown or number),
            f"OBR|1|L{story}|LF{story}|LIPID^Lipid panel^L" + "|" * 18 + f"202601051{minute:03d}|||{status}",
            f"OBX|1|NM|CHOL^Cholesterol^L||5.2|mmol/L|<5.0|H|||{status}",
        ]  # fmt: skip
        if pdf:
            text.append("OBX|2|ED|PDF^Report^L||LAB^AP^PDF^Base64^JVBERi0xLjQKJUVPRgo=||||||F")
        return Told(
            control, LAB, str(number), message(*text), {"ehr": state},
            "late" if state == "dropped" else "", waits_for=waits_for,
        )  # fmt: skip

    def in_order(self, story: int) -> Story:
        """A preliminary, the final, a correction."""
        number = 820_000 + story
        yield self.result(number, story, "P", minute=10)
        yield self.result(number, story, "F", minute=20)
        yield self.result(number, story, "C", minute=30)

    def late(self, story: int) -> Story:
        """The preliminary comes after the final: it must not replace it."""
        number = 820_000 + story
        yield self.result(number, story, "F", minute=20)
        yield self.result(number, story, "P", minute=10, state="dropped")

    def report(self, story: int) -> Story:
        """A final with its report as PDF."""
        yield self.result(820_000 + story, story, "F", pdf=True)

    def retired(self, story: int) -> Story:
        """A result under a number that the hub has retired meanwhile."""
        self.retired_reports += 1
        number, event = 830_000 + self.retired_reports, self.merges.done[self.retired_reports]
        yield self.result(number, story, "F", shown=number + LAB_MERGE, waits_for=event)


class OrderEntry(Stories):
    """Imaging orders; the sender hears what the radiology system says."""

    def __init__(self, seed: int = 17) -> None:
        taken = self.taken
        super().__init__(
            "ORD", seed, (taken, self.refused, taken, self.double_click, taken, self.wrong, taken)
        )

    def order(
        self, story: int, *, placer: str, control_code: str = "NW", procedure: str = "71020",
        state: str = "sent", answer: str = "AA", reason: str = "",
    ) -> Told:  # fmt: skip
        """One order."""
        control, number = self.control(), 840_000 + story
        text = message(
            header("CPOE", "ORM^O01^ORM_O01", control, "2.3"), pid(number, number), "PV1|1|O|RAD",
            f"ORC|{control_code}|{placer}",
            f"OBR|1|{placer}||{procedure}^Chest X-ray^C4|||20260106080000",
        )  # fmt: skip
        return Told(control, ORDERS, str(number), text, {"ris": state}, reason, answer)

    def taken(self, story: int) -> Story:
        """An order the radiology system takes."""
        yield self.order(story, placer=f"R{story}")

    def refused(self, story: int) -> Story:
        """One it refuses: the sender hears it, and nothing is tried again behind its back."""
        yield self.order(
            story, placer=f"R{story}", procedure=UNKNOWN_PROCEDURE, state="rejected", answer="AR",
            reason="refused by the radiology system",
        )  # fmt: skip

    def double_click(self, story: int) -> Story:
        """The same order twice, under two control ids."""
        yield self.order(story, placer=f"R{story}")
        yield self.order(story, placer=f"R{story}", state="dropped", reason="double click")

    def wrong(self, story: int) -> Story:
        """An order control nobody agreed on, and an order without number."""
        yield self.order(
            story, placer=f"R{story}", control_code="ZZ", state="rejected", answer="AR",
            reason="order control",
        )  # fmt: skip
        yield self.order(story, placer="", state="rejected", answer="AE", reason="no number")
