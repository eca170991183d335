"""The store in MariaDB."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import unquote, urlsplit

from order_fsm.errors import InvalidInput, MissingDependency
from order_fsm_adapters.sql import SqlStore
from order_fsm_adapters.sql.databases import OwnDatabase, check_one_source, not_joined, pool_size
from order_fsm_adapters.sql.keeper import MakeKeeper

try:
    from pymysql.connections import Connection
    from pymysql.constants.CLIENT import MULTI_STATEMENTS

    from order_fsm_adapters.mariadb import schema
    from order_fsm_adapters.mariadb.connections import PyMySqlLink, PyMySqlPool
    from order_fsm_adapters.mariadb.dialect import MariaDbDialect
    from order_fsm_adapters.mariadb.host import MariaDbHost
except ImportError as missing:
    raise MissingDependency.of_extra("MariaDbStore", "PyMySQL", "mariadb") from missing

_EXAMPLE = "mariadb://user:password@host/shop"
_HOST = "the shop's database"


class MariaDbStore(SqlStore):
    """A store in MariaDB 10.6 or newer, with all guarantees, for several threads, processes and machines.

    With a URL the store opens its own connections. With a connection it is a guest: its rows commit, roll back and
    become visible with the shop's own. `within` returns a guest of the same store.

    A guest never begins, commits, rolls back or retries a transaction that the shop has open. A refusal leaves that
    transaction usable. After TransactionLost the shop must roll back: a deadlock has undone the whole transaction, but
    a commit would not raise. On a connection in autocommit with no open transaction, each call commits by itself.

    Use READ COMMITTED for transactions with a guest. Under REPEATABLE READ the store also decides on the latest
    commits, but a change with messages locks the gap after the messages of its order. Changes of other orders may then
    wait, and deadlocks are more frequent. Orders created by others since the transaction's first read are not found. A
    key used since then raises VersionConflict, unless it was used on the same order.

    `install` creates the tables, all named `order_fsm_...`, in the connection's database. An erasure removes values
    from the tables. Their bytes stay in the server's files until the space is reused, and in its logs and backups for
    as long as those are kept. MySQL is refused because it is not tested.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        connection: Connection[Any] | None = None,
        size: int = 10,
        stock_keeper: MakeKeeper | None = None,
    ) -> None:
        """Store the settings. The first call connects.

        Args:
            url: such as `mariadb://user:password@host/shop`, with special characters percent-encoded. It may list the
                servers of a Galera cluster, such as `mariadb://user@host1,host2:3307/shop`: they are tried in turn.
            connection: the shop's PyMySQL connection.
            size: the largest number of connections per process. Only used with `url`.
            stock_keeper: creates the shop's `StockKeeper` for a PyMySQL connection, if the shop counts the stock.

        Raises:
            InvalidInput: if not exactly one of `url` and `connection` is given, or an argument is not valid.
        """
        check_one_source(url, connection, "the URL of a database")
        dialect = MariaDbDialect()
        self._database: OwnDatabase | MariaDbHost
        if url is not None:
            self._database = OwnDatabase(PyMySqlPool(_servers(url), pool_size(size)), dialect)
        else:
            self._database = MariaDbHost(_link(connection), dialect, _HOST)
        super().__init__(self._database, dialect, stock_keeper)

    def within(self, connection: Connection[Any]) -> Self:
        """Return the same store as a guest on a connection of the shop.

        The guest need not be closed.

        Args:
            connection: a PyMySQL connection to the same database.

        Raises:
            InvalidInput: if the connection has another type, or a charset other than utf8mb4.
        """
        return self._guest(MariaDbHost(_link(connection), self._dialect, _HOST))

    def install(self) -> None:
        """Create or upgrade the tables.

        Each statement commits. Repeated and concurrent calls are safe. The user needs the right to CREATE.

        Raises:
            InvalidInput: if the shop has a transaction open.
            StoreUnavailable: if the server is not supported, a newer version of order_fsm made the tables, or another
                installation does not end within a minute.
        """
        self._database.install(schema.install)


def _servers(url: object) -> list[dict[str, Any]]:
    """Return the options of `pymysql.connect` for each server of a URL."""
    if not isinstance(url, str):
        raise InvalidInput(f"url must be a string such as {_EXAMPLE!r}, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        addresses = [(host.hostname, host.port or 3306) for host in hosts]
    except ValueError as error:
        raise InvalidInput(f"url must be like {_EXAMPLE!r}: {error}") from None
    database = unquote(parts.path[1:])
    is_whole = database and all(name for name, _ in addresses)
    # The message must not repeat the password.
    if parts.scheme != "mariadb" or not is_whole or parts.query or parts.fragment:
        raise InvalidInput(f"url must be like {_EXAMPLE!r}, with nothing after the name of the database")
    options = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": database,
        "charset": "utf8mb4",
        "sql_mode": "STRICT_ALL_TABLES",
        "autocommit": True,
        "binary_prefix": True,
        "client_flag": MULTI_STATEMENTS,
    }
    return [{"host": host, "port": port, **options} for host, port in addresses]


def _link(connection: object) -> PyMySqlLink:
    if not isinstance(connection, Connection):
        raise not_joined("a pymysql.Connection", connection)
    if connection.charset != "utf8mb4":
        raise InvalidInput(f"connection must have the charset utf8mb4, not {connection.charset!r:.80}")
    return PyMySqlLink(connection)
