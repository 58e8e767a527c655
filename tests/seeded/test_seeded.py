"""The tests can fail: each bug of the table is caught by the test that is named beside it."""

import ast
import datetime
from pathlib import Path

import pytest

from campaigns import Ledger, trials
from ifengine.hl7.header import read_header
from seeded.bugs import BUGS, PROMISES, SPECIFIED
from seeded.running import PASSED, ROOT, SKIPPED, Copy, replaced
from seeded.told import is_finding
from seeded.what import Bug

SHORT = 3  # in `make test`, another three every day


def name_of(bug: Bug) -> str:
    return bug.name


def chosen() -> tuple[Bug, ...]:
    """Return the bugs of this run: all of them in a campaign, else some that take seconds."""
    wanted = trials(SHORT, len(BUGS), "IFENGINE_SEEDED_BUGS")
    if wanted >= len(BUGS):
        return BUGS
    quick = [bug for bug in BUGS if bug.quick]
    first = datetime.datetime.now(datetime.UTC).toordinal() * wanted
    return tuple(quick[(first + n) % len(quick)] for n in range(min(wanted, len(quick))))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("seeded") / "copy")


def names_in(file: Path) -> set[str]:
    """Return the tests of a module, those of its classes and of their bases among them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize("bug", BUGS, ids=name_of)
def test_a_bug_fits_the_source_and_changes_it(bug: Bug) -> None:
    text = (ROOT / "src" / "ifengine" / bug.file).read_text(encoding="utf-8")
    spoilt = replaced(bug, text)
    assert ast.dump(ast.parse(spoilt)) != ast.dump(ast.parse(text))


def test_every_test_that_is_named_exists() -> None:
    contract = {name for file in ROOT.glob("tests/store/contract*.py") for name in names_in(file)}
    for bug in BUGS:
        assert bug.caught_by, bug.name
        for test in bug.caught_by:
            file, *_, name = test.split("::")
            path = ROOT / "tests" / file
            assert path.is_file(), f"{bug.name}: {file}"
            assert name.partition("[")[0] in names_in(path) | contract, f"{bug.name}: {name}"


def test_every_promise_has_a_bug_and_every_bug_of_the_specification_is_there() -> None:
    names = [bug.name for bug in BUGS]
    assert len(names) == len(set(names))
    assert len(names) >= 30
    assert {bug.promise for bug in BUGS} == set(PROMISES)
    assert set(SPECIFIED.values()) <= set(names)


def test_only_an_assertion_is_a_finding() -> None:
    assert is_finding(AssertionError("lost"))
    assert is_finding(ExceptionGroup("", [AssertionError("lost"), AssertionError("late")]))
    assert not is_finding(ImportError("ifengine"))
    assert not is_finding(ExceptionGroup("", [AssertionError("lost"), TypeError()]))


def test_what_runs_is_the_copy_in_child_processes_too(copy: Copy) -> None:
    version = Bug(
        name="version", promise="G1", breaks="", file="__init__.py",
        old='__version__ = "', new='__version__ = "seeded-', caught_by=("cli/test_main.py::"
        "test_the_version_is_the_one_of_the_package",),
    )  # fmt: skip
    copy.put(version)
    try:
        code = (
            "import subprocess, sys; "
            "subprocess.run([sys.executable, '-m', 'ifengine', 'version'], check=True)"
        )
        done = copy.python("-c", code)
        assert "seeded-" in done
    finally:
        copy.take_out(version)
    assert "seeded-" not in copy.python("-m", "ifengine", "version")
    assert read_header(b"").fault is not None  # this process still has its own


@pytest.mark.crash
@pytest.mark.parametrize("bug", chosen(), ids=name_of)
def test_the_named_test_catches_the_bug(bug: Bug, copy: Copy, ledger: Ledger) -> None:
    """Each named test on its own, and by what it asserts; one that cannot run here says nothing."""
    copy.put(bug)
    try:
        runs = [copy.run([test], bug.environ, bug.seconds) for test in bug.caught_by]
    finally:
        copy.take_out(bug)
    runs = [ran for ran in runs if ran.said != SKIPPED]
    if not runs:
        pytest.skip("what the named tests need is not here")
    missed = [ran for ran in runs if not ran.caught]
    ledger.record(
        bug.promise,
        f"seeded bug: {bug.name}",
        trials=len(runs),
        failures=len(missed),
        found=f"in {sum(ran.seconds for ran in runs):.0f} s",
    )
    for ran in runs:
        print(bug.name, f"{ran.seconds:.1f} s", ran.said)
    assert not missed, "\n\n".join(f"{ran.said}\n{ran.output[-3000:]}" for ran in missed)


@pytest.mark.crash
def test_without_a_bug_the_named_tests_pass(copy: Copy) -> None:
    named: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for bug in chosen():
        named.setdefault(tuple(sorted(bug.environ.items())), set()).update(bug.caught_by)
    for environ, tests in named.items():
        ran = copy.run(sorted(tests), dict(environ), 1200)
        assert ran.said in (PASSED, SKIPPED), ran.output[-3000:]
