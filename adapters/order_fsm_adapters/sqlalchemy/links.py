"""Links of the SQL store over SQLAlchemy connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine
from sqlalchemy.exc import DBAPIError, MissingGreenlet, PendingRollbackError, SQLAlchemyError, StatementError

from order_fsm.errors import InvalidInput, OrderFsmError, StoreUnavailable, TransactionLost
from order_fsm_adapters.sql.database import Row
from order_fsm_adapters.sql.dialect import ConnectionBroken, NotBegun
from order_fsm_adapters.sql.statements import Style, parts_of, translated

_STYLES: dict[str, Style] = {
    "qmark": "qmark",
    "format": "format",
    "pyformat": "format",
    "numeric_dollar": "numeric_dollar",
}
_WITHOUT_VALUES = {"no_parameters": True}
"""Keeps drivers from looking for placeholders in a statement without values."""


class SqlAlchemyLink:
    """A SQLAlchemy connection, or the current connection of a session."""

    failures: tuple[type[Exception], ...]

    def __init__(self, connect: Callable[[], Connection], dbapi: Any, where: str) -> None:
        """Use a connection.

        Args:
            connect: returns the connection.
            dbapi: the driver's DBAPI module, as SQLAlchemy loaded it.
            where: names the database in messages.
        """
        self._connect = connect
        self._where = where
        # Drivers in Python raise socket errors. sqlite3 raises UnicodeDecodeError if a message quotes damaged text.
        self.failures = (dbapi.Error, OSError, UnicodeDecodeError)

    @property
    def connection(self) -> Connection:
        try:
            connection = self._connect()
            # Raises if the connection is closed or its transaction is lost.
            _ = connection.connection
            return connection
        except SQLAlchemyError as error:
            raise refusal(error, self._where) from error

    @property
    def driver_connection(self) -> Any:
        return self.connection.connection.driver_connection

    @property
    def in_transaction(self) -> bool:
        return is_open(self.connection)

    @property
    def begins_itself(self) -> bool:
        connection = self.connection
        level = connection.get_execution_options().get("isolation_level")
        if level is not None:
            return bool(level != "AUTOCOMMIT")
        driver: Any = connection.connection.dbapi_connection
        if hasattr(driver, "get_autocommit"):  # PyMySQL
            return not driver.get_autocommit()
        return getattr(driver, "autocommit", False) is not True

    def rows(self, statement: str, values: Row, quote: str) -> list[Row]:
        result = self._run(statement, values, quote)
        # psycopg2 returns bytes as a memoryview.
        return [
            tuple([bytes(value) if type(value) is memoryview else value for value in row])
            for row in (result.fetchall() if result.returns_rows else ())
        ]

    def run(self, statement: str, values: Row, quote: str) -> None:
        self._run(statement, values, quote)

    def _run(self, statement: str, values: Row, quote: str) -> CursorResult[Any]:
        connection = self.connection
        style = _STYLES[connection.dialect.paramstyle]
        try:
            if values:
                bigints = _bigints(values) if style == "numeric_dollar" else ()
                return connection.exec_driver_sql(translated(statement, style, quote, bigints), values)
            statement = translated(statement, "qmark", quote)
            *first, last = parts_of(statement) if style == "numeric_dollar" else (statement,)
            for part in first:
                connection.exec_driver_sql(part, execution_options=_WITHOUT_VALUES)
            return connection.exec_driver_sql(last, execution_options=_WITHOUT_VALUES)
        except DBAPIError as error:
            # SQLAlchemy's error would show the values in a traceback.
            if isinstance(error.orig, self.failures):
                raise error.orig from None
            raise refusal(error, self._where) from None
        except SQLAlchemyError as error:
            raise refusal(error, self._where) from None


class EnginePool:
    """Lend the connections of the shop's engine in autocommit."""

    def __init__(self, engine: Engine, where: str) -> None:
        """Use the shop's engine. `close` leaves it open.

        Args:
            engine: the shop's engine.
            where: names the database in messages.
        """
        self.where = where
        self._closed = False
        self._begins_by_statement = engine.dialect.name == "sqlite"
        self._engine = engine

    @contextmanager
    def lent(self) -> Iterator[SqlAlchemyLink]:
        if self._closed:
            raise StoreUnavailable(f"{self.where}: this store is closed: make a new one")
        connection = self._connected()
        try:
            if self._begins_by_statement:
                self._end_begun(connection)
            yield SqlAlchemyLink(lambda: connection, connection.dialect.loaded_dbapi, self.where)
        except BaseException as error:
            # The state of the connection is unknown.
            if not isinstance(error, OrderFsmError) or isinstance(error, ConnectionBroken):
                connection.invalidate()
            raise
        finally:
            self._returned(connection)

    def close(self) -> None:
        self._closed = True

    def _connected(self) -> Connection:
        try:
            connection = self._engine.connect()
        except (SQLAlchemyError, OSError) as error:
            raise refusal(error, f"{self.where} cannot be reached") from error
        if self._begins_by_statement:
            # SQLAlchemy would not restore the mode that the recipe sets.
            return connection
        try:
            return connection.execution_options(isolation_level="AUTOCOMMIT")
        except connection.dialect.loaded_dbapi.Error as error:
            # Some drivers send a statement here, but the server may have closed the idle connection.
            connection.invalidate()
            connection.close()
            raise NotBegun(f"{self.where}: the connection was lost: {error}") from None

    def _end_begun(self, connection: Connection) -> None:
        """Begin SQLAlchemy's transaction but end SQLite's: the store begins those with its own statements."""
        try:
            connection.begin()
            if is_open(connection):
                connection.exec_driver_sql("ROLLBACK")
        except SQLAlchemyError as error:
            # The shop's BEGIN IMMEDIATE may wait for a lock until the connection's timeout.
            raise refusal(error, self.where) from None

    def _returned(self, connection: Connection) -> None:
        """Return a connection to the engine."""
        if self._begins_by_statement and not connection.invalidated:
            always = getattr(connection.connection.dbapi_connection, "autocommit", None) is False
            # In this mode, the engine's rollback fails if no transaction is open.
            if always and not is_open(connection):
                connection.exec_driver_sql("BEGIN")
        connection.close()


