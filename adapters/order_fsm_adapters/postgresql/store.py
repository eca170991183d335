"""The store in PostgreSQL."""

from __future__ import annotations

from typing import Any, Self

from order_fsm.errors import InvalidInput, MissingDependency
from order_fsm_adapters.postgresql import schema
from order_fsm_adapters.postgresql.dialect import PostgresDialect
from order_fsm_adapters.sql import SqlStore
from order_fsm_adapters.sql.databases import HostDatabase, OwnDatabase, pool_size
from order_fsm_adapters.sql.keeper import MakeKeeper

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    from order_fsm_adapters.postgresql.connections import PsycopgLink, PsycopgPool
except ImportError as missing:
    raise MissingDependency.of_extra("PostgresStore", "psycopg and its pool", "postgresql") from missing


class PostgresStore(SqlStore):
    """A store in PostgreSQL 12 or newer, with all guarantees, for several threads, processes and machines.

    With a URL it has connections of its own. With a connection it is a guest: its rows commit, roll back and become
    visible with the shop's own. `within` makes a guest of the same store.

    A guest never begins, commits, rolls back or repeats a transaction that the shop has open. A refusal leaves that
    transaction usable. On a connection in autocommit with no transaction open, each call commits by itself.

    The tables are made by `install`, and found by the search path. All are named `order_fsm_...`. Erased values are not
    in them any more. Their bytes stay in the server's files until VACUUM and in its WAL and backups as long as those
    are kept.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
        size: int = 10,
        stock_keeper: MakeKeeper | None = None,
    ) -> None:
        """Remember how to connect. Connects at the first call.

        Args:
            url: such as `postgresql://user@host/shop`, or another connection string of libpq. It may name several
                hosts: add `target_session_attrs=read-write` to find the primary.
            connection: the shop's, by psycopg 3.
            size: the largest number of connections of each process. Not for `connection`.
            stock_keeper: a `StockKeeper` of the shop, if a table of the shop counts the stock. It is called with the
                psycopg connection.

        Raises:
            InvalidInput: if not exactly one of `url` and `connection` is given, or it is not valid.
        """
        if (url is None) == (connection is None):
            raise InvalidInput("pass either the URL of a database or connection=, not both")
        dialect = PostgresDialect()
        self._database: OwnDatabase | HostDatabase
        if url is not None:
            self._database = OwnDatabase(PsycopgPool(_conninfo(url), pool_size(size)), dialect)
        else:
            self._database = HostDatabase(_link(connection), dialect, "the shop's database")
        super().__init__(self._database, dialect, stock_keeper)

    def within(self, connection: psycopg.Connection[Any]) -> Self:
        """Return the same store as a guest on a connection of the shop. It need not be closed.

        Args:
            connection: to the same database, by psycopg 3.
        """
        return self._guest(HostDatabase(_link(connection), self._dialect, "the shop's database"))

    def install(self) -> None:
        """Create the tables and functions, or upgrade them, in one transaction. The user needs the right to CREATE.

        May be repeated, and called by several programs at once.

        Raises:
            StoreUnavailable: if a newer version of order_fsm made the tables.
        """
        self._database.install(schema.install)


def _conninfo(url: object) -> str:
    if not isinstance(url, str):
        raise InvalidInput(f"url must be a string such as 'postgresql://user@host/shop', not {type(url).__name__}")
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Its text would repeat the password.
        raise InvalidInput("url must be like 'postgresql://user@host/shop', or another string of libpq") from None
    return url


def _link(connection: object) -> PsycopgLink:
    if not isinstance(connection, psycopg.Connection):
        raise InvalidInput(f"connection must be a psycopg.Connection, not {type(connection).__name__}")
    return PsycopgLink(connection)
