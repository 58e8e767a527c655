"""`mllp:` in a channel: connections that are written where they are used, for a first try."""

from collections.abc import Sequence

from ifengine.routes.config.channel_file import ChannelDraft
from ifengine.routes.config.sections import Section
from ifengine.routes.config.site_file import SiteDraft, add_connection
from ifengine.routes.config.sources import inline_name
from ifengine.transforms.source import Problems, Text


def take_inline(site: SiteDraft, channels: Sequence[ChannelDraft], problems: Problems) -> None:
    """Add the connections that channels describe to those of the site, each with a name of its own.

    From here on they are like any other: they need `tls:` or a written reason, and a port that
    nobody else has.
    """
    for channel in channels:
        if channel.inline is not None:
            _add(inline_name(channel.name), channel.inline, site, problems, listens=True)
        for destination in channel.destinations:
            said: Section | None = destination.section.get("mllp")
            if said is not None:
                name = inline_name(channel.name, destination.name)
                _add(name, said, site, problems, listens=False)


def _add(name: str, inner: Section, site: SiteDraft, problems: Problems, *, listens: bool) -> None:
    add_connection(Text(name, inner.position, False, False), inner, site, problems, listens=listens)
