"""The messages that are sent: the sample as it is, and the same admission in other sizes."""

import base64
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent / "adt_a01.hl7"
SMALL_BYTES, MIDDLE_BYTES, DOCUMENT_BYTES = 1024, 3482, 5 * 1024 * 1024
PLACES = len("000000000") - len("@ID@") + 1 + len("0000000") - len("@PATIENT@")  # as sent


def template(name: str, into: Path) -> Path:
    """Return a template of load.c: ``sample``, ``1 KB``, ``3.4 KB`` or ``5 MB`` (a document)."""
    lines = SAMPLE.read_text().splitlines()
    if name == "sample":
        return SAMPLE
    if name == "1 KB":
        text = _cut(lines, SMALL_BYTES)
    elif name == "3.4 KB":
        text = _grown(lines, MIDDLE_BYTES)
    else:
        encoded = base64.b64encode(bytes(range(256)) * (DOCUMENT_BYTES * 3 // 4 // 256)).decode()
        lines.append(
            f"OBX|1|ED|18842-5^Discharge summary^LN||IE^application^pdf^Base64^{encoded}||||||F"
        )
        text = "\r".join(lines)
    path = into / f"template-{name.replace(' ', '-').lower()}.hl7"
    path.write_text(text + "\r")
    return path


def _cut(lines: list[str], size: int) -> str:
    """Leave out segments behind the visit until a note fills the rest up."""
    kept = [line for line in lines if not line.startswith(("IN1", "DG1", "NK1"))]
    text = "\r".join(kept) + "\r"
    return text + "NTE|1||" + "n" * max(1, size - len(text) - len("NTE|1||\r") - PLACES)


def _grown(lines: list[str], size: int) -> str:
    """Add diagnoses, as a long stay has them."""
    text, number = "\r".join(lines) + "\r", 2
    while True:
        more = (
            f"DG1|{number}||R{number:02d}.9^Finding number {number}, unspecified^I10||20260105|A\r"
        )
        if len(text) + len(more) + len("NTE|1||\r") + PLACES >= size:
            break
        text += more
        number += 1
    return text + "NTE|1||" + "n" * max(1, size - len(text) - len("NTE|1||\r") - PLACES)
