"""Statements on one connection to SQLite."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from sqlite3 import Connection, Cursor, Error

from order_fsm.errors import StoreCorrupt, StoreError, StoreUnavailable
from order_fsm_adapters.sql.database import Result, Row, Transaction
from order_fsm_adapters.sqlite.errors import FAILURES, joined_error, store_error


class Session:
    """A connection that raises the store's errors.

    Each statement uses a new cursor. So a signal handler that uses the store during a statement cannot take its rows.
    """

    __slots__ = ("__weakref__", "connection", "is_joined", "where")

    for_update = ""
    lock_order = ""
    skip_locked = ""
    latest = ""
    has_triggers = True
    sees_one_moment = True

    def __init__(self, connection: Connection, where: str) -> None:
        """Use an open connection.

        Args:
            connection: a connection with the text_factory str.
            where: names the database in messages.
        """
        self.connection = connection
        self.where = where
        self.is_joined = False
        """Whether the current call is part of a transaction of the host."""

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        try:
            # Not connection.execute, which applies the host's row_factory.
            return Cursor(self.connection).execute(statement, values).fetchall()
        except FAILURES as error:
            raise self.failure(error) from error

    def run(self, statement: str, values: Row = ()) -> None:
        try:
            Cursor(self.connection).execute(statement, values)
        except FAILURES as error:
            raise self.failure(error) from error

    def part(self, work: Callable[[Transaction], Result]) -> Result:
        try:
            self.run("SAVEPOINT order_fsm")
            result = work(self)
            self.run("RELEASE order_fsm")
        except BaseException as error:
            if self.in_transaction:
                # The savepoint does not exist if a signal handler raised before its start or after its end.
                with suppress(Error):
                    self.connection.execute("ROLLBACK TO order_fsm")
                    self.connection.execute("RELEASE order_fsm")
            elif isinstance(error, StoreCorrupt):
                raise StoreUnavailable(f"{self.where}: SQLite rolled back the whole transaction: {error}") from error
            raise
        return result

    def failure(self, error: Error | OSError | UnicodeDecodeError) -> StoreError:
        """Return the store's error for one of `FAILURES`."""
        if self.is_joined:
            return joined_error(error, self.where, is_open=self.in_transaction)
        return store_error(error, self.where)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open.

        Raises:
            StoreUnavailable: if the connection is closed.
        """
        try:
            return self.connection.in_transaction
        except FAILURES as error:
            raise store_error(error, self.where) from error
