"""A small site without any problem, and what a test puts over it."""

from collections.abc import Mapping
from pathlib import Path

SITE = """\
ifengine: 1
site: small
identity: {patient: {path: PID-3, type: MR, authority: [A]}}
connections:
  in: {listen: mllp, port: 2575, plaintext: a test}
  out: {send: mllp, host: lab.example, port: 6661, plaintext: a test}
"""
CHANNEL = """\
ifengine: 1
channel: one
from: in
types: [ORU^R01]
order_by: patient
to:
  lab: {connection: out}
tests:
  - {name: it arrives, given: {sample: oru}, expect: {lab: sent}}
"""
SAMPLE = "MSH|^~\\&|A|B|C|D|20260101||ORU^R01|1|P|2.5.1\rPID|1||1^^^A^MR\r"
FILES = {
    "ifengine.yaml": SITE,
    "channels/one.yaml": CHANNEL,
    "channels/samples/oru.hl7": SAMPLE,
}


def write_site(directory: Path, files: Mapping[str, str | bytes | None]) -> None:
    """Write the small site with some files replaced, added, or (None) left out."""
    for name, content in {**FILES, **files}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink(missing_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_bytes(content.encode("utf-8"))
