"""`for:`: one channel for each row of a table."""

from pathlib import Path

import pytest

from ifengine.routes.config.loading import Loaded, load_site

SITE = """\
ifengine: 1
site: river
connections:
  north-in: {listen: mllp, port: 4001, plaintext: test}
  south-in: {listen: mllp, port: 4002, plaintext: test}
  north-lis: {send: mllp, host: 127.0.0.1, port: 4003, plaintext: test}
  south-lis: {send: mllp, host: 127.0.0.1, port: 4004, plaintext: test}
"""
CHANNEL = """\
ifengine: 1
channel: results
for: {site: table sites}
from: "${site.listens}"
types: [ORU^R01]
order_by: PID-3.1
accept: MSH-4 = ${site.facility}
steps:
  - set: {MSH-6: "${site.facility}"}
to:
  lis: {connection: "${site.sends}"}
tests:
  - name: it carries the name of its site
    given: |
      MSH|^~\\&|LAB|${site.facility}|IE|X|20260105||ORU^R01|1|P|2.5.1
      PID|1||7
    expect: {lis: {state: sent, fields: {MSH-6: "${site.facility}"}}}
"""
TABLE = (
    "name,to,listens,sends,facility\nNorth,,north-in,north-lis,N1\nSouth,,south-in,south-lis,S1\n"
)


def load(folder: Path, channel: str = CHANNEL, table: str = TABLE) -> Loaded:
    (folder / "channels" / "tables").mkdir(parents=True, exist_ok=True)
    (folder / "ifengine.yaml").write_text(SITE)
    (folder / "channels" / "results.yaml").write_text(channel)
    (folder / "channels" / "tables" / "sites.csv").write_text(table)
    return load_site(folder, environ={})


def errors(loaded: Loaded) -> list[tuple[str, int, int]]:
    return [
        (p.code, p.position.line, p.position.column)
        for p in loaded.problems
        if p.severity == "error"
    ]


def test_every_row_is_a_channel_with_its_own_places_and_texts(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.site is not None, loaded.problems
    found = [(c.name, c.sources, c.destinations[0].connection) for c in loaded.site.channels]
    assert found == [
        ("results-north", ("north-in",), "north-lis"),
        ("results-south", ("south-in",), "south-lis"),
    ]
    assert loaded.channel_count == 2
    assert set(loaded.written) == {"results-north", "results-south"}
    assert [p.code for p in loaded.problems] == []


def test_the_tests_of_the_file_run_for_every_channel(tmp_path: Path) -> None:
    from ifengine.routes.channel_tests.run import run_tests
    from ifengine.routes.config.tests_beside import TestFiles

    site = load(tmp_path).site
    assert site is not None
    for name in ("results-north", "results-south"):
        report = run_tests(site, name, TestFiles())
        assert (report.ok, report.passed) == (True, 1)


def test_a_row_more_is_a_channel_more(tmp_path: Path) -> None:
    before = load(tmp_path)
    after = load(tmp_path, table=TABLE + "West,,north-in,south-lis,W1\n")
    assert before.channel_count == 2
    # West would take the same messages from north-in as North: one message has one channel
    assert {code for code, *_ in errors(after)} == {"E203"}


@pytest.mark.parametrize(
    ("channel", "table", "expected"),
    [
        (CHANNEL.replace("table sites", "table sits"), TABLE, ("E301", 3, 13)),
        (CHANNEL.replace("{site: table sites}", "sites"), TABLE, ("E104", 3, 6)),
        (CHANNEL.replace("site: table sites", "vars: table sites"), TABLE, ("E104", 3, 7)),
        (CHANNEL.replace("table sites", "rows of sites"), TABLE, ("E104", 3, 13)),
        (CHANNEL.replace("${site.sends}", "${site.sendz}"), TABLE, ("E265", 11, 22)),
        (CHANNEL, TABLE.replace("South", "north"), ("E265", 3, 6)),
        (CHANNEL, TABLE.replace("South", "S&t"), ("E265", 3, 6)),
        (CHANNEL, TABLE.replace("South", "*"), ("E265", 3, 6)),
    ],
)
def test_a_mistake_is_shown_once_and_at_its_place(
    tmp_path: Path, channel: str, table: str, expected: tuple[str, int, int]
) -> None:
    found = errors(load(tmp_path, channel, table))
    assert found[0] == expected
    assert len([one for one in found if one[0] == expected[0]]) == 1
