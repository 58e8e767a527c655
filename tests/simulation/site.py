"""The site that is simulated: merges, results that wait for orders, repeats, visits, parts, late news."""

from dataclasses import dataclass
from pathlib import Path

from ifengine.routes.config.loading import Loaded, load_site
from ifengine.settings import Settings, read_settings
from ifengine.store.keys import FileKek

PORT = 2575
PORTS = {"east": 3001, "west": 3002, "ward": 3003, "desk": 3004, "lab": 3005, "last": 3006}

SITE = """\
ifengine: 1
site: river
environment: test
store: {{path: var/store, reserve: 1MiB{keep}}}
listen: {{admin: "unix:var/admin.sock", metrics: "127.0.0.1:9100"}}
identity: {{patient: {{path: PID-3, type: MR, authority: [RIVER]}}}}
facts: {{order: {{for: 90d}}}}
connections:
  in: {{listen: mllp, host: 127.0.0.1, port: 2575, plaintext: test}}
  to-east: {{send: mllp, host: 127.0.0.1, port: 3001, plaintext: test}}
  to-west: {{send: mllp, host: 127.0.0.1, port: 3002, plaintext: test}}
  to-ward: {{send: mllp, host: 127.0.0.1, port: 3003, plaintext: test}}
  to-desk: {{send: mllp, host: 127.0.0.1, port: 3004, plaintext: test}}
  to-lab: {{send: mllp, host: 127.0.0.1, port: 3005, plaintext: test}}
  to-last: {{send: mllp, host: 127.0.0.1, port: 3006, plaintext: test}}
"""
ADMISSIONS = """\
ifengine: 1
channel: admissions
about: Pass through; one receiver behind four lanes by patient, one behind a single lane.{about}
from: in
types: [ADT^*]
order_by: patient
steps:
  - when: MSH-9.2 = A40
    merge_patient: {{keep: PID-3, retire: MRG-1}}
to:
  east:
    connection: to-east
    lanes: 4
    ack_timeout: 2s
    retry: {retry}
  west:
    connection: to-west
    ack_timeout: 2s
    settle: strict
    retry: {retry}
"""
RESULTS = """\
ifengine: 1
channel: results
about: Results wait for their orders.{about}
from: in
types: [ORU^R01, ORM^*]
order_by: patient
steps:
  - resolve_patient: {{in: PID-3(where .5 = MR)}}
  - when: MSH-9.1 = ORM
    remember: {{fact: order, per: ORC, key: ORC-2.1}}
  - when: MSH-9.1 = ORU
    wait_for: {{fact: order, per: OBR, key: OBR-2.1, up_to: 20s}}
to:
  ward:
    connection: to-ward
    lanes: 3
    types: [ORU^*]
    ack_timeout: 2s
    retry: {retry}
"""
VISITS = """\
ifengine: 1
channel: visits
about: What repeats another goes nowhere; a visit that was sent is followed.{about}
from: in
types: [SIU^*]
order_by: patient
dedupe: {{key: SCH-1.1, window: 7d}}
to:
  desk:
    connection: to-desk
    accept: PV1-2 = I
    follow: {{key: PV1-19.1, for: 90d}}
    ack_timeout: 2s
    retry: {retry}
"""
PARTS = """\
ifengine: 1
channel: parts
about: Two messages are one report.{about}
from: in
types: [ORU^R30]
order_by: patient
combine: {{by: OBX, key: OBR-3.1, until: OBR-25 = F, up_to: 300s}}
to:
  lab:
    connection: to-lab
    ack_timeout: 2s
    retry: {retry}
"""
NEWS = """\
ifengine: 1
channel: news
about: What is preliminary does not come after what is final.{about}
from: in
types: [ORU^R31]
order_by: patient
steps:
  - latest_only: {{per: OBR, key: [OBR-3], status: OBR-25, order: [P, F], newer: OBR-22, stale: drop, for: 90d}}
to:
  last:
    connection: to-last
    ack_timeout: 2s
    retry: {retry}
"""
CHANNELS = {
    "admissions": ADMISSIONS,
    "results": RESULTS,
    "visits": VISITS,
    "parts": PARTS,
    "news": NEWS,
}
RETRY = "{first: 200ms, factor: 2, max: 4s, refused: 3, in_doubt: 6}"


@dataclass(frozen=True)
class Written:
    """The site as it is read, and another version of it for reloads."""

    settings: Settings
    loaded: Loaded
    other: Loaded


def write(folder: Path, *, keep: str = "") -> Written:
    """Write the files of the site, and read them."""
    versions = []
    for about in ("", " Read again."):
        place = folder
        (place / "channels").mkdir(parents=True, exist_ok=True)
        (place / "ifengine.yaml").write_text(SITE.format(keep=keep))
        for name, text in CHANNELS.items():
            filled = text.format(about=about, retry=RETRY)
            (place / "channels" / f"{name}.yaml").write_text(filled)
        loaded = load_site(place, environ={})
        assert loaded.site is not None, [p for p in loaded.problems if p.severity == "error"]
        versions.append(loaded)
    site = versions[0].site
    assert site is not None
    key = Path(site.kek.removeprefix("file:"))
    if not key.exists():
        FileKek.init_file(key)
    return Written(read_settings(site, {}), *versions)
