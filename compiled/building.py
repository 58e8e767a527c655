"""From the source to native modules, once for each state of the source.

A copy of the package is made, mypyc translates the modules of ``modules.txt`` in it to C, and the
compiler makes libraries that lie beside the copies of their sources and are imported in their place.
Everything else of the package is as it was.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
SOURCE = TOP / "src" / "ifengine"
MODULES = Path(__file__).with_name("modules.txt")
HOME = TOP / "build" / "compiled"
PACKAGE = "ifengine"
OPTIMISE = "3"  # the modules decide what a message costs; a minute of compiling is spent once

_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]+")
# a native class has slots anyway, and dataclasses would make a second class to give it some
_SLOTS = re.compile(r"(@dataclass\([^)\n]*?)(?:, slots=True|slots=True, |slots=True)")


class NoCompilerError(Exception):
    """What is needed to compile is not on this machine; the text says what."""


def modules() -> list[str]:
    """Return the paths of the modules to compile, relative to the folder of the package."""
    lines = (line.partition("#")[0].strip() for line in MODULES.read_text().splitlines())
    return [line for line in lines if line]


def native_source(text: str) -> str:
    """Return the text of a module as mypyc takes it best: slots left out, constants final.

    A constant of a module is looked up by its name each time, unless it is said to be final.
    """
    tree = ast.parse(text)
    lines = text.splitlines(keepends=True)
    changed = {
        name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names
    }
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not (isinstance(target, ast.Name) and _CONSTANT.fullmatch(target.id)):
            continue
        line, name = node.lineno - 1, target.id
        if name in changed or not lines[line].startswith(name):
            continue
        if isinstance(node, ast.Assign):
            lines[line] = f"{name}: Final{lines[line].removeprefix(name)}"
        elif isinstance(node, ast.AnnAssign) and "Final" not in ast.unparse(node.annotation):
            kind = ast.unparse(node.annotation)
            value = lines[line][lines[line].index(" = ", lines[line].index(":")) :]
            lines[line] = f"{name}: Final[{kind}]{value}"
    has_head = ast.get_docstring(tree) is not None
    begins = [node.lineno - 1 for node in tree.body[has_head:]]
    lines.insert(begins[0] if begins else len(lines), "from typing import Final\n")
    return _SLOTS.sub(r"\1", "".join(lines)).replace("@dataclass()", "@dataclass")


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
    if _mypy_version() == "" or find_spec("setuptools") is None:
        raise NoCompilerError("mypy and setuptools are not installed")


def _mypy_version() -> str:
    try:
        from mypy.version import __version__
    except ImportError:
        return ""
    return __version__
