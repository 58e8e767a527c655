"""One bad file per code. ``¦`` stands before the character at which the problem must point."""

import re
from pathlib import Path

import pytest

from ifengine.routes.config import loading
from ifengine.routes.config.explain_codes import CODES
from ifengine.routes.config.render import problem_as_json, render_problem

HEAD = "ifengine: 1\nchannel: one\nfrom: in\n"
REST = "to:\n  lab: {connection: out}\ntests:\n  - {name: it arrives, given: {sample: oru}}\n"
ORU = "types: [ORU^R01]\norder_by: patient\n"
IDENTITY = "identity: {patient: {path: PID-3, type: MR, authority: [A]}}\n"
LISTEN = "  in: {listen: mllp, port: 2575, plaintext: a test}\n"
SEND = "  out: {send: mllp, host: lab.example, port: 6661, plaintext: a test}\n"
SITE_HEAD = "ifengine: 1\nsite: small\n"
CONNECTIONS = "connections:\n" + LISTEN + SEND
TO = "to:\n  lab: {connection: out}\n"
TESTS = "tests:\n  - {name: it arrives, given: {sample: oru}}\n"
BOTH = "to:\n  lab: {connection: out, acks: accept+application, application_ack: {WITHIN}}\n"
PLAIN = HEAD + ORU + REST


def channel(body: str) -> dict[str, str]:
    return {"channels/one.yaml": HEAD + body}


def site(body: str) -> dict[str, str]:
    return {"ifengine.yaml": SITE_HEAD + body}


def connections(body: str) -> dict[str, str]:
    return site(IDENTITY + "connections:\n" + body)


def to(body: str, *, before: str = ORU) -> dict[str, str]:
    return channel(before + "to:\n" + body + TESTS)


def in_tests(body: str) -> dict[str, str]:
    return channel(ORU + TO + "tests:\n" + body)


def from_(source: str) -> dict[str, str]:
    return {"channels/one.yaml": f"ifengine: 1\nchannel: one\nfrom: {source}\n" + ORU + REST}


def two(body: str, *, source: str = "in", first: str = PLAIN) -> dict[str, str]:
    return {
        "channels/one.yaml": first,
        "channels/two.yaml": f"ifengine: 1\nchannel: two\nfrom: {source}\n{body}",
    }


