"""Route the stores' calls to disks and servers through `Calls`."""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import psycopg
import pymysql
from psycopg_pool import ConnectionPool, PoolTimeout
from pymysql.connections import Connection as MariaDbConnection
from pymysql.constants.CR import CR_CONN_HOST_ERROR, CR_SERVER_LOST

from order_fsm.testing.store_contract.calls import Calls
from order_fsm_adapters import file_locks
from order_fsm_adapters.postgresql.connections import PsycopgLink
from order_fsm_adapters.sqlite import session

FILE_CALLS = ("open", "read", "write", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "listdir", "stat")
"""The functions of `os` that the stores use. `os.path.exists` and `os.path.isdir` call `stat`."""


NEED_ROOM = {"open", "fsync", "replace", "rename", "mkdir", "write", "flush"}
"""The calls that fail on a full disk."""


class _File:
    """An open file whose reads, writes and close are counted calls."""

    def __init__(self, file: Any, made: Callable[..., Any]) -> None:
        self._file = file
        self._made = made

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        # A close that fails still closes the file.
        self._made(self._file.close, takes_effect=True)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._file, name)
        return partial(self._made, attribute) if name in {"read", "write", "flush"} else attribute


@contextmanager
def files(calls: Calls, number: int = errno.EACCES) -> Iterator[None]:
    """Route calls to the file system through `calls`.

    Args:
        calls: counts the calls, and makes some fail.
        number: the `errno` of the error.
    """

    def made(call: Callable[..., Any], *given: Any, takes_effect: bool = False, **named: Any) -> Any:
        needs_room = call.__name__ in NEED_ROOM
        shown = errno.EACCES if number == errno.ENOSPC and not needs_room else number
        error = partial(OSError, shown, os.strerror(shown))
        return calls.made(partial(call, *given, **named), error, takes_effect=takes_effect)

    real_open = builtins.open

    def opened(*given: Any, **named: Any) -> _File:
        opened_files: list[Any] = []

        def open() -> None:
            opened_files.append(real_open(*given, **named))

        try:
            made(open)
        except OSError:
            # The caller never gets the file, so it cannot close it.
            for file in opened_files:
                file.close()
            raise
        return _File(opened_files[0], made)

    with ExitStack() as patched:
        for name in FILE_CALLS:
            patched.enter_context(patch.object(os, name, partial(made, getattr(os, name))))
        patched.enter_context(patch.object(os, "close", partial(made, os.close, takes_effect=True)))
        patched.enter_context(patch.object(fcntl, "flock", partial(made, fcntl.flock)))
        patched.enter_context(patch.object(builtins, "open", opened))
        yield


@contextmanager
def sqlite(calls: Calls, name: str = "SQLITE_IOERR_WRITE") -> Iterator[None]:
    """Route connections to SQLite, their statements and the lock file through `calls` within a block.

    Connections that were opened before the block are routed too. Open the store within `connections`.

    Args:
        calls: counts the calls, and makes some fail.
        name: the name of the error.
    """
    _Cursor.calls, _Cursor.name = calls, name
    try:
        with patch.object(file_locks, "_lock", partial(_Cursor.file_made, file_locks._lock)), files(calls):
            yield
    finally:
        _Cursor.calls = None


@contextmanager
def connections() -> Iterator[None]:
    """Open all connections of a block so that `sqlite` can make their calls fail."""
    with patch.object(sqlite3, "connect", _connected), patch.object(session, "Cursor", _Cursor):
        yield


