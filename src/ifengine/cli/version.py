"""``ifengine version``."""

import platform

import click

from ifengine import __version__
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import output_option, print_json, print_line


@click.command()
@output_option("text", "json")
@site_options
def version(place: Place, output: str) -> None:
    """Print the version."""
    if output == "json":
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        print_line(f"ifengine {__version__}")
