"""Options that many commands share, and what they mean."""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ifengine.cli.failure import usage
from ifengine.clock import MICROSECONDS, SystemClock

if TYPE_CHECKING:  # generic in newer click only
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType


class Place(NamedTuple):
    """Which site, with which overlay."""

    directory: Path
    env: str | None


def site_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--site`` and ``--env``; the command gets both as ``place``."""

    @click.option(
        "--site", "site_directory", metavar="DIR", envvar="IFENGINE_SITE",
        type=click.Path(file_okay=False, path_type=Path),
        help="The site's directory; default IFENGINE_SITE, else the current one.",
    )  # fmt: skip
    @click.option("--env", "env", metavar="NAME", help="Read env/NAME.yaml over the site file.")
    @functools.wraps(command)
    def with_place(*args: Any, site_directory: Path | None, env: str | None, **kwargs: Any) -> Any:
        directory = site_directory if site_directory is not None else Path.cwd()
        return command(*args, place=Place(directory, env), **kwargs)

    return with_place


def offline_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--offline``."""
    return click.option(
        "--offline", is_flag=True, help="Read the store itself; no engine may be running on it."
    )(command)


def find_file(place: Place, name: str) -> Path:
    """Return a file as given, else below the site's ``channels/`` and ``channels/samples/``."""
    given = Path(name)
    channels = place.directory / "channels"
    tried = [given]
    if not given.is_absolute():
        tried += [channels / name, channels / "samples" / name]
        if not given.suffix:
            tried.append(channels / "samples" / f"{name}.hl7")
    for path in tried:
        if path.is_file():
            return path
    raise usage(f"{name}: there is no such file", "it is looked for as given, then below channels/")


_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|y)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400.0}


def seconds_of(text: str) -> float:
    """Return the seconds of ``500ms``, ``2h``, ``1d``; a bare number is seconds."""
    found = _SPAN.fullmatch(text)
    if found:
        return float(found[1]) * _SECONDS[found[2]]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise usage("a duration is a number with ms, s, m, h, d or y", "for example 2h")
    return value


class Duration(ParamType):
    """Seconds, written with a unit."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read one."""
        return value if isinstance(value, float) else seconds_of(str(value))


class Rate(ParamType):
    """Messages per second: ``20``, ``20/s``, ``600/m``."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read one."""
        if isinstance(value, float):
            return value
        number, _, unit = str(value).partition("/")
        per = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}.get(unit)
        try:
            rate = float(number) / (per or 0.0)
        except (ValueError, ZeroDivisionError):
            rate = 0.0
        if not 0 < rate < 1e9:
            self.fail("a rate is a number above 0, as 20 or 20/s or 600/m", param, ctx)
        return rate


class When(ParamType):
    """A moment: ``2h`` ago, or RFC 3339. Converted to microseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read one."""
        if isinstance(value, int):
            return value
        text = str(value)
        if _SPAN.fullmatch(text):
            return SystemClock().now_us() - int(seconds_of(text) * MICROSECONDS)
        from datetime import UTC, datetime

        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            self.fail("a time is written as 2h (ago) or 2026-11-21T11:40:00Z", param, ctx)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return int(at.timestamp() * MICROSECONDS)


def environment() -> dict[str, str]:
    """Return the process environment, for placeholders of the site file."""
    return dict(os.environ)


def secret_value(text: str | None, option: str) -> str | None:
    """Return a value that must not stand on a command line: ``-`` asks for it.

    It comes from the terminal without echo, else from the first line of standard input.

    Raises:
        CommandError: the value itself was written on the command line; it is not repeated.
    """
    if text is None:
        return None
    if text not in ("-", "@-"):
        raise usage(
            f"{option} does not take a value on the command line, where other users can see it",
            f"write {option} - and give it on the terminal or standard input",
        )
    import sys

    if sys.stdin.isatty():
        value = click.prompt(option.lstrip("-"), hide_input=True, err=True)
    else:
        value = sys.stdin.readline()
    value = str(value).strip()
    if not value:
        raise usage(f"{option} -: nothing was given")
    return value
