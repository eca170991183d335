"""The store in PostgreSQL."""

from __future__ import annotations

from typing import Any, Self

from order_fsm.errors import InvalidInput, MissingDependency
from order_fsm_adapters.postgresql import schema
from order_fsm_adapters.postgresql.dialect import PostgresDialect
from order_fsm_adapters.sql import SqlStore
from order_fsm_adapters.sql.databases import HostDatabase, OwnDatabase, check_one_source, not_joined, pool_size
from order_fsm_adapters.sql.keeper import MakeKeeper

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    from order_fsm_adapters.postgresql.connections import PsycopgLink, PsycopgPool
except ImportError as missing:
    raise MissingDependency.of_extra("PostgresStore", "psycopg and its pool", "postgresql") from missing


class PostgresStore(SqlStore):
    """A store in PostgreSQL 12 or newer, with all guarantees, for several threads, processes and machines.

    With a URL the store opens its own connections. With a connection it is a guest: its rows commit, roll back and
    become visible with the shop's own. `within` returns a guest of the same store.

    A guest never begins, commits, rolls back or retries a transaction that the shop has open. A refusal leaves that
    transaction usable. On a connection in autocommit with no open transaction, each call commits by itself.

    `install` creates the tables, all named `order_fsm_...`. The store finds them by the search path. An erasure removes
    values from the tables. Their bytes stay in the server's files until VACUUM, and in its WAL and backups for as long
    as those are kept.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
        size: int = 10,
        stock_keeper: MakeKeeper | None = None,
    ) -> None:
        """Store the settings. The first call connects.

        Args:
            url: a libpq connection string, such as `postgresql://user@host/shop`. It may name several hosts: add
                `target_session_attrs=read-write` to find the primary.
            connection: the shop's psycopg 3 connection.
            size: the largest number of connections per process. Only used with `url`.
            stock_keeper: creates the shop's `StockKeeper` for a psycopg connection, if the shop counts the stock.

        Raises:
            InvalidInput: if not exactly one of `url` and `connection` is given, or an argument is not valid.
        """
        check_one_source(url, connection, "the URL of a database")
        dialect = PostgresDialect()
        self._database: OwnDatabase | HostDatabase
        if url is not None:
            self._database = OwnDatabase(PsycopgPool(_conninfo(url), pool_size(size)), dialect)
        else:
            self._database = HostDatabase(_link(connection), dialect, "the shop's database")
        super().__init__(self._database, dialect, stock_keeper)

    def within(self, connection: psycopg.Connection[Any]) -> Self:
        """Return the same store as a guest on a connection of the shop.

        The guest need not be closed.

        Args:
            connection: a psycopg 3 connection to the same database.

        Raises:
            InvalidInput: if the connection has another type.
        """
        return self._guest(HostDatabase(_link(connection), self._dialect, "the shop's database"))

    def install(self) -> None:
        """Create or upgrade the tables and functions in one transaction.

        Repeated and concurrent calls are safe. The user needs the right to CREATE.

        Raises:
            InvalidInput: if the database or the connection is not encoded in UTF-8.
            StoreUnavailable: if a newer version of order_fsm made the tables.
        """
        self._database.install(schema.install)


def _conninfo(url: object) -> str:
    if not isinstance(url, str):
        raise InvalidInput(f"url must be a string such as 'postgresql://user@host/shop', not {type(url).__name__}")
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The text of the original error would repeat the password.
        raise InvalidInput("url must be a libpq connection string, such as 'postgresql://user@host/shop'") from None
    return url


def _link(connection: object) -> PsycopgLink:
    if not isinstance(connection, psycopg.Connection):
        raise not_joined("a psycopg.Connection", connection)
    return PsycopgLink(connection)
