"""`ifengine try`: what each step changed, and that nothing of earlier messages is known."""

from pathlib import Path

import pytest

from cli.support import ADT, CHANNEL, here, write_site

DONE = "nothing was sent or stored"
UNKNOWN = "nothing is remembered here: every fact, key and merge counts as new"


def tried(site: Path, *more: str) -> list[str]:
    (site / "one.hl7").write_bytes(ADT)
    done = here("try", "adt", str(site / "one.hl7"), "--site", str(site), *more)
    assert done.code == 0, done.err
    return done.out.splitlines()


def test_each_step_is_followed_by_what_it_changed(tmp_path: Path) -> None:
    steps = "  - upper: PID-5.1\n  - set: {MSH-8: X}\n"
    site = write_site(tmp_path / "s", channel=CHANNEL.replace("  - upper: PID-5.1\n", steps))
    lines = tried(site, "--steps")
    first = next(i for i, line in enumerate(lines) if "step 1 upper" in line)
    assert lines[first + 1].split() == ["~", "PID-5.1", "Quill", "->", "QUILL"]
    assert "step 2 set" in lines[first + 2]
    assert lines[first + 3].split() == ["+", "MSH-8", "X"]


@pytest.mark.parametrize(
    ("head", "last"),
    [("", DONE), ("dedupe: {key: [PID-3.1], window: 10m}\n", UNKNOWN)],
)
def test_a_channel_that_asks_about_earlier_messages_is_told_that_none_are_known(
    tmp_path: Path, head: str, last: str
) -> None:
    channel = CHANNEL.replace("order_by: [PID-3.1]\n", "order_by: [PID-3.1]\n" + head)
    lines = tried(write_site(tmp_path / "s", channel=channel))
    assert lines[-1] == last
    assert DONE in lines
