"""Translate errors of SQLite and files to errors of the store."""

from __future__ import annotations

import sqlite3

from order_fsm.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable, TransactionLost
from order_fsm_adapters.files import disk_error

_NOT_WRITABLE = "it must be a file in a writable folder"

_CORRUPT = {"CORRUPT", "NOTADB", "ERROR", "CONSTRAINT", "MISMATCH", "FORMAT"}
"""All statements are constant and tested, so a plain ERROR means that someone altered a table."""

FAILURES = (sqlite3.Error, OSError, UnicodeDecodeError)
"""The exceptions of SQLite and the file system. The sqlite3 module raises UnicodeDecodeError if a message of
SQLite quotes a damaged database."""


def store_error(error: sqlite3.Error | OSError | UnicodeDecodeError, where: str) -> StoreError:
    """Return the store's error for one of `FAILURES`.

    Args:
        error: the exception.
        where: names the database in the message.
    """
    if isinstance(error, OSError):
        return disk_error(error, where, _NOT_WRITABLE)
    if isinstance(error, UnicodeDecodeError):
        said = error.object.decode(errors="backslashreplace")
        return StoreCorrupt(f"{where} is damaged or was edited: {said:.200}: restore it from a backup")
    name = error_name(error)
    if not name:
        # The sqlite3 module raised it: the connection is closed or of another thread, or a text is not valid Unicode.
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError):
            return StoreUnavailable(f"{where} cannot be used: {error}")
        return StoreCorrupt(f"{where} is damaged or was edited: {error}: restore it from a backup")
    kind = name.split("_")[1]
    if kind == "FULL":
        return StoreFull(f"{where}: {error} ({name}): make room, then retry")
    if kind == "NOTADB":
        return StoreCorrupt(f"{where} is not a SQLite database ({name}): restore it from a backup, or use another path")
    if kind in _CORRUPT:
        return StoreCorrupt(f"{where} is damaged or was edited: {error} ({name}): restore it from a backup")
    if kind in {"CANTOPEN", "READONLY"}:
        return StoreUnavailable(f"{where}: {error} ({name}): {_NOT_WRITABLE}")
    if kind == "IOERR":
        # The limit on file sizes is one cause. A commit may or may not have reached the disk.
        return StoreUnavailable(f"{where}: {error} ({name}): check the disk and its free space, then retry")
    return StoreUnavailable(f"{where}: {error} ({name}): retry later")


def joined_error(error: sqlite3.Error | OSError | UnicodeDecodeError, where: str, *, is_open: bool) -> StoreError:
    """Return the store's error for one of `FAILURES` inside a transaction of the host.

    Args:
        error, where: as in `store_error`.
        is_open: whether the transaction is still open.
    """
    if error_name(error) == "SQLITE_BUSY_SNAPSHOT" or not is_open:
        return TransactionLost(f"{where}: {error} ({error_name(error)}): restart the transaction")
    return store_error(error, where)


def error_name(error: BaseException) -> str:
    """Return SQLite's name of an error, such as `SQLITE_BUSY`. It is empty if SQLite did not raise the error."""
    return getattr(error, "sqlite_errorname", None) or ""