CASES: list[tuple[str, str, dict[str, str]]] = [
    (
        "E321",
        "PID has 40 fields",
        {
            "channels/profiles/lab.yaml": "ifengine: 1\nrules:\n  - fields: {¦PID-90: {required: yes}}\n"
        },
    ),
    ("E351", "this is not Python", {"channels/python/lab.py": "def transform(msg, ctx)¦\n"}),
    (
        "E355",
        'the site has no variable "area"',
        channel(ORU + "steps:\n  - set: {PID-4: '¦${vars.area}'}\n" + REST),
    ),
    ("E001", "indented with a tab", channel("to:\n¦\tlab: {connection: out}\n")),
    ("E001", "a colon and a blank inside", channel("about: one¦: two\n" + ORU + REST)),
    ("E001", "cannot begin with @", channel("about: ¦@home\n" + ORU + REST)),
    ("E001", "a path with [ ] sits inside", channel("steps:\n  - upper: [PID-5[*¦].1, PID-5.2]\n")),
    ("E001", "a path with [ ] sits inside", channel("steps:\n  - upper: [PID-5¦[2].1, PID-5.2]\n")),
    ("E001", "this [ is not closed", channel("types: ¦[ORU^R01\norder_by: patient\n")),
    ("E001", "this { is not closed", channel("to: ¦{lab: {connection: out}\ntests: []\n")),
    ("E001", "this quote is not closed", channel('about: ¦"open\n' + REST)),
    ("E001", "a { stands inside", channel("dedupe: {window: $¦{x}}\n")),
    ("E001", "a [ stands inside", channel("dedupe: {PID-3¦[2]: x}\n")),
    ("E001", "cannot begin with %", channel("about: a\n¦%TAG ! x\n")),
    ("E001", "control character (U+0007)", channel("about: a¦\x07b\n")),
    ("E001", "a second document", channel(ORU + REST + "¦---\na: b\n")),
    ("E001", "cannot be a key", channel("? ¦[a]\n: b\n")),
    ("E001", "a list begins on the line", channel("types: ¦- ORU^R01\n")),
    ("E001", "a list goes on here without", {"channels/one.yaml": "- a\n¦b: c\n"}),
    ("E001", "a colon is missing", channel(ORU + REST + "¦about\n")),
    ("E001", "unknown escape", channel('about: "a¦\\q"\n' + ORU + REST)),
    ("E001", "does not fit", channel("about: 'it'¦s'\n")),
    ("E001", "the file is empty", {"channels/one.yaml": "¦# nothing\n"}),
    ("E001", "does not hold a map", {"channels/one.yaml": "¦[a]\n"}),
    ("E002", '"lab" is written twice', channel(ORU + TO + "  ¦lab: {connection: out}\n" + TESTS)),
    (
        "E002",
        "names two tests",
        in_tests("  - {name: a, given: {sample: oru}}\n  - {name: ¦a, given: {sample: oru}}\n"),
    ),
    ("E003", "tags such as !secret", channel("about: ¦!secret x\n" + ORU + REST)),
    (
        "E003",
        "tags such as !!python/object:os.system",
        channel("about: ¦!!python/object:os.system x\n" + ORU + REST),
    ),
    ("E003", "stands outside `shared:`", channel("about: ¦&a x\n" + ORU + REST)),
    ("E003", "names no anchor", channel("about: ¦*nobody\n" + ORU + REST)),
    (
        "E003",
        "<< takes an alias of a map",
        channel(ORU + "to:\n  lab:\n    <<: ¦text\n    connection: out\n" + TESTS),
    ),
    (
        "E004",
        "more than 20,000 values",
        channel(
            "shared:\n  a: &a [x,x,x,x,x,x,x,x,x,x]\n  b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n  c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n  d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n  e: [¦*d,*d]\n"
        ),
    ),
    ("E004", "nested deeper than 32", channel("about: " + "[" * 31 + "¦[\n")),
    ("E101", '"acept" is not known here', channel(ORU + "¦acept: PV1-2 = I\n" + REST)),
    (
        "E101",
        '"hots" is not known here',
        connections(LISTEN + "  out: {send: mllp, ¦hots: h, port: 6661, plaintext: a test}\n"),
    ),
    (
        "E101",
        '"allow" is not known here',
        connections(
            LISTEN + "  out: {send: mllp, host: h, port: 1, plaintext: a, ¦allow: 10.0.0.0/8}\n"
        ),
    ),
    (
        "E102",
        '"from" is missing',
        {"channels/one.yaml": "¦ifengine: 1\nchannel: one\n" + ORU + REST},
    ),
    ("E102", "neither connection nor files", to("  ¦lab: {about: nothing}\n")),
    (
        "E102",
        "both connection and files",
        to('  lab: {connection: out, ¦files: {dir: a, name: "${msg.id}"}}\n'),
    ),
    (
        "E102",
        "neither listen nor send",
        connections(LISTEN + SEND + "  ¦odd: {port: 3, plaintext: a test}\n"),
    ),
    ("E102", '"given" is missing', in_tests("  - ¦{name: a}\n")),
    (
        "E103",
        '"NORTH" is not one of A',
        site(
            "identity: {patient: {path: PID-3, type: MR, authority: [A], authority_default: ¦NORTH}}\n"
            + CONNECTIONS
        ),
    ),
    ("E103", '"strickt" is not one of', to("  lab: {connection: out, settle: ¦strickt}\n")),
    (
        "E103",
        '"2" is not 1',
        {"channels/one.yaml": "ifengine: ¦2\nchannel: one\nfrom: in\n" + ORU + REST},
    ),
    ("E103", '"max" is shorter', to("  lab: {connection: out, retry: {first: 9s, max: ¦5s}}\n")),
    (
        "E103",
        '"gone" is not one of',
        in_tests("  - {name: a, given: {sample: oru}, expect: {lab: ¦gone}}\n"),
    ),
    (
        "E103",
        "names no character set",
        connections(
            "  in: {listen: mllp, port: 2575, plaintext: a test, charset: ¦klingon}\n" + SEND
        ),
    ),
    ("E104", '"30" is not a duration', to("  lab: {connection: out, ack_timeout: ¦30}\n")),
    (
        "E104",
        "is not a size",
        connections(
            "  in: {listen: mllp, port: 2575, plaintext: a test, max_message: ¦20MB}\n" + SEND
        ),
    ),
    (
        "E104",
        "is not a port",
        connections("  in: {listen: mllp, port: ¦70000, plaintext: a test}\n" + SEND),
    ),
    (
        "E104",
        "has address bits beyond",
        connections(
            "  in: {listen: mllp, port: 2575, plaintext: a test, allow: [¦10.1.2.3/8]}\n" + SEND
        ),
    ),
    ("E104", "is not yes or no", channel("enabled: ¦maybe\n" + ORU + REST)),
    (
        "E104",
        '"ADT^A01^ADT_A01" is not a message type',
        channel("types: [¦ADT^A01^ADT_A01]\norder_by: patient\n" + REST),
    ),
    ("E104", "not a list", channel("about: ¦[a]\n" + ORU + REST)),
    ("E104", "nothing is written", channel("dedupe:\n  window:¦\n" + ORU + REST)),
    ("E104", '"Lab_1" is not a name', to("  ¦Lab_1: {connection: out}\n")),
    ("E104", "is not HOST:PORT", site(IDENTITY + CONNECTIONS + "listen: {metrics: ¦9464}\n")),
    ("E110", "use a single =", channel("accept: PV1-2 ¦== I\n" + ORU + REST)),
    ("E110", "did not expect", channel("accept: any OBX-8 = HH ¦PV1-2\n" + ORU + REST)),
    ("E301", 'no table "facilities"', channel("for: {a: ¦table facilities}\n" + ORU + REST)),
    (
        "E265",
        "must name every channel once",
        {
            **channel("for: ¦{a: table sites}\n" + ORU + REST),
            "channels/tables/sites.csv": "name,to\nA,1\na,2\n",
        },
    ),
    (
        "E102",
        '"by" is missing',
        channel("combine: ¦{key: OBR-3, up_to: 5m}\n" + ORU + REST),
    ),
    (
        "E234",
        "combine wants one value",
        channel("combine: {by: OBR, key: ¦OBR-3, up_to: 5m}\n" + ORU + REST),
    ),
    (
        "E266",
        "nothing makes a collection whole",
        channel("combine: {by: OBX, key: OBR-3, up_to: 5m, then: ¦dead_letter}\n" + ORU + REST),
    ),
    (
        "E267",
        "whole by itself",
        channel("combine: {by: OBX, key: OBR-3, count: ¦1, up_to: 5m}\n" + ORU + REST),
    ),
    (
        "E267",
        "splits messages or combines them",
        channel(
            "¦combine: {by: OBX, key: OBR-3, up_to: 5m}\nsplit_message: {by: OBR}\n" + ORU + REST
        ),
    ),
    (
        "E260",
        "its message waits for others",
        channel(
            "ack: {when: delivered, from: lab, timeout: 40s}\n"
            "¦combine: {by: OBX, key: OBR-3, up_to: 5m}\n" + ORU + REST
        ),
    ),
    (
        "E110",
        "use a single =",
        channel("combine: {by: OBX, key: OBR-3, until: OBR-25 ¦== F, up_to: 5m}\n" + ORU + REST),
    ),
    (
        "E302",
        'no variable "waited_out"',
        channel(ORU + "steps:\n  - {when: $¦waited_out = yes, drop: late}\n" + REST),
    ),
    (
        "E190",
        "`batch` is part of the language",
        to("  lab: {connection: out, ¦batch: {or: 100}}\n"),
    ),
    ("E102", '"for" is missing', to("  lab: {connection: out, follow: ¦{key: PV1-19.1}}\n")),
    (
        "E102",
        "both connection and fhir",
        to("  lab: {connection: out, ¦fhir: {url: x, map: lab}}\n"),
    ),
    ("E102", '"on_repeat" wants a key', channel("dedupe: {on_repeat: ¦ack}\n" + ORU + REST)),
    ("E240", "MSH-10 is no key", channel("dedupe: {key: ¦MSH-10}\n" + ORU + REST)),
    ("E241", "which messages", channel("dedupe: {key: PID-3, content: ¦ignore}\n" + ORU + REST)),
    ("E102", '"done" is missing', from_("{files: ¦{dir: in, bad: bad}}")),
    ("E103", "three different", from_("{files: ¦{dir: in, done: in, bad: bad}}")),
    ("E002", "named twice", from_("[in, ¦in]")),
    ("E201", 'no connection "b"', from_("[in, ¦b]")),
    (
        "E260",
        "the parts get several",
        channel(
            "ack: {when: delivered, from: lab, timeout: 40s}\n¦split_message: {by: OBR}\n"
            + ORU
            + REST
        ),
    ),
    (
        "E260",
        "its messages would each wait",
        channel(
            "ack: {when: delivered, from: lab, timeout: 40s}\n¦unbatch: {check_counts: yes}\n"
            + ORU
            + REST
        ),
    ),
    (
        "E264",
        '"lab" takes every one',
        channel(
            "route: first\n"
            + ORU
            + "to:\n  lab: {connection: out}\n  ¦ward: {connection: out}\n"
            + TESTS
        ),
    ),
    (
        "E264",
        'can reach "rest"',
        to("  lab: {connection: out}\n  ¦rest: {connection: out, otherwise: yes}\n"),
    ),
    ("E264", "there is none", to("  rest: {connection: out, otherwise: ¦yes}\n")),
    (
        "E261",
        "would be nobody's",
        channel("split_message: {by: OBR, carry: ¦[PV1]}\n" + ORU + REST),
    ),
    (
        "E104",
        "is no segment",
        channel("split_message: {by: OBR, carry: [PID, ¦PV11]}\n" + ORU + REST),
    ),
    (
        "W219",
        "under one control id",
        channel("split_message: {by: OBR, control_id: ¦keep}\n" + ORU + REST),
    ),
    ("E201", 'no channel "twoo"', to("  next: {channel: ¦twoo}\n")),
    (
        "E262",
        "does not take messages from channels",
        two("to:\n  next: {channel: ¦one}\n", source="channels"),
    ),
    (
        "E262",
        "is not enabled",
        two(
            "to:\n  next: {channel: ¦one}\n",
            first="ifengine: 1\nchannel: one\nfrom: channels\nenabled: no\n" + ORU + REST,
        ),
    ),
    (
        "E263",
        'comes back to "two"',
        two(
            "to:\n  next: {channel: ¦one}\n",
            source="channels",
            first="ifengine: 1\nchannel: one\nfrom: channels\nto: {next: {channel: two}}\n",
        ),
    ),
    ("W262", "no enabled channel hands", from_("¦channels")),
    (
        "E103",
        "cannot name a connection",
        connections(LISTEN + SEND + LISTEN.replace("in:", "¦channels:").replace("2575", "2576")),
    ),
    (
        "W219",
        'meet at "out": their control ids',
        {
            **connections(LISTEN + SEND + LISTEN.replace("in:", "in2:").replace("2575", "2576")),
            **two(
                ORU + "to:\n  lab: {connection: out, control_id: mint}\n",
                first="ifengine: 1\nchannel: one\nfrom: [in, in2]\n"
                + ORU
                + "to:\n  ¦lab: {connection: out}\n"
                + TESTS,
                source="channels",
            ),
        },
    ),
    ("E190", "`kek: vault:…`", site(IDENTITY + CONNECTIONS + 'keys: {kek: ¦"vault:transit/x"}\n')),
    (
        "E201",
        'no connection "inn"',
        {"channels/one.yaml": "ifengine: 1\nchannel: one\nfrom: ¦inn\n" + ORU + REST},
    ),
    ("E201", 'no connection "lis"', to("  lab: {connection: ¦lis}\n")),
    (
        "E201",
        'no "hospitl" under tls:',
        connections("  in: {listen: mllp, port: 2575, tls: ¦hospitl}\n" + SEND),
    ),
    (
        "E201",
        'no destination "labb"',
        in_tests("  - {name: a, given: {sample: oru}, expect: {¦labb: sent}}\n"),
    ),
    ("E201", 'no channel "on"', site(IDENTITY + CONNECTIONS + "enabled: {¦on: no}\n")),
    (
        "E202",
        '"out" sends',
        {"channels/one.yaml": "ifengine: 1\nchannel: one\nfrom: ¦out\n" + ORU + REST},
    ),
    ("E202", '"in" listens', to("  lab: {connection: ¦in}\n")),
    (
        "E203",
        '"one" takes ORU^R01 from "in" too',
        two("types: ¦[ORU^*]\norder_by: patient\n" + REST),
    ),
    (
        "E203",
        '"one" takes ORU^R01 from "in" too',
        two("order_by: patient\n" + REST).__or__(
            {
                "channels/two.yaml": "ifengine: 1\nchannel: two\nfrom: ¦in\norder_by: patient\nto:\n  lab: {connection: out, on_in_doubt: hold}\n"
                + TESTS
            }
        ),
    ),
    ("E204", '"order_by" differs', two("types: [MDM^T02]\norder_by: ¦PID-3.1\n" + REST)),
    (
        "E204",
        '"lanes" differs',
        two(
            "types: [MDM^T02]\norder_by: patient\nto:\n  lab: {connection: out, lanes: ¦4, order: hold_key}\n"
            + TESTS
        ),
    ),
    (
        "E204",
        '"settle" differs',
        to("  lab: {connection: out}\n  again: {connection: out, settle: ¦strict}\n"),
    ),
    (
        "E204",
        '"order" differs',
        to("  lab: {connection: out}\n  again: {connection: out, order: ¦none}\n"),
    ),
    (
        "E205",
        "stands still",
        to("  lab: {connection: out, order: strict, retry: {refused: ¦never}}\n"),
    ),
    (
        "E206",
        "let messages overtake",
        to("  lab: {connection: out, lanes: ¦4}\n", before="types: [ORU^R01]\n"),
    ),
    (
        "E206",
        "there is no key to hold",
        to("  lab: {connection: out, order: ¦hold_key}\n", before="types: [ORU^R01]\n"),
    ),
    (
        "E206",
        "order: strict has one lane",
        to("  lab: {connection: out, order: strict, lanes: ¦2}\n"),
    ),
    (
        "E207",
        "needs the site's definition",
        site(CONNECTIONS)
        | {"channels/one.yaml": HEAD + "types: [ORU^R01]\norder_by: ¦patient\n" + REST},
    ),
    (
        "E209",
        "identity events are left out: A18 to A51, all 19",
        channel("types: ¦[ADT^A01]\norder_by: patient\n" + REST),
    ),
    (
        "E210",
        "no TLS and no reason",
        connections(LISTEN + "  ¦out: {send: mllp, host: h, port: 6661}\n"),
    ),
    (
        "E211",
        "both tls and plaintext",
        connections(
            "  in: {listen: mllp, port: 2575, tls: a, ¦plaintext: why}\n"
            + SEND
            + "tls:\n  a: {cert: a.pem, key: a.key}\n"
        ),
    ),
    ("E211", "has no key", site(IDENTITY + CONNECTIONS + "tls:\n  ¦a: {cert: a.pem}\n")),
    (
        "E211",
        "a listener needs one",
        connections(
            "  in: {listen: mllp, port: 2575, tls: ¦a}\n" + SEND + "tls:\n  a: {ca: ca.pem}\n"
        ),
    ),
    (
        "E211",
        "names no ca",
        connections(
            "  in: {listen: mllp, port: 2575, tls: a}\n"
            + SEND
            + "tls:\n  a: {cert: a.pem, key: a.key, client: ¦required}\n"
        ),
    ),
    (
        "E215",
        "PID-3.1 may tell who",
        to('  lab: {files: {dir: out, name: "¦${PID-3.1}-${msg.id}.hl7"}}\n'),
    ),
    (
        "E216",
        'port 2575 is taken by "in"',
        connections(
            LISTEN
            + SEND
            + "  more: {listen: mllp, host: 0.0.0.0, allow: 10.0.0.0/8, port: ¦2575, plaintext: a}\n"
        ),
    ),
    (
        "E216",
        'port 9464 is taken by "metrics"',
        connections("  in: {listen: mllp, port: ¦9464, plaintext: a test}\n" + SEND),
    ),
    ("E217", "holds no folder", to('  lab: {files: {dir: out, name: "a¦/${msg.id}"}}\n')),
    ("E217", "the same file name", to("  lab: {files: {dir: out, name: ¦all.hl7}}\n")),
    ("E217", "begin with a dot", to('  lab: {files: {dir: out, name: ¦".${msg.id}"}}\n')),
    ("E220", '"channels.one.steps"', {"env/prod.yaml": "channels:\n  one:\n    ¦steps: []\n"}),
    ("E220", '"identity"', {"env/prod.yaml": "¦identity: {}\n"}),
    (
        "E222",
        "not the file's name",
        {"channels/one.yaml": "ifengine: 1\nchannel: ¦other\nfrom: in\n" + ORU + REST},
    ),
    ("E226", 'no sample "orru"', in_tests("  - {name: a, given: {sample: ¦orru}}\n")),
    (
        "E231",
        "a secret cannot stand in a channel",
        channel('steps:\n  - set: {MSH-5: "¦${secret:lis}"}\n' + ORU + REST),
    ),
    (
        "E231",
        "a secret cannot stand in a channel",
        to('  lab: {files: {dir: out, name: "${msg.id}¦${secret:lis}"}}\n'),
    ),
    ("E231", "${env:…} cannot stand", channel('accept: MSH-4 = "¦${env:FACILITY}"\n' + ORU + REST)),
    (
        "E232",
        "requires PID",
        channel(
            "steps:\n  - delete_segments: [NK1, ¦PID]\ntypes: [VXU^V04]\norder_by: patient\n" + REST
        ),
    ),
    (
        "E232",
        "requires EVN, PV1",
        channel(
            "steps:\n  - keep_segments: ¦[MSH, PID]\ntypes: [ADT^A01]\nignore_types: {identity: a test}\norder_by: patient\n"
            + REST
        ),
    ),
    (
        "E232",
        "requires MRG",
        channel(
            "steps:\n  - delete_segments: ¦MRG\ntypes: [ADT^A40]\nignore_types: {identity: a test}\norder_by: patient\n"
            + REST
        ),
    ),
    ("E233", "the last identifier", channel("steps:\n  - clear: ¦PID-3\n" + ORU + REST)),
    ("E233", "the last identifier", channel("steps:\n  - move: ¦PID-3 -> PID-4\n" + ORU + REST)),
    (
        "E235",
        '"lab" gets some AL1 only',
        channel(
            ORU
            + "steps:\n  - delete_segments: ¦AL1(where AL1-2 = DA)\n"
            + "to:\n  lab: {connection: out, snapshot: [AL1]}\n"
            + TESTS
        ),
    ),
    (
        "W235",
        "many receivers delete",
        to("  lab: {connection: out, steps: [{when: PV1-2 = O, delete_segments: ¦NK1}]}\n"),
    ),
    ("E102", "because: says why", to("  lab: {connection: out, because: ¦so it is}\n")),
    ("E301", 'no table "wards"', channel("accept: PV1-3.1 in table ¦wards\n" + ORU + REST)),
    ("E234", '"OBX" repeats', channel("types: [ORU^R01]\norder_by: ¦OBX-3.1\n" + REST)),
    ("E302", "$late is not known", channel("accept: ¦$late = 1\n" + ORU + REST)),
    ("W005", "the value ends here", channel("about: result¦ #2\n" + ORU + REST)),
    (
        "W201",
        "no tests",
        {"channels/one.yaml": "ifengine: 1\nchannel: ¦one\nfrom: in\n" + ORU + TO},
    ),
    (
        "W202",
        "no order_by",
        {"channels/one.yaml": "ifengine: 1\nchannel: ¦one\nfrom: in\ntypes: [ORU^R01]\n" + REST},
    ),
    ("W203", 'no channel uses the table "sex"', {"channels/tables/sex.csv": "¦from,to\n1,F\n"}),
    (
        "W208",
        "ORM^O01 may pass",
        channel("types: [ORM^O01]\norder_by: patient\nto:\n  ¦lab: {connection: out}\n" + TESTS),
    ),
    (
        "E242",
        "would hold nothing back there",
        channel(
            "types: [ADT^A40]\norder_by: patient\nignore_types: {identity: only merges}\n"
            + "steps:\n  - merge_patient: {keep: PID-3, retire: MRG-1}\n"
            + "to:\n  lab: {connection: out, order: ¦skip_dead}\n"
            + TESTS
        ),
    ),
    (
        "E242",
        "would hold nothing back there",
        channel(
            "types: [ADT^A40]\nignore_types: {identity: only merges}\n"
            + "steps:\n  - merge_patient: {keep: PID-3, retire: MRG-1}\n"
            + "to:\n  ¦lab: {connection: out}\n"
            + TESTS
        ),
    ),
    ("W209", "no branch names them: A18", channel("types: ¦[ADT^*]\norder_by: patient\n" + REST)),
    (
        "W212",
        "beyond this machine",
        connections("  ¦in: {listen: mllp, host: 0.0.0.0, port: 2575, plaintext: a test}\n" + SEND),
    ),
    ("W213", "this may never hold", channel("accept: ¦MSH-9 = ORU^R01\n" + ORU + REST)),
    ("W214", 'no message reaches "lab"', to("  lab: {connection: out, types: ¦[ADT^A01]}\n")),
    (
        "W219",
        "several sources meet",
        connections(LISTEN + SEND + "  in2: {listen: mllp, port: 2576, plaintext: a test}\n")
        | two(ORU + "to:\n  ¦lab: {connection: out}\n" + TESTS, source="in2"),
    ),
    ("W219", "MSH-3 is rewritten", channel("steps:\n  - set: {¦MSH-3: X}\n" + ORU + REST)),
    (
        "W223",
        "there is no channel",
        {"ifengine.yaml": "¦ifengine: 1\nsite: small\n", "channels/one.yaml": ""},
    ),
    (
        "W224",
        "receives from",
        connections(LISTEN + SEND + "  ¦spare: {listen: mllp, port: 2599, plaintext: a test}\n"),
    ),
    ("W190", "`web` is part of", site(IDENTITY + CONNECTIONS + "listen: {¦web: 127.0.0.1:0}\n")),
    ("W229", "is not there", site(IDENTITY + CONNECTIONS + "tls:\n  a: {ca: ¦certs/ca.pem}\n")),
    (
        "W230",
        "LIS_HOST is not set",
        connections(
            LISTEN
            + '  out: {send: mllp, host: "¦${env:LIS_HOST}", port: 6661, plaintext: a test}\n'
        ),
    ),
    (
        "W230",
        "the secret lis was not found",
        connections(
            LISTEN + '  out: {send: mllp, host: "¦${secret:lis}", port: 6661, plaintext: a test}\n'
        ),
    ),
    # a sender that waits
    ("E102", '"timeout" is missing', channel("ack: ¦{when: delivered, from: lab}\n" + ORU + REST)),
    ("E102", '"from" is missing', channel("ack: ¦{when: delivered, timeout: 40s}\n" + ORU + REST)),
    ("E102", "wants a sender that waits", channel("ack: {from: ¦lab}\n" + ORU + REST)),
    (
        "E201",
        '"lob" is no destination',
        channel("ack: {when: delivered, from: ¦lob, timeout: 40s}\n" + ORU + REST),
    ),
    (
        "E243",
        "a folder has no sender",
        {
            "channels/one.yaml": "ifengine: 1\nchannel: one\n"
            "from: {files: {dir: in, done: done, bad: bad}}\n"
            "ack: {when: ¦delivered, from: lab, timeout: 40s}\n" + ORU + REST
        },
    ),
    (
        "E243",
        "is not enabled",
        channel(
            "ack: {when: delivered, from: ¦lab, timeout: 40s}\n"
            + ORU
            + "to:\n  lab: {connection: out, enabled: no}\n"
            + TESTS
        ),
    ),
    (
        "E271",
        "nobody would wait for",
        channel(ORU + "to:\n  lab: {connection: out, acks: ¦accept+application}\n" + TESTS),
    ),
    (
        "E271",
        "is not asked for an application",
        channel(ORU + "to:\n  lab: {connection: out, ¦application_ack: {on: same}}\n" + TESTS),
    ),
    (
        "E271",
        "is missed after 1s to 7d",
        channel(ORU + BOTH.replace("WITHIN", "on: same, within: ¦8d") + TESTS),
    ),
    (
        "E271",
        "may be forgotten before",
        {
            **site(IDENTITY + CONNECTIONS + "keep: {messages: 2d}\n"),
            **channel(ORU + BOTH.replace("WITHIN", "on: same, within: ¦3d") + TESTS),
        },
    ),
    (
        "E202",
        "come in at one that listens",
        channel(ORU + BOTH.replace("WITHIN", "on: ¦out") + TESTS),
    ),
    ("E201", 'no connection "inn"', channel(ORU + BOTH.replace("WITHIN", "on: ¦inn") + TESTS)),
    ("E103", "is not alarm", channel(ORU + BOTH.replace("WITHIN", "missing: ¦resend") + TESTS)),
    (
        "E272",
        'several receivers answer at "in"',
        {
            **site(
                IDENTITY
                + CONNECTIONS
                + "  out-2: {send: mllp, host: 127.0.0.1, port: 4, plaintext: a test}\n"
            ),
            **channel(
                ORU
                + BOTH.replace("WITHIN", "on: in").replace("acks", "control_id: mint, acks")
                + "  two: {connection: out-2, acks: accept+application, application_ack: ¦{on: in}}\n"
                + TESTS
            ),
        },
    ),
    (
        "E102",
        "wants a receiver that answers",
        channel(
            ORU
            + "to:\n  lab:\n    files: {dir: out, name: '${msg.id}.hl7'}\n"
            + "    ¦application_ack: {on: same}\n"
            + TESTS
        ),
    ),
    (
        "E243",
        "would only answer that it stored",
        channel(
            "ack: {when: delivered, from: lab, timeout: 40s}\n"
            + ORU
            + BOTH.replace("accept+", "¦accept+", 1).replace("WITHIN", "on: same")
            + TESTS
        ),
    ),
    (
        "E243",
        "would only answer that it stored",
        channel(
            "ack: {when: delivered, from: lab, timeout: 40s}\n"
            + ORU
            + "to:\n  lab: {connection: out, acks: ¦accept}\n"
            + TESTS
        ),
    ),
    (
        "E244",
        '"lab" does not get every message (accept of lab)',
        channel(
            "ack: ¦{when: delivered, from: lab, timeout: 40s}\n"
            + ORU
            + "to:\n  lab: {connection: out, accept: PID-8 = F}\n"
            + TESTS
        ),
    ),
    (
        "E244",
        "(step 1 drop)",
        channel(
            "ack: ¦{when: delivered, from: lab, timeout: 40s}\n"
            + ORU
            + "steps:\n  - when: PID-8 = F\n    drop: no women here\n"
            + REST
        ),
    ),
    (
        "E245",
        'given up after 20 s, "lab" only after 30 s',
        channel("ack: {when: delivered, from: lab, timeout: ¦20s}\n" + ORU + REST),
    ),
    (
        "E245",
        "only after 25 s",
        channel(
            "ack: {when: delivered, from: lab, timeout: ¦25s}\n"
            + ORU
            + "to:\n  lab: {connection: out, ack_timeout: 25s}\n"
            + TESTS
        ),
    ),
    (
        "W245",
        "retry has no effect",
        channel(
            "ack: {when: delivered, from: lab, timeout: 40s}\n"
            + ORU
            + "to:\n  lab: {connection: out, retry: ¦{first: 1s}}\n"
            + TESTS
        ),
    ),
    (
        "E246",
        "nobody hears a reject",
        channel(
            ORU
            + "steps:\n  - for_each: OBX\n    do:\n      - when: OBX-8 = HH\n"
            + "        ¦reject: {code: AR, text: too high}\n"
            + REST
        ),
    ),
    (
        "E246",
        'nobody waits for "ward"',
        channel(
            "ack: {when: delivered, from: lab, timeout: 40s}\n"
            + ORU
            + "to:\n  lab: {connection: out}\n  ward:\n    files: {dir: out, name: '${msg.id}'}\n"
            + "    steps: [{¦reject: {code: AE, text: no}}]\n"
            + TESTS
        ),
    ),
    (
        "W250",
        "line 6 holds wherever it does",
        channel(
            "steps:\n  - choose:\n      - {when: 'PV1-2 in [I, E]', do: [{trim: PID-5}]}\n"
            + "      - {when: ¦PV1-2 = I and PID-8 = F, do: [{trim: PID-6}]}\n"
            + ORU
            + REST
        ),
    ),
    ("W251", "contradict each other", channel("accept: ¦PV1-2 = I and PV1-2 = O\n" + ORU + REST)),
    (
        "W251",
        "no message of this channel's types",
        channel("steps:\n  - {when: ¦MSH-9.1 = ADT, trim: PID-5}\n" + ORU + REST),
    ),
    (
        "W214",
        "the channel accepts none that it does",
        to("  lab: {connection: out, accept: ¦PV1-2 = O}\n", before="accept: PV1-2 = I\n" + ORU),
    ),
    (
        "W247",
        "few senders wait 90 s",
        channel("ack: {when: delivered, from: lab, timeout: ¦90s}\n" + ORU + REST),
    ),
    (
        "E248",
        "would not be known any more",
        channel(
            "ack: {when: delivered, from: lab, timeout: 40s}\ndedupe: {window: ¦30s}\n" + ORU + REST
        ),
    ),
    ("W248", "nobody can look at the first", channel("dedupe: {window: ¦60d}\n" + ORU + REST)),
    (
        "W248",
        "dead letters would be gone",
        site(IDENTITY + CONNECTIONS + "keep: {messages: 30d, dead_letters: ¦20d}\n"),
    ),
    (
        "W249",
        "A18 names two patients",
        channel("types: [ADT^*]\norder_by: ¦PID-3.1\n" + REST),
    ),
    (
        "W236",
        "OBX-11 is written whatever it says",
        channel("steps:\n  - {for_each: OBX, do: [{set: {¦OBX-11: F}}]}\n" + ORU + REST),
    ),
    ("W206", "order_by does not hold", to("  lab: {connection: out, order: ¦none}\n")),
    ("E110", "looks like a path, but ABC", channel("accept: PV1-2 = ¦ABC-1\n" + ORU + REST)),
    ("W304", "PID-119 means nothing", channel("accept: PV1-2 = I and ¦PID-119 = 1\n" + ORU + REST)),
    ("W304", "OBX-3.99 means", channel("steps:\n  - trim: [PID-5, ¦OBX-3.99]\n" + ORU + REST)),
    (
        "W306",
        "no message of this channel's types has MRG",
        channel(
            "steps:\n  - set: {PID-4: '${PID-3} $¦{MRG-1}'}\n".replace("$¦{", "${¦") + ORU + REST
        ),
    ),
    (
        "E102",
        'latest_only needs "for"',
        channel("steps:\n  - ¦latest_only: {key: PID-3, newer: 'OBR[1]-22'}\n" + ORU + REST),
    ),
    ("W305", '"OBX" repeats', channel("accept: ¦OBX-8 = HH\n" + ORU + REST)),
]


