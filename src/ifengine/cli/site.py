"""The site a command is about: all of it, checked, or only where its socket, key and store are."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ifengine.cli.failure import CommandError, usage
from ifengine.cli.options import Place, environment
from ifengine.cli.output import plural, printable
from ifengine.transforms.source import Entries, Node, Problem, Problems, Severity, Text

if TYPE_CHECKING:  # a call to a running engine needs neither; each costs tens of milliseconds
    from ifengine.routes.config.loading import Loaded
    from ifengine.routes.config.models import SiteConfig

SITE_FILE = "ifengine.yaml"
MOST_SITE_BYTES = 1024 * 1024

DEFAULT_SOCKET = "unix:var/admin.sock"
DEFAULT_KEK = "file:var/keys/kek"
DEFAULT_STORE = "var/store"


def read_site(place: Place) -> "Loaded":
    """Load and check a site; its problems are in the result.

    Raises:
        CommandError: there is no site file.
    """
    from ifengine.routes.config.loading import load_site

    _need_site_file(place)
    return load_site(place.directory, env=place.env, environ=environment())


def load(place: Place) -> "SiteConfig":
    """Return a site without errors; else its problems go to standard error and the command ends."""
    loaded = read_site(place)
    if loaded.site is None:
        show_problems(errors_of(loaded), loaded, err=True)
        raise CommandError(
            f"the site has {plural(len(errors_of(loaded)), 'error')}", hint="ifengine check"
        )
    return loaded.site


def errors_of(loaded: "Loaded") -> list[Problem]:
    """Return the problems that refuse the configuration."""
    return [problem for problem in loaded.problems if problem.severity is Severity.ERROR]


def show_problems(problems: Iterable[Problem], loaded: "Loaded", *, err: bool) -> None:
    """Write problems as channel-language.md shows them, each with its line and a caret."""
    from ifengine.routes.config.render import render_problem

    for problem in problems:
        lines = loaded.lines.get(problem.position.file, ())
        for line in render_problem(problem, lines).splitlines():
            click.echo(printable(line), err=err)


def admin_socket(place: Place) -> Path:
    """Return where the site's engine answers; a mistake in a channel does not hide it."""
    text = _setting(place, "listen", "admin", DEFAULT_SOCKET)
    if text is None or not text.startswith("unix:"):
        return load(place).admin_socket
    return _below(place, text.removeprefix("unix:"))


def key_file(place: Place) -> Path:
    """Return the file that ``keys.kek`` names."""
    text = _setting(place, "keys", "kek", DEFAULT_KEK)
    if text is None or not text.startswith("file:"):
        text = load(place).kek
    return _below(place, text.removeprefix("file:"))


def store_path(place: Place) -> Path:
    """Return the folder of the store."""
    text = _setting(place, "store", "path", DEFAULT_STORE)
    return load(place).store_path if text is None else _below(place, text)


def _below(place: Place, text: str) -> Path:
    return (place.directory / text).absolute()


def _need_site_file(place: Place) -> None:
    if not (place.directory / SITE_FILE).is_file():
        raise usage(
            f"{place.directory}: there is no {SITE_FILE} here",
            "name the site's directory with --site DIR or IFENGINE_SITE",
        )


def _setting(place: Place, section: str, key: str, default: str) -> str | None:
    """Return one text of the site file, the overlay's first.

    Returns:
        None where the file cannot be read alone: a mistake, a placeholder to fill, an unusual form.
    """
    _need_site_file(place)
    names = [SITE_FILE]
    if place.env is not None:
        names.insert(0, f"env/{place.env}.yaml")
    for name in names:
        node = _compose(place.directory / name, name)
        if not isinstance(node, Entries):
            return None
        part = node.get(section)
        if part is None:
            continue
        if not isinstance(part, Entries):
            return None
        found = part.get(key)
        if found is None:
            continue
        return _plain(found)
    return default


def _plain(node: Node) -> str | None:
    if not isinstance(node, Text) or node.is_null or "${" in node.value:
        return None
    return node.value


def _compose(path: Path, name: str) -> Node | None:
    from ifengine.routes.config.yaml_nodes import compose

    try:
        if path.stat().st_size > MOST_SITE_BYTES:
            return None
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    problems = Problems()
    node = compose(text, name, problems)
    return node if problems.ok else None
