"""``ifengine secrets``."""

import sys
from typing import TYPE_CHECKING

import click

from ifengine.cli.failure import CommandError, refused
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import output_option, print_json, print_line
from ifengine.cli.site import key_file
from ifengine.errors import EngineError

if TYPE_CHECKING:
    from ifengine.store.secrets import SecretStore


@click.group(cls=SuggestingGroup)
def secrets() -> None:
    """Keep the secrets that the site file names: `secrets: [sealed]` and ${secret:NAME}."""


@secrets.command(name="set")
@click.argument("name")
@output_option("text", "json")
@site_options
def set_secret(name: str, place: Place, output: str) -> None:
    """Seal a value under a name. It is read from standard input, or asked for without echo.

    One line end at its end is left out. A value that stands there already is replaced; a running
    engine reads it at its next start or reload.
    """
    from ifengine.store.keys import FileKek

    store = _store(place)
    value = _value(name)
    try:
        is_new = store.put(name, value, FileKek(key_file(place)))
    except EngineError as error:
        raise CommandError(str(error), hint=error.hint) from None
    if output == "json":
        print_json({"secret": name, "is_new": is_new})
    else:
        print_line(f"{'sealed' if is_new else 'replaced'} {name}")


@secrets.command(name="list")
@output_option("text", "json")
@site_options
def list_secrets(place: Place, output: str) -> None:
    """Show the names. No value is ever shown."""
    names = list(_store(place).names())
    if output == "json":
        print_json(names)
        return
    for name in names:
        print_line(name)


@secrets.command(name="remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@output_option("text", "json")
@site_options
def remove_secret(name: str, place: Place, yes: bool, output: str) -> None:
    """Remove a secret. It cannot be brought back."""
    store = _store(place)
    try:
        if store.has(name) and not yes:
            if not sys.stdin.isatty():
                raise refused(f"{name} was not removed", "say --yes where nobody can be asked")
            click.confirm(f"Remove {name}?", abort=True, err=True)
        store.remove(name)
    except EngineError as error:
        raise CommandError(str(error), hint=error.hint) from None
    if output == "json":
        print_json({"removed": name})
    else:
        print_line(f"removed {name}")


def _store(place: Place) -> "SecretStore":
    from ifengine.store.secrets import FOLDER, SecretStore

    key_file(place)  # this is a site, or the command ends here
    return SecretStore((place.directory / FOLDER).absolute())


def _value(name: str) -> str:
    if sys.stdin.isatty():
        asked: str = click.prompt(name, hide_input=True, confirmation_prompt=True, err=True)
        return asked
    from ifengine.store.secrets import MOST_BYTES

    raw = sys.stdin.buffer.read(MOST_BYTES + 3)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError("the value is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
