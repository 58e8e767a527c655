"""``env/NAME.yaml`` over ``ifengine.yaml``: maps merge, lists and scalars replace, null removes."""

from typing import Final

from ifengine.routes.config.filled import shorten
from ifengine.routes.config.kinds import nearest
from ifengine.transforms.source import Entries, Node, Problems, Text

ALLOWED: Final = (
    "connections",
    "listen",
    "store",
    "keep",
    "keys",
    "tls",
    "environment",
    "enabled",
    "vars",
    "limits",
)
# allowed beside them: the language's version, and anchors
_SILENT: Final = ("ifengine", "shared")


def check_overlay(node: Entries, problems: Problems) -> Entries:
    """Return the entries that an environment may change; the others become E220."""
    kept: list[tuple[Text, Node]] = []
    for key, value in node:
        if key.value in ALLOWED or key.value in _SILENT:
            kept.append((key, value))
        elif key.value == "channels" and isinstance(value, Entries):
            _refuse_channels(value, problems)
        else:
            problems.error(
                "E220",
                key.position,
                f'an environment may not change "{shorten(key.value)}"',
                nearest(key.value, list(ALLOWED)) or f"it may change {', '.join(ALLOWED)}",
            )
    return Entries(tuple(kept), node.position)


def _refuse_channels(node: Entries, problems: Problems) -> None:
    for channel, body in node:
        inner = list(body) if isinstance(body, Entries) else []
        for key, _ in inner or [(channel, body)]:
            path = ["channels", channel.value] + ([key.value] if key is not channel else [])
            hint = "everything of a channel is the same everywhere; move this into the channel"
            if key.value == "steps":
                hint = "steps are the same everywhere; move this into the channel"
            elif key.value == "enabled":
                hint = f"write enabled: {{{shorten(channel.value)}: no}}"
            problems.error(
                "E220",
                key.position,
                f'an environment may not change "{shorten(".".join(path))}"',
                hint,
            )


def merge(base: Entries, over: Entries) -> Entries:
    """Return ``base`` changed by ``over``; every value keeps the place where it was written."""
    changes = {key.value: (key, value) for key, value in over}
    merged: list[tuple[Text, Node]] = []
    for key, value in base:
        changed = changes.pop(key.value, None)
        if changed is None:
            merged.append((key, value))
            continue
        over_key, over_value = changed
        if isinstance(over_value, Text) and over_value.is_null:
            continue
        if isinstance(value, Entries) and isinstance(over_value, Entries):
            # bounded: the loader caps the depth of what it reads
            merged.append((key, merge(value, over_value)))
        else:
            merged.append((over_key, over_value))
    for key, value in changes.values():
        if not (isinstance(value, Text) and value.is_null):
            merged.append((key, value))
    return Entries(tuple(merged), base.position)
