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
    """A kind of database.

    Attributes:
        package: has its `schema` and `dialect`.
        dialect: the class in the module `dialect`.
        drivers: that are tested.
        host: returns the access over a connection of the shop.
    """

    package: str
    dialect: str
    drivers: tuple[str, ...]
    host: Callable[..., HostDatabase] = HostDatabase


def _mariadb_host(link: SqlAlchemyLink, dialect: Dialect, where: str) -> HostDatabase:
    # On demand: other databases need no PyMySQL.
    from order_fsm_adapters.mariadb.host import MariaDbHost

    return MariaDbHost(link, dialect, where)


_MARIADB = _Database("mariadb", "MariaDbDialect", ("pymysql",), _mariadb_host)

_DATABASES = {
    "postgresql": _Database("postgresql", "PostgresDialect", ("psycopg", "psycopg_async", "psycopg2", "asyncpg")),
    "sqlite": _Database("sqlite", "SqliteDialect", ("pysqlite", "aiosqlite"), SqliteHost),
    "mariadb": _MARIADB,
    # The name of MariaDB's dialect in older URLs. A server of MySQL is refused at the first call.
    "mysql": _MARIADB,
}


class SqlAlchemyStore(SqlStore):
    """A store in the shop's database, over an engine of SQLAlchemy 2: in PostgreSQL, MariaDB or SQLite.

    Its own calls are transactions on connections of the engine. In a request, `within` makes a guest of the same store:
    its rows commit, roll back and become visible with the shop's own.

    A guest never begins, commits, rolls back or repeats a transaction, except on a connection in AUTOCOMMIT, where each
    call commits by itself. A refusal leaves the transaction usable. A guest does not flush the session: objects that
    are pending are written when the session flushes, at the latest with its commit.

    The tables are made by `install`, and are those of `PostgresStore`, `MariaDbStore` and `SqliteStore`. What
    `MariaDbStore` says about a guest's transaction is true here too.
    """

    def __init__(self, engine: Engine | AsyncEngine, *, stock_keeper: MakeKeeper | None = None) -> None:
        """Remember the engine. Connects at the first call.

        Args:
            engine: the shop's. The calls of a store with an AsyncEngine must run inside `run_sync`.
            stock_keeper: a `StockKeeper` of the shop, if a table of the shop counts the stock. It is called with the
                Connection of SQLAlchemy.

        Raises:
            InvalidInput: if the engine is not valid, or its database or driver is not supported.
        """
        self._engine = _checked(engine)
        self._kind = _kind(self._engine)
        dialect = self._part("dialect", self._kind.dialect)()
        self._database: OwnDatabase | HostDatabase = OwnDatabase(EnginePool(self._engine, dialect.name), dialect)
        super().__init__(self._database, dialect, stock_keeper)

    def within(self, host: Connection | Session | scoped_session[Any]) -> Self:
        """Return the same store as a guest in a transaction of the shop. It need not be closed.

        Args:
            host: a connection or session of SQLAlchemy that is connected to the same database. In asynchronous code,
                the one that `run_sync` passes.

        Raises:
            InvalidInput: if it is another object, or connected to another kind of database.
        """
        where = "the shop's database"
        return self._guest(self._kind.host(link_of(host, self._engine, where), self._dialect, where))

    def install(self) -> None:
        """Create the tables and functions, or upgrade them. The user needs the right to CREATE.

        It is one transaction, except in MariaDB, where each statement of it commits. It may be repeated, and called by
        several programs at once.

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
