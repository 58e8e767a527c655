"""Tests in channel files and beside them: read, checked, and their files found."""

from pathlib import Path

import pytest

from ifengine.errors import EngineError
from ifengine.routes.config.cases import Answer, StartFact
from ifengine.routes.config.loading import Loaded, load_site
from ifengine.routes.config.tests_beside import read_test_files
from ifengine.transforms.keyed import SEPARATOR
from ifengine.transforms.source import Severity
from routes.config.small_site import CHANNEL, write_site

HEAD = CHANNEL[: CHANNEL.index("tests:")]
ONE = "tests:\n  - {name: it arrives, given: {sample: oru}, expect: {lab: sent}}\n"


def load(directory: Path, files: dict[str, str | bytes | None]) -> Loaded:
    write_site(directory, files)
    return load_site(directory, environ={})


def errors(loaded: Loaded) -> list[tuple[str, str, int]]:
    return [
        (p.code, p.position.file.rpartition("/")[2], p.position.line)
        for p in loaded.problems
        if p.severity is Severity.ERROR
    ]


def test_a_file_beside_a_channel_adds_its_tests(tmp_path: Path) -> None:
    beside = "ifengine: 1\nchannel: one\n" + ONE.replace("it arrives", "it arrives too")
    loaded = load(tmp_path, {"channels/more_test.yaml": beside})
    assert errors(loaded) == []
    assert loaded.site is not None
    assert [case.name for case in loaded.site.channels[0].tests] == ["it arrives", "it arrives too"]
    assert loaded.site.channels[0].tests[1].position.file == "channels/more_test.yaml"
    assert [channel.name for channel in loaded.site.channels] == ["one"]


def test_the_channel_may_be_told_by_the_file_s_name(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"channels/one_test.yaml": "ifengine: 1\n" + ONE.replace("it", "then")})
    assert errors(loaded) == []
    assert loaded.site is not None
    assert len(loaded.site.channels[0].tests) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ifengine: 1\nchannel: on\n" + ONE, ("E201", "x_test.yaml", 2)),
        ("ifengine: 1\n" + ONE, ("E201", "x_test.yaml", 1)),
        ("ifengine: 1\nchannel: one\n" + ONE, ("E002", "x_test.yaml", 4)),
        (
            "ifengine: 1\nchannel: one\nsteps: []\n" + ONE.replace("it", "z"),
            ("E101", "x_test.yaml", 3),
        ),
        ("ifengine: 1\nchannel: one\n", ("E102", "x_test.yaml", 1)),
        (
            "ifengine: 1\nchannel: one\n" + ONE.replace("it", "z").replace("lab", "lob"),
            ("E201", "x_test.yaml", 4),
        ),
        (
            "ifengine: 1\nchannel: one\n" + ONE.replace("it", "z").replace("oru", "orx"),
            ("E226", "x_test.yaml", 4),
        ),
    ],
)
def test_mistakes_in_such_a_file_stand_at_their_place(
    tmp_path: Path, text: str, expected: tuple[str, str, int]
) -> None:
    assert errors(load(tmp_path, {"channels/x_test.yaml": text})) == [expected]


def test_what_a_test_says_is_read_as_it_is_meant(tmp_path: Path) -> None:
    tests = """\
tests:
  - name: all of it
    fact: {order: [P1, [P2, F2]], seen: {P3: {visit: V1}, P4: yes}}
    patients: {"7009": "7001"}
    sequence:
      - given: {sample: oru, change: {PID-8: null, PID-7: ""}, remove: ZPI, append: [NTE|1]}
        answer: {lab: AE}
        expect: {ack: AE, ack_text: why, unmatched: filtered}
      - after: 2m
        expect:
          lab: {state: sent, count: 0, segments: [MSH], same_as: golden/a.hl7, ignore: [MSH-7]}
"""
    loaded = load(tmp_path, {"channels/one.yaml": HEAD + tests})
    assert errors(loaded) == []
    assert loaded.site is not None
    (case,) = loaded.site.channels[0].tests
    assert case.facts == (
        StartFact("order", "P1"),
        StartFact("order", f"P2{SEPARATOR}F2"),
        StartFact("seen", "P3", {"visit": "V1"}),
        StartFact("seen", "P4", {"": "yes"}),
    )
    assert case.patients == (("7009", "7001"),)
    first, second = case.turns
    assert first.given is not None
    assert [(path.text, text) for path, text in first.given.change] == [
        ("PID-8", ""),
        ("PID-7", ""),
    ]
    assert [path.text for path in first.given.remove] == ["ZPI"]
    assert first.given.append == ("NTE|1",)
    assert (first.ack, first.ack_text, dict(first.answers)) == ("AE", "why", {"lab": Answer("AE")})
    assert [one.destination for one in first.expected] == ["unmatched"]
    assert second.after_us == 120_000_000
    assert second.given is None
    (expected,) = second.expected
    assert (expected.count, expected.segments, expected.same_as) == (0, ("MSH",), "golden/a.hl7")
    assert [path.text for path in expected.ignore] == ["MSH-7"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("fact: [order]", "E104"),
        ("fact: {order: null}", "E104"),
        ("patients: [x]", "E104"),
        ('patients: {"7": null}', "E104"),
        ("expect: {lab: {ignore: [MSH-7]}}", "E102"),
        ("expect: {lab: {same_as: ../../secret}}", "E104"),
        ("expect: {lab: {same_as: /etc/passwd}}", "E104"),
        ("expect: {lab: {file: name}}", "E104"),
        ("expect: {lab: {file: {size: 3}}}", "E101"),
        ("expect: {lab: {fhir: {id: 3}}}", "E190"),
        ("expect: {lab: [sent]}", "E104"),
        ("expect: [sent]", "E104"),
        ("answer: AE", "E104"),
        ("answer: {ward: AE}", "E201"),
    ],
)
def test_what_could_not_be_run_as_it_is_written_is_an_error(
    tmp_path: Path, body: str, code: str
) -> None:
    tests = f"tests:\n  - name: a\n    given: {{sample: oru}}\n    {body}\n"
    loaded = load(tmp_path, {"channels/one.yaml": HEAD + tests})
    assert [found for found, _, _ in errors(loaded)] == [code]


def test_samples_and_golden_files_are_read_and_a_golden_one_may_be_missing(tmp_path: Path) -> None:
    tests = """\
tests:
  - {name: a, given: {sample: oru}, expect: {lab: {same_as: golden/a.hl7}}}
  - {name: b, given: {sample: oru}, expect: {lab: {same_as: golden/b.hl7}}}
"""
    files = {"channels/one.yaml": HEAD + tests, "channels/golden/a.hl7": b"MSH|x\n"}
    loaded = load(tmp_path, files)
    assert loaded.site is not None
    cases = loaded.site.channels[0].tests
    found = read_test_files(tmp_path, cases)
    assert set(found.samples) == {"oru"}
    assert found.golden == {"golden/a.hl7": b"MSH|x\n"}
    (tmp_path / "channels/samples/oru.hl7").unlink()
    with pytest.raises(EngineError, match=r"channels/samples/oru\.hl7"):
        read_test_files(tmp_path, cases)
