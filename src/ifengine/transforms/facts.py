"""Facts: something that messages said, remembered under a key until it runs out.

A fact that the site declares is shared by all channels; any other belongs to its channel
(safety-rules.md 11).
"""

import json

from ifengine.hl7.message import NULL
from ifengine.transforms.base import StepScope
from ifengine.transforms.memory import Change, Key, Remembered, Space

DEFAULT_SECONDS = 90 * 86_400.0
SEPARATOR = "\x1f"  # between the parts of a key; no value of a message holds it unescaped


def plain_key(value: str | None) -> str:
    """Return one part of a key; empty and null are no part."""
    return "" if value is None or value == NULL else value.strip()


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
    # as long as the longest of them: a message that nobody takes leaves nothing for ever
    last_us = max(until_us, 0 if before is None else before.until_us)
    text = json.dumps(awaited, ensure_ascii=False)
    scope.memory.put(Space.AWAITED, place, text, until_us=last_us)


def facts_of_delivered(awaited: Remembered, place: Key, now_us: int) -> tuple[Change, ...]:
    """Return what is remembered once a message was delivered; ``awaited`` stood under ``place``."""
    changes = [Change(Space.AWAITED, place, None)]
    for key, text, until_us in json.loads(awaited.value):
        kept = Remembered(text, awaited.message, now_us, until_us)
        changes.append(Change(Space.FACT, tuple(key), kept))
    return tuple(changes)
