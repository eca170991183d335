"""The store in SQLite."""

from __future__ import annotations

import os
from functools import partial
from sqlite3 import Connection
from typing import Self

from order_fsm.errors import InvalidInput
from order_fsm_adapters.files import path_of
from order_fsm_adapters.sql import SqlStore, erasing
from order_fsm_adapters.sql.databases import check_one_source, not_joined
from order_fsm_adapters.sql.keeper import MakeKeeper
from order_fsm_adapters.sqlite import backup, schema
from order_fsm_adapters.sqlite.connections import ConnectionPool
from order_fsm_adapters.sqlite.dialect import SqliteDialect
from order_fsm_adapters.sqlite.host import HostConnection


class SqliteStore(SqlStore):
    """A store in SQLite, with all guarantees, for several threads and processes.

    With a path, the store owns the file, and `.lock`, `-wal` and `-shm` next to it. With a connection, it is a guest:
    its rows commit and roll back with the shop's own.

    On a connection in autocommit without an open transaction, each call commits by itself. In the legacy mode of the
    sqlite3 module, the first write begins a transaction, and the shop commits it. Deliver messages outside of a
    transaction: `claim`, `delivered`, `retry_later` and `requeue` then commit by themselves. If a call raises, the
    shop's own rows are unchanged, except after `TransactionLost`. Use the store in any thread that may use its
    connection: the calls wait for each other. A transaction of the shop is open for all threads.

    With a path, an erasure rewrites the file so that no erased byte is left. With a connection, erased bytes stay in
    the file until the shop runs VACUUM and a checkpoint of the WAL.

    A connection with `autocommit=False` is always in a transaction: deliver messages through another store.

    The names of all tables begin with `order_fsm_`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        connection: Connection | None = None,
        stock_keeper: MakeKeeper | None = None,
    ) -> None:
        """Open a file or join a connection. Create or upgrade the tables.

        Args:
            path: the path of the database file. The store creates the file if it does not exist.
            connection: the shop's connection. If a transaction is open on it, new tables are part of that.
            stock_keeper: the shop's `StockKeeper`, if a table of the shop in the same file counts the stock. The store
                calls it with the sqlite3 connection.

        Raises:
            InvalidInput: if not exactly one of `path` and `connection` is given, or an argument is not valid.
            StoreUnavailable: if the file cannot be opened, a newer version of order_fsm made the tables, or this SQLite
                is too old.
            StoreCorrupt: if the file is not a SQLite database.
        """
        if isinstance(path, Connection):
            raise InvalidInput("pass a connection by name: SqliteStore(connection=...)")
        check_one_source(path, connection, "the path of a database file")
        schema.check_sqlite()
        self._pool: ConnectionPool | None = None
        if connection is None:
            self._path = _file(path)
            self._pool = ConnectionPool(self._path, _prepare)
            super().__init__(self._pool, SqliteDialect(), stock_keeper)
        else:
            super().__init__(_host(connection), SqliteDialect(), stock_keeper)

    def within(self, connection: Connection) -> Self:
        """Return the same store as a guest on the shop's connection. You need not close it.

        Args:
            connection: a connection to the same file, as in the constructor.
        """
        guest = self._guest(_host(connection))
        guest._pool = None
        return guest

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the database to a new file while it is in use. Writers do not wait.

        The copy contains every commit before the call, and later ones whole or not at all. It copies damage too, so
        audit it. To restore it, close all stores on the old file, delete its `-wal` and `-shm`, and replace it with the
        copy.

        Args:
            path: the path of the copy. Its folder must exist. The file appears when it is complete.

        Raises:
            InvalidInput: if `path` is not valid or exists, or its `-wal` exists, or the store is on a connection of the
                shop.
            StoreUnavailable, StoreFull, StoreCorrupt: if the copy fails.
        """
        target = _file(path)
        if self._pool is None:
            raise InvalidInput("the database belongs to the shop: back it up with the shop's own rows")
        self._pool.with_connection(partial(backup.copy, source_path=self._path, path=target))

    def scrub(self) -> None:
        if self._pool is not None:
            self._pool.scrub(erasing.UNSCRUBBED, erasing.SCRUBBED)

    def faults(self) -> list[str]:
        rows = self._database.read_rows("PRAGMA integrity_check", ())
        return [f"SQLite: {said}" for (said,) in rows if said != "ok"] + super().faults()


def _host(connection: object) -> HostConnection:
    if not isinstance(connection, Connection):
        raise not_joined("a sqlite3.Connection", connection)
    if connection.text_factory is not str:
        raise InvalidInput("connection must have the text_factory str, which is the default of the sqlite3 module")
    return HostConnection(connection)


def _prepare(pool: ConnectionPool) -> None:
    pool.use_wal()
    if not pool.read(schema.is_current):
        pool.write(schema.migrate)


def _file(path: object) -> str:
    """Return the absolute path of a file, with symbolic links resolved."""
    wanted = "path must name a file, such as 'shop.db'"
    if isinstance(path, str) and path.startswith((":memory:", "file:")):
        raise InvalidInput(f"{wanted}, not {path!r:.80}: use MemoryStore, or open it yourself and give connection=")
    if isinstance(path, str) and "://" in path:
        raise InvalidInput(f"{wanted}, not the URL {path!r:.80}")
    return os.path.realpath(path_of(path, wanted))
