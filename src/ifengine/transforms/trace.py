"""What each step did to a message, for ``ifengine try``: asked for, never on by itself.

The message is compared before and after each step, so that no verb can forget to say what it did.
A trace holds content: it is shown to the person who asked and kept nowhere.
"""

from dataclasses import dataclass, field
from difflib import SequenceMatcher

from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.message import Message
from ifengine.transforms.base import CompiledStep, StepScope

ADDED, CHANGED, REMOVED = "+", "~", "-"


@dataclass(slots=True)
class Change:
    """One place that is not as it was. ``steps`` are the labels of all steps that touched it."""

    kind: str
    path: str
    before: str = field(repr=False)
    after: str = field(repr=False)
    steps: list[str]


@dataclass(frozen=True, slots=True)
class Record:
    """One step: whether it ran, and which comparisons of its ``when`` had no answer."""

    number: str
    verb: str
    name: str
    line: int
    ran: bool
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class Trace:
    """Collects records while steps run."""

    records: list[Record] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a remark of the step that runs: places and rules, no values."""
        self._notes.append(text)

    def run(self, step: CompiledStep, scope: StepScope) -> None:
        """Run a step and record what it did; a failure is recorded and goes on up."""
        notes = [] if step.when is None else step.when.notes(scope)
        at = len(self.records)
        self._notes.clear()
        before = lines_of(scope.message)
        ran = True
        try:
            ran = step.run(scope)
        finally:
            changes: list[Change] = []
            # what is inside a `do` was recorded by the steps there
            if ran and not step.inner:
                label = f"{step.label} {step.detail}".strip()
                changes = compare(before, lines_of(scope.message), scope.message.delimiters, label)
            record = Record(
                step.number,
                step.verb,
                step.name,
                step.line,
                ran,
                (*notes, *self._notes),
                tuple(changes),
            )
            self._notes.clear()
            self.records.insert(at, record)

    def changes(self) -> list[Change]:
        """Return the changes by place: before the first step that touched it, after the last."""
        merged: dict[str, Change] = {}
        for record in self.records:
            for change in record.changes:
                known = merged.get(change.path)
                merged[change.path] = change if known is None else _joined(known, change)
        return [change for change in merged.values() if change.before != change.after]


def _joined(first: Change, last: Change) -> Change:
    kind = CHANGED
    if not first.before:
        kind = ADDED
    elif not last.after:
        kind = REMOVED
    steps = first.steps + [step for step in last.steps if step not in first.steps]
    return Change(kind, first.path, first.before, last.after, steps)


Line = tuple[str, tuple[str, ...]]  # segment name, fields from 1


def lines_of(message: Message) -> list[Line]:
    """Return every segment with its fields as encoded text."""
    found: list[Line] = []
    for i, name in enumerate(message.names()):
        count = message.field_count(i)
        found.append((name, tuple(_text(message.raw(i, f)) for f in range(1, count + 1))))
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def compare(
    before: list[Line], after: list[Line], delimiters: Delimiters, step: str
) -> list[Change]:
    """Return what differs between two messages, by the smallest places that do."""
    if before == after:
        return []
    names_before = [name for name, _ in before]
    names_after = [name for name, _ in after]
    found: list[Change] = []
    matcher = SequenceMatcher(None, _keys(before, after), _keys(after, before), autojunk=False)
    for what, b1, b2, a1, a2 in matcher.get_opcodes():
        if what == "equal" or (what == "replace" and names_before[b1:b2] == names_after[a1:a2]):
            for old, new in zip(range(b1, b2), range(a1, a2), strict=True):
                place = _place(names_after, new)
                found += _fields(place, before[old][1], after[new][1], delimiters, step)
            continue
        for old in range(b1, b2):
            text = _shown(before[old][1])
            found.append(Change(REMOVED, _place(names_before, old), text, "", [step]))
        for new in range(a1, a2):
            text = _shown(after[new][1])
            found.append(Change(ADDED, _place(names_after, new), "", text, [step]))
    return found


def _keys(lines: list[Line], others: list[Line]) -> list[Line | str]:
    """Return what to align by: names where the names agree, so that a changed field stays one."""
    if [name for name, _ in lines] == [name for name, _ in others]:
        return [name for name, _ in lines]
    return [*lines]


def _place(names: list[str], position: int) -> str:
    name = names[position]
    if names.count(name) == 1:
        return name
    return f"{name}[{names[: position + 1].count(name)}]"


def _shown(fields: tuple[str, ...]) -> str:
    return " | ".join(value for value in fields if value) or "(empty)"


def _fields(
    segment: str, old: tuple[str, ...], new: tuple[str, ...], delimiters: Delimiters, step: str
) -> list[Change]:
    found: list[Change] = []
    for number in range(max(len(old), len(new))):
        before = old[number] if number < len(old) else ""
        after = new[number] if number < len(new) else ""
        if before == after:
            continue
        path = f"{segment}-{number + 1}"
        repetition = delimiters.repetition.decode("ascii")
        olds = before.split(repetition) if repetition else [before]
        news = after.split(repetition) if repetition else [after]
        if len(olds) == len(news):
            for r, (one, other) in enumerate(zip(olds, news, strict=True), 1):
                place = f"{path}[{r}]" if len(olds) > 1 else path
                found += _parts(place, one, other, delimiters, step) if one != other else []
        elif before and after:
            found += _repetitions(path, olds, news, step)
        else:
            found.append(_change(path, before, after, step))
    return found


def _repetitions(path: str, olds: list[str], news: list[str], step: str) -> list[Change]:
    found: list[Change] = []
    for what, b1, b2, a1, a2 in SequenceMatcher(None, olds, news, autojunk=False).get_opcodes():
        if what == "equal":
            continue
        found += [Change(REMOVED, f"{path}[{r + 1}]", olds[r], "", [step]) for r in range(b1, b2)]
        found += [Change(ADDED, f"{path}[{r + 1}]", "", news[r], [step]) for r in range(a1, a2)]
    return found


def _parts(path: str, before: str, after: str, delimiters: Delimiters, step: str) -> list[Change]:
    component = delimiters.component.decode("ascii")
    if before and after and component in before + after:
        olds, news = before.split(component), after.split(component)
        size = max(len(olds), len(news))
        olds += [""] * (size - len(olds))
        news += [""] * (size - len(news))
        return [
            _change(f"{path}.{c + 1}", olds[c], news[c], step)
            for c in range(size)
            if olds[c] != news[c]
        ]
    return [_change(path, before, after, step)]


def _change(path: str, before: str, after: str, step: str) -> Change:
    kind = CHANGED if before and after else ADDED if after else REMOVED
    return Change(kind, path, before, after, [step])
