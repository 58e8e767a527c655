"""Text that came from outside the files: it is used like any other, and never shown."""

from dataclasses import dataclass

from ifengine.transforms.source import Text

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class FilledText(Text):
    """A scalar whose ``${env:}``, ``${secret:}`` or ``${file:}`` was filled in.

    ``written`` is what stands in the file. Where ``missing``, ``value`` means nothing and every
    kind gives its stand-in instead.
    """

    written: str = ""
    missing: bool = False


def quoted(text: Text) -> str:
    """Return a scalar for an error text: shortened, and never what was filled in."""
    if isinstance(text, FilledText):
        return f"what {shorten(text.written)} stands for"
    return f'"{shorten(text.value)}"'


def shorten(text: str) -> str:
    """Return a text that fits into one line of an error."""
    plain = " ".join(text.split())
    return plain if len(plain) <= _SHOWN else plain[:_SHOWN] + "…"
