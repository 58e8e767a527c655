"""The engine's own store of secrets: one sealed file for each, below one folder.

A value is sealed with the key-encryption key and bound to its name: a file that was renamed or
changed does not open.
"""

import base64
import binascii
import contextlib
import os
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from ifengine.errors import EngineError, SealError
from ifengine.store.folders import make_folder

FOLDER = Path("var") / "secrets"  # below the site's directory
MOST_BYTES = 64 * 1024
_HEADER = b"ifengine sealed secret 1\n"
_MOST_FILE_BYTES = 2 * MOST_BYTES
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ENDING = ".sealed"


class SecretError(EngineError):
    """A sealed secret cannot be read or written. The text names it, never its value."""

    code: ClassVar[str] = "secret"


class Kek(Protocol):
    """What seals: ``store.keys.FileKek``."""

    def wrap(self, key: bytes, context: bytes) -> bytes: ...
    def unwrap(self, wrapped: bytes, context: bytes) -> bytes: ...


class SecretStore:
    """Secrets by name. What is in it is known without the key; a value is not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"SecretStore({str(self._folder)!r})"

    def names(self) -> Sequence[str]:
        """Return the names, in order."""
        try:
            found = list(self._folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SecretError(f"{self._folder}: cannot be read ({error.strerror})") from None
        names = (p.name.removesuffix(_ENDING) for p in found if p.name.endswith(_ENDING))
        return sorted(name for name in names if _NAME.fullmatch(name))

    def has(self, name: str) -> bool:
        """Return whether there is a secret of this name."""
        return self._path(name).is_file()

    def get(self, name: str, kek: Kek) -> str:
        """Return a value.

        Raises:
            SecretError: it is not there, is readable by others, or does not open with this key.
        """
        path = self._path(name)
        try:
            with path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise SecretError(
                        f"the secret {name}: others than its owner may read its file",
                        hint=f"chmod 600 {path}",
                    )
                raw = file.read(_MOST_FILE_BYTES)
        except FileNotFoundError:
            raise SecretError(f"there is no secret {name}") from None
        except OSError as error:
            raise SecretError(f"the secret {name} cannot be read ({error.strerror})") from None
        try:
            if not raw.startswith(_HEADER):
                raise ValueError
            sealed = base64.b64decode(raw[len(_HEADER) :].strip(), validate=True)
            return kek.unwrap(sealed, _context(name)).decode("utf-8")
        except (SealError, binascii.Error, ValueError):
            raise SecretError(
                f"the secret {name} does not open: another key, another name, or damaged bytes",
                hint=f"ifengine secrets set {name} writes it anew",
            ) from None

    def put(self, name: str, value: str, kek: Kek) -> bool:
        """Write a secret, on stable storage when this returns; return whether it is a new one.

        Raises:
            SecretError: the name or the value cannot be one, or the folder cannot be written.
        """
        content = value.encode("utf-8")
        if not content or len(content) > MOST_BYTES:
            raise SecretError(f"a secret has 1 to {MOST_BYTES} bytes")
        path = self._path(name)
        is_new = not path.exists()
        sealed = _HEADER + base64.b64encode(kek.wrap(content, _context(name))) + b"\n"
        beside = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            make_folder(self._folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(beside, flags, 0o600), "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
            self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise SecretError(f"{self._folder}: cannot be written ({error.strerror})") from None
        return is_new

    def remove(self, name: str) -> None:
        """Remove a secret.

        Raises:
            SecretError: there is none of this name.
        """
        try:
            self._path(name).unlink()
            self._sync()
        except FileNotFoundError:
            raise SecretError(f"there is no secret {name}") from None
        except OSError as error:
            raise SecretError(f"the secret {name} cannot be removed ({error.strerror})") from None

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SecretError(
                "a secret's name is not one",
                hint="letters, digits, dots, hyphens and underscores, 128 at most",
            )
        return self._folder / (name + _ENDING)

    def _sync(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _context(name: str) -> bytes:
    return b"ifengine secret 1\0" + name.encode("ascii")
