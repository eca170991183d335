"""The connections to the store's own database file: one per thread.

No connection may be open while the process forks. A child inherits SQLite's locks in memory, and not those of the
operating system. So another process could delete the WAL file to which the child still writes, and acknowledged commits
would be lost. Therefore all connections close before a fork, and reopen on demand.

No connection may open or close during a fork either. The child would inherit SQLite's lock on its memory, and wait for
it for ever.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from weakref import WeakSet

from order_fsm.errors import InvalidInput, OrderFsmError, StoreUnavailable
from order_fsm_adapters.file_locks import LockFile
from order_fsm_adapters.sql.database import Result, Row
from order_fsm_adapters.sqlite.errors import FAILURES, store_error
from order_fsm_adapters.sqlite.session import Session

BUSY_MILLISECONDS = 10_000
"""How long a call waits for other programs that write to the file. Stores queue at the lock file instead."""


class _Connection(sqlite3.Connection):
    def __del__(self) -> None:
        # If a signal handler raises right after the connection opens, Python 3.13 would warn.
        with suppress(sqlite3.Error):
            self.close()


class _ThreadSession(Session):
    """The connection of one thread.

    Attributes:
        in_use: held during a call, so that closing waits for its end.
        pid: the process that opened the connection.
        is_open: False after `close`.
        lock_file: the last lock file that this session opened.
    """

    is_open = False

    def __init__(self, path: str, where: str) -> None:
        connection = sqlite3.connect(
            path, timeout=BUSY_MILLISECONDS / 1000, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        super().__init__(connection, where)
        self.in_use = threading.RLock()
        self.pid = os.getpid()
        self.lock_file: LockFile | None = None
        self.is_open = True
        self._timeout = BUSY_MILLISECONDS
        try:
            connection.execute("PRAGMA synchronous = FULL")
            # On macOS only a full fsync reaches the disk. Elsewhere this does nothing.
            connection.execute("PRAGMA fullfsync = ON")
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        # The thread ended. A connection refers to itself, so it would stay open until the garbage collector runs.
        if self.is_open:
            with suppress(sqlite3.Error):
                self.close()

    def begin(self, statement: str, waited: float = 0) -> None:
        """Begin a transaction.

        Args:
            statement: the statement that begins it.
            waited: the seconds that the call has already waited.
        """
        self.wait_for_others(max(BUSY_MILLISECONDS - int(waited * 1000), 0))
        self.run(statement)

    def wait_for_others(self, timeout: int) -> None:
        """Set how many milliseconds a statement waits for other connections."""
        # Ignore differences below 5 %, to spare most calls the statement.
        if abs(timeout - self._timeout) * 20 > BUSY_MILLISECONDS:
            self.rows(f"PRAGMA busy_timeout = {timeout}")
            self._timeout = timeout

    @property
    def in_transaction(self) -> bool:
        try:
            return self.connection.in_transaction
        except sqlite3.ProgrammingError:
            # Another thread closed it.
            return False

    def close(self) -> None:
        self.is_open = False
        # On one line: a debugger or a time limit that traces lines could raise between two lines.
        with _closing: return self._close()  # noqa: E701  # fmt: skip

    def _close(self) -> None:
        try:
            # An unfinished statement, referenced by the frames of an exception, would keep a transaction open.
            with suppress(sqlite3.Error):
                self.connection.rollback()
            self.connection.close()
        finally:
            if self.lock_file is not None:
                self.lock_file.close()


class ConnectionPool:
    """The connections to a file, for all threads of this process.

    Writers queue at a lock file. SQLite only polls its own lock, so under load some writers would never get it.

    Transactions and locks end in `with` blocks of objects written in C, so an exception from a signal handler cannot
    leave one open. Any unexpected exception also closes the connection.
    """

    joined = False
    is_always_joined = False

    def __init__(self, path: str, prepare: Callable[[ConnectionPool], None]) -> None:
        """Open the file, and prepare it.

        Args:
            path: absolute, without symbolic links, so that all processes use the same lock file.
            prepare: a function that creates or upgrades the tables.
        """
        self.where = f"the database {path!r}"
        self._path = path
        self._lock_path = f"{path}.lock"
        self._closed = False
        self._thread = threading.local()
        self._sessions: WeakSet[_ThreadSession] = WeakSet()
        _exclusively(lambda: _pools.add(self))
        try:
            prepare(self)
        except BaseException:
            self.close()
            raise

    def read_rows(self, statement: str, values: Row) -> list[Row]:
        return self._call(lambda session: session.rows(statement, values))

    def write_rows(self, statement: str, values: Row) -> list[Row]:
        return self.write(lambda session: session.rows(statement, values))

    def read(self, work: Callable[[Session], Result]) -> Result:
        def transaction(session: _ThreadSession) -> Result:
            with session.connection:
                session.begin("BEGIN")
                return work(session)

        return self._call(transaction)

    def write(self, work: Callable[[Session], Result]) -> Result:
        began = monotonic()

        def transaction(session: _ThreadSession) -> Result:
            with LockFile(self._lock_path, self._path) as session.lock_file, session.connection:
                session.lock_file.acquire()
                session.begin("BEGIN IMMEDIATE", monotonic() - began)
                return work(session)

        return self._call(transaction)

    def write_at_once(self, work: Callable[[Session], Result]) -> Result:
        return self.write(work)

    def use_wal(self) -> None:
        """Switch the file to WAL mode. SQLite stores the mode in the file."""

        def switch(session: _ThreadSession) -> None:
            with LockFile(self._lock_path, self._path) as session.lock_file:
                session.lock_file.acquire()
                if session.rows("PRAGMA journal_mode = WAL") != [("wal",)]:
                    raise StoreUnavailable(f"{self.where}: SQLite cannot use WAL mode: use a local disk")

        self._call(switch)

    def scrub(self, wanted: str, done: str) -> None:
        """Rewrite the file and empty the WAL, to remove deleted values.

        `secure_delete` is not enough: SQLite leaves copies of rows that it moves in the unused space of pages.

        Args:
            wanted: a statement that returns rows if there are values to remove.
            done: the statement to run afterwards.

        Raises:
            StoreUnavailable: if another connection reads an older snapshot for too long.
        """

        def rewrite(session: _ThreadSession) -> None:
            with LockFile(self._lock_path, self._path) as session.lock_file:
                session.lock_file.acquire()
                session.wait_for_others(BUSY_MILLISECONDS)
                if session.rows(wanted):
                    session.rows("VACUUM")
                    ((busy, *_),) = session.rows("PRAGMA wal_checkpoint(TRUNCATE)")
                    if busy:
                        raise StoreUnavailable(
                            f"{self.where}: another connection still reads an older snapshot: retry later"
                        )
                    session.run(done)

        self._call(rewrite)

    def with_connection(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do work on the connection, outside of a transaction."""
        self._call(lambda session: work(session.connection))

    def close(self) -> None:
        self._closed = True
        _exclusively(self.close_connections)

    def close_connections(self) -> None:
        """Wait for the calls in progress, then close this process's connections."""
        for session in list(self._sessions):
            # In a child, a thread that ended with the fork may hold a closed session for ever.
            if session.is_open and session.pid == os.getpid():
                with session.in_use:
                    session.close()

    def _call(self, work: Callable[[_ThreadSession], Result]) -> Result:
        while True:
            session = self._session()
            if session.in_transaction:
                raise InvalidInput("a signal handler must not call the store during another call")
            try:
                with session.in_use:
                    if session.is_open:
                        return work(session)
            except BaseException as error:
                # Closing ends any transaction. After StoreFull the session stays open: reopening may need disk space.
                expected = isinstance(error, OrderFsmError) and not isinstance(error, StoreUnavailable)
                if not expected or session.in_transaction:
                    session.close()
                if isinstance(error, FAILURES):
                    raise store_error(error, self.where) from error
                raise

    def _session(self) -> _ThreadSession:
        session: _ThreadSession | None = getattr(self._thread, "session", None)
        if session is None or not session.is_open or session.pid != os.getpid():
            session = self._thread.session = _exclusively(self._new_session)
        return session

    def _new_session(self) -> _ThreadSession:
        if self._closed:
            raise StoreUnavailable(f"{self.where}: this store is closed: make a new one")
        if any(one.is_open and one.pid != os.getpid() for one in self._sessions):
            raise StoreUnavailable(
                f"{self.where} was open when the process forked without Python's hooks: make the store after the fork"
            )
        try:
            session = _ThreadSession(self._path, self.where)
        except FAILURES as error:
            raise store_error(error, self.where) from error
        self._sessions.add(session)
        return session


_opening = threading.RLock()
"""Held while a connection opens, and during a fork. Reentrant, because a signal handler may fork."""

_closing = threading.RLock()
"""Held while a connection closes, and during a fork.

Separate from `_opening`: the garbage collector may close a connection in the middle of a call, and a fork waits for the
end of calls while it holds `_opening`.
"""


def _exclusively(work: Callable[[], Result]) -> Result:
    """Do work while no other thread opens a connection or forks."""
    # On one line: a debugger or a time limit that traces lines could raise between two lines.
    with _opening: return work()  # noqa: E701  # fmt: skip


_pools: WeakSet[ConnectionPool] = WeakSet()


def _before_fork() -> None:
    _opening.acquire()
    for pool in list(_pools):
        pool.close_connections()
    _closing.acquire()


def _after_fork() -> None:
    # Some programs run this hook without the one before the fork. Then the locks are not held.
    with suppress(RuntimeError):
        _closing.release()
        _opening.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
