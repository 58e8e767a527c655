"""What a read says of a disk that does not give back what was written."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import apsw

from ifengine.errors import DamagedPageError, StorageFailedError

P = ParamSpec("P")
T = TypeVar("T")

READ_ERRORS = (apsw.IOError, apsw.CorruptError, apsw.NotADBError)


def failure_text(error: BaseException) -> str:
    """Return what may be said of a failed commit or read: SQLite's code, or the type of the error.

    The text of an error may quote what was written.
    """
    if isinstance(error, apsw.Error):
        code: int = getattr(error, "extendedresult", None) or getattr(error, "result", None) or 0
        name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(code)
        return str(name or type(error).__name__)
    return type(error).__name__


def read_failure(error: apsw.Error) -> StorageFailedError:
    """Return what to raise for one of ``READ_ERRORS``: a disk that fails, or a damaged page."""
    text = f"read failed: {failure_text(error)}"
    is_io = isinstance(error, apsw.IOError)
    if is_io and getattr(error, "extendedresult", 0) != apsw.SQLITE_IOERR_DATA:
        return StorageFailedError(text)
    return DamagedPageError(text)


def reads(cls: type[T]) -> type[T]:
    """Let every public method of a class raise what ``read_failure`` says, not SQLite's errors."""
    for name, method in list(vars(cls).items()):
        if callable(method) and not name.startswith("_"):
            setattr(cls, name, _checked(method))
    return cls


def _checked(look: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(look)
    def checked(*given: P.args, **named: P.kwargs) -> T:
        try:
            return look(*given, **named)
        except READ_ERRORS as error:
            raise read_failure(error) from None

    return checked
