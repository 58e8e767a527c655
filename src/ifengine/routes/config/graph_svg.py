"""The graph of a site as a picture: one SVG that needs nothing else, light or dark."""

from html import escape
from typing import Final

from ifengine.routes.config.graph import HEADINGS, Column, Graph, GraphNode

# pixels
_LETTER: Final = 7.3  # width of a letter of the 13 px font, a little generous
_SMALL: Final = 6.1  # of the 11 px font
_NARROWEST: Final = 90.0
_WIDEST: Final = 320.0
_HEIGHT: Final = 44.0
_GAP: Final = 16.0
_BETWEEN: Final = 70.0
_MARGIN: Final = 20.0
_TOP: Final = 46.0

_STYLE: Final = """\
  text { font: 13px system-ui, sans-serif; fill: #1c2733; }
  .detail { font-size: 11px; fill: #5a6876; }
  .head { font-size: 12px; fill: #5a6876; }
  rect { fill: #f3f6f9; stroke: #64788c; }
  .channel rect { fill: #e2eefb; stroke: #2f6fb0; }
  .off { opacity: 0.55; }
  .off rect { stroke-dasharray: 4 3; }
  path { fill: none; stroke: #64788c; stroke-width: 1.4; }
  marker path { fill: #64788c; stroke: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6ebf0; } .detail, .head { fill: #9fb0c0; }
    rect { fill: #22303c; } .channel rect { fill: #1d3a57; }
  }"""


def as_svg(graph: Graph, title: str) -> str:
    """Return the picture; every name of the graph stands in it, whole.

    Args:
        graph: what is drawn.
        title: what the picture is called, for screen readers and tooltips.
    """
    widths = {column: _width(graph.column(column)) for column in Column}
    lefts = _lefts(widths)
    tops = _tops(graph)
    rows = max((len(graph.column(column)) for column in Column), default=0)
    width = lefts[Column.TARGET] + widths[Column.TARGET] + _MARGIN
    height = max((*tops.values(), 0.0)) + (_HEIGHT if rows else _TOP) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" '
        f'width="{_n(width)}" height="{_n(height)}" role="img">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    for column in Column:
        if graph.column(column):
            x = _n(lefts[column])
            parts.append(f'<text class="head" x="{x}" y="28">{HEADINGS[column]}</text>')
    boxes = {node.key: (lefts[node.column], tops[node.key]) for node in graph.nodes}
    ends = {node.key: widths[node.column] for node in graph.nodes}
    for start, end in graph.arrows:
        x1, y1 = boxes[start][0] + ends[start], boxes[start][1] + _HEIGHT / 2
        x2, y2 = boxes[end][0], boxes[end][1] + _HEIGHT / 2
        parts.append(_arrow(x1, y1, x2, y2))
    parts += [_box(node, *boxes[node.key], widths[node.column]) for node in graph.nodes]
    return "\n".join([*parts, "</svg>"])


def _width(nodes: list[GraphNode]) -> float:
    """Return how wide a column is: its longest name fits, its details where they can."""
    longest = max((len(_name(node)) * _LETTER for node in nodes), default=0.0)
    details = min(max((len(node.detail) * _SMALL for node in nodes), default=0.0), _WIDEST)
    return max(_NARROWEST, longest + 24, details + 24)


def _lefts(widths: dict[Column, float]) -> dict[Column, float]:
    x, lefts = _MARGIN, {}
    for column in Column:
        lefts[column] = x
        x += widths[column] + _BETWEEN
    return lefts


def _tops(graph: Graph) -> dict[tuple[str, ...], float]:
    """Return where each box begins: destinations in order, the others beside what they belong to."""
    tops: dict[tuple[str, ...], float] = {}
    step = _HEIGHT + _GAP
    for number, node in enumerate(graph.column(Column.DESTINATION)):
        tops[node.key] = _TOP + number * step
    for column in (Column.CHANNEL, Column.SOURCE):
        _place(graph, graph.column(column), tops, forward=True)
    _place(graph, graph.column(Column.TARGET), tops, forward=False)
    return tops


def _place(
    graph: Graph, nodes: list[GraphNode], tops: dict[tuple[str, ...], float], *, forward: bool
) -> None:
    """Put a column's boxes level with the middle of what they are joined to, none over another."""
    wished = []
    for node in nodes:
        pairs = graph.arrows if forward else [(end, start) for start, end in graph.arrows]
        joined = [tops[end] for start, end in pairs if start == node.key and end in tops]
        wished.append((sum(joined) / len(joined) if joined else float("inf"), node))
    free = _TOP
    # the sort is stable: equal wishes keep the order of the files
    for wish, node in sorted(wished, key=lambda pair: pair[0]):
        tops[node.key] = free if wish == float("inf") else max(free, wish)
        free = tops[node.key] + _HEIGHT + _GAP


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (x1 + x2) / 2
    curve = f"M{_n(x1)} {_n(y1)}C{_n(middle)} {_n(y1)} {_n(middle)} {_n(y2)} {_n(x2)} {_n(y2)}"
    return f'<path d="{curve}" marker-end="url(#tip)"/>'


def _box(node: GraphNode, x: float, y: float, width: float) -> str:
    kind = node.column.name.lower() + ("" if node.enabled else " off")
    round_ = _HEIGHT / 2 if node.column in (Column.SOURCE, Column.TARGET) else 6
    room = round((width - 24) / _SMALL)
    detail = node.detail if len(node.detail) <= room else node.detail[: room - 1] + "…"
    middle = _n(x + width / 2)
    lines = [
        f'<g class="{kind}">',
        f"<title>{_text(' · '.join(part for part in (_name(node), node.detail) if part))}</title>",
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(_HEIGHT)}" rx="{_n(round_)}"/>',
        f'<text x="{middle}" y="{_n(y + (19 if detail else 27))}" text-anchor="middle">'
        f"{_text(_name(node))}</text>",
    ]
    if detail:
        lines.append(
            f'<text class="detail" x="{middle}" y="{_n(y + 35)}" text-anchor="middle">'
            f"{_text(detail)}</text>"
        )
    return "".join([*lines, "</g>"])


def _name(node: GraphNode) -> str:
    return node.name if node.enabled else f"{node.name} (off)"


def _text(text: str) -> str:
    # XML cannot hold control characters, escaped or not
    return escape(
        "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    )


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
