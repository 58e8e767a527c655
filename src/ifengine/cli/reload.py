"""``ifengine reload``: another configuration for the running engine."""

import click

from ifengine.cli.daemon import ask
from ifengine.cli.failure import CommandError, ExitCode, usage
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import output_option, plural, print_json, print_line


@click.command()
@click.option(
    "--dry-run", is_flag=True, help="Load, check, test and show the plan; switch nothing."
)
@click.option("--skip-tests", is_flag=True, help="Do not run the channels' tests; needs --reason.")
@click.option("--reason", metavar="TEXT", help="Why, for the audit.")
@output_option()
@site_options
def reload(place: Place, dry_run: bool, skip_tests: bool, reason: str | None, output: str) -> int:
    """Load the site again, check it, run its tests, and switch between two messages.

    A refused configuration changes nothing: the engine goes on with the one it has. Connections
    that did not change stay open, and every message is processed by exactly one version.
    """
    if skip_tests and not (reason or "").strip():
        raise usage("--skip-tests needs --reason TEXT", "the reason is kept in the audit")
    report = ask(
        place, "config.reload", dry_run=dry_run, skip_tests=skip_tests, reason=reason or ""
    )
    if output == "json":
        print_json(report)
        return ExitCode.DONE if not report["refused"] else ExitCode.PROBLEMS
    if report["refused"]:
        for text in report["refused"]:
            for line in str(text).splitlines():
                print_line(line)
        raise CommandError(
            "not reloaded: nothing was changed", hint="ifengine check; ifengine test"
        )
    for line in report["plan"] or ["nothing is said differently"]:
        print_line(str(line))
    if report["in_flight"]:
        print_line(f"{plural(report['in_flight'], 'message')} wait for their steps")
    tested = f"{plural(report['tests'], 'test')} passed" if report["tests"] else "no tests were run"
    if report["done"]:
        print_line(f"{tested}; from now on version {report['version']}")
    else:
        print_line(f"{tested}; version {report['version']} goes on, nothing was switched")
    return ExitCode.DONE
