"""Copies of a database that is in use, by SQLite's backup interface: of one moment, without stopping writers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from sqlite3 import Connection

from order_fsm_adapters import copies
from order_fsm_adapters.files import DiskFile


def copy(source: Connection, source_path: str, path: str) -> None:
    """Copy a database to a new file, with the owner and the permissions of the old one.

    Args:
        source: in WAL mode, so that writers go on; with no transaction open.
        source_path: of its file.
        path: of the copy.

    Raises:
        InvalidInput: if there is something at `path`.
        sqlite3.Error, StoreFull, StoreUnavailable: if the copy cannot be made. Then no part of it is left.
    """

    def write(draft: str) -> None:
        with DiskFile.create(draft, source_path) as file:
            # All pages in one step. With several, SQLite starts again after each commit between them.
            with closing(sqlite3.connect(draft, isolation_level=None)) as target:
                # The draft is worthless until it is whole, so it needs no journal and no flush before its end.
                target.execute("PRAGMA journal_mode = OFF")
                target.execute("PRAGMA synchronous = OFF")
                source.backup(target)
            file.sync()

    copies.publish(path, write)
