"""The store in SQLite."""

from __future__ import annotations

import os
from functools import partial
from sqlite3 import Connection
from typing import Self

from order_fsm.errors import InvalidInput
from order_fsm_adapters.files import path_of
from order_fsm_adapters.sql import SqlStore, erasing
from order_fsm_adapters.sql.keeper import MakeKeeper
from order_fsm_adapters.sqlite import backup, schema
from order_fsm_adapters.sqlite.connections import ConnectionPool
from order_fsm_adapters.sqlite.dialect import SqliteDialect
from order_fsm_adapters.sqlite.host import HostConnection


class SqliteStore(SqlStore):
    """A store in SQLite, with all guarantees, for several threads and processes.

    With a path it owns the file, and `.lock`, `-wal` and `-shm` next to it. With a connection it is a guest: its rows
    commit, roll back and become visible with the shop's own.

    On a connection in autocommit with no transaction open, each call commits by itself. In the legacy mode of the
    sqlite3 module the first write begins a transaction, and the shop commits it. Messages are delivered with no
    transaction open: `claim`, `delivered`, `retry_later` and `requeue` then commit by themselves. If a call raises, the
    shop's own rows stay as they were, except after `TransactionLost`. The store may be used in the threads in which its
    connection may be: the calls wait for each other. A transaction that the shop begins is open for all threads.

    With a path, an erasure rewrites the file so that no erased byte is left. With a connection, erased bytes stay in
    the file until the shop runs VACUUM and a checkpoint of the WAL.

    A connection with `autocommit=False` always has a transaction open. Deliver messages through another store.

    All tables are named `order_fsm_...`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        connection: Connection | None = None,
        stock_keeper: MakeKeeper | None = None,
    ) -> None:
        """Open a file or join a connection. Create the tables, or upgrade them.

        Args:
            path: of the database file. It is created if it does not exist.
            stock_keeper: a `StockKeeper` of the shop, if a table of the shop in the same file counts the stock. It is
                called with the sqlite3 connection.
            connection: the shop's. If a transaction is open on it, new tables are part of it.

        Raises:
            InvalidInput: if not exactly one of the two is given, or it is not valid.
            StoreUnavailable: if the file cannot be opened, a newer version of order_fsm wrote it, or this SQLite is too
                old.
            StoreCorrupt: if the file is not a SQLite database.
        """
        if isinstance(path, Connection):
            raise InvalidInput("pass a connection by name: SqliteStore(connection=...)")
        if (path is None) == (connection is None):
            raise InvalidInput("pass either the path of a database file or connection=, not both")
        schema.check_sqlite()
        self._pool: ConnectionPool | None = None
        if connection is None:
            self._path = _file(path)
            self._pool = ConnectionPool(self._path, _prepare)
            super().__init__(self._pool, SqliteDialect(), stock_keeper)
        else:
            super().__init__(_host(connection), SqliteDialect(), stock_keeper)

    def within(self, connection: Connection) -> Self:
        """Return the same store as a guest on a connection of the shop. It need not be closed.

        Args:
            connection: to the same file, as in the constructor.
        """
        guest = self._guest(_host(connection))
        guest._pool = None
        return guest

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the database to a new file, while others use it. No writer waits for it.

        The copy holds every commit before the call, and no part of others. It copies damage too, so audit it. To
        restore it, close all stores on the old file, delete its `-wal` and `-shm`, and put the copy in its place.

        Args:
            path: of the copy. Its folder must exist. The file appears when it is whole.

        Raises:
            InvalidInput: if the path is not valid, something is there, or the database is the shop's (connection=).
            StoreUnavailable, StoreFull, StoreCorrupt: if the copy cannot be made.
        """
        target = _file(path)
        if self._pool is None:
            raise InvalidInput("the database is the shop's: back it up with the shop's own rows")
        self._pool.with_connection(partial(backup.copy, source_path=self._path, path=target))

    def scrub(self) -> None:
        if self._pool is not None:
            self._pool.scrub(erasing.UNSCRUBBED, erasing.SCRUBBED)

    def faults(self) -> list[str]:
        rows = self._database.read_rows("PRAGMA integrity_check", ())
        return [f"SQLite: {said}" for (said,) in rows if said != "ok"] + super().faults()


def _host(connection: object) -> HostConnection:
    if not isinstance(connection, Connection) or connection.text_factory is not str:
        raise InvalidInput("connection must be a sqlite3.Connection with the text_factory str")
    return HostConnection(connection)


def _prepare(pool: ConnectionPool) -> None:
    pool.use_wal()
    if not pool.read(schema.is_current):
        pool.write(schema.migrate)


def _file(path: object) -> str:
    """Return the one name of a file, whatever the working directory and the links that lead to it."""
    wanted = "path must be that of a file, such as 'shop.db'"
    if isinstance(path, str) and path.startswith((":memory:", "file:")):
        raise InvalidInput(f"{wanted}, not {path!r:.80}: use MemoryStore, or open it yourself and give connection=")
    return os.path.realpath(path_of(path, wanted))
