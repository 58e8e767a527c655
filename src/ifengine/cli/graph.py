"""``ifengine graph``: who feeds whom, as a picture or as text."""

import click

from ifengine.cli.failure import usage
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import output_option, print_line
from ifengine.cli.site import load


@click.command()
@click.argument("channels", nargs=-1, metavar="[CHANNEL…]")
@output_option("ascii", "svg", "mermaid", "dot")
@site_options
def graph(place: Place, channels: tuple[str, ...], output: str) -> None:
    """Draw listeners, channels, destinations and connections.

    Without CHANNEL the whole site. `-o svg` is one file that any browser shows.
    """
    from ifengine.routes.config.graph import as_ascii, as_dot, as_mermaid, graph_of
    from ifengine.routes.config.graph_svg import as_svg

    site = load(place)
    known = [channel.name for channel in site.channels]
    for name in channels:
        if name not in known:
            raise usage(f"there is no channel {name}", f"there is {', '.join(known)}")
    drawn = graph_of(site, channels)
    match output:
        case "svg":
            text = as_svg(drawn, f"ifengine site {site.site}")
        case "mermaid":
            text = as_mermaid(drawn)
        case "dot":
            text = as_dot(drawn)
        case _:
            text = as_ascii(drawn)
    for line in text.splitlines():
        print_line(line)
