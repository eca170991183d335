"""Copy a database in use with SQLite's backup API: one snapshot, without blocking writers."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from sqlite3 import Connection

from order_fsm.errors import InvalidInput
from order_fsm_adapters import copies
from order_fsm_adapters.files import DiskFile


def copy(source: Connection, source_path: str, path: str) -> None:
    """Copy a database to a new file with its owner and permissions.

    Args:
        source: a connection in WAL mode, so that writers continue. It must have no open transaction.
        source_path: the path of its file.
        path: the path of the copy.

    Raises:
        InvalidInput: if `path` exists, or a journal of a deleted file of this name.
        sqlite3.Error, StoreFull, StoreUnavailable: if the copy fails. Then no part of it is left.
    """
    for journal in (f"{path}-wal", f"{path}-journal"):
        # SQLite would apply it to the copy. The journal of an existing database contains acknowledged changes.
        if os.path.lexists(journal) and not os.path.lexists(path):
            raise InvalidInput(f"{journal!r} is left from a deleted database: delete it, or use another path")

    def write(draft: str) -> None:
        with DiskFile.create(draft, source_path) as file:
            # Copies all pages in one step: after a commit between two steps, SQLite starts again.
            with closing(sqlite3.connect(draft, isolation_level=None)) as target:
                # An incomplete draft is deleted, so it needs no journal and only one flush at the end.
                target.execute("PRAGMA journal_mode = OFF")
                target.execute("PRAGMA synchronous = OFF")
                source.backup(target)
            file.sync()

    copies.publish(path, write)
