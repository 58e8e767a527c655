"""Steps that remember: facts, orders, results, identities."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
    remember_fact,
    wait_for_fact,
)

MEMORY: tuple[StepRow, ...] = (
    StepRow(
        "remember",
        remember_fact.build,
        "fact, per, key, value, once: planned delivered",
        "record that something was seen, with values if asked",
        "remember: {fact: order, per: ORC, key: ORC-2.1, value: {visit: PV1-19.1}}",
        failing="remember: {fact: order, key: OBX-3}",
    ),
    StepRow(
        "wait_for",
        wait_for_fact.build,
        "fact, per, key, up_to, then: deliver dead_letter, never_wait",
        "park the message until it is seen; it starts over from the start of its channel",
        "wait_for: {fact: order, per: OBR, key: OBR-2.1, up_to: 30m, never_wait: any OBX-8 = HH}",
        failing="wait_for: {fact: order, per: OBR, key: OBR-2.1}",
    ),
)
