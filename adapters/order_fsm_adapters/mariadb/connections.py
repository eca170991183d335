"""Connect to MariaDB with PyMySQL: over the store's own pool, or over the host's connection."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS
from pymysql.cursors import Cursor

from order_fsm.errors import OrderFsmError, StoreUnavailable
from order_fsm_adapters.sql.database import Row
from order_fsm_adapters.sql.dialect import ConnectionBroken
from order_fsm_adapters.sql.statements import translated

TIMEOUT = 10
"""How many seconds a call waits for a free connection, and a statement for a locked row."""

ANSWER_TIMEOUT = 120
"""How many seconds a call waits for a result. An installation may wait up to 60 for another one."""

_WAITING = ("INSERT", "UPDATE", "DELETE", "SET TRANSACTION")
"""Statements that begin with one of these wait for the next query, to be sent with it."""

_LIMIT = 1_000_000
"""Once this many characters wait, the next statement is sent with them. A packet may have 16 MB."""

_UNKNOWN_VARIABLE = 1193
"""The error of a server without Galera."""


class PyMySqlLink:
    """A PyMySQL connection."""

    failures = (pymysql.Error,)

    def __init__(self, connection: Connection[Any]) -> None:
        """Use a connection."""
        self.connection = connection
        self._driver: Any = connection  # The stubs lack an attribute.

    @property
    def driver_connection(self) -> Connection[Any]:
        return self.connection

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as far as the driver knows: SELECT results and errors do not update this."""
        return bool(self._driver.server_status & SERVER_STATUS_IN_TRANS)

    @property
    def begins_itself(self) -> bool:
        return not self.connection.get_autocommit()

    def rows(self, statement: str, values: Row, quote: str) -> list[Row]:
        return list(self._run(statement, values, quote).fetchall())

    def run(self, statement: str, values: Row, quote: str) -> None:
        self._run(statement, values, quote)

    def _run(self, statement: str, values: Row, quote: str) -> Cursor:
        cursor = self.connection.cursor(Cursor)
        cursor.execute(translated(statement, "format", quote), values)
        return cursor


class _OwnLink(PyMySqlLink):
    """A connection of the store's own that sends writes with the next query, in one round trip.

    The server runs the statements in sequence and stops at the first error.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        super().__init__(connection)
        self._waiting: list[str] = []
        self._size = 0

    def run(self, statement: str, values: Row, quote: str) -> None:
        if statement.startswith("ROLLBACK"):
            self._taken()
        if statement.lstrip().startswith(_WAITING) and self._size < _LIMIT:
            cursor = self.connection.cursor(Cursor)
            change = cursor.mogrify(translated(statement, "format", quote), values)
            self._waiting.append(change)
            self._size += len(change)
        else:
            super().run(statement, values, quote)

    def _run(self, statement: str, values: Row, quote: str) -> Cursor:
        waiting = self._taken()
        if not waiting:
            return super()._run(statement, values, quote)
        cursor = self.connection.cursor(Cursor)
        waiting.append(cursor.mogrify(translated(statement, "format", quote), values))
        cursor.execute(";".join(waiting))
        while cursor.nextset():
            pass
        return cursor

    def _taken(self) -> list[str]:
        waiting, self._waiting, self._size = self._waiting, [], 0
        return waiting


class _Free:
    """The free connections of one process.

    Attributes:
        places: limits the number of connections.
        idle: the open connections that are not lent.
    """

    def __init__(self, size: int) -> None:
        self.places = BoundedSemaphore(size)
        self.idle: list[Connection[Any]] = []


class PyMySqlPool:
    """The store's own connections, opened on demand. A forked process opens its own."""

    def __init__(self, servers: Sequence[Mapping[str, Any]], size: int) -> None:
        """Store the connection settings.

        Args:
            servers: the options of `pymysql.connect` for each server. The first reachable server is used.
            size: the largest number of connections per process.
        """
        self.where = "MariaDB"
        self._servers = servers
        self._size = size
        self._free: dict[int, _Free] = {}
        self._closed = False

    @contextmanager
    def lent(self) -> Iterator[PyMySqlLink]:
        self._check_open()
        free = self._free.setdefault(os.getpid(), _Free(self._size))
        if not free.places.acquire(timeout=TIMEOUT):
            raise StoreUnavailable(f"{self.where}: no connection within {TIMEOUT} s: all {self._size} are in use")
        try:
            connection = self._taken(free)
            link = _OwnLink(connection)
            is_sound = False
            try:
                yield link
                is_sound = True
            except OrderFsmError as error:
                # A broken connection may have caused another error.
                is_broken = isinstance(error, ConnectionBroken) or isinstance(error.__cause__, ConnectionBroken)
                is_sound = not is_broken and not link.in_transaction and connection.open
                raise
            finally:
                # Any other exception may have interrupted a statement before its result.
                if is_sound and not self._closed:
                    free.idle.append(connection)
                else:
                    _close(connection)
        finally:
            free.places.release()

    def close(self) -> None:
        self._closed = True
        free = self._free.pop(os.getpid(), None)
        while free is not None and free.idle:
            _close(free.idle.pop())

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self.where}: this store is closed: make a new one")

    def _taken(self, free: _Free) -> Connection[Any]:
        # Reuse the latest one, so that the server can close the others when they are idle for long.
        with suppress(IndexError):
            return free.idle.pop()
        failure: Exception | None = None
        for options in self._servers:
            try:
                return _opened(options)
            except (pymysql.Error, OSError) as error:
                failure = error
        raise StoreUnavailable(f"{self.where} cannot be reached: {failure and failure.args[-1]}") from failure


def _opened(options: Mapping[str, Any]) -> Connection[Any]:
    connection = pymysql.connect(read_timeout=ANSWER_TIMEOUT, write_timeout=ANSWER_TIMEOUT, **options)
    try:
        connection.query(f"SET SESSION innodb_lock_wait_timeout = {TIMEOUT}")
        _wait_for_cluster(connection)
        # A server that lost its Galera cluster refuses this.
        connection.query("SELECT 1")
    except BaseException:
        _close(connection)
        raise
    return connection


def _wait_for_cluster(connection: Connection[Any]) -> None:
    """Let each statement see the commits of all servers of a Galera cluster."""
    try:
        connection.query("SET SESSION wsrep_sync_wait = 7")
    except pymysql.err.OperationalError as error:
        if error.args[0] != _UNKNOWN_VARIABLE:
            raise


def _close(connection: Connection[Any]) -> None:
    with suppress(pymysql.Error, OSError):
        connection.close()
