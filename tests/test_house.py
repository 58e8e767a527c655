"""Small tests about the repository itself; each stands in for a remark that a reviewer would make."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from ifengine.routes.config.loading import load_site
from requirements import require

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "ifengine"
TESTS = ROOT / "tests"
DEPLOY = ROOT / "deploy"
MODULES = sorted(SOURCE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

MOST_LINES = 500
MOST_FUNCTION_LINES = 60
# module -> why it is longer than the others
LONG_MODULES = {
    "store/base.py": "the contract of a store in one place: every row, every promise",
    "routes/delivery.py": "one outbox at work: every way an attempt can end meets the same counters",
}
# function -> why it is longer than the others
LONG_FUNCTIONS = {
    "routes/dead_letters.py:_send_again": "one replay is one transaction: rows of many fields, one a line",
    "routes/delivery.py:_not_settled": "two rows of many fields, one a line",
    "routes/planning.py:queue": "two rows of many fields, one a line",
}


def name_of(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def functions_of(module: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name_of(module)}:{node.name}", node


def tracked() -> list[Path]:
    git = require("program:git")
    done = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git working tree")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


# --- size and form ------------------------------------------------------------------------------


def test_no_module_is_longer_than_it_should_be_without_a_reason() -> None:
    long = {name_of(m) for m in MODULES if len(m.read_text().splitlines()) > MOST_LINES}
    assert long - set(LONG_MODULES) == set()
    assert set(LONG_MODULES) <= {name_of(m) for m in MODULES}


def test_no_function_is_longer_than_it_should_be_without_a_reason() -> None:
    length = {
        name: (node.end_lineno or 0) - node.lineno + 1
        for module in MODULES
        for name, node in functions_of(module)
    }
    long = {name for name, lines in length.items() if lines > MOST_FUNCTION_LINES}
    assert long - set(LONG_FUNCTIONS) == set()
    assert set(LONG_FUNCTIONS) <= set(length)


def test_every_module_says_what_it_is() -> None:
    silent = [
        name_of(m)
        for m in MODULES
        if m.read_text(encoding="utf-8").strip() and not ast.get_docstring(tree_of(m))
    ]
    assert silent == []


INTERFACES = ("hl7", "store/base.py", "transforms/base.py", "routes/endpoints/base.py", "clock.py")


def public(node: ast.ClassDef | ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef) and not is_protocol(child):
                yield from public(child)


def is_protocol(node: ast.ClassDef) -> bool:
    # what a Protocol promises stands where the signature does not say it all
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


@cache
def promised(folder: Path) -> set[str]:
    """Return the methods that a Protocol or base class of a folder documents for all that have them."""
    return {
        child.name
        for module in folder.glob("*.py")
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ClassDef) and (is_protocol(node) or not node.bases)
        for child in node.body
        if isinstance(child, ast.FunctionDef) and ast.get_docstring(child)
    }


def test_what_the_interface_modules_offer_is_documented() -> None:
    silent = []
    for module in MODULES:
        if name_of(module).startswith(INTERFACES):
            silent += [
                f"{name_of(module)}:{node.name}"
                for node in public(tree_of(module))
                if not ast.get_docstring(node) and node.name not in promised(module.parent)
            ]
    assert silent == []


BANNED_NAMES = re.compile(r"(Manager|Processor|Handler|Helper|Utils?|Connector|Adapter)$")
BANNED_FILES = {"utils.py", "util.py", "common.py", "helpers.py", "misc.py"}
# words of placeholders, built so that this file does not hold them
UNFINISHED = re.compile(rb"\b(?:TO" + rb"DO|FIX" + rb"ME|XX" + rb"X|HA" + rb"CK)\b")


def test_no_name_says_nothing() -> None:
    assert not [name_of(m) for m in MODULES if m.name in BANNED_FILES]
    classes = [
        f"{name_of(module)}:{node.name}"
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ClassDef) and BANNED_NAMES.search(node.name)
    ]
    assert classes == []


def test_nothing_is_left_unfinished() -> None:
    for module in MODULES:
        assert not UNFINISHED.search(module.read_bytes()), name_of(module)
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Raise) and node.exc is not None:
                assert "NotImplemented" not in ast.unparse(node.exc), name_of(module)


DANGEROUS = {"pickle", "marshal", "shelve", "xml", "telnetlib", "ctypes"}
DANGEROUS_CALLS = {"eval", "exec", "compile", "__import__"}


def imports_of(module: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(module)}: relative import"
            found.add(node.module or "")
    return found


def test_nothing_that_runs_text_or_objects_from_outside_is_used() -> None:
    for module in MODULES:
        assert not {name.split(".")[0] for name in imports_of(module)} & DANGEROUS, name_of(module)
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in DANGEROUS_CALLS, f"{name_of(module)}: {node.func.id}"
            if isinstance(node, ast.keyword) and node.arg == "shell":
                pytest.fail(f"{name_of(module)}: a shell")


# --- tests --------------------------------------------------------------------------------------


# Tests stand where the module stands: a/b.py in a/test_b.py. What is tested with others, and where:
TESTED_BY = {
    "hl7/message_view.py": "hl7/test_message.py",
    "form.py": "compiled/test_compiled.py",
    "pieces.py": "store/test_sealing.py",
    "store/giants.py": "store/test_sealing.py",
    "store/sqlite_checksums.py": "store/test_corruption.py",
    "store/sqlite_damage.py": "store/test_corruption.py",
    "store/sqlite_log.py": "store/test_checkpoints.py",
    "store/sqlite_mark.py": "store/test_corruption.py",
    "store/sqlite_mover.py": "store/test_checkpoints.py",
    "engine/pausing.py": "engine/test_disk.py",
    "engine/opening.py": "crash/test_full_disk.py",
    "admin/acts.py": "admin/test_dead_letters.py",
    "admin/channels.py": "admin/test_service.py",
    "admin/doctor.py": "admin/test_service.py",
    "admin/keys.py": "admin/test_service.py",
    "admin/audits.py": "admin/test_service.py",
    "admin/masking.py": "admin/test_messages.py",
    "admin/records.py": "admin/test_messages.py",
    "admin/search.py": "admin/test_messages.py",
    "admin/replays.py": "admin/test_dead_letters.py",
    "admin/parked.py": "engine/test_parking.py",
    "admin/shadow.py": "engine/test_shadow.py",
    "store/balance.py": "store/test_account.py",
    "store/tally.py": "store/test_account.py",
    "engine/balancing.py": "engine/test_tally.py",
    "engine/lag.py": "engine/test_lag.py",
    "routes/config/kept_files.py": "routes/config/test_version_diff.py",
    "admin/configuration.py": "engine/test_auto_reload.py",
    "routes/parked_messages.py": "engine/test_parking.py",
    "transforms/plain_fields.py": "transforms/test_together.py",
    "transforms/facts_written.py": "transforms/test_fact_placeholder.py",
    "admin/*.py": "admin/test_server.py",
    "routes/decisions.py": "routes/test_splitting.py",
    "routes/config/checks_channels.py": "routes/config/test_problems.py",
    "routes/endpoints/channels.py": "engine/test_channel_to_channel.py",
    "routes/batches.py": "engine/test_batches.py",
    "routes/intake.py": "engine/test_intake.py",
    "routes/config/checks_choice.py": "routes/config/test_problems.py",
    "routes/config/checks_split.py": "routes/config/test_problems.py",
    "routes/received.py": "routes/test_pipeline.py",
    "chaos/[!acp]*.py": "chaos/test_streams.py",
    "chaos/a*.py": "chaos/test_answers.py",
    "chaos/c*.py": "chaos/test_proxy.py",
    "cli/check.py": "cli/test_site_commands.py",
    "cli/try_*.py": "cli/test_site_commands.py",
    "cli/site.py": "cli/test_site_commands.py",
    "cli/keys.py": "cli/test_site_commands.py",
    "cli/serve.py": "cli/test_with_engine.py",
    "cli/receive.py": "cli/test_send_receive.py",
    "cli/send.py": "cli/test_send_receive.py",
    "cli/mllp_*.py": "cli/test_send_receive.py",
    "cli/failure.py": "cli/test_main.py",
    "cli/config.py": "cli/test_editor_commands.py",
    "cli/explain.py": "cli/test_editor_commands.py",
    "cli/fmt.py": "cli/test_editor_commands.py",
    "cli/graph.py": "cli/test_editor_commands.py",
    "cli/init*.py": "cli/test_editor_commands.py",
    "cli/online.py": "cli/test_editor_commands.py",
    "cli/schema.py": "cli/test_editor_commands.py",
    "cli/version.py": "cli/test_main.py",
    "cli/*.py": "cli/test_engine_commands.py",
    "engine/*.py": "engine/test_restart.py",
    "hl7/ack_reading.py": "hl7/test_ack.py",
    "hl7/comparing.py": "hl7/test_condition.py",
    "hl7/condition_*.py": "hl7/test_condition.py",
    "hl7/lines.py": "hl7/test_message.py",
    "hl7/path_nodes.py": "hl7/test_path.py",
    "hl7/structures.py": "hl7/test_dictionary.py",
    "hl7/tables.py": "hl7/test_ack.py",
    "mllp/*.py": "mllp/test_listener.py",
    "routes/channel.py": "engine/test_delivery.py",
    "routes/config/explain_channel.py": "cli/test_editor_commands.py",
    "routes/config/graph_*.py": "routes/config/test_graph.py",
    "routes/config/merged.py": "cli/test_editor_commands.py",
    "routes/config/node_diff.py": "cli/test_editor_commands.py",
    "routes/config/schema_*.py": "routes/config/test_schema.py",
    "routes/config/*.py": "routes/config/test_problems.py",
    "routes/endpoints/*.py": "engine/test_delivery.py",
    "routes/gates.py": "engine/test_intake.py",
    "routes/retention.py": "engine/test_restart.py",
    "routes/worker_message.py": "transforms/test_steps_python.py",
    "routes/worker_p*.py": "routes/test_workers.py",
    "routes/*.py": "engine/test_delivery.py",
    "store/base.py": "store/contract.py",
    "store/commit_points.py": "test_failpoints.py",
    "store/memory_*.py": "store/test_memory.py",
    "store/sqlite_*.py": "store/test_sqlite.py",
    "telemetry/words.py": "telemetry/test_events.py",
    "transforms/deidentify*.py": "transforms/test_steps_deidentify.py",
    "transforms/document_types.py": "transforms/test_steps_documents.py",
    "transforms/steps/deidentify_message.py": "transforms/test_steps_deidentify.py",
    "transforms/steps/python_function.py": "transforms/test_steps_python.py",
    "transforms/steps/use_snippet.py": "transforms/test_steps_use.py",
    "transforms/site_files.py": "transforms/test_steps_use.py",
    "transforms/steps/extract_document.py": "transforms/test_steps_documents.py",
    "transforms/steps/*.py": "transforms/test_steps.py",
    "transforms/validation*.py": "transforms/test_steps_validate.py",
    "transforms/table_of_steps.py": "transforms/test_steps.py",
    "transforms/*.py": "transforms/test_compile.py",
}  # fmt: skip


def test_every_module_has_its_tests_beside_it_or_a_line_that_says_where() -> None:
    used: set[str] = set()
    untested = []
    for module in MODULES:
        name = name_of(module)
        if module.name in ("__init__.py", "__main__.py"):
            continue
        rules = [pattern for pattern in TESTED_BY if fnmatch(name, pattern)]
        used.update(rules)
        beside = TESTS / Path(name).parent / f"test_{module.name}"
        if not beside.is_file() and not rules:
            untested.append(name)
    assert untested == []
    assert used == set(TESTED_BY)
    assert {test for test in TESTED_BY.values() if not (TESTS / test).is_file()} == set()


def test_every_module_is_imported_by_a_test_or_by_what_a_test_runs() -> None:
    """Follow imports from the tests; what none of them reaches, no test can hold."""
    names = {
        "ifengine." + name_of(m).removesuffix(".py").removesuffix("/__init__").replace("/", "."): m
        for m in MODULES
    }
    reached: set[str] = set()
    text = "\n".join(t.read_text(encoding="utf-8") for t in TESTS.rglob("*.py"))
    waiting = {name for name in names if re.search(rf"\b{re.escape(name)}\b", text)}
    waiting |= {
        f"{package}.{member}"
        for package, members in re.findall(r"from (ifengine[\w.]*) import \(?([\w, \n]+)", text)
        for member in re.split(r"[,\s]+", members)
        if f"{package}.{member}" in names
    }
    while waiting:
        name = waiting.pop()
        reached.add(name)
        for node in ast.walk(tree_of(names[name])):
            if isinstance(node, ast.Import):
                candidates = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                candidates = {base, *(f"{base}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                candidates = {node.value}  # the table of commands names modules as text
            else:
                continue
            waiting |= (candidates & set(names)) - reached
    apart = {"ifengine", "ifengine.__main__"} | {n for n in names if names[n].name == "__init__.py"}
    assert set(names) - reached - apart == set()


def test_every_floor_has_its_tests() -> None:
    floors = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert {name for name in floors if not list((TESTS / name).rglob("test_*.py"))} == set()


def test_names_of_tests_are_sentences() -> None:
    short = [
        f"{path.relative_to(TESTS)}:{node.name}"
        for path in TESTS.rglob("test_*.py")
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(node.name.split("_")) < 3
    ]
    assert short == []


def test_fixtures_are_invented() -> None:
    """Patients of fixtures and samples carry names and numbers that cannot be anybody's."""
    files = [*(TESTS / "fixtures").rglob("*.hl7"), *(ROOT / "channels").rglob("*.hl7")]
    assert len(files) > 10
    for file in files:
        for number in re.findall(rb"\b(\d{3})-\d{2}-\d{4}\b", file.read_bytes()):
            assert number in (b"000", b"666") or number[:1] == b"9", (
                f"{file.name}: an issued number"
            )
        for number in re.findall(rb"\(\d{3}\)(\d{3})-(\d{4})", file.read_bytes()):
            assert number[0] == b"555", f"{file.name}: {number}"
            assert number[1].startswith(b"01"), f"{file.name}: {number}"


