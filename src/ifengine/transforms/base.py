"""What a step is: an action on one message, where it runs, and how it says that it cannot.

A step raises ``ReasonError``; the step that ran it adds its number and its line.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, Protocol

from ifengine.errors import EngineError, FieldError, unchained
from ifengine.hl7.ack import AckError
from ifengine.hl7.condition import Condition
from ifengine.hl7.message import Message
from ifengine.hl7.path import Path
from ifengine.transforms.memory import Blank, Call, Document, Key, Memory, Reply, Scratch
from ifengine.transforms.tables import Table
from ifengine.transforms.together import Group, Member, Short


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a message went no further. ``safe`` is made of the configuration only.

    ``full`` may hold a value of the message: it is sealed and never logged.
    """

    safe: str
    full: str = field(repr=False)


class ReasonError(EngineError):
    """An action cannot be done. Only its safe form is the text of the exception."""

    code = "step_failed"

    def __init__(self, safe: str, full: str = "") -> None:
        super().__init__(safe)
        self.reason = Reason(safe, full or safe)


class StepFailedError(EngineError):
    """A step failed: the message, or its copy for this destination, goes to the dead letters."""

    code = "step_failed"

    def __init__(self, reason: Reason, step: str, line: int) -> None:
        super().__init__(f"{step}: {reason.safe}")
        self.reason = reason
        self.step = step  # "step 4 lookup"
        self.line = line


class DroppedError(EngineError):
    """``drop``: the message ends here on purpose, counted and acknowledged."""

    code = "dropped"

    def __init__(self, reason: Reason, step: str = "", line: int = 0) -> None:
        super().__init__(f"{step}: {reason.safe}" if step else reason.safe)
        self.reason = reason
        self.step = step
        self.line = line


class HeldError(EngineError):
    """The message must wait for a person: it is kept with its content, and not sent."""

    code = "held"

    def __init__(self, reason: Reason, step: str = "", line: int = 0) -> None:
        super().__init__(f"{step}: {reason.safe}" if step else reason.safe)
        self.reason = reason
        self.step = step
        self.line = line


class RejectedError(EngineError):
    """``reject``, or ``require`` and ``validate`` while the sender waits: it is told no.

    ``answer`` is AE or AR. Where the sender has its answer already this is a dead letter.
    """

    code = "rejected"

    def __init__(
        self,
        answer: str,
        reason: Reason,
        step: str = "",
        line: int = 0,
        errors: tuple[AckError, ...] = (),
    ) -> None:
        super().__init__(f"{step}: {reason.safe}" if step else reason.safe)
        self.answer = answer
        self.reason = reason
        self.step = step
        self.line = line
        self.errors = errors  # places and rules, for ERR


class ParkedError(EngineError):
    """``wait_for``: the message waits until every key is remembered, then starts over."""

    code = "parked"

    def __init__(
        self, keys: tuple[Key, ...], up_to_us: int, reason: Reason, step: str = "", line: int = 0
    ) -> None:
        super().__init__(f"{step}: {reason.safe}" if step else reason.safe)
        self.keys = keys  # of Space.FACT
        self.up_to_us = up_to_us  # microseconds from when the message was received
        self.reason = reason
        self.step = step
        self.line = line


class CallNeededError(EngineError):
    """Another process has to work first: the run starts over with its reply (``replies``)."""

    code = "call_needed"

    def __init__(self, call: Call) -> None:
        super().__init__("another process has to work first")
        self.call = call


Ending = DroppedError | HeldError | RejectedError | ParkedError
ENDINGS = (DroppedError, HeldError, RejectedError, ParkedError)


class Aside(NamedTuple):
    """A part of a message that must wait for a person while the rest goes on."""

    content: bytes
    reason: Reason

    def __repr__(self) -> str:
        return f"<Aside {self.reason.safe}>"


class Tracer(Protocol):
    """What watches steps for a person: ``transforms.trace.Trace``."""

    def run(self, step: "CompiledStep", scope: "StepScope") -> None:
        """Run a step and record what it did."""
        ...

    def note(self, text: str) -> None:
        """Add a remark of the step that runs: places and rules, no values."""
        ...


Outside = tuple[
    Message, Tracer | None, dict[str, str], list[Document], list[Aside], dict[str, int] | None
]


