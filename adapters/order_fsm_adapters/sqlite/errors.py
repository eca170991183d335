"""What an error of SQLite or of a file means to the caller of a store."""

from __future__ import annotations

import errno
import sqlite3

from order_fsm.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

_CORRUPT = {"CORRUPT", "NOTADB", "ERROR", "CONSTRAINT", "MISMATCH", "FORMAT"}
"""Names of errors that tell of content that the store has not written. The statements are constant and tried, so a
plain ERROR means that a table is not as it was made."""


FAILURES = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What SQLite and the file system raise. The last one comes from the sqlite3 module, where SQLite's own message quotes
a broken database."""


def store_error(error: sqlite3.Error | OSError | UnicodeDecodeError, where: str) -> StoreError:
    """The store's error for one of `FAILURES`.

    Args:
        error: what was raised.
        where: what to call the database in the message.
    """
    if isinstance(error, OSError):
        if error.errno in _NO_ROOM:
            return StoreFull(f"{where}: {error.strerror}: make room, then retry")
        return StoreUnavailable(f"{where}: {error.strerror}: it must be a file in a folder that can be written to")
    if isinstance(error, UnicodeDecodeError):
        said = error.object.decode(errors="backslashreplace")
        return StoreCorrupt(f"{where} holds what the store did not write: {said:.200}: restore it from a backup")
    name = getattr(error, "sqlite_errorname", None)
    if name is None:
        # Raised by the sqlite3 module itself: a connection that is closed or another thread's, or text that is none.
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError):
            return StoreUnavailable(f"{where} cannot be used: {error}")
        return StoreCorrupt(f"{where} holds what the store did not write: {error}: restore it from a backup")
    kind = name.split("_")[1]
    if kind == "FULL":
        return StoreFull(f"{where}: {error} ({name}): make room, then retry")
    if kind == "NOTADB":
        return StoreCorrupt(f"{where} is no SQLite database ({name}): restore it from a backup, or give another path")
    if kind in _CORRUPT:
        return StoreCorrupt(f"{where} holds what the store did not write: {error} ({name}): restore it from a backup")
    if kind in {"CANTOPEN", "READONLY"}:
        return StoreUnavailable(f"{where}: {error} ({name}): it must be a file in a folder that can be written to")
    if kind == "IOERR":
        # One of them is that a file may not grow. SQLite tells neither that, nor whether its commit is on the disk.
        return StoreUnavailable(f"{where}: {error} ({name}): see that its disk is well and has room, then retry")
    return StoreUnavailable(f"{where}: {error} ({name}): retry later")
