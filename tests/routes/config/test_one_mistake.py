"""The five example channels with one mistake each, as people make them: one well-placed error.

``¦`` stands before the character at which the problem must point.
"""

import shutil
from pathlib import Path

import pytest

from ifengine.routes.config.loading import load_site

REPOSITORY = Path(__file__).parents[3]
ADT, LAB, RAD, HUB, BATCH = (
    f"channels/{name}.yaml"
    for name in (
        "adt-fanout", "lab-results", "radiology-orders", "identity-and-waiting", "regional-batch",
    )
)  # fmt: skip

# code, a part of the message, file, what is written, what the analyst made of it
MISTAKES: list[tuple[str, str, str, str, str]] = [
    # spelling
    ("E101", '"acept" is not known', ADT, "\naccept: MSH-11 = P", "\n¦acept: MSH-11 = P"),
    (
        "E101",
        '"tabel" is not known',
        ADT,
        "lookup: {table: sex, from",
        "lookup: {¦tabel: sex, from",
    ),
    ("E101", '"triim" is not known', ADT, "  - trim: [", "  - ¦triim: ["),
    ("E101", '"orderby" is not known', ADT, "order_by: patient", "¦orderby: patient"),
    ("E103", '"strickt" is not one of', RAD, "level: standard", "level: ¦strickt"),
    ("E103", '"AB" is not one of', RAD, "reject: {code: AR", "reject: {code: ¦AB"),
    ("E103", '"hold_it" is not one of', LAB, "stale: drop", "stale: ¦hold_it"),
    ("E201", 'no connection "epic-adtt"', ADT, "from: epic-adt ", "from: ¦epic-adtt "),
    ("E201", 'no connection "lis-atd"', ADT, "connection: lis-adt", "connection: ¦lis-atd"),
    ("E201", '"riss" is no destination', RAD, "from: ris,", "from: ¦riss,"),
    ("E201", "docs", LAB, "save_to: documents", "save_to: ¦docs"),
    ("E301", 'no table "wards"', ADT, "{table: ward,", "{table: ¦wards,"),
    ("E226", 'no sample "adt_a1"', ADT, "given: {sample: adt_a01}\n", "given: {sample: ¦adt_a1}\n"),
    ("E302", "late", LAB, "- when: OBX-11 = C", "- when: $¦late = C"),
    # notation
    ("E110", "use a single =", ADT, "accept: PV1-2 = I\n", "accept: PV1-2 ¦== I\n"),
    ("E110", 'did not expect "-1" after PID-5', ADT, "trim: [PID-5.1,", "trim: [PID-5¦-1,"),
    ("E110", 'did not expect ".8"', ADT, "from: PID-8", "from: PID¦.8"),
    ("E110", "^1", ADT, "upper: [PID-5.1,", "upper: [PID-5¦^1,"),
    ("E110", "count from 1", ADT, "clear: PID-19", "clear: PID-19[¦0]"),
    ("E001", "a [ stands inside", LAB, "keep_old_in: PID-4}", "keep_old_in: PID-4¦[2]}"),
    ("E110", "capitals", ADT, "clear: PID-19", "clear: ¦pid-19"),
    ("E110", "filter", ADT, "${PID-5.1}, ", "${PID-5.1 | ¦uper}, "),
    ("E110", "", ADT, "accept: PV1-2 in [I, E, O]", "accept: PV1-2 in ¦(I, E, O)"),
    ("E110", "", HUB, "MSH-9.2 in [A40, A34]", "MSH-9.2 in ¦A40, A34"),
    # YAML
    ("E001", "indented with a tab", ADT, "    connection: lis-adt", "¦\tconnection: lis-adt"),
    ("E001", "a path with [ ]", ADT, "upper: [PID-5.1,", "upper: [PID-5¦[1].1,"),
    ("E001", "not closed", ADT, "upper: [PID-5.1, PID-5.2]", "upper: ¦[PID-5.1, PID-5.2"),
    ("E001", "a colon and a blank", ADT, "about: Admissions,", "about: Admissions¦: "),
    ("E002", '"lab" is written twice', ADT, "\n  pharmacy:\n", "\n  ¦lab:\n"),
    (
        "E003",
        "tags such as !secret",
        BATCH,
        "about: The research warehouse.",
        "about: ¦!secret The research warehouse.",
    ),
    ("E105", 'put "- " before upper', ADT, "  - upper: [", "    ¦upper: ["),
    ("E001", "dash", ADT, "  - upper: [", "  ¦upper: ["),
    ("W005", "the value ends here", ADT, "about: Admissions,", "about: Admissions¦ #1,"),
    # kinds of values
    ("E104", '"25" is not a duration', RAD, "timeout: 25s", "timeout: ¦25"),
    ("E104", "not a message type", RAD, "types: [ORM^O01]", "types: [¦ORM_O01]"),
    ("E104", "is not yes or no", BATCH, "check_counts: true", "check_counts: ¦maybe"),
    (
        "E102",
        'remember needs "key"',
        RAD,
        "remember: {fact: order, per: ORC, key: ORC-2.1, once",
        "¦remember: {fact: order, per: ORC, once",
    ),
    (
        "E102",
        "lookup needs missing",
        ADT,
        "- lookup: {table: sex, from: PID-8, missing: U}",
        "- ¦lookup: {table: sex, from: PID-8}",
    ),
    # meaning
    (
        "E305",
        '"OBX" may be there several times',
        LAB,
        "  - renumber: [OBX, NTE]",
        "  - set: {¦OBX-11: F}\n  - renumber: [OBX, NTE]",
    ),
    ("E232", "requires EVN", ADT, "keep_segments: [MSH, EVN, PID,", "keep_segments: ¦[MSH, PID,"),
    (
        "E209",
        "identity events are left out: A24",
        HUB,
        "types: [ADT^*, ORM^O01, ORU^R01]",
        "types: ¦[ADT^A01, ADT^A18, ADT^A34, ADT^A40, ORM^O01, ORU^R01]",
    ),
    ("E240", "MSH-10 is no key", RAD, "key: [ORC-1, ORC-2, OBR-4]", "key: ¦[MSH-10, ORC-2, OBR-4]"),
    ("E245", "given up after", RAD, "timeout: 25s", "timeout: ¦15s"),
    ("E215", "PID-3.1 may tell", BATCH, 'name: "${msg.id}.hl7"', 'name: "¦${PID-3.1}.hl7"'),
    ("E215", "PID-3.1 may tell", LAB, "name: ${msg.id}", "name: ¦${PID-3.1}"),
    ("E231", "a secret cannot", ADT, "set: {MSH-5: LIS,", 'set: {MSH-5: "¦${secret:lis}",'),
    (
        "W310",
        "nothing after fail",
        HUB,
        "do: [{fail: this identity event needs a person}]",
        "do: [{fail: this identity event needs a person}, ¦{trim: PID-5.1}]",
    ),
    (
        "E246",
        "nobody hears",
        ADT,
        "  - trim: [PID-5.1, PID-5.2]",
        "  - when: PID-8 = X\n    ¦reject: {code: AR, text: no}\n  - trim: [PID-5.1, PID-5.2]",
    ),
    (
        "E244",
        "does not get every message",
        RAD,
        "ack: {when: delivered,",
        "accept: PID-8 = F\nack: ¦{when: delivered,",
    ),
    ("W304", "PID-119 means nothing: PID has 40 fields", ADT, "clear: PID-19", "clear: ¦PID-119"),
    (
        "W304",
        "PID-5.19 means nothing: PID-5 (XPN) has",
        ADT,
        "upper: [PID-5.1,",
        "upper: [¦PID-5.19,",
    ),
    ("W303", "PDI is no segment", ADT, "clear: PID-19", "clear: ¦PDI-19"),
    ("W213", "MSH-9", HUB, "when: MSH-9.1 = ORM", "when: ¦MSH-9 = ORM^O01"),
    (
        "W213",
        "tighter",
        ADT,
        "accept: PV1-2 = I\n",
        "accept: PV1-2 = I ¦or PV1-2 = E and PID-8 = F\n",
    ),
    ("W305", '"AL1" repeats', ADT, "accept: PV1-2 = I\n", "accept: ¦AL1-2 = DA\n"),
    (
        "W251",
        "no message of this channel",
        ADT,
        "  - clear: PID-19",
        "  - {when: ¦MSH-9.1 = ORU, clear: PID-19}",
    ),
    ("W249", "names two patients", HUB, "order_by: patient ", "order_by: ¦PID-3.1 "),
    ("W247", "few senders wait", RAD, "timeout: 25s", "timeout: ¦5m"),
    ("E248", "would not be known", RAD, "window: 10m", "window: ¦10s"),
    ("E110", "looks like a path", ADT, "accept: PV1-2 = I\n", "accept: PV1-3 = ¦ABC-1\n"),
    (
        "E102",
        "and there is none",
        ADT,
        "about: Inpatients only,",
        "because: ¦so it is\n    about: Inpatients only,",
    ),
    ("E233", "no MR is left", ADT, 'where: ".5 in [MR, PI]"', 'where: ¦".5 in [SS, PI]"'),
    ("E233", "last identifier", ADT, "  - clear: PID-19", "  - clear: ¦PID-3"),
    ("W250", "never reached", HUB, "- when: MSH-9.1 = ORM\n", "- when: ¦MSH-9.2 = A34\n"),
    ("W306", "has MRG", ADT, "  - clear: PID-19", "  - {when: ¦MRG-1 exists, clear: PID-19}"),
    ("W214", "no message reaches", HUB, "types: [ORU^*]", "types: ¦[MDM^*]"),
]


def place_of(text: str) -> tuple[int, int]:
    before = text[: text.index("¦")]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


@pytest.fixture
def site(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "ifengine.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "channels", tmp_path / "channels")
    return tmp_path


def test_the_examples_as_they_are_have_no_problem(site) -> None:
    assert load_site(site, environ={}).problems == ()


@pytest.mark.parametrize(
    ("code", "says", "file", "written", "instead"),
    MISTAKES,
    ids=[f"{code} {instead[-50:]}" for code, _, _, _, instead in MISTAKES],
)
def test_one_mistake_is_one_problem_at_its_place(site, code, says, file, written, instead) -> None:
    text = (site / file).read_text("utf-8")
    assert written in text, "the example no longer says this"
    marked = text.replace(written, instead, 1)
    (site / file).write_text(marked.replace("¦", ""), "utf-8")
    problems = load_site(site, environ={}).problems
    shown = [(p.position.file, p.code, p.position.line, p.position.column) for p in problems]
    assert shown == [(file, code, *place_of(marked))]
    assert says in f"{problems[0].message} {problems[0].hint}"