@dataclass(slots=True)
class StepScope:
    """One message on its way through the steps.

    ``now_us`` is fixed for the message, microseconds since 1970 UTC. ``variables`` belong to this
    message, those that a destination makes to that destination.
    """

    message: Message
    tables: Mapping[str, Table]
    now_us: int
    message_id: str
    variables: dict[str, str] = field(default_factory=dict, repr=False)
    segment: int | None = None
    trace: "Tracer | None" = None
    memory: Memory = field(default_factory=lambda: Scratch(0, 0, Blank()), repr=False)
    channel: str = ""
    destination: str = ""  # "": the channel's own steps
    sender_waits: bool = False  # `ack: delivered`: a refusal still reaches the sender
    waited_out: bool = False  # the time of `wait_for` is over
    released: bool = False  # a person let it go: it waits for nothing
    # whether an earlier message waits for this key of Space.FACT: then this one waits behind it
    waits_behind: Callable[[Key], bool] = field(default=lambda key: False, repr=False)
    documents: list[Document] = field(default_factory=list, repr=False)
    aside: list[Aside] = field(default_factory=list, repr=False)
    replies: Mapping[int, Reply] = field(default_factory=dict, repr=False)
    calls: int = 0  # made by this run so far
    part: str = ""  # of a message that was split: -1, -2 …, what its names and numbers end with
    drawn: dict[str, int] | None = None  # how many numbers of each counter this run drew
    # for pseudonyms that nothing leads back from; a test gives its own, so that it repeats
    random_bytes: Callable[[int], bytes] = field(default=secrets.token_bytes, repr=False)
    # the positions that running loops still have to visit; they move with every insert and delete
    loops: list[list[int]] = field(default_factory=list)

    def enter(
        self,
        destination: str,
        message: Message,
        trace: "Tracer | None",
        leaves: tuple[list[Document], list[Aside]],
    ) -> Outside:
        """Turn to a destination's copy; its variables and what it sets aside are its own.

        Returns:
            What ``leave`` takes to turn back.
        """
        outside = (
            self.message, self.trace, self.variables, self.documents, self.aside, self.drawn
        )  # fmt: skip
        self.destination, self.message, self.trace, self.drawn = destination, message, trace, None
        self.variables = self.variables.copy()
        self.documents, self.aside = leaves
        return outside

    def leave(self, outside: Outside) -> None:
        """Turn back to the channel's own steps."""
        self.destination = ""
        self.message, self.trace, self.variables, self.documents, self.aside, self.drawn = outside

    def table(self, name: str) -> Table:
        """Return a table by name; the configuration was checked to have it."""
        return self.tables[name]

    def note(self, text: str) -> None:
        """Tell a trace, where there is one, what a person should know: no values."""
        if self.trace is not None:
            self.trace.note(text)

    def insert_segment(self, at: int, name: str) -> int:
        """Insert an empty segment; running loops keep their place."""
        position = self.message.insert_segment(at, name)
        if self.segment is not None and self.segment >= position:
            self.segment += 1
        for pending in self.loops:
            pending[:] = [i + 1 if i >= position else i for i in pending]
        return position

    def delete_segments(self, indexes: Iterable[int]) -> None:
        """Delete segments; running loops skip those that are gone and keep their place.

        ``segment`` becomes None where the current one is deleted: its turn ends.
        """
        gone = frozenset(indexes)
        if not gone:
            return
        self.message.delete_segments(gone)
        if self.segment is None and not self.loops:
            return
        if self.segment is not None:
            self.segment = _moved(self.segment, gone)
        for pending in self.loops:
            moved = (_moved(i, gone) for i in pending)
            pending[:] = [i for i in moved if i is not None]

    def reorder_segments(self, order: Sequence[int]) -> None:
        """Put the segments into another order; running loops keep their place in it.

        ``order`` holds every old position once, at its new place.
        """
        if all(old == new for new, old in enumerate(order)):
            return
        self.message.reorder_segments(order)
        now = {old: new for new, old in enumerate(order)}
        if self.segment is not None:
            self.segment = now[self.segment]
        for pending in self.loops:
            pending[:] = [now[i] for i in pending]


def _moved(position: int, gone: frozenset[int]) -> int | None:
    if position in gone:
        return None
    return position - sum(1 for i in gone if i < position)


Action = Callable[[StepScope], None]


