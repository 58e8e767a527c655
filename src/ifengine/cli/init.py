"""``ifengine init``: a new site that can be checked, tested and tried at once."""

import re
import shlex
from pathlib import Path

import click

from ifengine.cli.failure import refused
from ifengine.cli.init_files import EXAMPLES, FIRST_TRY, files_of
from ifengine.cli.output import print_line, printable
from ifengine.cli.schema import write_schemas
from ifengine.cli.site import SITE_FILE


@click.command()
@click.argument("directory", required=False, default=".", metavar="[DIR]",
                type=click.Path(file_okay=False, path_type=Path))  # fmt: skip
@click.option("--example", type=click.Choice(EXAMPLES), default="adt", show_default=True,
              help="What the first channel does.")  # fmt: skip
def init(directory: Path, example: str) -> None:
    """Make a new site in DIR: the site file, one channel with a sample and tests, schemas.

    Nothing that is there is changed: where one of the files exists, none is written.
    """
    files = _with_modelines(files_of(example, _site_name(directory)))
    there = [name for name in files if (directory / name).exists()]
    if there:
        raise refused(f"{directory / there[0]} exists; nothing was written", "name a new folder")
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print_line(str(path))
    for path in write_schemas(directory):
        print_line(str(path))
    channel, sample = FIRST_TRY[example]
    go = "" if directory == Path() else f"cd {shlex.quote(str(directory))}; "
    lines = [
        "next:",
        f"  {go}ifengine check",
        "  ifengine test",
        f"  ifengine try {channel} {sample}",
        "  ifengine keys init; ifengine serve",
    ]
    for line in lines:
        click.echo(printable(line), err=True)


def _with_modelines(files: dict[str, str]) -> dict[str, str]:
    from ifengine.routes.config.schema import CHANNEL_SCHEMA, SITE_SCHEMA, modeline

    made = {}
    for name, text in files.items():
        if name == SITE_FILE:
            text = f"{modeline(0, SITE_SCHEMA)}\n{text}"
        elif name.endswith(".yaml"):
            text = f"{modeline(1, CHANNEL_SCHEMA)}\n{text}"
        made[name] = text
    return made


def _site_name(directory: Path) -> str:
    """Return the folder's name as a site can be called, else a name that says it is to change."""
    name = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")[:40].rstrip("-")
    return name if re.match("[a-z]", name) else "my-site"
