"""`ifengine test`: what it prints, writes and ends with."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cli.support import Ended, here
from routes.channel_tests.small import HEAD, TO_LAB, write

STEPS = """\
steps:
  - upper: PID-5.1
  - clear: PID-19
"""
TESTS = """\
tests:
  - name: the name is in capitals
    given: {sample: adt}
    expect: {ack: AA, lab: {state: sent, fields: {PID-5.1: QUILL}}}
  - name: a wrong hope <&">
    given: {sample: adt}
    expect:
      lab:
        state: sent
        fields: {PID-5.1: Quill, PV1-2: I}
"""
GOOD = TESTS[: TESTS.index("  - name: a wrong")]
GOLDEN = """\
tests:
  - name: as it was
    given: {sample: adt}
    expect: {lab: {same_as: golden/adt.hl7, ignore: [MSH-7]}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write(tmp_path, HEAD + STEPS + TO_LAB + TESTS)
    return tmp_path


def ran(site: Path, *args: str) -> Ended:
    return here("test", *args, "--site", str(site))


def test_a_failure_shows_the_field_and_the_step_that_made_it(site: Path) -> None:
    ended = ran(site)
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert lines[0].split() == ["one", "1", "passed,", "1", "failed"]
    assert lines[1].startswith('  \N{BALLOT X} a wrong hope <&">')
    assert lines[1].endswith("channels/one.yaml:20")
    assert lines[2].split() == ["lab", "PID-5.1", "expected", "Quill", "got", "QUILL"]
    assert lines[3].strip() == "after step 1 upper"
    assert lines[4].startswith("2 tests, 1 passed, 1 failed, ")
    assert len(lines) == 5


def test_passing_tests_end_with_zero(site: Path) -> None:
    ended = ran(site, "-k", "capitals NAME")
    assert ended.code == 0
    assert ended.out.splitlines()[0].split() == ["one", "1", "passed"]
    assert ran(site, "one", "-k", "name").code == 0
    assert ran(site, "channels/one.yaml", "-k", "name").code == 0


def test_words_or_channels_that_name_nothing_are_wrong_usage(site: Path) -> None:
    assert ran(site, "-k", "nothing").code == 2
    ended = ran(site, "onw")
    assert ended.code == 2
    assert "one" in ended.err


def test_a_site_with_errors_is_not_tested(site: Path) -> None:
    write(site, HEAD + "stepz: []\n" + TO_LAB + TESTS)
    ended = ran(site)
    assert ended.code == 1
    assert "E101" in ended.err
    assert ended.out == ""


def test_a_site_without_tests_passes_and_says_so(site: Path) -> None:
    write(site, HEAD + TO_LAB)
    ended = ran(site)
    assert ended.code == 0
    assert ended.out.splitlines()[0].split() == ["one", "no", "tests"]


def test_json_tells_the_same(site: Path) -> None:
    ended = ran(site, "-o", "json")
    assert ended.code == 1
    said = ended.json()
    assert said["ok"] is False
    (channel,) = said["channels"]
    good, bad = channel["tests"]
    assert (good["passed"], good["line"], good["differences"]) == (True, 13, [])
    (difference,) = bad["differences"]
    assert (difference["place"], difference["expected"], difference["got"]) == (
        "PID-5.1",
        "Quill",
        "QUILL",
    )
    assert difference["notes"] == ["after step 1 upper"]


def test_junit_is_xml_whatever_stands_in_names_and_values(site: Path) -> None:
    ended = ran(site, "-o", "junit")
    assert ended.code == 1
    suites = ET.fromstring(ended.out)
    assert (suites.get("tests"), suites.get("failures")) == ("2", "1")
    cases = suites.findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == ["the name is in capitals", 'a wrong hope <&">']
    (failure,) = suites.findall("testsuite/testcase/failure")
    assert failure.text is not None
    assert "channels/one.yaml:20" in failure.text
    assert "QUILL" in failure.text
    report = site / "report.xml"
    ended = ran(site, "--output", "junit", str(report), "-k", "capitals")
    assert ended.code == 0
    assert "1 passed" in ended.out
    assert ET.parse(report).getroot().get("failures") == "0"


LATER = """\
to:
  lab: {connection: out, acks: accept+application, application_ack: {on: same, within: 10m}}
tests:
  - {name: a, given: {sample: adt}, answer: {lab: CA}, expect: {lab: {application: refused}}}
"""


def test_a_second_answer_that_did_not_come_is_a_failure_on_the_screen_and_in_junit(
    site: Path,
) -> None:
    write(site, HEAD + LATER)
    ended = ran(site)
    assert ended.code == 1
    assert ended.out.splitlines()[2].split() == (
        ["lab", "application", "expected", "refused", "got", "waiting"]
    )
    (failure,) = ET.fromstring(ran(site, "-o", "junit").out).findall(".//failure")
    assert (failure.get("message") or "").split()[:2] == ["lab", "application"]


def test_update_writes_golden_files_shows_the_difference_and_then_passes(site: Path) -> None:
    write(site, HEAD + STEPS + TO_LAB + GOLDEN)
    golden = site / "channels/golden/adt.hl7"
    assert ran(site).code == 1
    ended = ran(site, "--update")
    assert ended.code == 0
    assert "+PID|1||7001^^^ELM^MR~99^^^ELM^PI||QUILL^Ada||19700101|F" in ended.out
    first = golden.read_bytes()
    assert first.startswith(b"MSH|^~\\&|REG|ELM|")
    assert b"\r" not in first
    ended = ran(site, "--update")
    assert (ended.code, "PID|" in ended.out) == (0, False)
    assert golden.read_bytes() == first
    write(site, HEAD + TO_LAB + GOLDEN)
    assert ran(site).code == 1
    ended = ran(site, "--update")
    assert "-PID|1||7001^^^ELM^MR~99^^^ELM^PI||QUILL^Ada||19700101|F" in ended.out
    assert "+PID|1||7001^^^ELM^MR~99^^^ELM^PI||Quill^Ada||19700101|F" in ended.out
    assert ran(site).code == 0
    assert [path.name for path in golden.parent.iterdir()] == ["adt.hl7"]


def test_update_leaves_a_golden_file_whose_message_no_longer_arrives(site: Path) -> None:
    write(site, HEAD + TO_LAB + GOLDEN)
    ran(site, "--update")
    before = (site / "channels/golden/adt.hl7").read_bytes()
    write(site, HEAD + "steps:\n  - drop: no more\n" + TO_LAB + GOLDEN)
    assert ran(site, "--update").code == 1
    assert (site / "channels/golden/adt.hl7").read_bytes() == before


def test_weak_lists_what_no_test_would_miss(site: Path) -> None:
    assert "line" not in ran(site, "--weak").out.partition("failed")[2]  # first the tests must pass
    write(site, HEAD + STEPS + TO_LAB + GOOD)
    ended = ran(site, "--weak")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[2] == "1 of 2 steps and branches could be deleted and no test would notice:"
    assert lines[3].split() == [
        "one",
        "line",
        "9",
        "clear:",
        "PID-19",
        "(the",
        "samples",
        "already",
        "say",
        "so)",
    ]
    assert lines[4] == "0 of 0 conditions and values could be changed and no test would notice"


def test_json_tells_what_is_weak_and_what_was_not_reached(site: Path) -> None:
    write(site, HEAD + STEPS + TO_LAB + "  ward: {connection: out-2, accept: PV1-2 = O}\n" + GOOD)
    said = ran(site, "-o", "json", "--weak", "--coverage").json()
    assert [(one["line"], one["kind"], one["verb"]) for one in said["weak"]] == [
        (9, "step", "clear"),
        (12, "condition", "accept"),
    ]
    assert said["unreached"] == [
        {"channel": "one", "kind": "destination", "what": "ward", "line": 12}
    ]
    assert "weak" not in ran(site, "-o", "json").json()


def test_coverage_lists_what_no_test_reached(site: Path) -> None:
    write(site, HEAD + STEPS + TO_LAB + "  ward: {connection: out-2, accept: PV1-2 = O}\n" + GOOD)
    ended = ran(site, "--coverage")
    assert ended.code == 0
    assert ended.out.splitlines()[2:] == [
        "one: no test reached",
        f"  destination  {'ward':<52} channels/one.yaml:12",
    ]
    write(site, HEAD + STEPS + TO_LAB + GOOD)
    assert (
        "one: every destination, branch and lookup row was reached" in ran(site, "--coverage").out
    )


def test_the_page_about_tests_shows_tests_that_pass(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs/guide/testing.md").read_text(encoding="utf-8")
    channel = page.partition("```yaml channel\n")[2].partition("```")[0]
    samples = (root / "channels/samples/adt_a01.hl7").read_text(encoding="utf-8")
    write(tmp_path, channel, {"channels/samples/adt_a01.hl7": samples})
    (tmp_path / "channels/one.yaml").rename(tmp_path / "channels/tested.yaml")
    (tmp_path / "ifengine.yaml").write_bytes((root / "ifengine.yaml").read_bytes())
    ended = ran(tmp_path)
    assert ended.out.splitlines()[0].split() == ["tested", "4", "passed"]
