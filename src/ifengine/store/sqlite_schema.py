"""Opening the database: the library's version, pragmas, migrations, checks at the start."""

import re
import secrets
from importlib import resources
from pathlib import Path

import apsw

from ifengine.errors import StoreRefusedError
from ifengine.failpoints import fp
from ifengine.store.sqlite_checksums import (
    checked_vfs,
    keep_checksums,
    note_checksums,
    require_checksums,
)
from ifengine.store.sqlite_mark import LogMark

PAGE_BYTES = 8192
CACHE_KIB = 32 * 1024
BUSY_MS = 5000
FULL = 2  # PRAGMA synchronous
APPLICATION_ID = 0x49464E47  # "IFNG"
QUICK_CHECK_BYTES = 200 * 1024 * 1024

_BACKPORTS: dict[tuple[int, ...], tuple[int, ...]] = {(3, 50): (3, 50, 7), (3, 44): (3, 44, 6)}
_MIGRATION = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)


def check_library(version: str) -> None:
    """Refuse a SQLite whose WAL can lose a committed transaction.

    Source: sqlite.org/wal.html, "the WAL reset bug": fixed in 3.51.3, 3.50.7 and 3.44.6.

    Raises:
        StoreRefusedError: the linked SQLite is not one of these.
    """
    found = tuple(int(part) for part in version.split("."))[:3]
    if found >= (3, 51, 3) or found >= _BACKPORTS.get(found[:2], (*found, 0)):
        return
    raise StoreRefusedError(
        f"SQLite {version} can lose committed messages", hint="3.51.3 or newer is needed"
    )


def _pragma(connection: apsw.Connection, name: str, value: str, expected: object) -> None:
    connection.pragma(name, value)
    if connection.pragma(name) != expected:
        raise StoreRefusedError(f"the database does not accept {name} = {value}")


def _uri(path: Path, query: str) -> str:
    return f"{path.absolute().as_uri()}?{query}"


def _refuse_foreign(connection: apsw.Connection) -> None:
    # before anything is changed: even a pragma would rewrite somebody else's file
    has_tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if has_tables and connection.pragma("application_id") != APPLICATION_ID:
        raise StoreRefusedError("the file is not a store of ifengine")


