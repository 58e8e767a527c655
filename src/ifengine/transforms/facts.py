"""Facts: something that messages said, remembered under a key until it runs out.

A fact that the site declares is shared by all channels; any other belongs to its channel
(safety-rules.md 11).
"""

import json

from ifengine.transforms.base import StepScope
from ifengine.transforms.memory import Key, Remembered, Space

DEFAULT_SECONDS = 90 * 86_400.0


def fact_key(scope: StepScope, name: str, value: str, *, shared: bool) -> Key:
    """Return where a fact stands in Space.FACT."""
    return ("" if shared else scope.channel, name, value)


def fact_values(remembered: Remembered) -> dict[str, str]:
    """Return the named values that a fact carries; ``{"": text}`` for a single one."""
    values: dict[str, str] = json.loads(remembered.value or "{}")
    return values


def fact_text(values: dict[str, str]) -> str:
    """Return the values of a fact as they are remembered."""
    return json.dumps(values, ensure_ascii=False, sort_keys=True) if values else ""


def when_delivered(scope: StepScope, key: Key, text: str, until_us: int) -> None:
    """Note a fact that counts once a destination has taken the message."""
    place = (scope.message_id,)
    before = scope.memory.get(Space.AWAITED, place)
    awaited: list[list[object]] = json.loads(before.value) if before is not None else []
    awaited = [entry for entry in awaited if entry[0] != list(key)]
    awaited.append([list(key), text, until_us])
    scope.memory.put(Space.AWAITED, place, json.dumps(awaited, ensure_ascii=False))
