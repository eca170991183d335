"""The shop's own connection to SQLite, on which the store is a guest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from sqlite3 import Connection, Cursor

from order_fsm.errors import InvalidInput
from order_fsm_adapters.sqlite import schema, transactions
from order_fsm_adapters.sqlite.errors import FAILURES, store_error
from order_fsm_adapters.sqlite.rows import Row
from order_fsm_adapters.sqlite.transactions import Result, roll_back, savepoint


class HostConnection:
    """The shop's connection: its transaction is the shop's to commit or roll back, whole with what is written here."""

    def __init__(self, connection: Connection) -> None:
        """Make or migrate the tables: in the shop's transaction where one is open, otherwise at once."""
        self._connection = connection
        self._schema_in_doubt = True
        with self._errors():
            # Not connection.cursor(), which takes the shop's row_factory over.
            self._cursor = Cursor(connection)
            self._prepare()

    def rows(self, statement: str, values: Row) -> list[Row]:
        with self._errors():
            self._prepare()
            return self._cursor.execute(statement, values).fetchall()

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        with self._errors():
            self._prepare()
            with savepoint(self._cursor):
                yield self._cursor

    def write(self, work: Callable[[Cursor], Result]) -> Result:
        """Do some work in the shop's transaction, or begin one; the work is whole or undone."""
        with self._errors():
            self._prepare()
            if self._connection.in_transaction:
                with savepoint(self._cursor):
                    return work(self._cursor)
            self._cursor.execute("BEGIN IMMEDIATE")
            try:
                return work(self._cursor)
            except BaseException:
                roll_back(self._cursor)  # The shop has no part in this transaction yet.
                raise

    def backup(self, path: str) -> None:
        """Refuse: what is in the database beside the orders, and when it may be copied, the shop knows."""
        raise InvalidInput(f"the database is the shop's, so it is the shop that copies it to {path!r}")

    def close(self) -> None:
        """Nothing: the connection is the shop's."""

    def _prepare(self) -> None:
        """Make or migrate the tables, unless they are known to be there for good: the shop may have rolled back the
        transaction in which they were made."""
        if not self._schema_in_doubt:
            return
        open_transaction = self._connection.in_transaction
        if not schema.is_current(self._cursor):
            if open_transaction:
                with savepoint(self._cursor):
                    schema.migrate(self._cursor)
            else:
                transactions.write(self._cursor, schema.migrate)
        self._schema_in_doubt = open_transaction

    @contextmanager
    def _errors(self) -> Iterator[None]:
        open_before = False
        try:
            open_before = self._connection.in_transaction
            yield
        except FAILURES as error:
            where = "the shop's database"
            if open_before and not self._connection.in_transaction:
                where += ", whose whole transaction SQLite has rolled back"
            raise store_error(error, where) from error
