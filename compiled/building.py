"""From the source to native modules, once for each state of the source.

A copy of the package is made, mypyc translates the modules of ``modules.txt`` in it to C, and the
compiler makes libraries that lie beside the copies of their sources and are imported in their place.
Everything else of the package is as it was.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
SOURCE = TOP / "src" / "ifengine"
MODULES = Path(__file__).with_name("modules.txt")
HOME = TOP / "build" / "compiled"
PACKAGE = "ifengine"
OPTIMISE = "3"  # the modules decide what a message costs; a minute of compiling is spent once

# a native class has slots anyway, and dataclasses would make a second class to give it some
_SLOTS = re.compile(r"(@dataclass\([^)\n]*?)(?:, slots=True|slots=True, |slots=True)")


class NoCompilerError(Exception):
    """What is needed to compile is not on this machine; the text says what."""


def modules() -> list[str]:
    """Return the paths of the modules to compile, relative to the folder of the package."""
    lines = (line.partition("#")[0].strip() for line in MODULES.read_text().splitlines())
    return [line for line in lines if line]


def native_source(text: str) -> str:
    """Return the text of a module as mypyc takes it."""
    return _SLOTS.sub(r"\1", text).replace("@dataclass()", "@dataclass")


def digest() -> str:
    """Return what the result depends on, as one word."""
    found = hashlib.sha256(f"{sys.version} {sysconfig.get_platform()} {_mypy_version()}".encode())
    for path in (
        *sorted(SOURCE.rglob("*.py")),
        MODULES,
        *sorted(Path(__file__).parent.glob("*.py")),
    ):
        found.update(path.relative_to(TOP).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def built() -> Path:
    """Return the folder to put first on the path; compiles where the source has changed.

    Raises:
        NoCompilerError: there is no C compiler, no header of Python, or no mypyc.
        subprocess.CalledProcessError: the modules do not compile.
    """
    _require()
    folder = HOME / digest()
    if folder.is_dir():
        return folder
    shutil.rmtree(HOME, ignore_errors=True)
    work = HOME / "work"
    shutil.copytree(SOURCE, work / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for module in modules():
        path = work / PACKAGE / module
        path.write_text(native_source(path.read_text()))
    said = subprocess.run(
        [sys.executable, "-m", "compiled.extension", "build_ext", "--inplace"],
        cwd=work, env={**os.environ, "PYTHONPATH": str(TOP)}, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if said.returncode:
        wrong = [line for line in said.stdout.splitlines() if "error" in line.lower()]
        print("\n".join(wrong[:20] or said.stdout.splitlines()[-20:]), file=sys.stderr)
        said.check_returncode()
    shutil.rmtree(work / "build")
    work.rename(folder)
    return folder


def libraries(folder: Path) -> list[Path]:
    """Return the native libraries in a folder that ``built`` returned."""
    return sorted(folder.rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"))


def _require() -> None:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(os.environ.get("CC", compiler).split()[0]) is None:
        raise NoCompilerError(f"there is no C compiler ({compiler})")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        raise NoCompilerError("the headers of Python are not installed (Python.h)")
    if _mypy_version() == "":
        raise NoCompilerError("mypyc is not installed")


def _mypy_version() -> str:
    try:
        from mypy.version import __version__
    except ImportError:
        return ""
    return __version__
