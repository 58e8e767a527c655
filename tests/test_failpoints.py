"""Failpoints: the table, the variable, and that nothing is armed where messages are real."""

import ast
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.serving import Site, free_ports
from engine.support import Receiver
from engine.support import Site as InProcessSite
from ifengine import failpoints
from ifengine.errors import SettingsError
from ifengine.failpoints import POINTS, VARIABLE, Action, arm, fp, read_plan, write_through
from ifengine.store.commit_points import CROSSWALK
from ifengine.transforms.memory import Space

SOURCE = Path(__file__).resolve().parents[1] / "src" / "ifengine"
MARKS = {"fp": (0,), "write_through": (2, 3)}  # function -> which arguments are names of points

CHANNEL = "ifengine: 1\nchannel: c\nfrom: feed\nto: {lab: {connection: lab}}\n"


@pytest.fixture
def disarmed() -> Iterator[None]:
    yield
    arm("", environment="test")


def used() -> list[tuple[str, str]]:
    """Every point that the code marks, with its module."""
    found = []
    for module in SOURCE.rglob("*.py"):
        name = module.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if name == "failpoints.py" or not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id in MARKS:
                for at in MARKS[node.func.id]:
                    word = node.args[at]
                    assert isinstance(word, ast.Constant), f"{name}: a name that is no literal"
                    found.append((str(word.value), name))
    return found


def test_every_point_stands_once_in_the_code_and_in_the_table() -> None:
    assert sorted(used()) == sorted((name, point.module) for name, point in POINTS.items())


def test_merges_are_told_by_the_number_of_their_space() -> None:
    assert CROSSWALK == Space.CROSSWALK


def test_a_plan_names_points_actions_values_and_times() -> None:
    plan = read_plan(
        "intake.parsed=kill; store.ckpt_after=error:ENOSPC@3;deliver.written=delay:0.5"
    )
    assert [(one.name, one.action, one.left) for one in plan] == [
        ("intake.parsed", Action.KILL, 1),
        ("store.ckpt_after", Action.ERROR, 3),
        ("deliver.written", Action.DELAY, 1),
    ]
    assert plan[2].seconds == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "intake.secret=kill", "intake.parsed", "intake.parsed=explode", "intake.parsed=kill@0",
        "intake.parsed=error:EPERM", "intake.parsed=delay:x", "intake.parsed=kill:1", ";",
        "intake.parsed=delay:99",
    ],
)  # fmt: skip
def test_a_plan_that_is_written_wrongly_is_refused_by_its_number(text: str) -> None:
    with pytest.raises(SettingsError, match="number 1") as caught:
        read_plan(text)
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("disarmed")
def test_a_point_acts_once_at_its_time_and_others_do_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    arm("intake.parsed=error:ENOSPC@2;intake.sealed=error:timeout", environment="test")
    fp("intake.parsed")
    fp("intake.frame_done")
    with pytest.raises(OSError, match="failpoint") as caught:
        fp("intake.parsed")
    assert caught.value.errno == 28
    fp("intake.parsed")
    with pytest.raises(TimeoutError):
        fp("intake.sealed")
    assert "failpoint intake.parsed error\n" in capfd.readouterr().err


def test_nothing_is_armed_unless_asked_for(tmp_path: Path) -> None:
    assert failpoints._armed is None
    for name in POINTS:
        fp(name)


class Pipe:
    """A transport that keeps what is written and whether it was cut off."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.parts.append(data)

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return 1  # something waits: nothing may overtake it

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


@pytest.mark.usefixtures("disarmed")
def test_a_write_is_cut_in_two_only_where_its_points_are_armed() -> None:
    pipe = Pipe()
    write_through(pipe, b"abcd", "intake.mid_ack", "intake.post_ack")
    arm("deliver.written=kill", environment="test")
    write_through(pipe, b"efgh", "intake.mid_ack", "intake.post_ack")
    assert pipe.parts == [b"abcd", b"efgh"]
    arm("intake.mid_ack=error@2", environment="test")
    write_through(pipe, b"ijkl", "intake.mid_ack", "intake.post_ack")
    assert pipe.parts[2:] == [b"ij", b"kl"]
    write_through(pipe, b"mnop", "intake.mid_ack", "intake.post_ack")
    assert pipe.parts[4:] == [b"mn"]
    assert pipe.aborted


def test_only_a_test_site_may_be_armed(tmp_path: Path) -> None:
    loaded = InProcessSite(tmp_path / "site", {"lab": Receiver()}).settings().site
    for environment in ("production", "staging"):
        real = dataclasses.replace(loaded, environment=environment)
        with pytest.raises(SettingsError, match=VARIABLE):
            arm("intake.parsed=kill", environment=real.environment)
    assert failpoints._armed is None


def test_serve_refuses_the_variable_outside_test_mode_before_anything_is_bound(
    tmp_path: Path,
) -> None:
    site = Site(
        tmp_path, listen={"feed": ""}, send={"lab": free_ports(1)[0]}, channels={"c": CHANNEL},
        environ={VARIABLE: "intake.parsed=kill"},
    )  # fmt: skip
    assert site.command("serve", "--check-only").returncode == 0
    file = tmp_path / "ifengine.yaml"
    file.write_text(file.read_text().replace("environment: test", "environment: production"))
    for words in (("serve",), ("serve", "--check-only")):
        done = site.command(*words)
        assert done.returncode == 1, done.stderr
        assert f"{VARIABLE} makes the engine fail on purpose" in done.stderr
    assert not (tmp_path / "var" / "store").exists()
    assert site.command("check").returncode == 0  # the site itself is sound


def test_serve_refuses_an_unknown_point(tmp_path: Path) -> None:
    site = Site(
        tmp_path, listen={"feed": ""}, send={"lab": free_ports(1)[0]}, channels={"c": CHANNEL},
        environ={VARIABLE: "intake.nowhere=kill"},
    )  # fmt: skip
    done = site.command("serve", "--check-only")
    assert done.returncode == 1
    assert "number 1 names no point or action" in done.stderr


def test_a_kill_ends_the_process_there_and_says_so() -> None:
    program = (
        "from ifengine.failpoints import arm, fp\n"
        "arm('intake.parsed=kill@2', environment='test')\n"
        "fp('intake.parsed'); print('once', flush=True); fp('intake.parsed'); print('never')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -9
    assert done.stdout == "once\n"
    assert done.stderr.endswith("failpoint intake.parsed kill\n")