@pytest.mark.parametrize(
    ("code", "says", "files"), CASES, ids=[f"{code}: {says}" for code, says, _ in CASES]
)
def test_each_mistake_is_shown_at_its_place(load, code, says, files) -> None:
    marked = [(name, text) for name, text in files.items() if "¦" in text]
    assert len(marked) == 1, "a case marks one place"
    name, text = marked[0]
    before = text[: text.index("¦")]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    plain = {name: (None if text == "" else text.replace("¦", "")) for name, text in files.items()}
    loaded = load(plain, env="prod" if "env/prod.yaml" in files else None)
    found = [p for p in loaded.problems if p.code == code and says in p.message]
    assert found, f"found only {[tuple(p) for p in loaded.problems]}"
    assert [tuple(p.position) for p in found] == [(name, line, column)]
    # nothing else is wrong with the file but what the case is about
    assert {p.code for p in loaded.problems if p.code.startswith("E")} <= {code}
    assert (loaded.site is None) == code.startswith("E")
    shown = render_problem(found[0], loaded.lines[name]).split("\n")
    assert shown[0].startswith(f"{name}:{line}:{column}: ")
    assert shown[2] == "       | " + " " * (column - 1) + "^"


def test_every_code_that_can_appear_is_explained_and_no_other() -> None:
    source = Path(loading.__file__).parents[2]
    folders = [source / "routes" / "config", source / "transforms", source / "hl7"]
    used = {
        code
        for folder in folders
        for file in folder.rglob("*.py")
        if not file.name.startswith("explain_")
        for code in re.findall(r'"([EW][0-9]{3})"', file.read_text("utf-8"))
    }
    assert used == set(CODES)


