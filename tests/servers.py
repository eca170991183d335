"""The database servers that tests use, each with a database of this run's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from hashlib import sha256
from typing import TypeVar
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

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

    def store(self, name: str) -> PostgresStore:
        """Open the store of a name."""
        return PostgresStore(self.address(name))

    def address(self, name: str, **settings: str) -> str:
        """Return the URL of the schema of a name, with settings of the server for its connections."""
        schema = f"s{sha256(name.encode()).hexdigest()[:24]}"
        options = "".join(f" -c{setting}={value}" for setting, value in {"search_path": schema, **settings}.items())
        url = f"{self.url}?options={quote(options.strip())}"
        if schema not in self._installed:
            with psycopg.Connection.connect(self.url, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            with PostgresStore(url) as store:
                store.install()
            self._installed.add(schema)
        return url


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
