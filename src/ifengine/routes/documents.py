"""Documents taken out of messages, in folders of the site: written once, never replaced.

A file is on stable storage when ``write`` returns, its name and its folder included. Where the site
says ``encrypt: yes`` it holds, sealed by the store's data keys (store/sealing.py)::

    "IFED" | version 1 | tag 16 | sealed content

The tag is a keyed digest of store, name and content: it tells the same document written again after
a crash from another one, also where the data key of the first writing was lost with its transaction.
Store and name are bound into the sealing too: a file that was moved or renamed does not open.
"""

import hashlib
import hmac
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

from ifengine.errors import EngineError, SealError
from ifengine.routes.config.models import DocumentsConfig
from ifengine.routes.endpoints.files import is_safe_name
from ifengine.store.folders import make_folder
from ifengine.store.sealing import TAG_BYTES, BlobKind, KeyRing
from ifengine.transforms.memory import Document

MAGIC: Final = b"IFED\x01"
_HEADER_BYTES = len(MAGIC) + TAG_BYTES
_TAG = "document"
_FILE_MODE = 0o600
_NO_LINKS = os.O_NOFOLLOW | os.O_CLOEXEC


class DocumentError(EngineError):
    """A document cannot be kept or read. The text names store and file, never content."""

    code: ClassVar[str] = "document"


class DocumentClashError(DocumentError):
    """A file of this name holds other bytes: it is never replaced (safety-rules.md 25)."""

    code: ClassVar[str] = "document_clash"


class DocumentsUnwritableError(DocumentError):
    """The folder cannot be written: a full disk, a missing right. The message is not at fault."""

    code: ClassVar[str] = "documents_unwritable"


