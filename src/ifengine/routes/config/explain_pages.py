"""Longer pages for the codes that people meet most: why, written wrongly, written right.

Every wrong fragment gives its code and every right one does not: a test checks both.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Where(StrEnum):
    """What a fragment is a part of."""

    CHANNEL = "a channel file"
    STEPS = "the steps of a channel"
    SITE = "ifengine.yaml"
    OVERLAY = "env/NAME.yaml"


class Page(NamedTuple):
    """One code: why it matters, and a fragment without and with the mistake."""

    where: Where
    why: str
    wrong: str
    right: str


PAGES: Final[Mapping[str, Page]] = {
    "E001": Page(
        Where.STEPS,
        "YAML gives some signs a meaning: a blank after a colon, brackets, quotes, tabs. A path with "
        "an index inside a [ ] list is the usual case: its own bracket ends the list.",
        "- upper: [PID-5[*].1, PID-5.2]",
        '- upper: ["PID-5[*].1", PID-5.2]',
    ),
    "E002": Page(
        Where.STEPS,
        "Of two equal keys one would be lost without a word. Most often a step began without its "
        '"- ", so that it became a part of the one before.',
        "- set: {MSH-5: LAB}\n  set: {MSH-6: MERCY}",
        "- set: {MSH-5: LAB}\n- set: {MSH-6: MERCY}",
    ),
    "E003": Page(
        Where.STEPS,
        "Every value is text, so no tag is needed. Anchors are made in one place, under `shared:`, so "
        "that a reader knows where to look.",
        "- set: !text {MSH-5: LAB}",
        "- set: {MSH-5: LAB}",
    ),
    "W005": Page(
        Where.STEPS,
        "In YAML a blank and # begin a comment. What you meant to write may be longer than what is "
        "read.",
        "- set: {PID-13.1: 555} #ext 12\n- set:\n    PID-11.1: Elm Street #4b",
        '- set: {PID-13.1: 555}  # ext 12\n- set:\n    PID-11.1: "Elm Street #4b"',
    ),
    "E101": Page(
        Where.CHANNEL,
        "An unknown key is never ignored: a misspelt `accept` would let everything pass. The hint "
        "names the nearest key that is known at that place.",
        "acept: PV1-2 = I",
        "accept: PV1-2 = I",
    ),
    "E103": Page(
        Where.CHANNEL,
        "The value is a word of a closed list; the message names all of them.",
        "no_match: deadletter",
        "no_match: dead_letter",
    ),
    "E104": Page(
        Where.CHANNEL,
        "The key takes another kind of value. Durations and sizes need their unit: ms s m h d y, and "
        "KiB MiB GiB.",
        "dedupe: {window: 7}",
        "dedupe: {window: 7d}",
    ),
    "E105": Page(
        Where.STEPS,
        "A step does one thing, so that its name in a trace or a dead letter says what happened.",
        "- upper: PID-5.1\n  trim: PID-5.1",
        "- upper: PID-5.1\n- trim: PID-5.1",
    ),
    "E106": Page(
        Where.STEPS,
        "`when`, `for_each` and `name` stand beside a verb; alone they do nothing.",
        "- when: PV1-2 = I",
        "- when: PV1-2 = I\n  clear: PV1-18",
    ),
    "E110": Page(
        Where.STEPS,
        "There are three notations: paths (PID-5.1), conditions (PV1-2 in [I, E]) and placeholders "
        "(${PID-5.1 | upper}). Fields follow a hyphen, everything below a dot; comparing takes one =.",
        "- upper: PID-5-2",
        "- upper: PID-5.2",
    ),
    "E201": Page(
        Where.SITE,
        "A name refers to something by that name elsewhere; one of the two is misspelt or missing.",
        "connections:\n  ris: {send: mllp, host: ris.example, port: 2200, tls: hospitl}\n"
        "tls: {hospital: {pinned: '" + "ab" * 32 + "'}}",
        "connections:\n  ris: {send: mllp, host: ris.example, port: 2200, tls: hospital}\n"
        "tls: {hospital: {pinned: '" + "ab" * 32 + "'}}",
    ),
    "E210": Page(
        Where.SITE,
        "Messages hold patients' data, so a connection is encrypted. Where that is not possible the "
        "file says why, and `check` and `doctor` can list it.",
        "connections:\n  ris: {send: mllp, host: ris.example, port: 2200}",
        "connections:\n  ris: {send: mllp, host: ris.example, port: 2200, "
        'plaintext: "same rack, own VLAN"}',
    ),
    "E220": Page(
        Where.OVERLAY,
        "What was tested is what runs: an environment changes places and limits, never what a channel "
        "does. Move the difference into the channel, or make it a variable place such as a host.",
        "channels: {one: {steps: []}}",
        "enabled: {one: no}",
    ),
    "E301": Page(
        Where.STEPS,
        "A table is a file channels/tables/NAME.csv, and steps name it without folder and ending.",
        "- lookup: {table: wards, from: PV1-3.1, missing: keep}",
        "- lookup: {table: ward, from: PV1-3.1, missing: keep}",
    ),
    "E302": Page(
        Where.STEPS,
        "A variable exists once a `let` before it ran, and only for this message.",
        '- set: {PV1-3.1: "${ward}"}',
        '- let: {ward: "${PV1-3.1 | upper}"}\n- set: {PV1-3.1: "${ward}"}',
    ),
    "E305": Page(
        Where.STEPS,
        "A message may hold several such segments, and changing just the first would be a silent "
        "mistake. Say which, or do it for each.",
        "- set: {OBX-11: F}",
        "- for_each: OBX\n  do:\n    - set: {OBX-11: F}",
    ),
    "W305": Page(
        Where.STEPS,
        "Where a segment repeats, a bare path reads the first one. If that is what you mean, write "
        "[1]; if not, `any` or `all`.",
        "- when: OBX-8 = HH\n  set: {MSH-8: URGENT}",
        "- when: any OBX-8 = HH\n  set: {MSH-8: URGENT}",
    ),
    "E306": Page(
        Where.STEPS,
        "The verb works on fields or on segments, and this names the other.",
        "- clear: NK1",
        "- delete_segments: NK1",
    ),
    "W310": Page(
        Where.STEPS,
        "`drop`, `fail` and `reject` end the message. Steps behind one that has no `when` never run.",
        "- drop: not wanted\n- upper: PID-5.1",
        "- when: PV1-2 = O\n  drop: not wanted\n- upper: PID-5.1",
    ),
    "W213": Page(
        Where.STEPS,
        "`and` binds tighter than `or`. Brackets show everybody, and you, what was meant.",
        "- when: PV1-2 = I or PV1-2 = E and PID-8 = F\n  clear: PV1-18",
        "- when: (PV1-2 = I or PV1-2 = E) and PID-8 = F\n  clear: PV1-18",
    ),
    "W201": Page(
        Where.CHANNEL,
        "Without tests nobody notices when a change breaks what a channel promises. One sample and "
        "one line of `expect` are a beginning.",
        "about: nothing tests this",
        "tests:\n  - {name: it arrives, given: {sample: oru}, expect: {lab: sent}}",
    ),
    "W202": Page(
        Where.CHANNEL,
        "Two messages about the same patient may depend on each other. With `order_by` a message "
        "that failed holds back later ones with the same value until a person has looked.",
        "about: no order",
        "order_by: patient",
    ),
    "E222": Page(
        Where.CHANNEL,
        "The name of a channel is the name of its file, in commands, metrics and the audit record.",
        "channel: another",
        "channel: one",
    ),
    "E234": Page(
        Where.CHANNEL,
        "order_by takes one value of a message; a segment that repeats has several.",
        "order_by: [OBX-3.1]",
        'order_by: ["OBX[1]-3.1"]',
    ),
}
