"""One request on the admin socket: who asks, with which parameters, and how it may be refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from ifengine.errors import EngineError

MOST_TEXT = 1000
MOST_ENTRIES = 100_000
_MOST_NUMBER = 2**62
_LAST_MOMENT_US = 253_402_300_800 * 1_000_000  # the year 10000


class Role(StrEnum):
    """What a person may do (security.md 5). Operating does not imply reading content."""

    OPERATOR = "operator"
    PHI_READER = "phi_reader"


@dataclass(frozen=True, slots=True)
class Caller:
    """The user behind a connection, as the kernel names it."""

    actor: str
    roles: frozenset[Role]


class RequestError(EngineError):
    """A request that is not answered. ``reason_code`` is ``usage``, ``not_found`` or ``refused``.

    The text never repeats a parameter's value: an identifier may have been given.
    """

    code: ClassVar[str] = "request"

    def __init__(self, reason_code: str, text: str, *, hint: str = "") -> None:
        super().__init__(text, hint=hint)
        self.reason_code = reason_code


def usage(text: str, hint: str = "") -> RequestError:
    """Return the error for a parameter of the wrong form."""
    return RequestError("usage", text, hint=hint)


class Params:
    """The parameters of a request, read by name and type. Values are not shown by ``repr``."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Return a text, ``""`` when it is absent."""
        value = self._values.get(name, "")
        if not isinstance(value, str) or len(value) > MOST_TEXT:
            raise usage(f"{name}: must be a text of at most {MOST_TEXT} characters")
        _require_characters(name, value)
        return value

    def needed(self, name: str) -> str:
        """Return a text that must be there."""
        value = self.text(name).strip()
        if not value:
            raise usage(f"{name}: is required")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; one text is a list of one, absent is empty."""
        value = self._values.get(name, ())
        if isinstance(value, str):
            _require_characters(name, value)
            return (value,) if value else ()
        if not isinstance(value, list | tuple) or len(value) > MOST_ENTRIES:
            raise usage(f"{name}: must be a list of at most {MOST_ENTRIES} texts")
        if not all(isinstance(entry, str) for entry in value):
            raise usage(f"{name}: must be a list of texts")
        found = tuple(str(entry) for entry in value)
        _require_characters(name, "".join(found))
        return found

    def number(self, name: str, default: int = 0) -> int:
        """Return a count or a time in microseconds, never negative; digits as text are read too."""
        value = self._values.get(name, default)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST_NUMBER:
            raise usage(f"{name}: must be a whole number, not negative")
        return value

    def moment(self, name: str) -> int:
        """Return a time in microseconds since 1970, 0 when it is absent."""
        value = self.number(name)
        if value >= _LAST_MOMENT_US:
            raise usage(f"{name}: is a time beyond the calendar")
        return value

    def flag(self, name: str) -> bool:
        """Return a yes or no, absent is no."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise usage(f"{name}: must be true or false")
        return value

    def names(self) -> frozenset[str]:
        """Return the names given."""
        return frozenset(self._values)


def _require_characters(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair, which no text can hold
        raise usage(f"{name}: holds half a character") from None


def inbox_number(text: str) -> int:
    """Return the inbox id of a message id as people write it: decimal digits."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise usage("id: is not a message id", "ids stand in the first column of `messages list`")
    return int(text)


def reading_reason(params: Params, caller: Caller) -> str:
    """Return the reason for reading content, ``""`` when only the masked view is asked for.

    Raises:
        RequestError: no reason was given, or this user may not read content.
    """
    if not params.flag("phi"):
        return ""
    if Role.PHI_READER not in caller.roles:
        raise RequestError("refused", "this user may not read content")
    return params.needed("reason")
