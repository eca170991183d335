"""The connections to a database file of the store's own.

SQLite asks of a program that forks to have no connection open at that moment; see `_before_fork`.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from sqlite3 import Cursor
from weakref import WeakSet

from order_fsm.errors import OrderFsmError, StoreUnavailable
from order_fsm_adapters.file_locks import LockFile
from order_fsm_adapters.sqlite import backup, schema, transactions
from order_fsm_adapters.sqlite.errors import FAILURES, store_error
from order_fsm_adapters.sqlite.rows import Row
from order_fsm_adapters.sqlite.transactions import Result, roll_back

BUSY_SECONDS = 10.0
"""How long to wait for other programs that write to the file. Those that use this store queue at its lock instead."""


class _Session:
    """An open connection, and an open lock file beside the database."""

    __slots__ = ("cursor", "lock_file")

    def __init__(self, path: str, synchronous: str) -> None:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self.cursor = connection.cursor()
            # On macOS only a full fsync reaches the disk; elsewhere the second statement does nothing.
            self.cursor.execute(synchronous)
            self.cursor.execute("PRAGMA fullfsync = ON")
            self.lock_file = LockFile(f"{path}.lock")
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        # In this order, so that whoever gets the lock next finds the transaction undone.
        try:
            connection = self.cursor.connection
            # A statement that was not read to its end would keep the connection, and its transaction, open.
            self.cursor.close()
            connection.close()
        finally:
            self.lock_file.close()


class _Seat:
    """Where one thread at a time uses a session, in a `with` block, which turns SQLite's errors into the store's.

    A class and no generator: every change goes through it, and after waiting for the disk, when the processor's caches
    are cold, the difference is some per cent of it.
    """

    __slots__ = ("_file", "session", "taken")

    def __init__(self, file: OwnFile) -> None:
        self.taken = threading.Lock()
        self._file = file
        self.session: _Session | None = None

    def __enter__(self) -> _Session:
        self.taken.acquire()
        try:
            if self.session is None:
                self.session = self._file.new_session()
            return self.session
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if error is not None and not isinstance(error, OrderFsmError):
                # Whatever state the connection is in, closing it leaves none.
                self.clear()
                if isinstance(error, FAILURES):
                    raise store_error(error, self._file.where) from error
        finally:
            self.taken.release()
            self._file.free.append(self)

    def clear(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            # Where closing fails, the files are closed all the same, and there is nothing in them to be saved.
            with suppress(sqlite3.Error, OSError):
                session.close()


class OwnFile:
    """The connections to a file that the store has opened: one for each thread that is using it at the time.

    Writers take a lock beside the file before SQLite's own: that one is waited for by trying again and again, so that
    under load some would never get it.
    """

    def __init__(self, path: str, prepare: Callable[[Cursor], None] = schema.migrate, *, durable: bool = True) -> None:
        """Open the file, and make or migrate its tables.

        Args:
            path: absolute, and without symbolic links: all processes must come to the same lock.
            prepare: makes or migrates the tables, in a write transaction.
            durable: whether what is committed must outlast a power loss. Otherwise the last commits are lost with the
                power, as they may be by the default of SQLite for WAL; what is left is whole.
        """
        self._synchronous = f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}"
        self.where = f"the database {path!r}"
        self.free: list[_Seat] = []
        self._path = path
        self._seats: list[_Seat] = []
        self._adding = threading.Lock()
        self._closed = False
        with _forks:
            _files.add(self)
        try:
            with self._seat() as session, session.lock_file:
                session.cursor.execute("PRAGMA journal_mode = WAL")
            self.write(prepare)
        except BaseException:
            self.close()
            raise

    def rows(self, statement: str, values: Row) -> list[Row]:
        with self._seat() as session:
            return session.cursor.execute(statement, values).fetchall()

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        with self._seat() as session:
            cursor = session.cursor
            cursor.execute("BEGIN")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                roll_back(cursor)
                raise

    def write(self, work: Callable[[Cursor], Result]) -> Result:
        """Do some work in a transaction, under the lock of all writers; it is whole or undone."""
        with self._seat() as session, session.lock_file:
            return transactions.write(session.cursor, work)

    def backup(self, path: str) -> None:
        """Copy the database to a new file. To `_before_fork` it is a call like any other: a fork waits for its end."""
        with self._seat() as session:
            try:
                backup.copy(session.cursor.connection, path)
            except OSError as error:
                raise store_error(error, f"the backup {path!r}") from error

    def close(self) -> None:
        """Wait for what is under way, and close all."""
        self._closed = True
        self.pause()
        self.resume()

    def pause(self) -> None:
        """Wait for what is under way, close all connections, and let nobody in before `resume`."""
        self._adding.acquire()
        for seat in self._seats:
            seat.taken.acquire()
            seat.clear()

    def resume(self) -> None:
        """Let others in again; they open new connections."""
        for seat in self._seats:
            seat.taken.release()
        self._adding.release()

    def new_session(self) -> _Session:
        """A session, for a seat that has none."""
        if self._closed:
            raise StoreUnavailable(f"{self.where} was closed by this program: make a new store")
        try:
            return _Session(self._path, self._synchronous)
        except FAILURES as error:
            raise store_error(error, self.where) from error

    def _seat(self) -> _Seat:
        try:
            return self.free.pop()
        except IndexError:
            seat = _Seat(self)
            with self._adding:
                self._seats.append(seat)
            return seat


_files: WeakSet[OwnFile] = WeakSet()
_forks = threading.Lock()


def _before_fork() -> None:
    """See to it that no connection is open in the fork. A child that inherits one shares its locks in memory and not
    in the system, and those that another thread held at the moment are never freed in it."""
    _forks.acquire()
    for file in _files:
        file.pause()


def _after_fork() -> None:
    for file in _files:
        file.resume()
    _forks.release()


if sys.platform != "win32":
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
