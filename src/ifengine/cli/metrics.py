"""``ifengine metrics``."""

import click

from ifengine.cli.daemon import ask
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import output_option, print_json


@click.command()
@output_option("text", "json")
@site_options
def metrics(place: Place, output: str) -> None:
    """Print what the metrics port serves, for a machine without a browser."""
    answer = ask(place, "metrics")
    if output == "json":
        print_json(answer)
    else:
        click.echo(answer["text"], nl=not answer["text"].endswith("\n"))
