"""``ifengine fmt``: indentation and trailing blanks of a site's files, nothing else."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from ifengine.cli.failure import ExitCode, usage
from ifengine.cli.options import Place, find_file, site_options
from ifengine.cli.output import plural, print_line, printable
from ifengine.cli.site import SITE_FILE
from ifengine.transforms.source import Problem

MOST_BYTES = 1024 * 1024


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE…]")
@click.option("--check", "only_check", is_flag=True,
              help="Change nothing; end with 1 if a file would change.")  # fmt: skip
@site_options
def fmt(place: Place, files: tuple[str, ...], only_check: bool) -> int:
    """Indent YAML files by two blanks a level and remove blanks at the ends of lines.

    Comments, order, quotes and blanks inside a line stay as they are. Without FILE: the site file,
    its overlays, channels and snippets. A file with problems is not changed.
    """
    from ifengine.routes.config.formatting import format_text

    paths = [find_file(place, name) for name in files] if files else _all_files(place.directory)
    changed = refused = 0
    for path in paths:
        shown = _shown(path, place.directory)
        text = _read(path)
        done = format_text(text, shown)
        _show_problems(text, done.problems)
        for place_, message in done.suggestions:
            click.echo(printable(f"{shown}:{place_.line}:{place_.column}: {message}"), err=True)
        if done.text is None:
            refused += 1
        elif done.text != text:
            changed += 1
            print_line(f"{'would change' if only_check else 'changed'} {shown}")
            if not only_check:
                _replace(path, done.text)
    summary = [
        f"{plural(len(paths), 'file')}: {changed} {'to change' if only_check else 'changed'}"
    ]
    if refused:
        summary.append(f"{refused} with problems, left alone")
    click.echo(", ".join(summary), err=True)
    return ExitCode.PROBLEMS if refused or (only_check and changed) else ExitCode.DONE


def _all_files(directory: Path) -> list[Path]:
    if not (directory / SITE_FILE).is_file():
        raise usage(
            f"{directory}: there is no {SITE_FILE} here",
            "name the files, or the site's directory with --site DIR",
        )
    found = [directory / SITE_FILE]
    for pattern in ("env/*.yaml", "channels/*.yaml", "channels/*/*.yaml"):
        found += sorted(directory.glob(pattern))
    return found


def _shown(path: Path, directory: Path) -> str:
    """Return a file's name below the site's directory, where it is there."""
    path, directory = path.absolute(), directory.absolute()
    return str(path.relative_to(directory) if path.is_relative_to(directory) else path)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise usage(f"{path}: the file is larger than {MOST_BYTES // 1024} KiB")
    try:
        # the byte order mark and the line ends are part of what stays
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise usage(f"{path}: the file is not UTF-8", "save it as UTF-8") from None


def _show_problems(text: str, problems: Sequence[Problem]) -> None:
    from ifengine.routes.config.render import render_problem
    from ifengine.routes.config.yaml_nodes import split_lines

    for problem in problems:
        for line in render_problem(problem, split_lines(text)).splitlines():
            click.echo(printable(line), err=True)


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    mode = path.stat().st_mode & 0o7777
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