@dataclass(frozen=True, slots=True)
class Uses:
    """What a step touches, for checks that know the site: safety-rules.md 10, 12 and 22."""

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    deletes: tuple[Path, ...] = ()  # segments, `delete_segments`
    keeps: tuple[str, ...] | None = None  # names, `keep_segments`; the others go
    tables: tuple[str, ...] = ()
    sets_variables: tuple[str, ...] = ()
    reads_variables: tuple[str, ...] = ()
    remembers: bool = False  # leaves something for later messages
    waits: bool = False  # may park the message
    merges: bool = False  # changes who is one patient
    resolves: bool = False  # asks who is one patient
    calls: tuple[tuple[str, str], ...] = ()  # file and function of ``python``


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A verb with its parameters, bound into one action."""

    number: str
    verb: str
    line: int
    action: Action = field(repr=False)
    when: Condition | None = None
    name: str = ""
    detail: str = ""
    uses: Uses = field(default=Uses(), repr=False)
    inner: tuple["Steps", ...] = field(default=(), repr=False)  # the lists under `do`
    short: tuple[Short, ...] = field(default=(), repr=False)  # all of it, where all is plain

    @property
    def label(self) -> str:
        """``step 4 lookup``."""
        return f"step {self.number} {self.verb}"

    def run(self, scope: StepScope) -> bool:
        """Do it, unless ``when`` says no. Return whether it was done.

        Raises:
            StepFailedError: it cannot be done.
            DroppedError: it was a ``drop``.
        """
        try:
            if self.when is not None and not self.when.holds(scope):
                return False
            self.action(scope)
        except (ReasonError, FieldError, *ENDINGS) as error:
            raise unchained(self.ended(error)) from None
        return True

    def ended(self, error: ReasonError | FieldError | Ending) -> EngineError:
        """Return why this step ended the message, with its number and its line."""
        if isinstance(error, ENDINGS):
            if not error.step:
                error.step, error.line = self.label, self.line
            return error
        if isinstance(error, ReasonError):
            return StepFailedError(error.reason, self.label, self.line)
        return StepFailedError(Reason(str(error), str(error)), self.label, self.line)


_FAILURES = (ReasonError, FieldError, *ENDINGS)


def _actions_of(steps: Iterable[CompiledStep]) -> Iterator[tuple[Action, CompiledStep]]:
    """Yield what is done: steps that follow each other and have a short way as one."""
    for together, some in groupby(steps, lambda step: bool(step.short) and step.when is None):
        run = list(some)
        if together:
            yield _group(run), run[0]
            continue
        for step in run:
            yield guarded(_group([step]) if step.short else step.action, step.when), step


def _group(steps: Iterable[CompiledStep]) -> Group:
    return Group([Member(step.short, step.action, step.ended) for step in steps], _FAILURES)


def guarded(action: Action, when: Condition | None) -> Action:
    """Return an action that is done where the condition holds; None: always."""
    if when is None:
        return action
    holds = when.holds

    def act(scope: StepScope) -> None:
        if holds(scope):
            action(scope)

    return act


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a channel or a destination, compiled once."""

    steps: tuple[CompiledStep, ...] = ()
    # what is done, each with the step that is named where it fails
    _actions: tuple[tuple[Action, CompiledStep], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_actions", tuple(_actions_of(self.steps)))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do: the bytes stay as they are."""
        return not self.steps

    def run(self, scope: StepScope) -> None:
        """Run all steps in order on ``scope.message``.

        Raises:
            StepFailedError: a step cannot be done; the message is half changed, discard it.
            DroppedError: the message ends here.
        """
        trace = scope.trace
        if trace is not None:
            for step in self.steps:
                trace.run(step, scope)
            return
        for action, step in self._actions:  # as step.run does, without the call
            try:
                action(scope)
            except _FAILURES as error:
                raise unchained(step.ended(error)) from None

    def listing(self) -> list[tuple[str, str, int]]:
        """Return number, verb and line of every step, nested ones after their parent."""
        return [(step.number, step.verb, step.line) for step in self.all()]

    def all(self) -> Iterator[CompiledStep]:
        """Yield every step, nested ones after their parent."""
        for step in self.steps:
            yield step
            for inner in step.inner:
                yield from inner.all()

    def paths_read(self) -> tuple[Path, ...]:
        """Return every path that a step or its ``when`` reads."""
        found: list[Path] = []
        for step in self.all():
            found += step.uses.reads
            if step.when is not None:
                found += step.when.paths()
        return tuple(found)

    def paths_written(self) -> tuple[Path, ...]:
        """Return every path that a step writes, in place or not."""
        return tuple(path for step in self.all() for path in step.uses.writes)

    def segments_deleted(self) -> tuple[Path, ...]:
        """Return the segment paths of every ``delete_segments``."""
        return tuple(path for step in self.all() for path in step.uses.deletes)

    def segments_kept(self) -> tuple[tuple[str, ...], ...]:
        """Return the lists of every ``keep_segments``."""
        return tuple(step.uses.keeps for step in self.all() if step.uses.keeps is not None)

    def table_names(self) -> frozenset[str]:
        """Return every table that a step or its ``when`` uses."""
        found = {name for step in self.all() for name in step.uses.tables}
        for step in self.all():
            found.update(step.when.table_names() if step.when is not None else ())
        return frozenset(found)

    def variables_set(self) -> frozenset[str]:
        """Return the names that ``let`` makes."""
        return frozenset(name for step in self.all() for name in step.uses.sets_variables)

    def variables_read(self) -> frozenset[str]:
        """Return the names that placeholders and conditions read."""
        found = {name for step in self.all() for name in step.uses.reads_variables}
        for step in self.all():
            found.update(step.when.variables() if step.when is not None else ())
        return frozenset(found)