class _Cursor(sqlite3.Cursor):
    """A cursor whose statements fail while `sqlite` is on."""

    calls: Calls | None = None
    name = ""

    @classmethod
    def made(cls, call: Callable[..., Any], *given: Any, takes_effect: bool = False, **named: Any) -> Any:
        call = partial(call, *given, **named)
        return call() if cls.calls is None else cls.calls.made(call, cls._error, takes_effect=takes_effect)

    @classmethod
    def file_made(cls, call: Callable[..., Any], *given: Any) -> Any:
        error = partial(OSError, errno.EACCES, os.strerror(errno.EACCES))
        return call(*given) if cls.calls is None else cls.calls.made(partial(call, *given), error)

    @classmethod
    def _error(cls) -> sqlite3.Error:
        error = sqlite3.OperationalError("the disk has failed")
        error.sqlite_errorname = cls.name
        return error

    def execute(self, *given: Any) -> Any:
        return self._ended(super().execute, *given)

    def fetchall(self) -> Any:
        return self._ended(super().fetchall)

    def _ended(self, call: Callable[..., Any], *given: Any) -> Any:
        try:
            return self.made(call, *given)
        except sqlite3.Error:
            # sqlite3 resets a statement that fails.
            self.close()
            raise


_connect = sqlite3.connect


def _connected(*given: Any, **named: Any) -> Any:
    class Connection(named.pop("factory", sqlite3.Connection)):  # type: ignore[misc]
        """A connection whose statements, COMMIT and ROLLBACK fail while `sqlite` is on."""

        def execute(self, *given: Any) -> Any:
            return _Cursor(self).execute(*given)

        def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
            _Cursor.made(super().__exit__, kind, error, traceback)

    opened: list[sqlite3.Connection] = []

    def connect() -> None:
        opened.append(_connect(*given, factory=Connection, **named))

    try:
        _Cursor.made(connect)
    except sqlite3.Error:
        # The caller never gets the connection, so it cannot close it.
        for connection in opened:
            connection.close()
        raise
    return opened[0]


@contextmanager
def postgresql(calls: Calls) -> Iterator[None]:
    """Route connects, borrowed connections and statements of PostgreSQL through `calls` within a block.

    A failing statement loses its connection.
    """
    borrow, connect, run = ConnectionPool.getconn, psycopg.connect, PsycopgLink._run

    def borrowed(pool: Any, timeout: float) -> Any:
        lent: list[Any] = []
        try:
            calls.made(lambda: lent.append(borrow(pool, timeout)), partial(PoolTimeout, "no connection"))
        except PoolTimeout:
            # The caller never gets the connection, so it cannot return it.
            for connection in lent:
                pool.putconn(connection)
            raise
        return lent[0]

    def connected(*given: Any) -> Any:
        opened: list[Any] = []
        try:
            calls.made(lambda: opened.append(connect(*given)), partial(psycopg.OperationalError, "not reached"))
        except psycopg.OperationalError:
            for connection in opened:
                connection.close()
            raise
        return opened[0]

    def ran(link: PsycopgLink, *given: Any) -> Any:
        def error() -> psycopg.Error:
            link.connection.close()
            return psycopg.OperationalError("the server closed the connection")

        return calls.made(partial(run, link, *given), error)

    with (
        patch.object(ConnectionPool, "getconn", borrowed),
        patch.object(psycopg, "connect", connected),
        patch.object(PsycopgLink, "_run", ran),
    ):
        yield


@contextmanager
def mariadb(calls: Calls) -> Iterator[None]:
    """Route connects, statements and further results of MariaDB through `calls` within a block.

    A failing statement loses its connection.
    """
    connect, query, next_result = pymysql.connect, MariaDbConnection.query, MariaDbConnection.next_result

    def connected(**options: Any) -> Any:
        opened: list[Any] = []
        error = partial(pymysql.OperationalError, CR_CONN_HOST_ERROR, "not reached")
        try:
            calls.made(lambda: opened.append(connect(**options)), error)
        except pymysql.OperationalError:
            # The caller never gets the connection, so it cannot close it.
            for connection in opened:
                connection.close()
            raise
        return opened[0]

    def routed(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(connection: Any, *given: Any, **named: Any) -> Any:
            def error() -> pymysql.Error:
                connection._force_close()
                return pymysql.OperationalError(CR_SERVER_LOST, "the server closed the connection")

            return calls.made(partial(call, connection, *given, **named), error)

        return made

    with (
        patch.object(pymysql, "connect", connected),
        patch.object(MariaDbConnection, "query", routed(query)),
        patch.object(MariaDbConnection, "next_result", routed(next_result)),
    ):
        yield
