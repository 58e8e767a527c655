"""How much a channel plans before the loop turns to the sockets again. Pure."""

SLICE = 32
FEW = 4
# up to here a backlog may grow while senders are served first; it stays in memory, and its last
# message waits some hundredths of a second longer
SHORT_BACKLOG = 500


def share(backlog: int, *, receiving: bool) -> int:
    """Return how many messages may be planned in this turn.

    Args:
        backlog: how many wait to be planned.
        receiving: whether senders wait for an answer: then a burst's answers do not wait for the
            steps of what came before. What waits is bounded, so nothing starves.
    """
    return FEW if receiving and backlog < SHORT_BACKLOG else SLICE
