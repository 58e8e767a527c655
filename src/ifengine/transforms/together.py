"""Steps that follow each other and change fields, done together: a segment is opened and written once.

Most steps change fields of segments that are there once, and most values are plain. For these a
step has a short way beside its action: on the fields of the one segment, as bytes. Where something
is not so, it says so, and the step's own action decides.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ifengine.errors import unchained
from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.lines import Positions
from ifengine.hl7.message import Message
from ifengine.transforms.tables import Table

# Gets the fields of a segment, field n at n, which it may change, the delimiters, and the tables.
# False: this is not plain. It raises nothing and reads nothing else. What it did before it said
# False, or what another short way of the same step did, may be done again by the step's action.
Change = Callable[[list[bytes], Delimiters, Mapping[str, Table]], bool]


class Parts(NamedTuple):
    """Components of one field, and what becomes of each: two steps that have the same are one."""

    field: int
    numbers: tuple[int, ...]
    plain: Callable[[bytes], bytes]


def changing(parts: Parts) -> Change:
    """Return how to change components of a field, each where its bytes are its text."""
    field, numbers, plain = parts

    def change(fields: list[bytes], given: Delimiters, _: object) -> bool:
        old = fields[field] if field < len(fields) else b""
        if not old:
            return True
        if given.repetition_code in old:
            return False
        found = old.split(given.component)
        for number in numbers:
            part = found[number - 1] if number <= len(found) else b""
            if part.isalnum() or given.marks(part) is None:
                if part:
                    found[number - 1] = plain(part)
            else:
                return False
        fields[field] = given.component.join(found)
        return True

    return change


class Short(NamedTuple):
    """What a step does to one segment while that is there once, and everything it needs is plain."""

    segment: str
    change: Change
    parts: Parts | None = None  # all that ``change`` does, where it is no more than that


class Member(NamedTuple):
    """A step of a group."""

    short: tuple[Short, ...]
    action: Callable[[Any], None]
    ended: Callable[[Any], Exception]  # what ends the message where the action fails


class Group:
    """Steps that are done together. It is itself an action."""

    def __init__(self, members: Sequence[Member], caught: tuple[type[Exception], ...]) -> None:
        """Take the steps in their order, each with a short way, and the errors of actions."""
        self._caught = caught
        members = self._merged(members)
        names = tuple(dict.fromkeys(short.segment for one in members for short in one.short))
        self._names = names
        self._members = tuple(members)
        self._changes = tuple(
            (names.index(short.segment), short.change, member)
            for member in members
            for short in member.short
        )
        # where the segments stood the last time: most messages of a channel have the same
        self._seen: tuple[Positions | None, tuple[int, ...] | None] = (None, None)

    def __call__(self, scope: Any) -> None:
        """Do all of them.

        Raises:
            EngineError: what ``ended`` of the step says that failed.
        """
        message = scope.message
        places = None if scope.segment is not None else self._places_in(message)
        if places is None:
            for member in self._members:
                self._act(member, scope)
            return
        opened = message.open_segments(places)
        given, tables = message.delimiters, scope.tables
        done = None
        for at, change, member in self._changes:
            if member is done or change(opened[at], given, tables):
                continue
            message.put_segments(places, opened)
            self._act(member, scope)
            done = member
            opened = message.open_segments(places)
        message.put_segments(places, opened)

    def _merged(self, members: Sequence[Member]) -> list[Member]:
        """Make one of steps that follow each other and change the same parts: `trim`, then `upper`."""
        found: list[Member] = []
        for member in members:
            before = found[-1] if found else None
            short = None if before is None else _both(before.short, member.short)
            if before is not None and short is not None:
                found[-1] = Member(
                    (short,), self._one_after_the_other(before, member), member.ended
                )
            else:
                found.append(member)
        return found

    def _one_after_the_other(self, first: Member, second: Member) -> Callable[[Any], None]:
        def act(scope: Any) -> None:
            self._act(first, scope)
            self._act(second, scope)

        return act

    def _act(self, member: Member, scope: Any) -> None:
        try:
            member.action(scope)
        except self._caught as error:
            raise unchained(member.ended(error)) from None

    def _places_in(self, message: Message) -> tuple[int, ...] | None:
        positions = message.plain_positions
        seen, places = self._seen
        if positions is None:
            return None  # a byte of a character may look like a delimiter
        if positions is not seen:
            places = message.places_of(self._names)
            self._seen = (positions, places)
        return places


def _both(first: tuple[Short, ...], second: tuple[Short, ...]) -> Short | None:
    """Return two short ways as one; None where they are not about the same parts."""
    if len(first) != 1 or len(second) != 1:
        return None
    (segment, _, one), (name, _, other) = first[0], second[0]
    if one is None or other is None or segment != name or one[:2] != other[:2]:
        return None
    change, then = one.plain, other.plain
    parts = one._replace(plain=lambda value: then(change(value)))
    return Short(segment, changing(parts), parts)