def test_every_code_of_the_loader_has_a_case_above() -> None:
    folder = Path(loading.__file__).parent
    used = {
        code
        for file in folder.glob("*.py")
        if not file.name.startswith("explain_")
        for code in re.findall(r'"([EW][0-9]{3})"', file.read_text("utf-8"))
    }
    assert used - {code for code, _, _ in CASES} == set()


def test_an_error_looks_as_the_language_page_shows_it(load, channel_text) -> None:
    loaded = load({"channels/one.yaml": channel_text + "acept: MSH-9.1 = ADT\n"})
    assert [render_problem(p, loaded.lines[p.position.file]) for p in loaded.problems] == [
        'channels/one.yaml:10:1: error[E101]: "acept" is not known here\n'
        "    10 | acept: MSH-9.1 = ADT\n"
        "       | ^\n"
        '       = did you mean "accept"?'
    ]
    assert problem_as_json(loaded.problems[0]) == {
        "file": "channels/one.yaml",
        "line": 10,
        "column": 1,
        "severity": "error",
        "code": "E101",
        "message": '"acept" is not known here',
        "hint": 'did you mean "accept"?',
    }


def test_a_very_long_line_is_shown_around_its_caret(load, channel_text) -> None:
    text = channel_text.replace(
        "order_by: patient", "order_by: patient\nabout: " + "x" * 500 + ": y"
    )
    loaded = load({"channels/one.yaml": text})
    (problem,) = loaded.problems
    shown = render_problem(problem, loaded.lines["channels/one.yaml"]).split("\n")
    assert len(shown[1]) < 200
    assert shown[1][shown[2].index("^")] == ":"


def test_every_mistake_is_told_at_once(load) -> None:
    loaded = load(
        {
            "ifengine.yaml": "ifengine: 1\nsite: Small\nconections: {}\n",
            "channels/one.yaml": "ifengine: 1\nchannel: one\nfrom: nowhere\ntypes: [adt^a01]\nto: {}\n",
            "channels/two.yaml": "ifengine: 1\nchannel: two\nsteps: [\n",
            "channels/three.yaml": "ifengine: 3\n",
        }
    )
    told = {(p.position.file, p.code) for p in loaded.problems}
    assert {
        ("ifengine.yaml", "E104"),
        ("ifengine.yaml", "E101"),
        ("channels/one.yaml", "E201"),
        ("channels/one.yaml", "E104"),
        ("channels/two.yaml", "E001"),
        ("channels/three.yaml", "E103"),
        ("channels/three.yaml", "E102"),
    } <= told


def test_a_misspelt_key_is_not_also_reported_missing(load) -> None:
    loaded = load({"channels/one.yaml": "ifengine: 1\nchannel: one\nform: in\n" + ORU + REST})
    assert [
        (p.code, p.hint) for p in loaded.problems if p.position.file == "channels/one.yaml"
    ] == [("E101", 'did you mean "from"?')]
