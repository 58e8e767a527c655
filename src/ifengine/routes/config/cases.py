"""What ``tests:`` of a channel say, once read and checked. ``routes.channel_tests`` runs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ifengine.hl7.path import Path
from ifengine.transforms.source import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What comes in: text as written, or a sample with changes. ``""`` empties a path."""

    position: Position
    text: str = field(default="", repr=False)
    sample: str = ""
    change: tuple[tuple[Path, str], ...] = field(default=(), repr=False)
    remove: tuple[Path, ...] = ()
    append: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a fake receiver says: MSA-1, a kind of silence, or a whole message; "": not said."""

    first: str = field(default="", repr=False)
    application: str = field(default="", repr=False)  # later, once it stored the message


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must be true of one destination, or of ``unmatched``, after a turn."""

    destination: str
    position: Position
    state: str = ""
    fields: tuple[tuple[Path, str], ...] = field(default=(), repr=False)  # "": empty or missing
    absent: tuple[Path, ...] = ()
    segments: tuple[str, ...] | None = None
    contains: tuple[str, ...] = field(default=(), repr=False)
    not_contains: tuple[str, ...] = field(default=(), repr=False)
    count: int | None = None
    reason: str = field(default="", repr=False)
    same_as: str = ""  # below channels/
    ignore: tuple[Path, ...] = ()
    file_names: tuple[str, ...] = field(default=(), repr=False)
    application: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One step of a test: time passes, something comes in, something is expected."""

    position: Position
    after_us: int = 0
    given: Given | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict, repr=False)
    ack: str = ""
    ack_text: str = field(default="", repr=False)
    expected: tuple[Expected, ...] = ()


@dataclass(frozen=True, slots=True)
class StartFact:
    """A fact that is known before a test begins; ``values`` as ``remember`` keeps them."""

    name: str
    key: str = field(repr=False)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test of a channel. ``patients`` are pairs of a retired identifier and its survivor."""

    name: str
    position: Position
    turns: tuple[Turn, ...]
    facts: tuple[StartFact, ...] = ()
    patients: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def as_it_travels(text: str) -> bytes:
    """Return a message that stands in a test with a line for each segment."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(f"{line}\r" for line in lines).encode("utf-8")
