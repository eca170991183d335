"""The store over SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from order_fsm.errors import InvalidInput, MissingDependency
from order_fsm_adapters.sql import SqlStore
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.databases import HostDatabase, OwnDatabase
from order_fsm_adapters.sql.dialect import Dialect
from order_fsm_adapters.sql.keeper import MakeKeeper

try:
    from sqlalchemy import Connection, Engine

    from order_fsm_adapters.sqlalchemy.hosts import SqliteHost, link_of
    from order_fsm_adapters.sqlalchemy.links import EnginePool, SqlAlchemyLink
except ImportError as missing:
    raise MissingDependency.of_extra("SqlAlchemyStore", "SQLAlchemy 2", "sqlalchemy") from missing

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.orm import Session, scoped_session


class _Database(NamedTuple):
    """A supported kind of database.

    Attributes:
        package: the package with the modules `schema` and `dialect`.
        dialect: the name of the class in `dialect`.
        drivers: the tested drivers.
        host: creates the `HostDatabase` for a connection of the shop.
    """

    package: str
    dialect: str
    drivers: tuple[str, ...]
    host: Callable[..., HostDatabase] = HostDatabase


def _mariadb_host(link: SqlAlchemyLink, dialect: Dialect, where: str) -> HostDatabase:
    # Import on demand: other databases do not need PyMySQL.
    from order_fsm_adapters.mariadb.host import MariaDbHost

    return MariaDbHost(link, dialect, where)


_MARIADB = _Database("mariadb", "MariaDbDialect", ("pymysql",), _mariadb_host)

_DATABASES = {
    "postgresql": _Database("postgresql", "PostgresDialect", ("psycopg", "psycopg_async", "psycopg2", "asyncpg")),
    "sqlite": _Database("sqlite", "SqliteDialect", ("pysqlite", "aiosqlite"), SqliteHost),
    "mariadb": _MARIADB,
    # Older URLs name MariaDB's dialect mysql. The first call refuses a MySQL server.
    "mysql": _MARIADB,
}


class SqlAlchemyStore(SqlStore):
    """A store in the shop's database, over an engine of SQLAlchemy 2: in PostgreSQL, MariaDB or SQLite.

    Each of its own calls is a transaction on a connection of the engine. `within` returns a guest of the same store:
    its rows commit, roll back and become visible with the shop's own.

    A guest never begins, commits, rolls back or retries a transaction. On a connection in AUTOCOMMIT, each call commits
    by itself instead. A refusal leaves the transaction usable. A guest does not flush the session: pending objects are
    written when the session flushes, at the latest on commit.

    `install` creates the same tables as `PostgresStore`, `MariaDbStore` and `SqliteStore` do. In MariaDB, a guest's
    transaction follows the rules that `MariaDbStore` describes.
    """

    def __init__(self, engine: Engine | AsyncEngine, *, stock_keeper: MakeKeeper | None = None) -> None:
        """Store the engine. The first call connects.

        Args:
            engine: the shop's engine. With an AsyncEngine, all calls must run inside `run_sync`.
            stock_keeper: creates the shop's `StockKeeper` for a SQLAlchemy Connection, if the shop counts the stock.

        Raises:
            InvalidInput: if `engine` is not an engine, or its database or driver is not supported.
        """
        self._engine = _checked(engine)
        self._kind = _kind(self._engine)
        dialect = self._part("dialect", self._kind.dialect)()
        self._database: OwnDatabase | HostDatabase = OwnDatabase(EnginePool(self._engine, dialect.name), dialect)
        super().__init__(self._database, dialect, stock_keeper)

    def within(self, host: Connection | Session | scoped_session[Any]) -> Self:
        """Return the same store as a guest in a transaction of the shop.

        The guest need not be closed.

        Args:
            host: a SQLAlchemy connection or session on the same database. In asynchronous code, pass the one that
                `run_sync` provides.

        Raises:
            InvalidInput: if `host` has another type, or is connected to another kind of database.
        """
        where = "the shop's database"
        return self._guest(self._kind.host(link_of(host, self._engine, where), self._dialect, where))

    def install(self) -> None:
        """Create or upgrade the tables and functions.

        The installation is one transaction, except in MariaDB, where each statement commits. Repeated and concurrent
        calls are safe. The user needs the right to CREATE.

        Raises:
            StoreUnavailable: if a newer version of order_fsm made the tables.
        """
        install: Callable[[Transaction], None] = self._part("schema", "install")
        self._database.install(install)

    def _part(self, module: str, name: str) -> Any:
        return getattr(import_module(f"order_fsm_adapters.{self._kind.package}.{module}"), name)


def _checked(engine: object) -> Engine:
    found = getattr(engine, "sync_engine", engine)
    if not isinstance(found, Engine):
        raise InvalidInput(f"engine must be an Engine of SQLAlchemy, such as create_engine(url), not {engine!r:.80}")
    return found


def _kind(engine: Engine) -> _Database:
    kind = _DATABASES.get(engine.dialect.name)
    if kind is None:
        raise InvalidInput(f"the database must be one of {', '.join(_DATABASES)}, not {engine.dialect.name}")
    if engine.dialect.driver not in kind.drivers:
        raise InvalidInput(f"the driver must be one of {', '.join(kind.drivers)}, not {engine.dialect.driver}")
    return kind
