"""The database servers that tests use, each with a database of this run's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest
from psycopg import sql
from pymysql.connections import Connection

from order_fsm_adapters.mariadb import MariaDbStore
from order_fsm_adapters.postgresql import PostgresStore

REQUIRED = "ORDER_FSM_SERVERS"
"""The environment variable that, set to 1, lets tests fail if a server cannot be reached. Else they are skipped."""

MARIADB = os.environ.get("ORDER_FSM_MARIADB", "mariadb://root@127.0.0.1:3306/mysql")
"""A server on which the tests may create databases. The environment variable names another one."""

POSTGRESQL = os.environ.get("ORDER_FSM_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
"""A server on which the tests may create databases. The environment variable names another one."""


_Server = TypeVar("_Server")


def reached(server: AbstractContextManager[_Server]) -> Iterator[_Server]:
    """Yield a server for a fixture. Skip its tests if it cannot be reached, unless it must be."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(server)
        except (psycopg.OperationalError, pymysql.err.OperationalError, OSError) as error:
            if os.environ.get(REQUIRED) == "1":
                raise
            pytest.skip(f"the server cannot be reached: {error}")
        yield found


class PostgresServer:
    """A database on the server. Each name is a schema of its own, with the tables installed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._installed: set[str] = set()

    def store(self, name: str) -> PostgresStore:
        """Open the store of a name."""
        return PostgresStore(self.address(name))

    def address(self, name: str) -> str:
        """Return the URL of the store of a name, which is created if there is none."""
        schema = f"s{sha256(name.encode()).hexdigest()[:24]}"
        address = f"{self.url}?options=-csearch_path%3D{schema}"
        if schema not in self._installed:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            with PostgresStore(address) as store:
                store.install()
            self._installed.add(schema)
        return address


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
    """A server. Each name is a database of its own, with the tables installed, until all are emptied for other names.

    To create a database takes as long as hundreds of commits.
    """

    def __init__(self, url: str) -> None:
        self.prefix = f"order_fsm_test_{os.getpid()}_"
        self._url = url
        self._places: dict[str, int] = {}
        self._installed: set[int] = set()

    def address(self, name: str) -> str:
        """Return the URL of the store of a name, which is created if there is none."""
        # Each process of a test comes to the same number.
        place = self._places.setdefault(name, len(self._places))
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
        """Return the names of the databases on the server."""
        with self.connect(None) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT schema_name FROM information_schema.schemata")
            return [database for (database,) in cursor.fetchall() if database.startswith(self.prefix)]

    def store(self, name: str) -> MariaDbStore:
        """Open the store of a name."""
        return MariaDbStore(self.address(name))

    def connect(self, name: str | None, **options: Any) -> Connection[Any]:
        """Connect as a shop does, to the database of a name."""
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
    with server.connect(None) as connection, connection.cursor() as cursor:
        try:
            yield server
        finally:
            for database in server.databases():
                cursor.execute(f"DROP DATABASE {database}")
