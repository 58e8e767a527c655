"""The numbers of the runs over a message: no two decisions about one carry the same."""

from collections import OrderedDict

MOST_REMEMBERED = 100_000  # messages; far more than are decided anew while one act looks at them


class Runs:
    """Gives out runs. What the store has is told by who asks; what is on its way there is known."""

    def __init__(self) -> None:
        self._given: OrderedDict[int, int] = OrderedDict()  # by message

    def next(self, inbox_id: int, stored: int) -> int:
        """Return a run that no other plan of the message has.

        Args:
            inbox_id: the message.
            stored: its highest run in the store, when the caller looked.
        """
        run = self._given[inbox_id] = max(stored, self._given.pop(inbox_id, 0)) + 1
        if len(self._given) > MOST_REMEMBERED:
            self._given.popitem(last=False)
        return run
