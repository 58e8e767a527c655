"""``ifengine version``."""

import platform

import click

from ifengine import __version__
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import output_option, print_json, print_line
from ifengine.form import FORM


@click.command()
@output_option("text", "json")
@site_options
def version(place: Place, output: str) -> None:
    """Print the version, and whether this is the compiled form."""
    if output == "json":
        print_json({"version": __version__, "python": platform.python_version(), "form": FORM})
    else:
        print_line(f"ifengine {__version__}, {FORM}, Python {platform.python_version()}")
