"""A site of one channel, written, loaded and tested: what the tests of channel tests share."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ifengine.routes.channel_tests.run import CaseResult, ChannelReport, run_tests
from ifengine.routes.config.loading import Loaded, load_site
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.config.tests_beside import read_test_files
from ifengine.transforms.memory import Call, Reply
from ifengine.transforms.source import Severity

SITE = """\
ifengine: 1
site: elm
identity: {patient: {path: PID-3, type: MR, authority: [ELM]}}
facts: {order: {for: 90d}}
connections:
  in: {listen: mllp, port: 2575, plaintext: a test}
  other-in: {listen: mllp, port: 2576, plaintext: a test}
  out: {send: mllp, host: 127.0.0.1, port: 6661, plaintext: a test}
  out-2: {send: mllp, host: 127.0.0.1, port: 6662, plaintext: a test}
"""
HEAD = """\
ifengine: 1
channel: one
from: in
types: [ADT^*, ORU^R01, ORM^O01]
ignore_types: {identity: no merges here}
order_by: patient
"""
ADT = (
    "MSH|^~\\&|REG|ELM|ENG|ELM|20260105120000||ADT^A01^ADT_A01|C1|P|2.5.1\n"
    "EVN||20260105120000\n"
    "PID|1||7001^^^ELM^MR~99^^^ELM^PI||Quill^Ada||19700101|F\n"
    "PV1|1|I|4W\n"
)
ORU = (
    "MSH|^~\\&|LAB|ELM|ENG|ELM|20260105120000||ORU^R01^ORU_R01|L1|P|2.5.1\r"
    "PID|1||7001^^^ELM^MR||Quill^Ada\r"
    "OBR|1|P900|F5|GLU\r"
    "OBX|1|NM|GLU^Glucose||5.1|mmol/L||N|||F\r"
    "OBX|2|NM|K^Potassium||4.1|mmol/L||H|||F\r"
)
SAMPLES = {"adt": ADT, "oru": ORU}

TO_LAB = "to:\n  lab: {connection: out}\n"


def write(directory: Path, channel: str, files: Mapping[str, str] | None = None) -> None:
    """Write the site with one channel."""
    every = {
        "ifengine.yaml": SITE,
        "channels/one.yaml": channel,
        **{f"channels/samples/{name}.hl7": text for name, text in SAMPLES.items()},
        **(files or {}),
    }
    for name, text in every.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def loaded(directory: Path) -> Loaded:
    """Load it; errors are shown by the assertion."""
    found = load_site(directory, environ={})
    errors = [str(p) for p in found.problems if p.severity is Severity.ERROR]
    assert errors == [], "\n".join(errors)
    return found


def site_of(directory: Path) -> SiteConfig:
    """Load it."""
    site = loaded(directory).site
    assert site is not None
    return site


Work = Callable[[Call], Reply]


def report(
    directory: Path, channel: str, files: Mapping[str, str] | None = None, call: Work | None = None
) -> ChannelReport:
    """Write a channel, and run its tests."""
    write(directory, channel, files)
    site = site_of(directory)
    read = read_test_files(site.directory, site.channels[0].tests)
    given = {} if call is None else {"call": call}
    return run_tests(site, site.channels[0].name, read, **given)


def results(directory: Path, channel: str, files: Mapping[str, str] | None = None) -> list[str]:
    """Return every difference as ``destination place: expected, got``, and faults; [] is good."""
    return [line for result in report(directory, channel, files).results for line in told(result)]


def told(result: CaseResult) -> list[str]:
    """Return the differences of one test in short."""
    lines = [result.fault] if result.fault else []
    return lines + [
        f"{d.destination or 'answer'} {d.place}: {d.expected}, {d.got}" for d in result.differences
    ]
