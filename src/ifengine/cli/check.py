"""``ifengine check``: every mistake of a site at once."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ifengine import __version__
from ifengine.cli.failure import ExitCode, usage
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import output_option, plural, print_json, print_line
from ifengine.cli.site import SITE_FILE, read_site, show_problems
from ifengine.transforms.source import Problem, Severity

if TYPE_CHECKING:
    from ifengine.cli.online import Seen
    from ifengine.routes.config.loading import Loaded

_LOOK_SECONDS = 0.3
_LEVELS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}
SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH…]")
@click.option("--strict", is_flag=True,
              help="Warnings end with 1 too, as do values missing from the environment.")  # fmt: skip
@click.option("--online", is_flag=True,
              help="Connect to every receiver (TLS handshake, no message) and bind every listener.")  # fmt: skip
@click.option("--watch", is_flag=True, help="Check again whenever a file changes, until Ctrl-C.")
@output_option("text", "json", "sarif", "github")
@site_options
def check(
    place: Place, paths: tuple[str, ...], strict: bool, online: bool, watch: bool, output: str
) -> int:
    """Find mistakes in the site and its channels.

    A PATH is a site's directory, or a file of it: then only that file's problems are shown. Ends
    with 1 when there is an error.
    """
    if watch and output != "text":
        raise usage("--watch prints text", "leave out -o")
    if online and output not in ("text", "json"):
        raise usage("--online has no place in a file", "use -o text or -o json")
    place, files = _chosen(place, paths)
    if not watch:
        return _check(place, files, strict, online, output)
    while True:
        seen = _files_now(place.directory)
        _check(place, files, strict, online, output)
        click.echo("watching; Ctrl-C ends", err=True)
        while _files_now(place.directory) == seen:
            threading.Event().wait(_LOOK_SECONDS)
        print_line()


def _check(place: Place, files: Sequence[Path], strict: bool, online: bool, output: str) -> int:
    from ifengine.routes.config.render import problem_as_json

    loaded = read_site(place)
    problems: Sequence[Problem] = loaded.problems
    if files:
        problems = [p for p in problems if _within(place, p.position.file, files)]
    errors = sum(p.severity is Severity.ERROR for p in problems)
    warnings = len(problems) - errors
    bad = errors > 0 or (strict and warnings > 0)
    seen = _online(loaded) if online else []
    bad = bad or any(one.level == "fail" or (strict and one.level == "warn") for one in seen)
    match output:
        case "json":
            document = {"ok": not bad, "problems": [problem_as_json(p) for p in problems]}
            if online:
                document["online"] = [one.as_json() for one in seen]
            print_json(document)
        case "sarif":
            print_json(_sarif(problems))
        case "github":
            for problem in problems:
                print_line(_github(problem))
        case _:
            show_problems(problems, loaded, err=False)
            print_line(_summary(loaded, errors, warnings))
            _show_online(seen)
    return ExitCode.PROBLEMS if bad else ExitCode.DONE


def _online(loaded: "Loaded") -> list["Seen"]:
    from ifengine.cli.online import look

    if loaded.site is None:
        click.echo("not connected anywhere: the site has errors", err=True)
        return []
    if loaded.unfilled:
        click.echo("places with values missing from the environment cannot be reached", err=True)
    return look(loaded.site)


def _show_online(seen: Sequence["Seen"]) -> None:
    names, addresses = (max((len(one[i]) for one in seen), default=0) for i in (0, 1))
    for one in seen:
        level = _LEVELS[one.level]
        print_line(f"{level:<5} {one.name:<{names}}  {one.address:<{addresses}}  {one.text}")


def _files_now(directory: Path) -> dict[Path, tuple[int, int]]:
    """Return when each file that check reads was changed, and its size."""
    found = {}
    paths = [directory / SITE_FILE, *directory.glob("env/*"), *directory.glob("channels/**/*")]
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue  # gone since it was listed; seen as a change
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _chosen(place: Place, paths: Sequence[str]) -> tuple[Place, list[Path]]:
    """Return the site that the paths belong to, and the files that were asked about."""
    directories: set[Path] = set()
    files: list[Path] = []
    for name in paths:
        path = _existing(place, name)
        if (path / SITE_FILE).is_file():
            directories.add(path)
            continue
        files.append(path)
        root = next((parent for parent in path.parents if (parent / SITE_FILE).is_file()), None)
        if root is None:
            raise usage(f"{name}: belongs to no site", f"a site's directory holds {SITE_FILE}")
        directories.add(root)
    if len(directories) > 1:
        raise usage("these paths belong to several sites", "check one site at a time")
    if directories:
        place = place._replace(directory=directories.pop())
    return place, files


def _existing(place: Place, name: str) -> Path:
    for path in (Path(name), place.directory / name, place.directory / "channels" / name):
        if path.exists():
            return path.resolve()
    raise usage(f"{name}: there is no such file or directory")


def _within(place: Place, file: str, wanted: Sequence[Path]) -> bool:
    path = (place.directory / file).resolve()
    return any(path == one or one in path.parents for one in wanted)


def _summary(loaded: "Loaded", errors: int, warnings: int) -> str:
    found = [plural(n, word) for n, word in ((errors, "error"), (warnings, "warning")) if n]
    read = f"{plural(loaded.channel_count, 'channel')}, {plural(loaded.table_count, 'table')}"
    return f"{read}: {', '.join(found) or 'no problems'}"


def _github(problem: Problem) -> str:
    """Return a workflow command; its own separators are escaped."""
    file, line, column = problem.position

    def escaped(text: str, also: str = "") -> str:
        for sign in "%\r\n" + also:
            text = text.replace(sign, f"%{ord(sign):02X}")
        return text

    message = problem.message + (f" ({problem.hint})" if problem.hint else "")
    place = (
        f"file={escaped(file, ':,')},line={line},col={column},title={escaped(problem.code, ':,')}"
    )
    return f"::{problem.severity.value} {place}::{escaped(message)}"


def _sarif(problems: Sequence[Problem]) -> dict[str, Any]:
    from ifengine.routes.config.explain_codes import CODES

    results = [
        {
            "ruleId": p.code,
            "level": p.severity.value,
            "message": {"text": p.message + (f" ({p.hint})" if p.hint else "")},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(p.position.file)},
                        "region": {"startLine": p.position.line, "startColumn": p.position.column},
                    }
                }
            ],
        }
        for p in problems
    ]
    driver = {
        "name": "ifengine",
        "version": __version__,
        "rules": [
            {"id": code, "shortDescription": {"text": CODES.get(code, code)}}
            for code in sorted({p.code for p in problems})
        ],
    }
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }
