"""``ifengine doctor``."""

from collections.abc import Sequence

import click

from ifengine.cli.daemon import ask
from ifengine.cli.failure import ExitCode
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import Row, output_option, print_json, print_line

SHOWN = {"ok": "ok", "warn": "warn", "fail": "FAIL"}


@click.command()
@click.option("--check", "check", metavar="NAME", help="Run this check alone.")
@output_option("text", "json")
@site_options
def doctor(place: Place, check: str | None, output: str) -> int:
    """Check a running engine, check by check. Ends with 1 when one fails; a warning does not."""
    found: Sequence[Row] = ask(place, "doctor", check=check)
    if output == "json":
        print_json(found)
    else:
        width = max((len(str(row["check"])) for row in found), default=0)
        for row in found:
            level = SHOWN.get(str(row["level"]), str(row["level"]))
            print_line(f"{level:<5} {row['check']:<{width}}  {row['text']}")
    failed = any(row["level"] == "fail" for row in found)
    return ExitCode.PROBLEMS if failed else ExitCode.DONE
