"""``ifengine serve``: run the engine of a site until it is told to stop."""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ifengine import __version__
from ifengine.cli.failure import CommandError, ExitCode
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import plural, printable
from ifengine.cli.site import errors_of, read_site, show_problems
from ifengine.errors import EngineError, StorageFailedError
from ifengine.failpoints import VARIABLE, arm
from ifengine.transforms.source import Severity

if TYPE_CHECKING:
    from ifengine.routes.config.models import SiteConfig

# How long the loop may go on while another thread waits for its turn; Python's own 5 ms is longer
# than a commit takes. The thread that writes asks for its turn a few times a commit: with a loop
# that never rests, the median of 64 rows is 6.2 ms with Python's and 1.0 to 1.4 with this.
THREAD_TURN_SECONDS = 0.0005


@click.command()
@click.option("--check-only", is_flag=True, help="Load, check and open the key, then stop.")
@site_options
def serve(place: Place, check_only: bool) -> int:
    """Run the engine of a site.

    Prints one line `ready` on standard error when every listener is bound. SIGTERM and Ctrl-C stop
    it in order: no more is taken, what is under way is finished, exit 0. Exit 75: the storage
    failed.
    """
    site, warnings = _checked(place)
    _open_key(site)
    arm(os.environ.get(VARIABLE, ""), environment=site.environment)
    env = f"  env {place.env}" if place.env else ""
    head = [f"ifengine {__version__}  site {site.site}{env}  {site.environment}"]
    noted = f", {plural(warnings, 'warning')} (ifengine check)" if warnings else ""
    running = sum(channel.enabled for channel in site.channels)
    head.append(f"  {plural(running, 'channel')}{noted}")
    if check_only:
        _say([*head, "nothing was started"])
        return ExitCode.DONE

    from ifengine.engine import run

    gc.freeze()  # modules and the site are no garbage: the collection before `ready` passes them by
    sys.setswitchinterval(THREAD_TURN_SECONDS)

    def announce(lines: list[str]) -> None:
        _say([*head, *lines, "ready"])

    try:
        try:
            return run(site, announce=announce, load=lambda: read_site(place))
        except BaseExceptionGroup as group:
            # several tasks ended together; what a person can act on goes first
            raise _most_telling(group) from None
    except StorageFailedError as error:
        click.echo(f"error: {error}", err=True)
        return ExitCode.STORAGE_FAILED


def _most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error of a group that says most: of the storage, of the engine, of the system."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending += reversed(error.exceptions)
        else:
            leaves.append(error)
    for kind in (StorageFailedError, EngineError, OSError, Exception):
        for error in leaves:
            if isinstance(error, kind):
                return error
    return leaves[0]


def _say(lines: list[str]) -> None:
    for line in lines:
        click.echo(printable(line), err=True)
    sys.stderr.flush()


def _checked(place: Place) -> tuple["SiteConfig", int]:
    """Return the site and its number of warnings; errors are shown and end the command."""
    loaded = read_site(place)
    refusing = [*errors_of(loaded), *loaded.unfilled]
    if loaded.site is None or refusing:
        show_problems(refusing, loaded, err=True)
        raise CommandError(
            f"not started: {plural(len(refusing), 'error')} in the site", hint="ifengine check"
        )
    _refuse_later(loaded.site)
    warnings = sum(problem.severity is Severity.WARNING for problem in loaded.problems)
    return loaded.site, warnings


def _refuse_later(site: "SiteConfig") -> None:
    """What this release cannot deliver must not be accepted: the message would go nowhere."""
    for channel in site.channels:
        for destination in channel.destinations:
            if channel.enabled and destination.enabled and destination.fhir:
                raise CommandError(
                    f"not started: {channel.file}:{destination.line}: {destination.name} goes to a "
                    "FHIR server, which this release does not deliver to",
                    hint="enabled: no at the destination, or at the channel",
                )


def _open_key(site: "SiteConfig") -> None:
    """Say early, and before anything is bound, that the key is missing or not safe."""
    from ifengine.store.keys import FileKek

    FileKek(Path(site.kek.removeprefix("file:")))
