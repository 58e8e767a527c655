"""Errors whose text is safe to show: names, positions, rules and counts, never a value."""

from typing import ClassVar, TypeVar


class EngineError(Exception):
    """Base of every error the engine raises on purpose.

    ``str(error)`` is safe to log, to audit and to send in ERR-8: it is built only from
    names the engine chose, positions and counts, never from field values.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class FieldError(EngineError):
    """A place in a message breaks a rule. Names the place and the rule, not the value."""

    code: ClassVar[str] = "field"

    def __init__(self, path: str, rule: str, *, length: int | None = None) -> None:
        size = "" if length is None else f" ({length} characters)"
        super().__init__(f"{path}: {rule}{size}")
        self.path = path
        self.rule = rule
        self.length = length


class StorageFailedError(EngineError):
    """The store could not commit: nothing of the batch may be acknowledged, the engine stops.

    Source: guarantees.md G8; a failed COMMIT is in doubt, never retried.
    """

    code: ClassVar[str] = "storage_failed"


class DiskFullError(StorageFailedError):
    """There was no room for a commit until the engine had to stop: nothing of it was acknowledged."""


class DamagedPageError(StorageFailedError):
    """What is on the disk is not what was written: a checksum of the store does not fit."""


class StoreRefusedError(EngineError):
    """The store will not open: another writer, an unsafe SQLite, a damaged file."""

    code: ClassVar[str] = "store_refused"


class StoreFullError(StoreRefusedError):
    """The store cannot be opened for want of room: it can when there is some."""


class SealError(EngineError):
    """Sealed content could not be opened: wrong key, moved row or changed bytes."""

    code: ClassVar[str] = "seal"


class SettingsError(EngineError):
    """The site cannot be run as it is written."""

    code: ClassVar[str] = "settings"


class NotationError(Exception):
    """A path, condition or placeholder is not written as it must be.

    ``offset`` is the place in the text, from 0. The text may quote the configuration.
    """

    def __init__(self, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.hint = hint


E = TypeVar("E", bound=BaseException)


def unchained(error: E) -> E:
    """Return an error whose traceback shows nothing of the one it stands for, which may quote a value.

    ``raise ... from None`` does the same, except in native code (ADR 0034).
    """
    error.__suppress_context__ = True
    return error
