"""The files of a new site, by example. Every name and number in the samples is invented."""

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final = ("adt", "lab", "batch")

_GITIGNORE = """\
# the store, the keys, sockets and files on their way: never under version control
var/
"""

_HEAD = """\
# A site of ifengine: places have names here, and what happens to messages stands in channels/.
ifengine: 1
site: {site}
about: A new site; say here what it is for.
environment: test          # or production

store: {{path: var/store, reserve: 256MiB}}   # below the reserve new messages wait at their sender
keep: {{messages: 30d, dead_letters: 180d, audit: 7y}}

# Who is one patient: the repetition of PID-3 with this type and assigning authority.
identity: {{patient: {{path: PID-3, type: MR, authority: [HOSP]}}}}

# Real connections have `tls: NAME` and their certificates under `tls:`; plaintext needs a reason.
connections:
"""

_ADT_PLACES = """\
  adt-in:  {listen: mllp, port: 2575, plaintext: a first try on one machine}
  lab-adt: {send: mllp, host: 127.0.0.1, port: 6661, plaintext: a first try on one machine}
"""

_ADT = """\
ifengine: 1
channel: adt
about: Admissions, transfers and discharges, to the laboratory.

from: adt-in
types: [ADT^A01, ADT^A02, ADT^A03, ADT^A08]
ignore_types: {identity: this feed sends no merges}
order_by: patient              # one patient's messages never overtake each other

# Once for every destination. A step that fails makes a dead letter: nothing is lost, a person looks.
steps:
  - require: {PID-3: no patient identifier, PV1-2: no patient class}
  - trim: [PID-5.1, PID-5.2]
  - lookup: {table: sex, from: PID-8, missing: U}

# Each destination has a copy and a queue of its own.
to:
  lab:
    connection: lab-adt
    accept: PV1-2 in [I, E]
    steps:
      - set: {MSH-5: LAB}
      - delete_segments: [NK1]

tests:
  - name: an inpatient is sent, without next of kin
    given: {sample: adt_a01}
    expect:
      ack: AA
      lab: {state: sent, fields: {PID-5.1: Quillon, PID-8: F, MSH-5: LAB}, absent: [NK1]}

  - name: an outpatient is not for the laboratory
    given: {sample: adt_a01, change: {PV1-2: O}}
    expect: {ack: AA, lab: filtered}

  - name: a message without an identifier waits for a person
    given: {sample: adt_a01, change: {PID-3: null}}
    expect: {lab: {state: dead_letter, reason: no patient identifier}}
"""

_ADT_SAMPLE = """\
MSH|^~\\&|REG|HOSP|ENGINE|HOSP|20260105120000||ADT^A01^ADT_A01|C1001|P|2.5.1
EVN||20260105120000
PID|1||70011^^^HOSP^MR||Quillon ^Ada||19700101|2
NK1|1|Quillon^Bert|SPO
PV1|1|I|4W^12^1
"""

_SEX_TABLE = """\
# codes of the registration, and what HL7 table 0001 calls them
from,to
1,M
2,F
M,M
F,F
"""

_LAB_PLACES = """\
  lab-in:  {listen: mllp, port: 2576, plaintext: a first try on one machine}
  ehr-oru: {send: mllp, host: 127.0.0.1, port: 6663, plaintext: a first try on one machine}
"""

_LAB = """\
ifengine: 1
channel: lab
about: Laboratory results, to the health record.

from: lab-in
types: [ORU^R01]
order_by: patient              # one patient's messages never overtake each other

steps:
  - require: {PID-3: no patient identifier}
  - for_each: OBX
    do:
      - lookup: {table: units, from: OBX-6.1, missing: keep}

to:
  ehr:
    connection: ehr-oru
    steps:
      - delete_segments: Z*
    retry: {first: 5s, max: 5m}

tests:
  - name: units are called as the record knows them
    given: {sample: oru_r01}
    expect:
      ack: AA
      ehr: {state: sent, fields: {"OBX[1]-6.1": mmol/L, "OBX[2]-6.1": "%"}, absent: [ZLB]}

  - name: a unit that nobody knows stays
    given: {sample: oru_r01, change: {"OBX[1]-6.1": furlong}}
    expect: {ehr: {state: sent, fields: {"OBX[1]-6.1": furlong}}}

  - name: a result without an identifier waits for a person
    given: {sample: oru_r01, change: {PID-3: null}}
    expect: {ehr: {state: dead_letter, reason: no patient identifier}}
"""

