"""The compiled form (ADR 0034): it does the same, and its modules keep to what mypyc can do."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from requirements import require

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "ifengine"
MODULES = [
    line
    for line in (ROOT / "compiled" / "modules.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
# what is compiled, and the engine that runs on it: in a process that is killed again and again too
TESTS = {  # and how many pass at least, so that no wrong path passes by running nothing
    "hl7": 900, "mllp": 180, "transforms": 1_200, "routes": 1_000, "engine/test_delivery.py": 10,
    "engine/test_intake.py": 10, "crash/test_kill.py": 1,
}  # fmt: skip
KILLS = "12"

pytestmark = pytest.mark.interpreted


def run(*words: str, seconds: float, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the compiled form, which is made where the source has changed."""
    return subprocess.run(
        [sys.executable, "-m", "compiled", *words], cwd=ROOT, env={**os.environ, **more},
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip


def test_version_says_which_form_runs() -> None:
    require("build:native")
    done = run("-m", "ifengine", "version", seconds=900)
    assert re.fullmatch(r"ifengine \S+, compiled, Python \S+\n", done.stdout), done.stderr
    plain = subprocess.run(
        [sys.executable, "-m", "ifengine", "version"], capture_output=True, text=True, check=True
    )
    assert ", interpreted, " in plain.stdout


@pytest.mark.slow
@pytest.mark.parametrize("tests", TESTS)
def test_the_compiled_form_passes_the_tests_of_what_is_compiled(tests: str) -> None:
    require("build:native")
    done = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{tests}", seconds=900,
        IFENGINE_KILLS=KILLS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (passed,) = re.findall(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert int(passed) >= TESTS[tests]


@pytest.mark.slow
def test_a_compiled_wheel_carries_a_library_for_each_module(tmp_path: Path) -> None:
    require("build:native")
    words = ["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run(
        [sys.executable, *words, "--no-build-isolation", "--no-index", "-w", str(tmp_path), str(ROOT)],
        env={**os.environ, "IFENGINE_COMPILE": "1"}, check=True, timeout=900,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    assert not wheel.name.endswith("-none-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "installed")
    libraries = {name.partition(".")[0] for name in names if name.endswith((".so", ".pyd"))}
    assert {f"ifengine/{module.removesuffix('.py')}" for module in MODULES} < libraries
    said = subprocess.run(
        [sys.executable, "-m", "ifengine", "version"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")}, cwd=tmp_path,
    ).stdout  # fmt: skip
    assert ", compiled, " in said


FIND_SUBCLASSES = """
import importlib, pkgutil, sys
import ifengine
from ifengine.form import FORM
for found in pkgutil.walk_packages(ifengine.__path__, "ifengine."):
    if "__main__" not in found.name:
        importlib.import_module(found.name)
def native(kind):
    return "__mypyc_attrs__" in vars(kind)
wrong = set()
def look(kind):
    for below in type.__subclasses__(kind):
        if native(kind) and not native(below) and below.__module__.startswith("ifengine"):
            wrong.add(below.__qualname__)
        look(below)
look(object)
natives = sum(native(kind) for kind in type.__subclasses__(object))
print(FORM, natives > 20, sorted(wrong))
"""


def test_no_interpreted_class_stands_below_a_compiled_one() -> None:
    require("build:native")
    done = run("-c", FIND_SUBCLASSES, seconds=600)
    assert done.stdout == "compiled True []\n", done.stdout + done.stderr[-2000:]


# --- what no compiler refuses and would be wrong ----------------------------------------------------


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function of a module, inner ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Return what stands in a function and in no function inside it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from own_nodes(node)


def handlers_of_one_name(tree: ast.AST) -> list[str]:
    """mypyc gives a name the type of the first handler: the second one fails when it is reached."""
    found = []
    for function in functions(tree):
        handlers = [n for n in own_nodes(function) if isinstance(n, ast.ExceptHandler) and n.name]
        arguments = {one.arg for one in (*function.args.args, *function.args.kwonlyargs)}
        kinds = {(one.name, ast.unparse(one.type)) for one in handlers if one.type is not None}
        names = Counter(name for name, _ in kinds)
        found += [f"{function.name}: {n}" for n in names if names[n] > 1 or n in arguments]
    return found


def chains_that_show(tree: ast.AST) -> list[str]:
    """``from None`` is not obeyed in native code: ``errors.unchained`` has to be there as well."""
    return [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.cause, ast.Constant)
        and not (isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "unchained")
    ]


def second_names_of_methods(tree: ast.AST) -> list[str]:
    """``look_up = get`` in a class is no method in native code."""
    found = []
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        methods = {one.name for one in kind.body if isinstance(one, ast.FunctionDef)}
        found += [
            f"{kind.name}: {ast.unparse(one)}"
            for one in kind.body
            if isinstance(one, ast.Assign | ast.AnnAssign)
            and isinstance(one.value, ast.Name)
            and one.value.id in methods
        ]
    return found


def slices_and_questions(tree: ast.AST) -> list[str]:
    """A slice object is no index of native bytes; a protocol cannot be asked with isinstance."""
    return [
        f"line {node.lineno}: {node.id}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in ("slice", "runtime_checkable")
    ]


def lengths_without_truth(tree: ast.AST) -> list[str]:
    """An object that may be None and has a length alone is always true in native code."""
    found = []
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        methods = {one.name for one in kind.body if isinstance(one, ast.FunctionDef)}
        found += [kind.name] if "__len__" in methods and "__bool__" not in methods else []
    return found


RULES = (
    handlers_of_one_name, chains_that_show, second_names_of_methods, slices_and_questions,
    lengths_without_truth,
)  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_a_compiled_module_keeps_to_what_native_code_can_do(module: str) -> None:
    tree = ast.parse((PACKAGE / module).read_text())
    assert [found for rule in RULES for found in rule(tree)] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n try: g()\n except A as e: pass\n except B as e: pass", ["f: e"]),
        ("def f(e):\n try: g()\n except A as e: pass", ["f: e"]),
        ("def f():\n try: g()\n except A as e: pass\n try: h()\n except A as e: pass", []),
        ("def f():\n try: g()\n except A: raise B() from None", ["line 3"]),
        ("def f():\n try: g()\n except A: raise unchained(B()) from None", []),
        ("class A:\n def get(self): pass\n look_up = get", ["A: look_up = get"]),
        ("x[slice(1, 2)]", ["line 1: slice"]),
        ("class A:\n def __len__(self): return 0", ["A"]),
        ("class A:\n def __len__(self): return 0\n def __bool__(self): return False", []),
    ],
)
def test_the_rules_find_what_they_are_for(source: str, found: list[str]) -> None:
    tree = ast.parse(source)
    assert [one for rule in RULES for one in rule(tree)] == found
