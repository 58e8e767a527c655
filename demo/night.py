"""The nightly file of the region's laboratories, and the folder of the research warehouse."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from demo.sending import Told

CHANNEL = "regional-batch"
FACILITIES = ("NORTH", "SOUTH", "NORTH", "SOUTH", "NORTH")
UNKNOWN = "WEST"
# what identifies somebody in the file: none of it may be in a copy for research
TELLING = ("Nightjar", "Owl", "Moonlit", "5550177", "19470312", "20260104093000", "NF")


def one(number: int) -> Told:
    """Return one result of the file; one of them comes from a facility that nobody knows."""
    facility = UNKNOWN if number == 7 else FACILITIES[number % len(FACILITIES)]
    control = f"NIGHT{number:04d}"
    flag = "HH" if number % 6 == 0 else "N"
    content = "\r".join(
        (
            f"MSH|^~\\&|LAB|{facility}|IFENGINE|RIVERSIDE|20260105010101||ORU^R01^ORU_R01|{control}|P|2.5.1",
            f"PID|1||{9000 + number}^^^{facility}^MR||Nightjar^Owl||19470312|F|||{number} Moonlit Rd^^Riverton^OH^43000||5550177",
            f"OBR|1||NF{number}|K^Potassium^L|||20260104093000",
            f"OBX|1|NM|K^Potassium^L||4.{number % 10}|mmol/L||{flag}|||F",
        )
    )  # fmt: skip
    wanted = {
        "north": "sent" if facility == "NORTH" else "filtered",
        "south": "sent" if facility == "SOUTH" else "filtered",
        "research": "filtered" if facility == UNKNOWN else "sent",
    }
    reason = ""
    if facility == UNKNOWN:
        wanted["unmatched"], reason = "dead_letter", "unknown facility"
    return Told(control, CHANNEL, str(9000 + number), content.encode() + b"\r", wanted, reason)


class Night:
    """One file with all its messages, and one that lost its end on the way."""

    def __init__(self, count: int = 24) -> None:
        self.sent = {told.control_id: told for told in map(one, range(1, count + 1))}
        self.answers: dict[str, str] = {}  # nobody waits for an answer to a file
        self.cut_files = 1

    def write(self, folder: Path) -> None:
        """Put both files where the engine looks, each at once."""
        whole = self.content()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in (("night.hl7", whole), ("cut.hl7", whole[: len(whole) // 2])):
            part = folder / f"{name}.part"
            part.write_bytes(content)
            part.rename(folder / name)

    def content(self) -> bytes:
        """Return the whole file."""
        head = b"FHS|^~\\&|HUB|REGION|IFENGINE|RIVERSIDE|20260105||night\rBHS|^~\\&|HUB|REGION|IFENGINE|RIVERSIDE|20260105||b1\r"
        body = b"".join(told.content for told in self.sent.values())
        return head + body + f"BTS|{len(self.sent)}\rFTS|1\r".encode()


class Research:
    """The folder of the warehouse; a file is named after the engine's number of the message."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = "research"
        self.delivered: list[str] = []
        self.patients: dict[str, str] = {}  # nobody is known here
        self.telling: list[str] = []  # files that tell who somebody is

    def read(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take stock of the folder."""
        names = {record["id"]: record["control_id"] for record in records}
        self.delivered, self.telling = [], []
        for file in sorted(self.folder.glob("*.hl7"), key=lambda file: int(file.stem)):
            self.delivered.append(names.get(file.stem, file.name))
            content = file.read_text(encoding="utf-8")
            if any(word in content for word in TELLING) or not content.startswith("MSH|"):
                self.telling.append(file.name)

    def repeats(self) -> list[str]:
        """Return what lies there twice: a file has one name, so nothing."""
        return []

    def close(self) -> None:
        """Nothing to close."""
