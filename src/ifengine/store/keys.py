"""The key-encryption key in a file."""

import base64
import binascii
import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ifengine.errors import EngineError, SealError
from ifengine.store.folders import make_folder, sync_folder
from ifengine.store.sealing import KEY_BYTES, derive, fingerprint

_HEADER = b"ifengine key-encryption key 1\n"
_MOST_BYTES = 1024
_NONCE_BYTES = 12


class KeyFileError(EngineError):
    """The file of the key-encryption key cannot be used as it is."""

    code: ClassVar[str] = "key_file"


class KeyFileMissingError(KeyFileError):
    """There is no file of the key-encryption key."""


class KeyFileExistsError(KeyFileError):
    """A new key-encryption key would replace one that is there."""


class FileKek:
    """Key-encryption key in a file that only its owner may read: a header line, then base64."""

    __slots__ = ("_cipher", "_id", "_where")

    def __init__(self, path: Path) -> None:
        """Load the key.

        Raises:
            KeyFileMissingError: there is no such file.
            KeyFileError: others may read it, or it is not a key file.
        """
        key = _load(path)
        self._id = fingerprint(key)
        self._cipher = AESGCM(derive(key, "ifengine kek wrap 1"))
        self._where = str(path)

    def __repr__(self) -> str:
        return f"FileKek({self._where!r}, kek_id={self._id!r})"

    @property
    def kek_id(self) -> str:
        """Return the fingerprint of the key, 8 hex digits."""
        return self._id

    @property
    def where(self) -> str:
        """Return the path of the file."""
        return self._where

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return a data key encrypted and bound to ``context``: nonce, ciphertext, tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the data key, or raise SealError when key, context or bytes are others."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise SealError("a wrapped data key does not open") from None

    @classmethod
    def init_file(cls, path: Path) -> "FileKek":
        """Make a new key in a new file, on stable storage when this returns.

        Raises:
            KeyFileExistsError: the file is there; it is left alone.
            KeyFileError: it cannot be written.
        """
        try:
            make_folder(path.parent)
        except OSError as error:
            raise KeyFileError(f"{path.parent}: cannot be made ({error.strerror})") from None
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            file = os.open(path, flags, 0o600)
        except FileExistsError:
            raise KeyFileExistsError(f"{path}: exists; a key is never replaced") from None
        except OSError as error:
            raise KeyFileError(f"{path}: cannot be written ({error.strerror})") from None
        try:
            with open(file, "wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(_HEADER + base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            sync_folder(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise KeyFileError(f"{path}: cannot be written ({error.strerror})") from None
        return cls(path)


def _load(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise KeyFileError(
                    f"{path}: others than its owner may read it", hint=f"chmod 600 {path}"
                )
            if not stat.S_ISREG(found.st_mode):
                raise KeyFileError(f"{path}: is not a file")
            text = stream.read(_MOST_BYTES)
    except FileNotFoundError:
        raise KeyFileMissingError(
            f"{path}: there is no key-encryption key", hint="ifengine keys init"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read ({error.strerror})") from None
    if not text.startswith(_HEADER):
        raise KeyFileError(f"{path}: is not a key file of ifengine")
    try:
        key = base64.b64decode(text[len(_HEADER) :].strip(), validate=True)
    except (binascii.Error, ValueError):
        raise KeyFileError(f"{path}: the key in it is damaged") from None
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path}: the key in it is damaged")
    return key
