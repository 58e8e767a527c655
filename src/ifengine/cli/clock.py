"""``ifengine clock``: whether the engine believes the machine's clock."""

import click

from ifengine.cli.daemon import ask
from ifengine.cli.failure import ExitCode, usage
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import Row, output_option, plural, print_json, print_line

HOUR = 3600


@click.group(cls=SuggestingGroup)
def clock() -> None:
    """Show whether the engine believes the machine's clock, and say that it is right."""


@clock.command()
@output_option("text", "json")
@site_options
def show(place: Place, output: str) -> int:
    """Show the wall clock and the engine's own. Ends with 1 while the wall clock is not believed."""
    answer: Row = ask(place, "clock.show")
    _print(answer, output)
    return ExitCode.DONE if answer["believed"] else ExitCode.PROBLEMS


@clock.command()
@click.option("--reason", help="Why; required, kept in the audit.")
@click.option(
    "--time-passed",
    is_flag=True,
    help="The engine was off all that time: what ran out meanwhile has run out.",
)
@output_option("text", "json")
@site_options
def accept(place: Place, reason: str | None, output: str, *, time_passed: bool) -> None:
    """Say that the machine's clock is right, after it was set by more than a day.

    Retention goes on from now. Without --time-passed nothing has run out: what waits or is
    remembered keeps the time that was left. Look at the clock first: `date`, `chronyc tracking`.
    """
    text = (reason or "").strip()
    if not text:
        raise usage("clock accept needs --reason TEXT", "it is kept in the audit")
    _print(ask(place, "clock.accept", reason=text, time_passed=time_passed or None), output)


def _print(answer: Row, output: str) -> None:
    if output == "json":
        print_json(answer)
        return
    print_line(f"wall clock    {answer['wall']}")
    print_line(f"engine's own  {answer['steady']}")
    if answer["believed"]:
        print_line(f"believed; set {plural(answer['times_set'], 'time')} in this run")
        return
    hours = abs(answer["ahead_seconds"]) / HOUR
    way = "ahead of" if answer["ahead_seconds"] > 0 else "behind"
    print_line(f"NOT BELIEVED: {hours:,.1f} hours {way} where it was; nothing is purged")
    print_line("  wrong: set it right, the engine notices; right: ifengine clock accept --reason …")
