"""The site that is simulated: two channels, three receivers, merges, and results that wait for orders."""

from dataclasses import dataclass
from pathlib import Path

from ifengine.routes.config.loading import Loaded, load_site
from ifengine.settings import Settings, read_settings
from ifengine.store.keys import FileKek

PORT = 2575
PORTS = {"east": 3001, "west": 3002, "ward": 3003}

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
types: [ORU^*, ORM^*]
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
        for name, text in (("admissions", ADMISSIONS), ("results", RESULTS)):
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
