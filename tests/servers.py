"""The database servers that tests use, each with a database of this run's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from order_fsm_adapters.postgresql import PostgresStore

REQUIRED = "ORDER_FSM_SERVERS"
"""The environment variable that, set to 1, lets tests fail if a server cannot be reached. Else they are skipped."""

POSTGRESQL = os.environ.get("ORDER_FSM_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
"""A server on which the tests may create databases. The environment variable names another one."""


_Server = TypeVar("_Server")


def reached(server: AbstractContextManager[_Server]) -> Iterator[_Server]:
    """Yield a server for a fixture. Skip its tests if it cannot be reached, unless it must be."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(server)
        except (psycopg.OperationalError, OSError) as error:
            if os.environ.get(REQUIRED) == "1":
                raise
            pytest.skip(f"the server cannot be reached: {error}")
        yield found


class PostgresServer:
    """A database on the server. Each name is a schema of its own, with the tables installed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._installed: set[str] = set()

    def url_of(self, name: str) -> str:
        """Return the URL of the schema of a name."""
        return f"{self.url}?options=-csearch_path%3D{_schema_of(name)}"

    def store(self, name: str) -> PostgresStore:
        """Open the store of a name."""
        schema = _schema_of(name)
        store = PostgresStore(self.url_of(name))
        if schema not in self._installed:
            self.empty(name)
            store.install()
            self._installed.add(schema)
        return store

    def empty(self, name: str) -> str:
        """Create the schema of a name, without tables, and return its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(_schema_of(name))))
        return self.url_of(name)


def _schema_of(name: str) -> str:
    return f"s{sha256(name.encode()).hexdigest()[:24]}"


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


def sqlalchemy_url(url: str, driver: str = "psycopg") -> str:
    """Return the URL of a database in PostgreSQL for an engine of SQLAlchemy."""
    return url.replace("postgresql://", f"postgresql+{driver}://")


def async_engine(url: str, driver: str) -> AsyncEngine:
    """Return an engine for a database in PostgreSQL. It keeps no connections, as each test has a loop of its own."""
    if driver == "asyncpg":
        place, _, search_path = url.partition("?options=-csearch_path%3D")
        options = {"server_settings": {"search_path": search_path}}
        return create_async_engine(sqlalchemy_url(place, driver), connect_args=options, poolclass=NullPool)
    return create_async_engine(sqlalchemy_url(url, driver), poolclass=NullPool)


def sqlite_engine(path: Path, begin: str = "BEGIN IMMEDIATE") -> Engine:
    """Return an engine for a file in SQLite."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 60})
    use_recipe(engine, begin)
    return engine


def use_recipe(engine: Engine, begin: str) -> None:
    """Let SQLAlchemy begin the transactions of SQLite."""

    @event.listens_for(engine, "connect")
    def leave_transactions_to_sqlalchemy(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
