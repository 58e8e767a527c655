"""``ifengine audit``."""

import click

from ifengine.cli.daemon import ask
from ifengine.cli.failure import ExitCode
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, offline_option, site_options
from ifengine.cli.output import output_option, plural, print_json, print_line


@click.group(cls=SuggestingGroup)
def audit() -> None:
    """Verify the record of who did what."""


@audit.command()
@offline_option
@output_option("text", "json")
@site_options
def verify(place: Place, offline: bool, output: str) -> int:
    """Follow the chain of every audit record. Ends with 1 when one was changed, removed or added."""
    report = ask(place, "audit.verify", offline=offline)
    if output == "json":
        print_json(report)
    elif report["ok"]:
        print_line(f"{plural(report['records'], 'record')}, chain unbroken")
    else:
        print_line(f"BROKEN at record {report['first_bad']}: {report['problem']}")
    return ExitCode.DONE if report["ok"] else ExitCode.PROBLEMS
