"""A copy of source and tests in which one bug is seeded, and the tests that must find it.

The copy is what runs, in child processes too: ``PYTHONPATH`` goes before everything that is
installed, and is inherited.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seeded.told import TOLD
from seeded.what import Bug

ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("src", "tests", "channels", "demo", "docs", "benchmarks", "deploy")
_FILES = ("pyproject.toml", "ifengine.yaml", "README.md", "CHANGELOG.md", "Makefile")
PASSED, SKIPPED = "every test passed", "skipped"
_MOST_TOLD = 400  # characters of a finding


@dataclass(frozen=True)
class Ran:
    """What came of one run of the named tests."""

    caught: bool
    said: str  # the finding, or why it is none
    seconds: float
    output: str


def replaced(bug: Bug, text: str) -> str:
    """Return a module with the bug in it.

    Raises:
        AssertionError: a place is not there, or not the only one.
    """
    for old, new in ((bug.old, bug.new), *bug.also):
        count = text.count(old)
        assert count == 1, f"{bug.name}: {bug.file} holds the old text {count} times"
        text = text.replace(old, new)
    return text


class Copy:
    """A working tree of its own. Bugs come and go in it, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _COPIED:
            # with its compiled modules: they hold, since each file keeps its time
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("var"))
        for name in _FILES:
            shutil.copy2(ROOT / name, folder / name)

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a run: this copy, the short campaigns, and what a bug needs."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("IFENGINE_", "PYTEST_"))}
        paths = f"{self.folder / 'src'}{os.pathsep}{self.folder / 'tests'}"
        require = os.environ.get("IFENGINE_REQUIRE")
        demanded = {} if require is None else {"IFENGINE_REQUIRE": require}
        return {**kept, **demanded, "PYTHONPATH": paths, **more}

    def put(self, bug: Bug) -> None:
        """Seed a bug; its module is compiled anew."""
        file = self.folder / "src" / "ifengine" / bug.file
        self._write(file, replaced(bug, file.read_text(encoding="utf-8")))

    def take_out(self, bug: Bug) -> None:
        """Bring back what stood there."""
        source = ROOT / "src" / "ifengine" / bug.file
        file = self.folder / "src" / "ifengine" / bug.file
        file.unlink()
        self._forget_compiled(file)
        shutil.copy2(source, file)

    def _write(self, file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        self._forget_compiled(file)

    @staticmethod
    def _forget_compiled(file: Path) -> None:
        for old in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            old.unlink()

    def python(self, *words: str) -> str:
        """Run Python in the copy; return what it prints."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder, env=self.environ({}), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    def run(self, tests: Sequence[str], environ: Mapping[str, str], seconds: float) -> Ran:
        """Run tests in the copy until the first that fails; say whether it found something."""
        told = self.folder / "told.jsonl"
        told.unlink(missing_ok=True)
        command = [
            sys.executable, "-m", "pytest", "-x", "-q", "-p", "seeded.told", "-p", "no:cacheprovider",
            *(f"tests/{test}" for test in tests),
        ]  # fmt: skip
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environ(environ), TOLD: str(told)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output = process.communicate(timeout=seconds)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the engines it started
            output = process.communicate()[0].decode(errors="replace")
            took = time.monotonic() - began
            return Ran(False, f"no end within {seconds:.0f} s", took, output)
        took = time.monotonic() - began
        caught, said = _judge(told)
        return Ran(caught, said, took, output)


def _judge(told: Path) -> tuple[bool, str]:
    if not told.exists():
        return False, "no test ran"
    lines = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
    failed = [line for line in lines if line["outcome"] == "failed"]
    if not failed:
        skipped = all(line["outcome"] == "skipped" for line in lines)
        return False, SKIPPED if skipped else PASSED
    first = failed[0]
    said = " ".join(first["error"].split())[:_MOST_TOLD]
    if first["phase"] != "call" or not first["finding"]:
        return False, f"broke in {first['phase']}: {said}"
    return True, said
