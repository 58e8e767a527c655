"""``ifengine config``: the configuration as it counts, and what differs between two."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifengine.cli.daemon import ask
from ifengine.cli.failure import CommandError, ExitCode, usage
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import (
    Column,
    field,
    output_option,
    plural,
    print_json,
    print_line,
    print_rows,
    printable,
)
from ifengine.cli.site import SITE_FILE

if TYPE_CHECKING:
    from ifengine.routes.config.node_diff import Change
    from ifengine.transforms.source import Entries, Position, Problems

_WIDEST = 64


@click.group(cls=SuggestingGroup)
def config() -> None:
    """Show the configuration as it counts, and what differs between two."""


@config.command()
@output_option()
@site_options
def history(place: Place, output: str) -> None:
    """Show the versions of the configuration that the store ran with, newest first."""
    rows = ask(place, "config.history")
    if output == "json":
        print_json(rows)
        return
    print_rows(
        rows,
        (
            Column("VERSION", field("version"), right=True),
            Column("SINCE", field("at")),
            Column("DIGEST", lambda row: str(row["digest"])[:12]),
            Column("", lambda row: "running" if row["running"] else ""),
        ),
        output,
        name="versions",
        empty="no version",
    )


@config.command()
@click.option("--origin", is_flag=True, help="Add file and line of each value.")
@output_option("yaml", "json")
@site_options
def show(place: Place, origin: bool, output: str) -> None:
    """Print the site file with its overlay.

    Placeholders such as ${secret:NAME} and ${env:NAME} are shown as they are written: nothing is
    filled in, so no secret is printed. JSON always holds file and line.
    """
    from ifengine.routes.config.merged import block_lines, origins

    merged = _merged(place.directory, place.env)
    if output == "json":
        print_json(
            [
                {
                    "path": path,
                    "value": value,
                    "file": at.file,
                    "line": at.line,
                    "column": at.column,
                }
                for path, value, at in origins(merged)
            ]
        )
        return
    lines = list(block_lines(merged))
    width = min(max((len(text) for text, _ in lines), default=0), _WIDEST)
    for text, at in lines:
        mark = f"  # {at.file}:{at.line}" if origin and at is not None else ""
        print_line(f"{text:<{width}}{mark}" if mark else text)


@config.command()
@click.argument("sites", nargs=-1, metavar="[DIR|N [DIR|M]]", type=click.Path(path_type=Path))
@click.option("--env", "envs", multiple=True, metavar="NAME",
              help="Overlay; twice: of the first side and of the second.")  # fmt: skip
@click.option("--site", "site_directory", metavar="DIR", envvar="IFENGINE_SITE",
              type=click.Path(file_okay=False, path_type=Path), help="The site's directory.")  # fmt: skip
@output_option("text", "json")
def diff(
    sites: tuple[Path, ...], envs: tuple[str, ...], site_directory: Path | None, output: str
) -> int:
    """Print what differs between two sites, two overlays of one, or two versions that ran.

    N M are numbers of `config history`, asked from the running engine; N alone: against what runs.
    Two directories (DIR alone: against this site), or with --env twice two overlays of one site;
    --env once compares the site file alone with itself under that overlay.

    Compared is what the files say: order of keys, comments, quotes and indentation are not. Ends
    with 1 when something differs.
    """
    if _are_versions(sites) and not envs:
        return _version_diff(Place(site_directory or Path.cwd(), None), sites, output)
    (old, old_env), (new, new_env) = _sides(sites, envs, site_directory)
    changes = list(_site_changes(old, old_env, new, new_env))
    if old.resolve() != new.resolve():
        changes += _channel_changes(old, new)
    tables = list(_table_changes(old, new))
    if output == "json":
        print_json([_as_json(change) for change in changes] + tables)
    else:
        for change in changes:
            print_line(_as_line(change))
        for table in tables:
            print_line(f"~ {table['path']}: {table['before']} -> {table['after']}")
        total = len(changes) + len(tables)
        click.echo(plural(total, "difference") if total else "no difference", err=True)
    return ExitCode.PROBLEMS if changes or tables else ExitCode.DONE


def _are_versions(sites: tuple[Path, ...]) -> bool:
    """Whether these are numbers of versions: digits that name no directory here."""
    words = [str(site) for site in sites]
    return 0 < len(words) <= 2 and all(
        word.isascii() and word.isdigit() and not Path(word).exists() for word in words
    )


def _version_diff(place: Place, versions: tuple[Path, ...], output: str) -> int:
    new = str(versions[1]) if len(versions) == 2 else None
    answer = ask(place, "config.diff", old=str(versions[0]), new=new)
    changes = answer["changes"]
    if output == "json":
        print_json(changes)
    else:
        for change in changes:
            print_line(_kept_line(change))
        told = plural(len(changes), "difference") if changes else "no difference"
        click.echo(f"version {answer['old']} to {answer['new']}: {told}", err=True)
    return ExitCode.PROBLEMS if changes else ExitCode.DONE


def _kept_line(change: Any) -> str:
    before, after = change["before"], change["after"]
    at = change["place_before"] if after is None else change["place_after"]
    where = "" if at is None else f"  # {at['file']}:{at['line']}"
    if before is None:
        return f"+ {change['path']}: {after}{where}"
    if after is None:
        return f"- {change['path']}: {before}{where}"
    return f"~ {change['path']}: {before} -> {after}{where}"


Side = tuple[Path, str | None]


def _sides(
    sites: tuple[Path, ...], envs: tuple[str, ...], site_directory: Path | None
) -> tuple[Side, Side]:
    if len(sites) > 2 or len(envs) > 2:
        raise usage("two sides are compared, not more", "ifengine config diff --help")
    here = site_directory if site_directory is not None else Path.cwd()
    if len(sites) == 2:
        old_env = envs[0] if envs else None
        return (sites[0], old_env), (sites[1], envs[1] if len(envs) == 2 else old_env)
    if not envs and not sites:
        raise usage("what is compared?", "two directories, or --env NAME --env NAME")
    if len(sites) == 1 and not envs:
        return (sites[0], None), (here, None)
    one = sites[0] if sites else here
    return (one, envs[0] if len(envs) == 2 else None), (one, envs[-1])


def _merged(directory: Path, env: str | None) -> "Entries":
    from ifengine.routes.config.merged import read_merged
    from ifengine.transforms.source import Problems

    if not (directory / SITE_FILE).is_file():
        raise usage(f"{directory}: there is no {SITE_FILE} here", "name the site's directory")
    if env is not None and not env.replace("-", "").isalnum():
        raise usage("--env takes the name of a file below env/, without .yaml")
    problems = Problems()
    merged = read_merged(directory, env, problems)
    _refuse(problems)
    if merged is None:
        raise CommandError(f"{directory}: the site cannot be read", hint="ifengine check")
    return merged


def _refuse(problems: "Problems") -> None:
    from ifengine.routes.config.render import render_problem

    if not problems.ok:
        for problem in problems.found:
            for line in render_problem(problem, ()).splitlines():
                click.echo(printable(line), err=True)
        raise CommandError("the configuration cannot be read", hint="ifengine check")


def _site_changes(
    old: Path, old_env: str | None, new: Path, new_env: str | None
) -> Iterator["Change"]:
    from ifengine.routes.config.node_diff import diff_nodes

    yield from diff_nodes(_merged(old, old_env), _merged(new, new_env))


def _channel_changes(old: Path, new: Path) -> Iterator["Change"]:
    from ifengine.routes.config.merged import read_file
    from ifengine.routes.config.node_diff import diff_nodes
    from ifengine.transforms.source import Problems

    for name in _names(old, new, "channels/*.yaml", "channels/snippets/*.yaml"):
        problems = Problems()
        before, after = (
            read_file(folder, name, problems) if (folder / name).is_file() else None
            for folder in (old, new)
        )
        _refuse(problems)
        yield from diff_nodes(before, after, name.removesuffix(".yaml").replace("/", "."))


def _names(old: Path, new: Path, *patterns: str) -> list[str]:
    found = {
        path.relative_to(folder).as_posix()
        for folder in (old, new)
        for pattern in patterns
        for path in folder.glob(pattern)
    }
    return sorted(found)


def _table_changes(old: Path, new: Path) -> Iterator[dict[str, object]]:
    """Yield each table whose rows differ, by number: rows may be many."""
    for name in _names(old, new, "channels/tables/*"):
        before, after = (_rows(folder / name) for folder in (old, new))
        if before == after:
            continue
        gone, fresh = len(before - after), len(after - before)
        told = [f"{plural(gone, 'row')} gone", f"{plural(fresh, 'row')} new"]
        yield {"path": name, "before": told[0], "after": told[1]}


def _rows(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    return frozenset(path.read_text("utf-8-sig", errors="replace").splitlines())


def _as_line(change: "Change") -> str:
    if change.before is None:
        return f"+ {change.path}: {change.after}{_at(change.place_after)}"
    if change.after is None:
        return f"- {change.path}: {change.before}{_at(change.place_before)}"
    return f"~ {change.path}: {change.before} -> {change.after}{_at(change.place_after)}"


def _at(place: "Position | None") -> str:
    return "" if place is None else f"  # {place.file}:{place.line}"


def _as_json(change: "Change") -> dict[str, object]:
    def where(place: "Position | None") -> dict[str, object] | None:
        return None if place is None else {"file": place.file, "line": place.line}

    return {
        "path": change.path,
        "before": change.before,
        "after": change.after,
        "place_before": where(change.place_before),
        "place_after": where(change.place_after),
    }
