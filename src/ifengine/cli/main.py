"""The ``ifengine`` command: an explicit table of commands, each imported when it is called.

``--help`` reads the table alone, so that it answers before anything heavy is imported.
"""

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import click

from ifengine import __version__
from ifengine.cli.failure import CommandError, ExitCode
from ifengine.errors import EngineError


class CommandRow(NamedTuple):
    """One command: where it is and what it does, in one line."""

    name: str
    module: str
    attribute: str
    line: str


COMMANDS: tuple[CommandRow, ...] = (
    CommandRow("init", "ifengine.cli.init", "init", "make a new site that can be tried at once"),
    CommandRow("serve", "ifengine.cli.serve", "serve", "run the engine of a site"),
    CommandRow(
        "check", "ifengine.cli.check", "check", "find mistakes in the site and its channels"
    ),
    CommandRow("test", "ifengine.cli.test", "test_channels", "run the tests of the channels"),
    CommandRow(
        "try", "ifengine.cli.try_message", "try_message", "show what a channel makes of one message"
    ),
    CommandRow(
        "explain",
        "ifengine.cli.explain",
        "explain",
        "say what a code, step, key, path or channel means",
    ),
    CommandRow("graph", "ifengine.cli.graph", "graph", "draw who feeds whom"),
    CommandRow("schema", "ifengine.cli.schema", "schema", "write what editors complete keys from"),
    CommandRow("config", "ifengine.cli.config", "config", "show the configuration as it counts"),
    CommandRow("fmt", "ifengine.cli.fmt", "fmt", "indent files, line by line"),
    CommandRow("send", "ifengine.cli.send", "send", "send messages over MLLP and read the answers"),
    CommandRow(
        "receive", "ifengine.cli.receive", "receive", "be a receiver of MLLP for trying channels"
    ),
    CommandRow(
        "chaos", "ifengine.cli.chaos", "chaos", "stand between two peers and misbehave as told"
    ),
    CommandRow(
        "reload",
        "ifengine.cli.reload",
        "reload",
        "load the site again and switch, between messages",
    ),
    CommandRow(
        "shadow",
        "ifengine.cli.shadow",
        "shadow",
        "run old messages through other rules and compare",
    ),
    CommandRow("channels", "ifengine.cli.channels", "channels", "list, pause and resume channels"),
    CommandRow("messages", "ifengine.cli.messages", "messages", "list, show and trace messages"),
    CommandRow("dlq", "ifengine.cli.dlq", "dlq", "list, show, replay and discard dead letters"),
    CommandRow(
        "parked", "ifengine.cli.parked", "parked", "list messages that wait for a fact, let them go"
    ),
    CommandRow(
        "patients", "ifengine.cli.patients", "patients", "show who became whom, and decide about it"
    ),
    CommandRow("tally", "ifengine.cli.tally", "tally", "count every message by its state"),
    CommandRow(
        "clock", "ifengine.cli.clock", "clock", "show whether the clock is believed, accept it"
    ),
    CommandRow("audit", "ifengine.cli.audit", "audit", "verify the record of who did what"),
    CommandRow("keys", "ifengine.cli.keys", "keys", "make the site's key and show the keys in use"),
    CommandRow("secrets", "ifengine.cli.secrets", "secrets", "keep secrets sealed on this machine"),
    CommandRow("doctor", "ifengine.cli.doctor", "doctor", "check a running engine, check by check"),
    CommandRow(
        "metrics", "ifengine.cli.metrics", "metrics", "print the metrics of a running engine"
    ),
    CommandRow("version", "ifengine.cli.version", "version", "print the version"),
)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the two known words most like this one, as a question; ``""`` when none is."""
    import difflib  # for a slip of the hand only

    found = difflib.get_close_matches(word, known, n=2, cutoff=0.4)
    return f"did you mean {' or '.join(found)}?" if found else ""


class SuggestingGroup(click.Group):
    """A group that answers an unknown command with the nearest two."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which were probably meant."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = self.list_commands(ctx)
            whole = f"{ctx.command_path} {args[0]}"
            hint = nearest(args[0], known) or f"{ctx.command_path} --help lists them"
            raise CommandError(f'"{whole}" is not a command', code=ExitCode.USAGE, hint=hint)
        return super().resolve_command(ctx, args)


class LazyGroup(SuggestingGroup):
    """The top of the tree; a command's module is imported when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return [row.name for row in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        for row in COMMANDS:
            if row.name == cmd_name:
                command: click.Command = getattr(importlib.import_module(row.module), row.attribute)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(row.name, row.line) for row in COMMANDS])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 problems found, 2 wrong usage, 3 no daemon, 4 refused, "
    "5 some failed, 130 interrupted.",
)
@click.version_option(__version__, message="ifengine %(version)s")
def cli() -> None:
    """An HL7 v2 interface engine.

    The site is the current directory, --site DIR after the command, or IFENGINE_SITE.
    """


def say(kind: str, text: str, hint: str = "") -> None:
    """Write what happened, and what to do next, to standard error."""
    click.echo(f"{kind}: {text}", err=True)
    if hint:
        click.echo(f"  = {hint}", err=True)


def run(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Nothing but a message for people gets out."""
    try:
        code = cli.main(
            args=None if args is None else list(args), prog_name="ifengine", standalone_mode=False
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else ExitCode.DONE
    except CommandError as error:
        say("error", str(error), error.hint)
        return error.code
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            click.echo(error.format_message(), err=True)
            return ExitCode.USAGE
        where = error.ctx.command_path if error.ctx else "ifengine"
        say("error", error.format_message(), f"{where} --help")
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except SystemExit:
        # click ends so when the reader of our output went away, and has silenced the last flush
        return ExitCode.DONE
    except BrokenPipeError:
        # the same, at our own flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except click.ClickException as error:
        say("error", error.format_message())
        return ExitCode.PROBLEMS
    except EngineError as error:
        say("error", str(error), error.hint)
        # what a running engine answered carries the exit code that goes with it
        return getattr(error, "exit_code", ExitCode.PROBLEMS)
    except OSError as error:
        say("error", f"{error.strerror or type(error).__name__}{_named(error)}")
        return ExitCode.PROBLEMS
    except Exception as error:  # noqa: BLE001 - the last place: a traceback could show content
        say(
            "error",
            f"internal fault {type(error).__name__} at {_place(error)}",
            "please report this line",
        )
        return ExitCode.PROBLEMS


def _named(error: OSError) -> str:
    return f": {error.filename}" if isinstance(error.filename, str) else ""


def _place(error: BaseException) -> str:
    """Return file and line where an error came from; no values."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def main() -> NoReturn:
    """Run the command line and exit."""
    # what modules make while they are imported stays: no use to look after each 700 of it
    gc.set_threshold(50_000, 20, 20)
    sys.exit(run())
