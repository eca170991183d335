"""The store as a guest on the shop's own connection."""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Connection, Error
from threading import RLock
from weakref import WeakValueDictionary

from order_fsm.errors import StoreUnavailable
from order_fsm_adapters.sql.database import Result, Row, Transaction
from order_fsm_adapters.sqlite import schema
from order_fsm_adapters.sqlite.session import Session

_locks: WeakValueDictionary[int, RLock] = WeakValueDictionary()
"""The lock of each connection, by its id. Stores hold it during a call, and keep it alive."""

_registering = RLock()


def _lock_of(connection: Connection) -> RLock:
    """Return the lock of a connection. It is reentrant, because a signal handler may call the store."""
    # On one line: a time limit that traces lines could raise between two lines.
    with _registering: return _locks.setdefault(id(connection), RLock())  # noqa: E701  # fmt: skip


class HostConnection:
    """The shop's connection. The shop commits or rolls back the transactions that it began.

    If no transaction is open, the mode of the connection decides. In autocommit, a write commits by itself. In the
    legacy mode of the sqlite3 module, it begins a transaction like any statement that changes rows, and the shop
    commits it.

    Calls of several threads, or of several stores on one connection, wait for each other, so that they never share
    a transaction. A transaction that the shop begins in one thread is open for all threads, so the shop must keep the
    others away.
    """

    def __init__(self, connection: Connection) -> None:
        """Create or upgrade the tables, inside the shop's transaction if open."""
        self._session = Session(connection, "the shop's database")
        self._schema_is_committed = False
        self._closed = False
        self._lock = _lock_of(connection)
        self._exclusively(lambda: schema.check_encoding(self._session))
        self._exclusively(self._prepare)

    @property
    def joined(self) -> bool:
        return self._exclusively(lambda: self._session.in_transaction)

    @property
    def is_always_joined(self) -> bool:
        # With autocommit=False the sqlite3 module begins the next transaction itself.
        return self._autocommit is False

    def read_rows(self, statement: str, values: Row) -> list[Row]:
        def rows() -> list[Row]:
            self._prepare()
            self._session.is_joined = self._session.in_transaction
            return self._session.rows(statement, values)

        return self._exclusively(rows)

    def write_rows(self, statement: str, values: Row) -> list[Row]:
        return self.write(lambda transaction: transaction.rows(statement, values))

    def read(self, work: Callable[[Transaction], Result]) -> Result:
        def read() -> Result:
            self._prepare()
            return self._joined(work) if self._session.in_transaction else self._alone("BEGIN", work)

        return self._exclusively(read)

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        def write() -> Result:
            self._prepare()
            if self._session.in_transaction:
                return self._joined(lambda session: session.part(work))
            if self._commits_by_itself:
                return self._alone("BEGIN IMMEDIATE", work)
            return self._begun(work)

        return self._exclusively(write)

    def write_at_once(self, work: Callable[[Transaction], Result]) -> Result:
        def write() -> Result:
            self._prepare()
            if self._session.in_transaction:
                return self._joined(lambda session: session.part(work))
            return self._alone("BEGIN IMMEDIATE", work)

        return self._exclusively(write)

    def close(self) -> None:
        """Refuse further calls. The connection stays open: it is the shop's."""
        self._closed = True

    @property
    def _commits_by_itself(self) -> bool:
        autocommit = self._autocommit
        return self._session.connection.isolation_level is None if autocommit is None else autocommit

    @property
    def _autocommit(self) -> bool | None:
        """The attribute of the connection. None before Python 3.12, and if `isolation_level` decides."""
        try:
            autocommit = getattr(self._session.connection, "autocommit", None)
        except Error as error:
            # Python 3.12 raises in other threads.
            raise self._session.failure(error) from error
        return autocommit if isinstance(autocommit, bool) else None

    def _exclusively(self, work: Callable[[], Result]) -> Result:
        """Do work while no other thread uses the connection through a store."""
        # On one line: a debugger or a time limit that traces lines could raise between two lines.
        with self._lock: return work()  # noqa: E701  # fmt: skip

    def _joined(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work in the shop's transaction."""
        self._session.is_joined = True
        return work(self._session)

    def _alone(self, begin: str, work: Callable[[Transaction], Result]) -> Result:
        """Do work in a separate transaction."""
        session = self._session
        session.is_joined = False
        try:
            session.run(begin)
            result = work(session)
            session.run("COMMIT")
        finally:
            self._roll_back()
        return result

    def _begun(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work in a new transaction, and leave it open."""
        session = self._session
        session.is_joined = False
        try:
            session.run("BEGIN IMMEDIATE")
            return work(session)
        except BaseException:
            # The shop has written nothing in it yet.
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # After some errors, such as a full disk, SQLite has already rolled back.
        if self._session.in_transaction:
            self._session.run("ROLLBACK")

    def _prepare(self) -> None:
        """Create or upgrade the tables, unless they are committed.

        The shop may roll back the transaction that created them.
        """
        if self._closed:
            raise StoreUnavailable(f"{self._session.where}: this store is closed: make a new one")
        if self._schema_is_committed:
            return
        joined = self._session.is_joined = self._session.in_transaction
        if not schema.is_current(self._session):
            if joined:
                self._session.part(schema.migrate)
            else:
                self._alone("BEGIN IMMEDIATE", schema.migrate)
        self._schema_is_committed = not joined
