"""``ifengine test``: the tests in channel files, how weak they are, and what they do not reach."""

import difflib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ifengine.cli.failure import CommandError, ExitCode, usage
from ifengine.cli.main import nearest
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import output_option, plural, print_json, print_line
from ifengine.cli.site import errors_of, read_site, show_problems
from ifengine.cli.test_output import (
    coverage_lines,
    junit,
    report_as_json,
    report_lines,
    weak_lines,
)
from ifengine.clock import SystemClock

if TYPE_CHECKING:
    from ifengine.routes.channel_tests.coverage import Coverage
    from ifengine.routes.channel_tests.weak import Weakness
    from ifengine.routes.config.cases import Case
    from ifengine.routes.config.loading import Loaded
    from ifengine.routes.config.models import ChannelConfig, SiteConfig
    from ifengine.routes.config.tests_beside import TestFiles


@click.command("test")
@click.argument("channels", nargs=-1, metavar="[CHANNEL…]")
@click.option("-k", "words", metavar="WORDS", help="Only tests whose name holds all these words.")
@click.option("--update", is_flag=True, help="Rewrite the golden files, and show what changed.")
@click.option("--weak", is_flag=True,
              help="List what could be deleted or changed without any test noticing.")  # fmt: skip
@click.option("--coverage", is_flag=True,
              help="List destinations, branches and lookup rows that no test reached.")  # fmt: skip
@output_option("text", "json", "junit")
@site_options
def test_channels(
    channels: tuple[str, ...],
    words: str | None,
    update: bool,
    weak: bool,
    coverage: bool,
    place: Place,
    output: str,
) -> int:
    """Run the tests of the site's channels, or of some. Nothing is sent or stored.

    A CHANNEL is a name, or the channel's file. With -o junit, a FILE.xml among them gets the
    report. Ends with 1 when a test fails.
    """
    from ifengine.routes.channel_tests.run import run_tests

    chosen, report_file = _arguments(channels, output)
    loaded = read_site(place)
    site = _without_errors(loaded)
    configs = _configs(site, place, chosen)
    started = SystemClock().monotonic()
    reports = []
    for config in configs:
        files = _files(site, config)
        if update:
            files = _updated(site, config, files)
        reports.append(
            run_tests(site, config.name, files, chosen_by=lambda case: _is_meant(case, words))
        )
    seconds = SystemClock().monotonic() - started
    count = sum(len(report.results) for report in reports)
    if words and not count:
        raise usage(f"no test has {words} in its name")
    if output == "text" or report_file is not None:
        for line in report_lines(reports, seconds):
            print_line(line)
    failed = any(not report.ok for report in reports)
    # what tests do not notice can be told once they pass
    tested = [] if failed else [config for config in configs if config.tests]
    weaknesses = _weaknesses(loaded, site, tested) if weak else []
    covered = _covered(site, tested) if coverage else []
    match output:
        case "json":
            print_json(report_as_json(reports, seconds, weaknesses, covered))
        case "junit":
            _give(junit(reports, seconds), report_file)
        case _:
            for line in [
                *(weak_lines(weaknesses, loaded.lines) if weaknesses else ()),
                *coverage_lines(covered),
            ]:
                print_line(line)
    return ExitCode.PROBLEMS if failed else ExitCode.DONE


def _without_errors(loaded: "Loaded") -> "SiteConfig":
    if loaded.site is None:
        errors = errors_of(loaded)
        show_problems(errors, loaded, err=True)
        raise CommandError(f"the site has {plural(len(errors), 'error')}", hint="ifengine check")
    return loaded.site


def _arguments(given: Sequence[str], output: str) -> tuple[list[str], Path | None]:
    """Return the channels, and the file for the JUnit report."""
    reports = [name for name in given if output == "junit" and name.endswith(".xml")]
    if len(reports) > 1:
        raise usage("one file for the report is enough", reports[1])
    return [name for name in given if name not in reports], Path(reports[0]) if reports else None


def _configs(site: "SiteConfig", place: Place, names: Iterable[str]) -> "tuple[ChannelConfig, ...]":
    by_name = {config.name: config for config in site.channels}
    found = {}
    for name in names:
        stem = Path(name).name.removesuffix(".yaml").removesuffix("_test")
        config = by_name.get(name) or (by_name.get(stem) if name.endswith(".yaml") else None)
        if config is None:
            raise usage(
                f"the site has no channel {name}",
                nearest(name, [*by_name]) or ", ".join(by_name),
            )
        found[config.name] = config
    return tuple(found.values()) if found else site.channels


def _is_meant(case: "Case", words: str | None) -> bool:
    name = case.name.lower()
    return all(word in name for word in (words or "").lower().split())


def _files(site: "SiteConfig", config: "ChannelConfig") -> "TestFiles":
    from ifengine.routes.config.tests_beside import read_test_files

    return read_test_files(site.directory, config.tests)


# --- golden files ---------------------------------------------------------------------------------


def _updated(site: "SiteConfig", config: "ChannelConfig", files: "TestFiles") -> "TestFiles":
    """Rewrite the golden files of a channel that are not as they should be; show what changed."""
    from ifengine.routes.channel import Channel
    from ifengine.routes.channel_tests.run import Bench, golden_files

    for golden in golden_files(Bench(site, Channel(config, site), files), config.tests):
        before = files.golden.get(golden.name)
        if before == golden.content:
            continue
        _replace(site.directory / "channels" / golden.name, golden.content)
        for line in difflib.unified_diff(
            _shown(before or b""), _shown(golden.content),
            f"channels/{golden.name}" if before is not None else "(new)",
            f"channels/{golden.name}", lineterm="",
        ):  # fmt: skip
            print_line(line)
    return _files(site, config)


def _shown(content: bytes) -> list[str]:
    return content.decode("utf-8", "backslashreplace").splitlines()


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".golden-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _give(text: str, file: Path | None) -> None:
    if file is None:
        click.echo(text, nl=False)
    else:
        _replace(file, text.encode("utf-8"))


# --- what the tests do not see --------------------------------------------------------------------


def _weaknesses(
    loaded: "Loaded", site: "SiteConfig", configs: "Iterable[ChannelConfig]"
) -> "list[Weakness]":
    from ifengine.routes.channel_tests.weak import weak_places

    around = loaded.around
    if around is None:
        return []
    return [
        weak_places(loaded.written[config.name], around, site, config, _files(site, config))
        for config in configs
    ]


def _covered(site: "SiteConfig", configs: "Iterable[ChannelConfig]") -> "list[Coverage]":
    from ifengine.routes.channel_tests.coverage import coverage_of

    return [coverage_of(site, config, _files(site, config)) for config in configs]