# --- the repository -----------------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-fuzz.lock"])
def test_the_lock_holds_names_versions_and_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entry = (
        r"[A-Za-z0-9._-]+==\S+(?: ; [^\\\n]+)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+"
    )
    assert re.fullmatch(rf"(?:{entry})+", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    assert "://" not in text


def requirement_names(lines: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-") for line in lines}


RUN_TIME = requirement_names(PROJECT["project"]["dependencies"])
DEVELOPMENT = requirement_names(PROJECT["project"]["optional-dependencies"]["dev"])


def test_every_dependency_is_in_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", lock, re.M)}
    assert locked >= RUN_TIME | DEVELOPMENT


def test_what_is_imported_at_run_time_is_a_dependency_and_the_other_way_round() -> None:
    imported = {name.split(".")[0] for module in MODULES for name in imports_of(module)}
    foreign = imported - set(sys.stdlib_module_names) - {"ifengine", ""}
    known = {"yaml": "pyyaml", "prometheus_client": "prometheus-client"}
    assert {known.get(name, name) for name in foreign} == RUN_TIME


def test_make_and_the_gate_name_what_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"demo", "test", "check", "bench", "crash", "lock", "test-deps"} <= targets
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    assert targets == set(phony[1].split())
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    called = re.findall(r"^make (.+)$", gate, re.MULTILINE)
    assert "test" in called
    assert set(called) <= targets
    for module in re.findall(r"\$\(BIN\)/python -m (\w+)", makefile):
        known = {"pip", "pytest", "compileall"}
        assert module in known or (ROOT / module / "__main__.py").is_file(), module


def test_what_is_banned_is_banned_by_the_linter() -> None:
    banned = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert {
        "asyncio.create_task", "asyncio.ensure_future", "asyncio.gather", "asyncio.sleep",
        "datetime.datetime.now", "time.time", "random", "yaml.load", "yaml.safe_load",
    } <= set(banned)  # fmt: skip
    assert PROJECT["tool"]["mypy"]["strict"] is True
    assert PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"] == ["error"]


def test_a_rule_is_switched_off_only_by_name() -> None:
    for path in [*MODULES, *TESTS.rglob("*.py")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"#\s*noqa(?!: [A-Z]+\d+)", line), f"{path.name}: {line}"
            assert not re.search(r"#\s*type: ignore(?!\[)", line), f"{path.name}: {line}"


MACHINE = re.compile(
    rb"/(?:home|Users)/\w+/|/wo" + rb"rk/(?:main|shared)|(?:[\w-]+\.)*py" + rb"pi(?:\.org|-\w+)|"
    rb"registry\.np" + rb"mjs|BEGIN (?:RSA |EC )?PRIVATE " + rb"KEY"
)


def test_no_file_names_a_machine_a_package_host_or_holds_a_private_key() -> None:
    for path in tracked():
        if path.is_file():
            found = MACHINE.search(path.read_bytes())
            assert found is None, f"{path.relative_to(ROOT)}: {found and found[0]!r}"


def test_nothing_that_runs_leave_behind_is_tracked() -> None:
    for path in tracked():
        parts = path.relative_to(ROOT).parts
        assert not {"var", ".venv", "__pycache__", "dist", "build"} & set(parts), path
        assert not path.name.endswith((".db", ".db-wal", ".pyc", ".log")), path


# --- decisions ----------------------------------------------------------------------------------


def test_decisions_are_numbered_one_page_long_and_have_their_four_parts() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert heads == ["Context", "Decision", "Consequences", "Alternatives"], page.name
        assert text.startswith(f"# {page.name[:4]} "), page.name
        assert len(text.splitlines()) <= 60, page.name
        assert f"]({page.name})" in index, page.name


def test_decision_on_what_is_answered_names_every_verdict() -> None:
    text = (ROOT / "docs/adr/0001-commit-before-acknowledgment.md").read_text(encoding="utf-8")
    for word in ("AA", "AE", "AR", "CA", "CE", "CR", "200", "201", "202", "203", "exits with 75"):
        assert word in text, word


def test_decision_on_the_power_safe_overwrite_is_what_the_store_does() -> None:
    opened = (SOURCE / "store" / "sqlite_schema.py").read_text(encoding="utf-8")
    page = (ROOT / "docs/adr/0003-apsw-one-writer.md").read_text(encoding="utf-8")
    assert '"psow=0"' in opened
    assert "**`psow=0`.**" in page


# --- deployment ---------------------------------------------------------------------------------


def test_the_service_unit_is_accepted_and_little_exposed(tmp_path: Path) -> None:
    analyze = require("program:systemd-analyze")
    unit = (DEPLOY / "ifengine.service").read_text(encoding="utf-8")
    # here neither the program nor the user of an installed engine exists
    here = unit.replace("/opt/ifengine/bin/ifengine", sys.executable)
    here = re.sub(r"^(User|Group)=ifengine$", r"\1=root", here, flags=re.MULTILINE)
    file = tmp_path / "ifengine.service"
    file.write_text(here, encoding="utf-8")
    done = subprocess.run([analyze, "verify", file], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert "ifengine.service" not in done.stderr.decode()
    # tenths: 2.5 of 10
    file.write_text(unit, encoding="utf-8")
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", "--no-pager", file],
        capture_output=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout.decode()[-300:]


def test_the_service_waits_as_long_as_a_drain_may_take() -> None:
    from ifengine.settings import Settings

    grace = Settings.__dataclass_fields__["stop_grace_seconds"].default
    unit = (DEPLOY / "ifengine.service").read_text(encoding="utf-8")
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > grace
    compose = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert f"stop_grace_period: {found[1]}s" in compose


def test_the_site_in_the_container_has_no_problem(tmp_path: Path) -> None:
    shutil.copy(ROOT / "ifengine.yaml", tmp_path)
    shutil.copytree(ROOT / "channels", tmp_path / "channels")
    (tmp_path / "env").mkdir()
    shutil.copy(DEPLOY / "container.yaml", tmp_path / "env")
    loaded = load_site(tmp_path, env="container", environ={})
    assert loaded.site is not None
    assert list(loaded.problems) == []


def test_the_container_is_made_of_files_that_exist() -> None:
    compose = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    mounted = re.findall(r"^ +- (\.\S+?):/", compose, re.MULTILINE)
    assert len(mounted) == 5
    for name in mounted:
        assert (DEPLOY / name).exists(), name
    recipe = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", recipe, re.MULTILINE)
    assert copied
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
    assert "--require-hashes -r requirements.lock" in recipe
