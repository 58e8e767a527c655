"""What a test needs beyond Python packages: skipped with a reason, or demanded.

``IFENGINE_REQUIRE=all``, or names separated by commas, turns the skip into a failure, so that
a machine meant to run everything cannot pass by running less.
"""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]
NPM_PREFIX = ROOT / ".venv" / "npm"


def require(name: str) -> Path:
    """Return where a requirement is, or skip (or fail) the test that asks.

    ``npm:<package>`` is a package that ``make test-deps`` installed, and means Node.js too;
    ``program:<name>`` is found on the search path; ``mount:tmpfs`` is the right to mount one;
    ``build:native`` is a compiler and the headers of this Python.
    """
    kind, _, what = name.partition(":")
    if kind == "npm":
        require("program:node")
        found = NPM_PREFIX / "node_modules" / what
        if (found / "package.json").is_file():
            return found
    elif kind == "build":
        header = Path(sysconfig.get_path("include")) / "Python.h"
        compiler = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])
        if header.is_file() and compiler is not None:
            return header
    elif kind == "program":
        program = shutil.which(what)
        if program is not None:
            return Path(program)
    elif kind == "mount":
        program = require("program:mount")
        if os.geteuid() == 0 and may_mount(program, what):
            return program
    else:
        raise ValueError(f"no such kind of requirement: {kind}")
    _absent(name)


@cache
def may_mount(program: Path, what: str) -> bool:
    """Whether a file system of this type can be mounted here: not in most containers."""
    with tempfile.TemporaryDirectory() as folder:
        words = [program, "-t", what, "-o", "size=1m", "none", folder]
        if subprocess.run(words, capture_output=True).returncode != 0:
            return False
        return subprocess.run(["umount", folder]).returncode == 0


def _absent(name: str) -> NoReturn:
    demanded = {part.strip() for part in os.environ.get("IFENGINE_REQUIRE", "").split(",")}
    reason = f"{name} is not here; make test-deps installs it"
    if demanded & {"all", name}:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
