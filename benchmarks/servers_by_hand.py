"""A status change by hand on a server: one versioned UPDATE, one entry, one message, COMMIT, over the shop's driver."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest
from psycopg import sql
from pymysql.connections import Connection as MariaDbConnection

from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation

POSTGRESQL = os.environ.get("ORDER_FSM_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
MARIADB = os.environ.get("ORDER_FSM_MARIADB", "mariadb://root@127.0.0.1:3306/mysql")

Execute: TypeAlias = Callable[[str, Sequence[Any]], int]
"""Runs a statement with its values over some driver. Returns the number of rows that it changed."""

_UPDATE = """
    UPDATE order_fsm_order SET state = 'sent', version = version + 1, updated_at = %s, placed_at = %s, counted = 1,
        last_seal = %s, seal = %s
    WHERE id = %s AND version = %s
"""
_ENTRY = """
    INSERT INTO order_fsm_entry (order_id, version, "trigger", state_before, state_after, "at", comment, visible,
        notify, override, facts, rules_fingerprint, personal_facts, seal)
    VALUES (%s, %s, 'place', 'unfinished', 'sent', %s, '', 0, 0, 0, '{}', '0123456789abcdef', '{}', %s)
"""
_MESSAGE = """
    INSERT INTO order_fsm_message (id, order_id, topic, payload, created_at, remaining, seal, attempts, due, head)
    VALUES (%s, %s, 'order.placed', %s, %s, '', %s, 0, '', 1)
"""
_PAYLOAD = '{"total":"49.90","currency":"GBP","state":"sent"}'
_SEAL = bytes(32)


def created(store: Store, ids: list[str]) -> None:
    """Commit new orders together."""
    now = datetime.now(UTC)
    assert not any(store.commit_all([creation(order_id, at=now) for order_id in ids]))


def place(execute: Execute, order_id: str) -> None:
    """Change one order, without the COMMIT."""
    at = datetime.now(UTC).isoformat()
    assert execute(_UPDATE, (at, at, _SEAL, _SEAL, order_id, 1)) == 1
    execute(_ENTRY, (order_id, 2, at, _SEAL))
    execute(_MESSAGE, (f"{order_id}#2.1-{os.urandom(4).hex()}", order_id, _PAYLOAD, at, _SEAL))


# PostgreSQL


@contextmanager
def database() -> Iterator[str]:
    """Create a database in PostgreSQL for a block, and give its URL. Skip if the server cannot be reached."""
    name = f"order_fsm_bench_{os.getpid()}"
    try:
        server = psycopg.connect(POSTGRESQL, autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"PostgreSQL cannot be reached: {error}")
    with server as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield f"{POSTGRESQL.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def connected(url: str) -> psycopg.Connection[Any]:
    """Connect to PostgreSQL as a shop would."""
    return psycopg.connect(url, prepare_threshold=None)


def by_psycopg(connection: psycopg.Connection[Any]) -> Execute:
    """Return a function that runs statements on a connection."""
    return lambda statement, values: connection.execute(statement.encode(), values).rowcount


_SERVER_PROCESSES = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@contextmanager
def processor_seconds(url: str) -> Iterator[Callable[[], float]]:
    """Give a function for a block: the seconds of a processor that this process and the server's processes took.

    They are the processes of all connections to the database, so it does not matter which one a pool uses. None of them
    may end in the block.

    Args:
        url: of a database in PostgreSQL on this machine.
    """
    known: set[int] = set()
    with psycopg.connect(url, autocommit=True) as connection:

        def seconds() -> float:
            pids = {pid for (pid,) in connection.execute(_SERVER_PROCESSES)}
            assert pids >= known, "a server process has ended, and its time is lost"
            known.update(pids)
            return time.process_time() + sum(_nanoseconds(pid) for pid in pids) / 1e9

        yield seconds


def _nanoseconds(pid: int) -> int:
    """Return how long a process was on a processor."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0])


# MariaDB


@contextmanager
def mariadb_database() -> Iterator[str]:
    """Create a database in MariaDB for a block, and give its URL. Skip if the server cannot be reached."""
    name = f"order_fsm_bench_{os.getpid()}"
    try:
        server = mariadb_connected(MARIADB)
    except pymysql.err.OperationalError as error:
        pytest.skip(f"MariaDB cannot be reached: {error}")
    with closing(server) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{MARIADB.rpartition('/')[0]}/{name}"
        finally:
            cursor.execute(f"DROP DATABASE {name}")


def mariadb_connected(url: str) -> MariaDbConnection[Any]:
    """Connect to MariaDB as a shop would."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path[1:],
        binary_prefix=True,
        init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    )


def by_pymysql(connection: MariaDbConnection[Any]) -> Execute:
    """Return a function that runs statements on a connection."""

    def execute(statement: str, values: Sequence[Any]) -> int:
        with connection.cursor() as cursor:
            changed: int = cursor.execute(statement.replace('"', "`"), values)
            return changed

    return execute
