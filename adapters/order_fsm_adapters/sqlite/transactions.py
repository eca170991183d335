"""Transactions of SQLite and parts of them, which are whole or undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from sqlite3 import Cursor
from typing import TypeVar

Result = TypeVar("Result")


def write(cursor: Cursor, work: Callable[[Cursor], Result]) -> Result:
    """Do some work in a write transaction, committed at its end, or rolled back where it raises."""
    cursor.execute("BEGIN IMMEDIATE")
    try:
        result = work(cursor)
        cursor.execute("COMMIT")
    except BaseException:
        roll_back(cursor)
        raise
    return result


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
