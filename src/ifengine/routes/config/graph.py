"""What a site looks like: listeners, channels, destinations and connections, and who feeds whom.

The drawing is the same for the same configuration: nodes stand in the order of the files.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

from ifengine.routes.config.models import ChannelConfig, DestinationConfig, SiteConfig, TypePattern


class Column(IntEnum):
    """Where a node stands, from left to right."""

    SOURCE = 0
    CHANNEL = 1
    DESTINATION = 2
    TARGET = 3


HEADINGS: Final = {
    Column.SOURCE: "listens",
    Column.CHANNEL: "channel",
    Column.DESTINATION: "destination",
    Column.TARGET: "sends to",
}


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One box. ``detail`` is its second line: an address, the types, a condition."""

    key: tuple[str, ...]
    column: Column
    name: str
    detail: str = ""
    enabled: bool = True


@dataclass(slots=True)
class Graph:
    """Boxes and arrows; each arrow goes from a key to a key."""

    nodes: list[GraphNode] = field(default_factory=list)
    arrows: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    _known: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, node: GraphNode) -> tuple[str, ...]:
        """Add a node, once; return its key."""
        if node.key not in self._known:
            self._known.add(node.key)
            self.nodes.append(node)
        return node.key

    def column(self, column: Column) -> list[GraphNode]:
        """Return the nodes of a column, from the top."""
        return [node for node in self.nodes if node.column is column]

    def after(self, key: tuple[str, ...]) -> list[GraphNode]:
        """Return what a node feeds."""
        fed = {end for start, end in self.arrows if start == key}
        return [node for node in self.nodes if node.key in fed]


def graph_of(site: SiteConfig, only: Collection[str] = ()) -> Graph:
    """Return the graph of a site; ``only`` names the channels that are shown, none: all.

    A connection that no shown channel uses is shown where all channels are.
    """
    graph = Graph()
    for channel in site.channels:
        if not only or channel.name in only:
            _add_channel(graph, site, channel)
    if not only:
        for name in site.listeners:
            _listener(graph, site, name)
        for name in site.senders:
            _sender(graph, site, name)
    return graph


def _add_channel(graph: Graph, site: SiteConfig, channel: ChannelConfig) -> None:
    types = _types(channel.types)
    mine = graph.add(
        GraphNode(("channel", channel.name), Column.CHANNEL, channel.name, types, channel.enabled)
    )
    for name in channel.sources:
        graph.arrows.append((_listener(graph, site, name), mine))
    if channel.files_source is not None:
        name = _folder(site, channel.files_source.directory)
        detail = f"files {channel.files_source.pattern}"
        source = GraphNode(("folder", channel.name), Column.SOURCE, name, detail)
        graph.arrows.append((graph.add(source), mine))
    if channel.from_channels:
        source = GraphNode(("channels", channel.name), Column.SOURCE, "channels", "of this site")
        graph.arrows.append((graph.add(source), mine))
    for destination in channel.destinations:
        key = graph.add(
            GraphNode(
                ("destination", channel.name, destination.name),
                Column.DESTINATION,
                destination.name,
                "" if destination.accept is None else destination.accept.text,
                channel.enabled and destination.enabled,
            )
        )
        graph.arrows.append((mine, key))
        target = _target(graph, site, channel, destination)
        if target is not None:
            graph.arrows.append((key, target))


def _types(types: tuple[TypePattern, ...]) -> str:
    """Return ``ADT^A01 A08, ORU^*``: the events of one code together."""
    events: dict[str, list[str]] = {}
    for pattern in types:
        events.setdefault(pattern.code, []).append(pattern.event)
    return ", ".join(
        code if code == "*" else f"{code}^{' '.join(found)}" for code, found in events.items()
    )


def _listener(graph: Graph, site: SiteConfig, name: str) -> tuple[str, ...]:
    known = site.listeners.get(name)
    detail = ""
    if known is not None:
        detail = f"{known.host}:{known.port} {'TLS' if known.tls else 'plaintext'}"
    return graph.add(GraphNode(("listen", name), Column.SOURCE, name, detail))


def _sender(graph: Graph, site: SiteConfig, name: str) -> tuple[str, ...]:
    known = site.senders.get(name)
    detail = ""
    if known is not None:
        detail = f"{known.host}:{known.port} {'TLS' if known.tls else 'plaintext'}"
    return graph.add(GraphNode(("send", name), Column.TARGET, name, detail))


