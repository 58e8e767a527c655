"""Steps that remember: facts, orders, results, identities."""

from ifengine.transforms.step_row import StepRow
from ifengine.transforms.steps import (
    latest_only,
    merge_patient,
    remember_fact,
    resolve_patient,
    wait_for_fact,
)

MEMORY: tuple[StepRow, ...] = (
    StepRow(
        "latest_only",
        latest_only.build,
        "per, key, status, order, newer, stale: hold drop pass, for",
        "no older status after a newer one; corrections are never late",
        "latest_only: {per: OBR, key: [MSH-4, OBR-2, OBR-3, OBR-4], status: OBR-25, "
        "order: [P, F], newer: OBR-22, for: 90d}",
        failing="latest_only: {per: OBR, key: OBR-3, status: OBR-25, order: [P, F], newer: OBR-22}",
    ),
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
    StepRow(
        "merge_patient",
        merge_patient.build,
        "keep, retire, unknown_keep: create hold",
        "update the cross reference of who is one patient, by the site's identity",
        "merge_patient: {keep: PID-3, retire: MRG-1, unknown_keep: create}",
        failing="merge_patient: {keep: MRG-1, retire: PID-3}",
    ),
    StepRow(
        "resolve_patient",
        resolve_patient.build,
        "in, keep_old_in, same, differ: hold pass",
        "replace a retired identifier by the surviving one",
        "resolve_patient: {in: PID-3(where .5 = MR), keep_old_in: PID-4}",
        failing="resolve_patient: {in: PID-3.1}",
    ),
)
