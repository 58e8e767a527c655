"""A checksum in every page of the database, made and checked by SQLite's own ``cksumvfs``.

SQLite alone notices a flipped bit only where it breaks the shape of a page: a number in a row (whose
delivery this is, what has been delivered) would be believed. Source: sqlite.org/cksumvfs.html.
"""

import threading

import apsw
import apsw.sqlite_extra

from ifengine.errors import StoreRefusedError
from ifengine.failpoints import fp

VFS = "cksmvfs"
RESERVED_BYTES = 8  # of each page; cksumvfs works where a database keeps exactly so many free

_KEPT = "checksums"  # in table meta
_GONE = "the store is damaged: its pages have no checksums"

_loading = threading.Lock()


def checked_vfs() -> str:
    """Return the name of the VFS that keeps checksums; the first call loads it into the process.

    Raises:
        StoreRefusedError: this build of apsw comes without it.
    """
    with _loading:
        if VFS not in apsw.vfs_names():
            connection = apsw.Connection(":memory:")
            try:
                apsw.sqlite_extra.load(connection, "cksumvfs")
            except (LookupError, apsw.Error, apsw.sqlite_extra.NotAvailable):
                raise StoreRefusedError(
                    "this apsw has no cksumvfs, which guards each page by a checksum",
                    hint="install apsw from its own wheel",
                ) from None
            finally:
                connection.close()
    return VFS


def keep_checksums(connection: apsw.Connection) -> bool:
    """Give each page its checksum: from the first page on, or by writing an older store anew.

    Returns:
        True where it is to be opened again for its pages to be checked.

    Raises:
        StoreRefusedError: checksums were kept once, and are not now.
        apsw.Error: the database cannot be read or written.
    """
    if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        connection.reserve_bytes("main", RESERVED_BYTES)
        return False
    if connection.reserve_bytes("main") != RESERVED_BYTES:
        if connection.execute("SELECT value FROM meta WHERE key = ?", (_KEPT,)).get:
            raise StoreRefusedError(_GONE)
        connection.reserve_bytes("main", RESERVED_BYTES)
        connection.execute("VACUUM")
        fp("store.upgrade_vacuumed")
    elif _is_checked(connection):
        return False
    # cksumvfs goes by the first page in the file, which a cut may have garbled, not in the log
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    return True


def note_checksums(connection: apsw.Connection) -> None:
    """Note in the store that its pages have checksums from now on.

    Raises:
        apsw.Error: it cannot be written.
    """
    if not connection.execute("SELECT value FROM meta WHERE key = ?", (_KEPT,)).get:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, 1)", (_KEPT,))


def require_checksums(connection: apsw.Connection) -> None:
    """Refuse a database whose pages are not checked.

    Raises:
        StoreRefusedError: so.
    """
    if connection.reserve_bytes("main") != RESERVED_BYTES or not _is_checked(connection):
        raise StoreRefusedError(_GONE)


def _is_checked(connection: apsw.Connection) -> bool:
    return str(connection.pragma("checksum_verification")) == "1"