def _bigints(values: Row) -> tuple[int, ...]:
    """Return the positions, from 1, of integers beyond 32 bits."""
    return tuple(
        [place for place, value in enumerate(values, 1) if type(value) is int and not -(2**31) <= value < 2**31]
    )


def is_open(connection: Connection) -> bool:
    """Return whether the driver reports an open transaction, begun by the store or the shop."""
    driver: Any = connection.connection.driver_connection
    if hasattr(driver, "in_transaction"):  # sqlite3 and aiosqlite
        return bool(driver.in_transaction)
    if hasattr(driver, "is_in_transaction"):  # asyncpg
        return bool(driver.is_in_transaction())
    if hasattr(driver, "server_status"):  # PyMySQL
        return bool(driver.server_status & 1)
    return bool(driver.info.transaction_status != 0)  # psycopg and psycopg2


def refusal(error: Exception, where: str) -> OrderFsmError:
    """Return the store's error for an error of SQLAlchemy."""
    # An error of a statement has its cause in `orig`.
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    # Without the lines that SQLAlchemy adds: the statement, its values and a link to the manual.
    said = str(cause).strip().partition("\n")[0]
    if isinstance(cause, MissingGreenlet):
        return InvalidInput(f"{where}: the engine is asynchronous: call the store inside run_sync, or use an Engine")
    if isinstance(error, PendingRollbackError):
        return TransactionLost(f"{where}: {said}: roll back and restart the transaction")
    return StoreUnavailable(f"{where}: {said}")
