"""``ifengine keys``."""

import click

from ifengine.cli.daemon import ask
from ifengine.cli.failure import refused
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, offline_option, site_options
from ifengine.cli.output import (
    Column,
    Row,
    count,
    field,
    output_option,
    print_json,
    print_line,
    print_table,
    short_duration,
)
from ifengine.cli.site import key_file


@click.group(cls=SuggestingGroup)
def keys() -> None:
    """Make the site's key and show the keys in use."""


@keys.command()
@output_option("text", "json")
@site_options
def init(place: Place, output: str) -> None:
    """Make the key-encryption key that the site file names (keys.kek).

    The file gets mode 0600, its folder 0700. A key that exists is never replaced: exit 4.
    """
    from ifengine.store.keys import FileKek, KeyFileExistsError

    path = key_file(place)
    try:
        kek = FileKek.init_file(path)
    except KeyFileExistsError as error:
        raise refused(str(error), "ifengine keys status shows what it opens") from None
    if output == "json":
        print_json({"kek": str(path), "kek_id": kek.kek_id})
    else:
        print_line(f"wrote key {kek.kek_id} to {path}")
        click.echo(
            "Keep a copy apart from the store: without it nothing can be read again.", err=True
        )


KEY_COLUMNS = (
    Column("KEY", field("key_id")),
    Column("PURPOSE", field("purpose")),
    Column("WRAPPED BY", field("kek_id")),
    Column("AGE", lambda row: short_duration(row.get("age_seconds")), right=True),
    Column("SEALS", count("seals"), right=True),
    Column("", lambda row: "in use" if row.get("current") else ""),
)


@keys.command()
@offline_option
@output_option("table", "json")
@site_options
def status(place: Place, offline: bool, output: str) -> None:
    """Show the key-encryption key and the data keys it wraps. No key itself is ever shown."""
    answer: Row = ask(place, "keys.status", offline=offline)
    if output == "json":
        print_json(answer)
        return
    print_line(f"key-encryption key {answer['kek_id']}  {answer.get('kek') or ''}".rstrip())
    print_table(answer["keys"], KEY_COLUMNS)
