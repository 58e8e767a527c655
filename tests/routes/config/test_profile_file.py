"""Profiles as they are written: what they become, and every mistake at its place."""

import pytest

from ifengine.hl7.message import Message
from ifengine.routes.config import loading
from ifengine.transforms.base import StepFailedError, StepScope
from ifengine.transforms.validation_profile import Profile

PROFILE = """\
ifengine: 1
about: What the receiver insists on
local: [ZPI]
rules:
  - fields:
      PID-3.1: {required: yes, length: 1-20}
      PID-19: {forbidden: yes}
  - types: [ORU^R01, "ADT^*"]
    fields:
      PV1-3.1: {table: ward}
      PID-8: {table: "0001"}
      PID-5: {required: no, length: any, table: any}
"""
CHANNEL = """\
ifengine: 1
channel: one
from: in
types: [ORU^R01]
order_by: patient
steps:
  - validate: {level: lenient, profile: lab}
to:
  lab: {connection: out}
tests:
  - {name: it arrives, given: {sample: oru}, expect: {lab: sent}}
"""
FILES = {
    "channels/one.yaml": CHANNEL,
    "channels/profiles/lab.yaml": PROFILE,
    "channels/tables/ward.csv": "from,to\n4W,W4\n",
}


def test_a_profile_without_mistake_is_loaded_with_the_site(load) -> None:
    loaded = load(FILES)
    assert loaded.problems == ()
    (channel,) = loaded.site.channels
    assert channel.steps.table_names() == {"ward"}


def test_what_is_written_arrives_in_the_rules(load, monkeypatch) -> None:
    seen: list[Profile] = []
    read = loading.read_profile
    monkeypatch.setattr(
        loading, "read_profile", lambda *given: seen.append(read(*given)) or seen[-1]
    )
    load(FILES)
    (profile,) = seen
    assert (profile.name, profile.local, profile.tables()) == ("lab", {"ZPI"}, ("ward",))
    every, some = profile.sets
    assert (every.types, some.types) == ((), (("ORU", "R01"), ("ADT", "*")))
    number, ssn = every.rules
    assert (str(number.path), number.required, number.length) == ("PID-3.1", True, (1, 20))
    assert (str(ssn.path), ssn.required, ssn.forbidden) == ("PID-19", None, True)
    name = some.rules[2]
    assert (name.required, name.length, name.table) == (False, (0, 0), "any")


def test_the_profile_is_part_of_the_version_of_the_configuration(load) -> None:
    first = load(FILES).site.digest
    changed = FILES | {"channels/profiles/lab.yaml": PROFILE.replace("1-20", "1-21")}
    assert load(changed).site.digest != first


def test_a_message_is_compared_with_the_profile_of_the_file(load) -> None:
    (channel,) = load(FILES).site.channels
    content = b"MSH|^~\\&|A|B|C|D|20260101||ORU^R01|1|P|2.5.1\rPID|1||^^^A^MR\rOBR|1\r"
    scope = StepScope(Message.parse(content), load(FILES).site.tables, 0, "1")
    with pytest.raises(StepFailedError, match=r"PID-3\.1: is required and empty \(profile lab\)"):
        channel.steps.run(scope)


@pytest.mark.parametrize(
    ("code", "message", "body"),
    [
        ("E101", '"requird" is not known', "  - fields: {PID-3: {¦requird: yes}}\n"),
        ("E102", '"fields" is missing', "  - ¦types: [ADT^A01]\n"),
        ("E104", "a list of rules", "  ¦fields: {PID-3: {required: yes}}\n"),
        ("E104", "a map of types and fields", "  - ¦PID-3\n"),
        ("E104", "a map of paths", "  - fields: ¦[PID-3]\n"),
        ("E104", "a map of rules", "  - fields: {PID-3: ¦required}\n"),
        ("E104", "is not a length", "  - fields: {PID-3: {length: ¦long}}\n"),
        ("E104", "is not a length", "  - fields: {PID-3: {length: ¦9-3}}\n"),
        ("E104", "is not yes or no", "  - fields: {PID-3: {required: ¦maybe}}\n"),
        ("E104", "is not a message type", "  - {types: ¦adt, fields: {PID-3: {required: yes}}}\n"),
        ("E110", "did not expect", "  - fields: {PID¦.3: {required: yes}}\n"),
        ("E321", "PID has 40 fields", "  - fields: {¦PID-90: {required: yes}}\n"),
        ("E301", 'no table "wards"', "  - fields: {PV1-3: {table: ¦wards}}\n"),
        ("E102", "nothing is said of PID-3", "  - fields: {¦PID-3: {}}\n"),
        ("E102", "required and forbidden", "  - fields: {PID-3: {required: yes, ¦forbidden: yes}}\n"),
        ("E102", "a segment has no length", "  - fields: {PID: {¦length: 3}}\n"),
    ],
)  # fmt: skip
def test_every_mistake_of_a_profile_is_told_at_its_place(
    load, code: str, message: str, body: str
) -> None:
    text = "ifengine: 1\nrules:\n" + body
    before = text[: text.index("¦")]
    loaded = load(FILES | {"channels/profiles/lab.yaml": text.replace("¦", "")})
    found = [p for p in loaded.problems if p.position.file == "channels/profiles/lab.yaml"]
    (problem,) = found
    assert (problem.code, message in problem.message) == (code, True), problem
    assert problem.position.line == before.count("\n") + 1
    assert problem.position.column == len(before.rpartition("\n")[2]) + 1


def test_a_step_that_names_no_profile_there_is_an_error(load) -> None:
    loaded = load(FILES | {"channels/one.yaml": CHANNEL.replace("profile: lab", "profile: lap")})
    (problem,) = [p for p in loaded.problems if p.code == "E320"]
    assert problem.hint == 'did you mean "lab"?'