class DocumentStore:
    """The folders for documents of one site. Every method blocks and may run in any thread."""

    def __init__(self, configs: Mapping[str, DocumentsConfig], ring: KeyRing) -> None:
        self._configs = configs
        self._ring = ring
        self._lock = threading.Lock()  # a half-written file belongs to one writer

    def write(self, documents: Sequence[Document]) -> None:
        """Put documents on stable storage; those that are there with the same bytes are left.

        Those before a failing one stay: writing them again changes nothing.

        Raises:
            DocumentClashError: a name is taken by other bytes.
            DocumentsUnwritableError: the folder cannot be written.
            DocumentError: there is no such store, or the name is not safe.
        """
        for document in documents:
            config = self._config(document.store, document.name)
            try:
                with self._lock:
                    self._keep(config, document)
            except OSError as error:
                raise DocumentsUnwritableError(
                    f"documents {config.name} cannot be written: {_why(error)}"
                ) from None

    def read(self, store: str, name: str) -> bytes:
        """Return a document's content.

        Raises:
            DocumentError: it is not there, or cannot be read.
            SealError: it was changed, moved or renamed, or its key is gone.
        """
        config = self._config(store, name)
        try:
            content = _content(config.directory / name)
        except OSError as error:
            raise DocumentError(f"{store}/{name} cannot be read: {_why(error)}") from None
        if content is None:
            raise DocumentError(f"{store}/{name} is not there")
        return self._opened(config, name, content) if config.encrypt else content

    def names(self, store: str) -> list[str]:
        """Return the names of a store's documents, sorted; none where there is no folder yet.

        Raises:
            DocumentError: there is no such store, or it cannot be read.
        """
        config = self._config(store, "any")
        try:
            found = [entry.name for entry in os.scandir(config.directory) if entry.is_file()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DocumentError(f"documents {store} cannot be read: {_why(error)}") from None
        return sorted(name for name in found if is_safe_name(name))

    def _config(self, store: str, name: str) -> DocumentsConfig:
        config = self._configs.get(store)
        if config is None:
            raise DocumentError(f"there is no {store} under documents: of the site file")
        if not is_safe_name(name):
            raise DocumentError(f"documents {store}: a file name has characters that are not safe")
        return config

    # --- one file -----------------------------------------------------------------------------

    def _keep(self, config: DocumentsConfig, document: Document) -> None:
        make_folder(config.directory)
        root = os.open(config.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._write_one(root, config, document)
            os.fsync(root)
        finally:
            os.close(root)

    def _write_one(self, root: int, config: DocumentsConfig, document: Document) -> None:
        name = document.name
        there = _content(name, root)
        if there is None:
            if _write_new(root, name, self._sealed(config, document)):
                return
            there = _content(name, root)  # another writer was faster: it counts as there before
        if there is None or not self._is_same(config, document, there):
            raise DocumentClashError(f"{config.name}/{name} is there with other content")
        if config.encrypt and not self._opens(config, document, there):
            # The same document, sealed by a key that never came to be: the crash took it. What
            # stands there can never be read, and nothing that was committed speaks of it.
            _write_over(root, name, self._sealed(config, document))
        else:
            _sync(root, name)

    def _is_same(self, config: DocumentsConfig, document: Document, there: bytes) -> bool:
        if not config.encrypt:
            return hmac.compare_digest(there, document.content)
        tag = self._tag(config, document.name, document.content)
        return there[: len(MAGIC)] == MAGIC and hmac.compare_digest(
            there[len(MAGIC) : _HEADER_BYTES], tag
        )

    def _opens(self, config: DocumentsConfig, document: Document, there: bytes) -> bool:
        try:
            return self._opened(config, document.name, there) == document.content
        except SealError:
            return False

    def _sealed(self, config: DocumentsConfig, document: Document) -> bytes:
        if not config.encrypt:
            return document.content
        a, b = _place(config.name, document.name)
        sealed = self._ring.seal(BlobKind.DOCUMENT, a, b, document.content)
        return MAGIC + self._tag(config, document.name, document.content) + sealed

    def _opened(self, config: DocumentsConfig, name: str, there: bytes) -> bytes:
        if there[: len(MAGIC)] != MAGIC:
            raise SealError(f"{config.name}/{name}: is not a sealed document")
        a, b = _place(config.name, name)
        try:
            return self._ring.open(BlobKind.DOCUMENT, a, b, there[_HEADER_BYTES:])
        except SealError:
            raise SealError(
                f"{config.name}/{name}: does not open; it was changed, moved or renamed, or its "
                "data key is not in the store"
            ) from None

    def _tag(self, config: DocumentsConfig, name: str, content: bytes) -> bytes:
        return self._ring.tag(_TAG, config.name.encode(), name.encode(), content)


def _place(store: str, name: str) -> tuple[int, int]:
    """Return the two numbers that bind a sealed file to its store and name."""
    digest = hashlib.sha256(f"{store}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


# --- files ----------------------------------------------------------------------------------------


def _content(name: str | Path, root: int | None = None) -> bytes | None:
    """Return a file's bytes; None where there is none. A link is never followed."""
    try:
        handle = os.open(name, os.O_RDONLY | _NO_LINKS, dir_fd=root)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read()


def _write_new(root: int, name: str, content: bytes) -> bool:
    """Write a file of a name that is free; return False where it is not."""
    temporary = _write_temporary(root, name, content)
    try:
        os.link(temporary, name, src_dir_fd=root, dst_dir_fd=root, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary, dir_fd=root)
    return True


def _write_over(root: int, name: str, content: bytes) -> None:
    temporary = _write_temporary(root, name, content)
    os.replace(temporary, name, src_dir_fd=root, dst_dir_fd=root)


def _write_temporary(root: int, name: str, content: bytes) -> str:
    """Write a hidden file to stable storage and return its name; one that a crash left goes."""
    temporary = f".{name}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINKS
    handle = os.open(temporary, flags, _FILE_MODE, dir_fd=root)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=root)
        raise
    return temporary


def _sync(root: int, name: str) -> None:
    """Bring a file that is there to stable storage: whoever wrote it may not have come so far."""
    handle = os.open(name, os.O_RDONLY | _NO_LINKS, dir_fd=root)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
