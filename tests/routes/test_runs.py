"""No two decisions about one message carry the same run."""

from ifengine.routes import runs as module
from ifengine.routes.runs import Runs


def test_a_run_is_higher_than_what_the_store_had_and_than_what_was_given_out_since() -> None:
    runs = Runs()
    assert runs.next(7, 0) == 1
    assert runs.next(7, 0) == 2  # the first is still on its way to the store
    assert runs.next(7, 5) == 6
    assert runs.next(8, 0) == 1


def test_what_was_given_out_longest_ago_makes_room() -> None:
    runs = Runs()
    for message in range(module.MOST_REMEMBERED + 1):
        runs.next(message, 0)
    assert runs.next(module.MOST_REMEMBERED, 0) == 2
    assert runs.next(0, 0) == 1
