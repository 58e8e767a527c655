"""The tree, its help, and what a person reads when something is wrong."""

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ifengine.cli.failure import CommandError, ExitCode
from ifengine.cli.main import COMMANDS, cli, run
from ifengine.errors import EngineError

CANARY = "Quillfeather"
HEAVY = (
    "apsw", "cryptography", "pydantic", "prometheus_client", "yaml", "uvloop", "asyncio", "socket",
    "ssl", "ifengine.routes", "ifengine.store", "ifengine.hl7", "difflib",
)  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom ifengine.cli.main import run\nassert run(['--help']) == 0\n"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = set(done.stderr.split())
    assert "ifengine.cli.main" in loaded
    assert loaded.isdisjoint(HEAVY)


# At three in the morning an operator asks one thing after another: each of these costs 10 to 300 ms.
NOT_TO_ASK = (
    "apsw", "asyncio", "cryptography", "difflib", "ifengine.engine", "ifengine.hl7", "ifengine.mllp",
    "ifengine.routes.config.loading", "ifengine.store", "logging", "prometheus_client", "ssl", "uvloop",
)  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [["channels", "list"], ["messages", "list"], ["dlq", "list"], ["parked", "list"], ["doctor"]],
    ids=" ".join,
)
def test_asking_a_running_engine_imports_none_of_the_engine(
    words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "ifengine.yaml").write_text("ifengine: 1\nsite: x\n")
    code = (
        "import sys\nfrom ifengine.cli.main import run\n"
        "assert run(sys.argv[1:]) == 3\n"  # asked, and nobody was there
        "print(*sorted(sys.modules), sep='\\n')"
    )
    asked = [sys.executable, "-c", code, *words, "--site", str(tmp_path)]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "ifengine.admin.client" in loaded
    assert loaded.isdisjoint(NOT_TO_ASK)


def test_help_names_every_command_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for row in COMMANDS:
        assert f"  {row.name} " in out
        assert row.line in out


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_row_of_the_table_is_a_command_with_help(row) -> None:
    command = getattr(importlib.import_module(row.module), row.attribute)
    assert isinstance(command, click.Command)
    assert command.name == row.name or row.name == "try"
    done = CliRunner().invoke(cli, [row.name, "--help"])
    assert done.exit_code == 0
    assert done.output.strip()


def leaves(
    command: click.Command, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        return [
            leaf
            for name in command.list_commands(context)
            for leaf in leaves(command.get_command(context, name), (*path, name))  # type: ignore[arg-type]
        ]
    return [(path, command)]


ISSUE = {
    "serve", "check", "try", "send", "receive", "channels list", "channels pause", "channels resume",
    "messages list", "messages show", "messages trace", "dlq list", "dlq show", "dlq replay",
    "init", "explain", "graph", "schema", "fmt", "config show", "config diff",
    "parked list", "parked show", "parked release", "parked expire", "patients list",
    "patients show", "patients merge", "patients unmerge", "patients resolve", "test", "reload",
    "config history", "shadow", "secrets set", "secrets list", "secrets remove",
    "dlq discard", "audit verify", "keys init", "keys status", "doctor", "metrics", "version",
    "chaos", "clock show", "clock accept", "tally",
}  # fmt: skip


# commands whose answer is a page, a document or a file
ONE_FORM = {"serve", "init", "explain", "schema", "fmt"}


def test_the_tree_is_that_of_this_release() -> None:
    assert {" ".join(path) for path, _ in leaves(cli)} == ISSUE


@pytest.mark.parametrize(
    ("path", "command"), leaves(cli), ids=lambda x: " ".join(x) if isinstance(x, tuple) else ""
)
def test_every_command_takes_site_and_env_after_it(
    path: tuple[str, ...], command: click.Command
) -> None:
    options = {opt for param in command.params for opt in param.opts}
    if path != ("init",):  # it makes the site
        assert {"--site", "--env"} <= options
    if path[0] not in ONE_FORM:
        assert "--output" in options


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["chanels"], "channels"),
        (["dlq", "reply"], "replay"),
        (["messages", "lst"], "list"),
        (["servee"], "serve"),
    ],
)
def test_an_unknown_command_is_answered_with_what_was_meant(args, meant, capsys) -> None:
    assert run(args) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "is not a command" in told.err
    assert "did you mean" in told.err
    assert meant in told.err


def test_an_unknown_option_is_wrong_usage_and_says_where_help_is(capsys) -> None:
    assert run(["version", "--nonsense"]) == 2
    assert "ifengine version --help" in capsys.readouterr().err


def test_no_arguments_show_the_help_and_are_wrong_usage(capsys) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("no", code=ExitCode.REFUSED, hint="do that"), 4),
        (CommandError("no", hint="do that"), 1),
        (EngineError("no", hint="do that"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (PermissionError(13, "Permission denied", "/somewhere"), 1),
        (ValueError(CANARY), 1),
        (KeyError(CANARY), 1),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else str(x),
)
def test_every_error_ends_in_its_code_and_never_in_a_traceback(
    error, code, capsys, monkeypatch
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    module = importlib.import_module("ifengine.cli.version")
    monkeypatch.setattr(module, "version", failing)
    assert run(["version"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.strip()
    assert "Traceback" not in told.err
    assert CANARY not in told.err
    if getattr(error, "hint", ""):
        assert "= do that" in told.err


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from ifengine.cli.main import run; sys.exit(run(['--help']))"
    shell = f'"{sys.executable}" -c "{code}" | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "BrokenPipe" not in done.stderr


def test_version_as_json_is_one_document(capsys) -> None:
    import json

    from ifengine import __version__

    assert run(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__
