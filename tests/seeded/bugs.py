"""Every seeded bug."""

from seeded import bugs_delivery, bugs_rules, bugs_store
from seeded.what import Bug

BUGS: tuple[Bug, ...] = (*bugs_store.BUGS, *bugs_delivery.BUGS, *bugs_rules.BUGS)

# guarantees that have their bugs; G15, G16 and G18 are not built yet
PROMISES = tuple(f"G{number}" for number in (*range(1, 15), 17))

# what the specification lists, and the bug here; a lease needs a cluster, which there is not yet
SPECIFIED = {
    "synchronous=OFF": "synchronous_off",
    "ACK before COMMIT": "ack_before_commit",
    "ACK after COMMIT call but before return": "ack_before_commit_returns",
    "retry fsync": "sync_tried_again",
    "MSA-2 ignored": "any_answer_counts",
    "connection kept after ACK timeout": "connection_kept_after_a_timeout",
    "dedupe on MSH-10 only": "repeat_by_control_id_only",
    "cursor moved before the ACK": "cursor_before_the_answer",
    "order by timestamp": "planned_by_timestamp",
    "purge by wall clock": "retention_by_the_wall_clock",
    "sequence outside the lock": "numbers_drawn_out_of_turn",
    "AAD missing row id": "seal_without_row_id",
    "audit in a second transaction": "audit_in_a_second_transaction",
}