def _target(
    graph: Graph, site: SiteConfig, channel: ChannelConfig, destination: DestinationConfig
) -> tuple[str, ...] | None:
    if destination.connection is not None:
        return _sender(graph, site, destination.connection)
    if destination.channel is not None:
        other = ("to channel", destination.channel)
        return graph.add(GraphNode(other, Column.TARGET, destination.channel, "channel"))
    if destination.files is None:
        return None
    name = _folder(site, destination.files.directory)
    key = ("files", channel.name, destination.name)
    return graph.add(GraphNode(key, Column.TARGET, name, "files"))


def _folder(site: SiteConfig, folder: Path) -> str:
    below = folder.is_relative_to(site.directory)
    return f"{folder.relative_to(site.directory) if below else folder}/"


# --- text ---------------------------------------------------------------------------------------


def as_ascii(graph: Graph) -> str:
    """Return lines for a terminal: one tree for each channel, as ``a ──▶ b ─┬▶ c``."""
    lines: list[str] = []
    fed = {end for _, end in graph.arrows}
    roots = [node for node in graph.nodes if node.key not in fed and node.column is Column.SOURCE]
    for root in roots:
        lines += _tree(graph, root)
    lone = [node for node in graph.column(Column.TARGET) if node.key not in fed]
    lines += [f"{_label(node)}  (nothing is sent there)" for node in lone]
    return "\n".join(lines)


def _tree(graph: Graph, node: GraphNode) -> list[str]:
    label = _label(node)
    after = graph.after(node.key)
    if not after:
        return [label if node.column is Column.TARGET else f"{label}  (goes nowhere)"]
    blocks = [_tree(graph, inner) for inner in after]
    if len(blocks) == 1:
        first, *rest = blocks[0]
        return [f"{label} ──▶ {first}", *(" " * (len(label) + 5) + line for line in rest)]
    lines = []
    pad = " " * (len(label) + 2)
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        sign = "┬" if number == 0 else "└" if last else "├"
        lead = f"{label} ─" if number == 0 else pad
        lines.append(f"{lead}{sign}▶ {block[0]}")
        lines += [f"{pad}{' ' if last else '│'}  {line}" for line in block[1:]]
    return lines


def _label(node: GraphNode) -> str:
    return node.name if node.enabled else f"{node.name} (off)"


def as_mermaid(graph: Graph) -> str:
    """Return a Mermaid flowchart, for pages that render one."""
    names = {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}
    shapes = {
        Column.SOURCE: ('(["', '"])'),
        Column.CHANNEL: ('["', '"]'),
        Column.DESTINATION: ('("', '")'),
        Column.TARGET: ('(["', '"])'),
    }
    lines = ["flowchart LR"]
    for node in graph.nodes:
        left, right = shapes[node.column]
        detail = f"<br/>{_for_mermaid(node.detail)}" if node.detail else ""
        lines.append(f"  {names[node.key]}{left}{_for_mermaid(_label(node))}{detail}{right}")
    lines += [f"  {names[start]} --> {names[end]}" for start, end in graph.arrows]
    off = [names[node.key] for node in graph.nodes if not node.enabled]
    if off:
        lines += [
            "  classDef off stroke-dasharray: 4 3,opacity: 0.6",
            f"  class {','.join(off)} off",
        ]
    return "\n".join(lines)


def _for_mermaid(text: str) -> str:
    # Mermaid has entities of its own form, and no backslash
    return "".join(f"#{ord(sign)};" if sign in '"#<>&`[]{}()|;' else sign for sign in text)


def as_dot(graph: Graph) -> str:
    """Return a Graphviz graph."""
    names = {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["digraph site {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for node in graph.nodes:
        label = "\\n".join(_for_dot(part) for part in (_label(node), node.detail) if part)
        rounded = ', style="rounded"' if node.column in (Column.SOURCE, Column.TARGET) else ""
        style = rounded if node.enabled else ', style="dashed"'
        lines.append(f'  {names[node.key]} [label="{label}"{style}];')
    for column in Column:
        same = " ".join(f"{names[node.key]};" for node in graph.column(column))
        if same:
            lines.append(f"  {{ rank=same; {same} }}")
    lines += [f"  {names[start]} -> {names[end]};" for start, end in graph.arrows]
    return "\n".join([*lines, "}"])


def _for_dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