_LAB_SAMPLE = """\
MSH|^~\\&|LIS|HOSP|ENGINE|HOSP|20260105130000||ORU^R01^ORU_R01|L2001|P|2.5.1
PID|1||70012^^^HOSP^MR||Pemberly^Ivo||19610203|M
OBR|1||F900|24331-1^Lipid panel^LN|||20260105093000|||||||||||||||20260105125500|||F
OBX|1|NM|2093-3^Cholesterol^LN||5.2|MMOLL|<5.0|H|||F
OBX|2|NM|4548-4^Hemoglobin A1c^LN||5.4|PCT|<6.0|N|||F
ZLB|1|internal
"""

_UNITS_TABLE = """\
# how the laboratory calls its units, and how the record does (UCUM)
from,to
MMOLL,mmol/L
PCT,%
GL,g/L
"""

_BATCH_PLACES = """\
  north-oru: {send: mllp, host: 127.0.0.1, port: 6666, plaintext: a first try on one machine}
  south-oru: {send: mllp, host: 127.0.0.1, port: 6667, plaintext: a first try on one machine}
"""

_BATCH = """\
ifengine: 1
channel: batch
about: Nightly files of results, split into messages and sent where each belongs.

from:
  files: {dir: var/hub/in, pattern: "*.hl7", stable_for: 10s, done: var/hub/done, bad: var/hub/bad}
expect: {every: 24h}
unbatch: {check_counts: yes}   # FHS and BHS … BTS and FTS, counts must agree
types: [ORU^R01]
order_by: patient
no_match: dead_letter          # a place nobody knows is a problem, not noise

to:
  north:
    connection: north-oru
    accept: MSH-4 = NORTH
  south:
    connection: south-oru
    accept: MSH-4 = SOUTH
    steps:
      - set: {MSH-5: SOUTHLAB}

tests:
  - name: two messages for two places, and one that nobody takes
    given: {sample: night}
    expect:
      north: {state: sent, count: 1}
      south: {state: sent, count: 1, fields: {MSH-5: SOUTHLAB}}
      unmatched: {state: dead_letter, count: 1}
"""

_BATCH_SAMPLE = """\
FHS|^~\\&|HUB|REGION|ENGINE|HOSP|20260105||day5
BHS|^~\\&|HUB|REGION|ENGINE|HOSP|20260105||b1
MSH|^~\\&|LIS|NORTH|ENGINE|HOSP|20260105010101||ORU^R01^ORU_R01|B1|P|2.5.1
PID|1||11^^^HOSP^MR||Quillon^Ada||19700101|F
OBR|1||F1|2345-7^Glucose^LN|||20260104093000|||||||||||||||20260104100000|||F
OBX|1|NM|2345-7^Glucose^LN||5.1|mmol/L||N|||F
MSH|^~\\&|LIS|SOUTH|ENGINE|HOSP|20260105010102||ORU^R01^ORU_R01|B2|P|2.5.1
PID|1||12^^^HOSP^MR||Pemberly^Ivo||19610203|M
OBR|1||F2|2345-7^Glucose^LN|||20260104093100|||||||||||||||20260104100000|||F
OBX|1|NM|2345-7^Glucose^LN||6.2|mmol/L||H|||F
MSH|^~\\&|LIS|WEST|ENGINE|HOSP|20260105010103||ORU^R01^ORU_R01|B3|P|2.5.1
PID|1||13^^^HOSP^MR||Tamsin^Oda||19820304|F
OBR|1||F3|2345-7^Glucose^LN|||20260104093200|||||||||||||||20260104100000|||F
OBX|1|NM|2345-7^Glucose^LN||4.9|mmol/L||N|||F
BTS|3
FTS|1
"""

_PLACES: Final[Mapping[str, str]] = {
    "adt": _ADT_PLACES,
    "lab": _LAB_PLACES,
    "batch": _BATCH_PLACES,
}
_CHANNEL_FILES: Final[Mapping[str, Mapping[str, str]]] = {
    "adt": {
        "channels/adt.yaml": _ADT,
        "channels/samples/adt_a01.hl7": _ADT_SAMPLE,
        "channels/tables/sex.csv": _SEX_TABLE,
    },
    "lab": {
        "channels/lab.yaml": _LAB,
        "channels/samples/oru_r01.hl7": _LAB_SAMPLE,
        "channels/tables/units.csv": _UNITS_TABLE,
    },
    "batch": {
        "channels/batch.yaml": _BATCH,
        "channels/samples/night.hl7": _BATCH_SAMPLE,
    },
}
# what is tried first: a channel and a sample of it
FIRST_TRY: Final[Mapping[str, tuple[str, str]]] = {
    "adt": ("adt", "adt_a01"),
    "lab": ("lab", "oru_r01"),
    "batch": ("batch", "night"),
}


def files_of(example: str, site: str) -> dict[str, str]:
    """Return every file of a new site by its path, without first lines for editors."""
    return {
        "ifengine.yaml": _HEAD.format(site=site) + _PLACES[example],
        ".gitignore": _GITIGNORE,
        **_CHANNEL_FILES[example],
    }
