"""Copying a database that is in use, by SQLite's backup interface: whole, as of one moment, and with no writer waiting.

The copy is made under a name of its own in the folder where it shall be, flushed to the disk, and only then given its
name; so under that name there is a whole copy or none. What a killed process left there ends in `.tmp` and can go.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from sqlite3 import Connection

from order_fsm.errors import InvalidInput


def copy(source: Connection, path: str) -> None:
    """Copy a database to a new file.

    Args:
        source: in WAL mode, so that writers go on; with no transaction open.
        path: of the copy.

    Raises:
        InvalidInput: there is something at that path.
        sqlite3.Error, OSError: the copy cannot be made; what there is of it is removed.
    """
    folder, name = os.path.split(path)
    if os.path.lexists(path):
        raise _in_the_way(path)
    descriptor, draft = tempfile.mkstemp(prefix=f"{name}.", suffix=".tmp", dir=folder)
    try:
        # All pages in one step: with several, each commit in between would make it begin anew.
        with closing(sqlite3.connect(draft, isolation_level=None)) as target:
            # The copy is worth nothing before it is whole, so it needs no journal and no flush in between.
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            source.backup(target)
        os.fsync(descriptor)
        _name(draft, path)
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(draft)
    _flush(folder)


def _name(draft: str, path: str) -> None:
    """Give a file its name, if that is free."""
    try:
        # Unlike a rename it fails where there is something.
        os.link(draft, path)
    except FileExistsError:
        raise _in_the_way(path) from None
    except OSError:
        # A file system without links.
        if os.path.lexists(path):
            raise _in_the_way(path) from None
        os.rename(draft, path)


def _flush(folder: str) -> None:
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _in_the_way(path: str) -> InvalidInput:
    return InvalidInput(f"there is something at {path!r}, and a backup overwrites nothing: give another path")
