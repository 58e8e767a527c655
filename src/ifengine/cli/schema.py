"""``ifengine schema``: what an editor needs to complete and explain the keys of a site."""

import json
from pathlib import Path

import click

from ifengine.cli.failure import ExitCode, usage
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import plural, print_json, print_line
from ifengine.cli.site import SITE_FILE

_KINDS = ("channel", "site")


@click.command()
@click.argument("kind", required=False, type=click.Choice(_KINDS))
@click.option("--write", is_flag=True, help="Write both below .ifengine/ of the site.")
@site_options
def schema(place: Place, kind: str | None, write: bool) -> int:
    """Print the JSON Schema of channel files or of the site file, for editors.

    With --write both go to .ifengine/ of the site. An editor with a YAML language server then
    completes and explains every key of a file whose first line names its schema; files without
    that line are listed.
    """
    from ifengine.routes.config.schema import channel_schema, site_schema

    if not write:
        if kind is None:
            raise usage("which schema? channel or site", "ifengine schema --write writes both")
        print_json(channel_schema() if kind == "channel" else site_schema())
        return ExitCode.DONE
    if not (place.directory / SITE_FILE).is_file():
        raise usage(f"{place.directory}: there is no {SITE_FILE} here", "ifengine init makes one")
    for path in write_schemas(place.directory):
        print_line(f"wrote {path.relative_to(place.directory)}")
    without = files_without_modeline(place.directory)
    for name, line in without:
        click.echo(
            f"{name}: its first line does not name the schema; it would be\n  {line}", err=True
        )
    if not without:
        click.echo("every file names its schema", err=True)
    else:
        click.echo(f"{plural(len(without), 'file')} without completion in an editor", err=True)
    return ExitCode.DONE


def write_schemas(directory: Path) -> list[Path]:
    """Write both schemas below a site's directory; return where they are."""
    from ifengine.routes.config.schema import FOLDER, schema_files

    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    written = []
    for name, content in schema_files().items():
        path = folder / name
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        written.append(path)
    return written


def files_without_modeline(directory: Path) -> list[tuple[str, str]]:
    """Return each file whose head does not name its schema, with the line that would."""
    from ifengine.routes.config.schema import CHANNEL_SCHEMA, SITE_SCHEMA, modeline

    wanted = [(directory / SITE_FILE, modeline(0, SITE_SCHEMA))]
    wanted += [
        (path, modeline(1, CHANNEL_SCHEMA))
        for path in sorted((directory / "channels").glob("*.yaml"))
    ]
    found = []
    for path, line in wanted:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        # the language server looks at comments wherever they stand; people look at the top
        if line not in (written.rstrip() for written in text.splitlines()):
            found.append((str(path.relative_to(directory)), line))
    return found
