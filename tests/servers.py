"""The database servers of the tests. Each test run creates its own databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pymysql
import pytest
from psycopg import sql
from pymysql.connections import Connection as MariaDbConnection
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from order_fsm_adapters.mariadb import MariaDbStore
from order_fsm_adapters.postgresql import PostgresStore

WANTED = "ORDER_FSM_SERVERS"
"""Set this environment variable to 1 to run the tests on servers. They create and drop databases."""

MARIADB = os.environ.get("ORDER_FSM_MARIADB", "mariadb://root@127.0.0.1:3306/mysql")
"""The MariaDB server on which the tests may create databases."""

POSTGRESQL = os.environ.get("ORDER_FSM_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
"""The PostgreSQL server on which the tests may create databases."""


def skip_unless_wanted() -> None:
    """Skip a test on a server unless the environment asks for it. Otherwise the server must be running."""
    if os.environ.get(WANTED) != "1":
        pytest.skip(f"{WANTED}=1 runs the tests on PostgreSQL and MariaDB")


class PostgresServer:
    """A database on a PostgreSQL server. Each name has its own schema with the tables installed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._installed: set[str] = set()

    def store(self, name: str) -> PostgresStore:
        """Open the store for a name."""
        return PostgresStore(self.address(name))

    def address(self, name: str, **settings: str) -> str:
        """Return the URL of a name's schema, with server settings for its connections."""
        url = self.empty(name, **settings)
        if name not in self._installed:
            with PostgresStore(url) as store:
                store.install()
            self._installed.add(name)
        return url

    def empty(self, name: str, **settings: str) -> str:
        """Return the same URL. Create the schema if it is missing, but not the tables."""
        schema = f"s{sha256(name.encode()).hexdigest()[:24]}"
        if name not in self._installed:
            create = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
            # Another process of the test may create the schema at the same time.
            with (
                suppress(psycopg.errors.UniqueViolation),
                psycopg.Connection.connect(self.url, autocommit=True) as connection,
            ):
                connection.execute(create)
        options = "".join(f" -c{setting}={value}" for setting, value in {"search_path": schema, **settings}.items())
        return f"{self.url}?options={quote(options.strip())}"


@contextmanager
def postgresql() -> Iterator[PostgresServer]:
    """Create a database for a block. Raises psycopg.OperationalError if the server cannot be reached."""
    name = f"order_fsm_test_{os.getpid()}"
    with psycopg.connect(POSTGRESQL, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield PostgresServer(f"{POSTGRESQL.rpartition('/')[0]}/{name}")
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


_TABLES = [
    "order",
    "entry",
    "key",
    "reference",
    "payment",
    "unscrubbed",
    "stock",
    "message",
    "dead_letter",
    "tally_base",
    "tally_step",
]


class MariaDbServer:
    """A MariaDB server. Each name has its own database with the tables installed.

    `empty` reuses the databases for other names: creating one takes as long as hundreds of commits.
    """

    def __init__(self, url: str) -> None:
        self.prefix = f"order_fsm_test_{os.getpid()}_"
        self._url = url
        self._places: dict[str, int] = {}
        self._installed: set[int] = set()

    def address(self, name: str) -> str:
        """Return the URL of a name's database. Create the database if it is missing."""
        # Each process of a test must get the same number.
        return self._installed_at(self._places.setdefault(name, len(self._places)))

    def prepare_next(self) -> None:
        """Create the database of the next new name, so that `address` makes no calls for it."""
        self._installed_at(len(self._places))

    def _installed_at(self, place: int) -> str:
        database = f"{self.prefix}{place}"
        url = f"{self._url.rpartition('/')[0]}/{database}"
        if place not in self._installed:
            with self.connect(None) as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
            with MariaDbStore(url) as store:
                store.install()
            self._installed.add(place)
        return url

    def empty(self) -> None:
        """Empty all databases, and forget their names."""
        self._places.clear()
        for database in self.databases():
            with self.connect(None, database=database) as connection, connection.cursor() as cursor:
                for table in _TABLES:
                    cursor.execute(f"DELETE FROM order_fsm_{table}")  # noqa: S608
                connection.commit()

    def databases(self) -> list[str]:
        """Return the names of this run's databases on the server."""
        with self.connect(None) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT schema_name FROM information_schema.schemata")
            return [database for (database,) in cursor.fetchall() if database.startswith(self.prefix)]

    def store(self, name: str) -> MariaDbStore:
        """Open the store for a name."""
        return MariaDbStore(self.address(name))

    def connect(self, name: str | None, **options: Any) -> MariaDbConnection[Any]:
        """Connect to a name's database, as a shop does."""
        parts = urlsplit(self._url)
        if name is not None:
            options["database"] = self.address(name).rpartition("/")[2]
        return pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            **options,
        )


@contextmanager
def mariadb() -> Iterator[MariaDbServer]:
    """Create databases for a block. Raises pymysql.err.OperationalError if the server cannot be reached."""
    server = MariaDbServer(MARIADB)
    with (
        _certificates_are_loaded_once(),
        server.connect(None) as connection,
        connection.cursor() as cursor,
    ):
        try:
            yield server
        finally:
            for database in server.databases():
                cursor.execute(f"DROP DATABASE {database}")


@contextmanager
def _certificates_are_loaded_once() -> Iterator[None]:
    """Share one TLS context. PyMySQL makes one for each connection, which takes longer than most tests."""
    make = MariaDbConnection._create_ssl_ctx  # type: ignore[attr-defined]
    made: list[object] = []

    def shared(connection: MariaDbConnection[Any], options: object) -> object:
        if not made:
            made.append(make(connection, options))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MariaDbConnection, "_create_ssl_ctx", shared)
        yield


def sqlalchemy_url(url: str, driver: str = "psycopg") -> str:
    """Return the SQLAlchemy URL of a PostgreSQL database."""
    return url.replace("postgresql://", f"postgresql+{driver}://")


def mariadb_engine(url: str, **options: Any) -> Engine:
    """Return an engine for a MariaDB database."""
    return create_engine(url.replace("mariadb://", "mariadb+pymysql://"), **options)


def async_engine(url: str, driver: str) -> AsyncEngine:
    """Return an engine for a PostgreSQL database. It pools no connections, because each test has its own loop."""
    if driver == "asyncpg":
        place, _, search_path = url.partition("?options=-csearch_path%3D")
        options = {"server_settings": {"search_path": search_path}}
        return create_async_engine(sqlalchemy_url(place, driver), connect_args=options, poolclass=NullPool)
    return create_async_engine(sqlalchemy_url(url, driver), poolclass=NullPool)


def sqlite_engine(path: Path, begin: str = "BEGIN IMMEDIATE", timeout: float = 60) -> Engine:
    """Return an engine for an SQLite file. A transaction waits up to `timeout` seconds for a lock."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": timeout})
    use_recipe(engine, begin)
    return engine


def use_recipe(engine: Engine, begin: str) -> None:
    """Apply SQLAlchemy's recipe: SQLAlchemy begins the transactions of SQLite."""

    @event.listens_for(engine, "connect")
    def leave_transactions_to_sqlalchemy(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
