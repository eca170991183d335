"""Transactions of SQLite and parts of them, as `with` blocks that are whole or undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import Cursor


@contextmanager
def transaction(cursor: Cursor, begin: str) -> Iterator[None]:
    """A transaction, committed at the end of the block, or rolled back where that raises."""
    cursor.execute(begin)
    try:
        yield
        cursor.execute("COMMIT")
    except BaseException:
        roll_back(cursor)
        raise


def roll_back(cursor: Cursor) -> None:
    """Undo the transaction, if one is open: after some errors, such as a full disk, SQLite has done so itself."""
    if cursor.connection.in_transaction:
        cursor.execute("ROLLBACK")


@contextmanager
def savepoint(cursor: Cursor) -> Iterator[None]:
    """A part of an open transaction that can be undone alone; where none is open, one of its own."""
    cursor.execute("SAVEPOINT order_fsm")
    try:
        yield
        cursor.execute("RELEASE order_fsm")
    except BaseException:
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK TO order_fsm")
            cursor.execute("RELEASE order_fsm")
        raise
