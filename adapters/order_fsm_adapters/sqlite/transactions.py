"""Transactions of SQLite and parts of them, as `with` blocks that are whole or undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import Cursor


class Transaction:
    """A transaction, committed at the end of a `with` block, or rolled back where that raises."""

    __slots__ = ("_begin", "_cursor")

    def __init__(self, cursor: Cursor, begin: str) -> None:
        self._cursor = cursor
        self._begin = begin

    def __enter__(self) -> None:
        self._cursor.execute(self._begin)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            self._roll_back()
            return
        try:
            self._cursor.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # After some errors, such as a full disk, SQLite has done so itself.
        if self._cursor.connection.in_transaction:
            self._cursor.execute("ROLLBACK")


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