def open_writer(
    path: Path, vfs: str | None, mark: LogMark | None = None, *, again: bool = False
) -> apsw.Connection:
    """Open the one connection that writes, with everything that makes a commit durable.

    ``psow=0``: SQLite shall not believe that a drive leaves the rest of a torn sector alone.

    Raises:
        StoreRefusedError: it is not a store, what ``mark`` asks for is missing in its log, or a
            pragma did not take effect.
        apsw.Error: the file is no database, or cannot be read.
    """
    connection = apsw.Connection(
        _uri(path, "psow=0"),
        flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI,
        vfs=vfs or checked_vfs(),
    )
    try:
        # after a failure nothing may be written any more, not even by closing
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.set_busy_timeout(BUSY_MS)
        _refuse_foreign(connection)
        if mark is not None:
            mark.check(connection)
        connection.pragma("page_size", PAGE_BYTES)  # takes effect in a new database only
        if keep_checksums(connection) and not again:
            connection.close()
            return open_writer(path, vfs, mark, again=True)
        _pragma(connection, "journal_mode", "wal", "wal")
        _sync_all(connection)
        _pragma(connection, "secure_delete", "on", 1)
        _pragma(connection, "cell_size_check", "on", 1)
        _pragma(connection, "cache_size", str(-CACHE_KIB), -CACHE_KIB)
        _pragma(connection, "temp_store", "memory", FULL)
        connection.pragma("trusted_schema", "off")
        if connection.pragma("page_size") != PAGE_BYTES:
            raise StoreRefusedError(f"the database has no pages of {PAGE_BYTES} bytes")
        require_checksums(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _sync_all(connection: apsw.Connection) -> None:
    """Set what a connection that writes the files needs, whichever of the two it is."""
    _pragma(connection, "synchronous", "full", FULL)
    # with a VFS without memory mapping there is no answer at all
    if connection.pragma("mmap_size", 0):
        raise StoreRefusedError("the database does not accept mmap_size = 0")
    # automatic checkpoints run inside COMMIT, and their errors are silent
    _pragma(connection, "wal_autocheckpoint", "0", 0)


def open_mover(path: Path, vfs: str | None) -> apsw.Connection:
    """Open the connection that moves the log into the database, and does nothing else.

    Raises:
        StoreRefusedError: a pragma did not take effect.
        apsw.Error: the file cannot be read.
    """
    connection = apsw.Connection(
        _uri(path, "psow=0"),
        flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI,
        vfs=vfs or checked_vfs(),
    )
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        _sync_all(connection)
        _refuse_foreign(connection)  # a first read: the log is open from now on
        require_checksums(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """Open a connection that cannot write and never checkpoints."""
    connection = apsw.Connection(
        _uri(path, "mode=ro"),
        flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        vfs=checked_vfs(),
    )
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("query_only", "on")
    connection.pragma("mmap_size", 0)
    connection.pragma("temp_store", "memory")
    return connection


def migrations() -> list[tuple[int, str]]:
    """Return the numbered migrations, by number from 1 without a gap."""
    found = []
    for file in resources.files("ifengine.store").joinpath("sql").iterdir():
        match = _MIGRATION.fullmatch(file.name)
        if match:
            found.append((int(match[1]), file.read_text(encoding="utf-8")))
    found.sort()
    return found


def migrate(connection: apsw.Connection, steps: list[tuple[int, str]]) -> None:
    """Bring the database to the newest schema, one transaction a step.

    Raises:
        StoreRefusedError: a newer engine made it.
    """
    newest = steps[-1][0]
    version = connection.pragma("user_version")
    if version > newest:
        raise StoreRefusedError(
            f"the store has schema {version}; this engine knows {newest}",
            hint="use the version of ifengine that wrote it",
        )
    for number, statements in steps:
        if number <= version:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(statements)
            if version == 0:
                connection.execute(
                    "INSERT INTO meta VALUES ('store_id', ?), ('clean', 1)",
                    (secrets.token_bytes(16),),
                )
                connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", number)
            fp("store.upgrade_pre_commit")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        fp("store.upgrade_post_commit")
        version = number
    note_checksums(connection)


def check_start(connection: apsw.Connection, steps: list[tuple[int, str]]) -> bytes:
    """Check what a start must be able to rely on; return the store id.

    After an unclean stop a database of bounded size is looked through page by page as well.

    Raises:
        StoreRefusedError: something is missing or damaged.
    """
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    if not all(tables.issuperset(_TABLE.findall(text)) for _, text in steps):
        raise StoreRefusedError("the store is damaged: tables are missing")
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    store_id = meta.get("store_id")
    if not isinstance(store_id, bytes) or len(store_id) != 16:
        raise StoreRefusedError("the store is damaged: it has no identity")
    size = connection.pragma("page_count") * PAGE_BYTES
    if not meta.get("clean") and size < QUICK_CHECK_BYTES:
        problems = connection.execute("PRAGMA quick_check(1)").get
        if problems != "ok":
            raise StoreRefusedError(
                "the store is damaged: quick_check found errors",
                hint="keep the files; restore the newest backup",
            )
    return store_id


def look_through(connection: apsw.Connection) -> None:
    """Read every page and every index, whatever the size: after the storage failed.

    Raises:
        StoreRefusedError: something is damaged.
        apsw.Error: the disk does not give a page, or not the one that was written.
    """
    if connection.execute("PRAGMA integrity_check(1)").get != "ok":
        raise StoreRefusedError(
            "the storage failed, and the store is damaged: integrity_check found errors",
            hint="keep the files; restore the newest backup",
        )


def mark_clean(connection: apsw.Connection, clean: bool) -> None:
    """Note whether the next start follows an orderly stop."""
    connection.execute("UPDATE meta SET value = ? WHERE key = 'clean'", (int(clean),))
