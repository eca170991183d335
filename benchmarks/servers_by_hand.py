"""A status change by hand in PostgreSQL: one versioned UPDATE, one entry, one message, COMMIT, over psycopg."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation

SERVER = os.environ.get("ORDER_FSM_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")

_UPDATE = """
    UPDATE order_fsm_order SET state = 'sent', version = version + 1, updated_at = %s, placed_at = %s, counted = 1,
        last_seal = %s, seal = %s
    WHERE id = %s AND version = %s
"""
_ENTRY = """
    INSERT INTO order_fsm_entry (order_id, version, trigger, state_before, state_after, at, comment, visible, notify,
        override, facts, rules_fingerprint, personal_facts, seal)
    VALUES (%s, %s, 'place', 'unfinished', 'sent', %s, '', 0, 0, 0, '{}', '0123456789abcdef', '{}', %s)
"""
_MESSAGE = """
    INSERT INTO order_fsm_message (id, order_id, topic, payload, created_at, remaining, seal, attempts, due, head)
    VALUES (%s, %s, 'order.placed', '{"total":"49.90","currency":"GBP","state":"sent"}', %s, '', %s, 0, '', 1)
"""
_SEAL = bytes(32)


@contextmanager
def database() -> Iterator[str]:
    """Create a database for a block, and give its URL."""
    name = f"order_fsm_bench_{os.getpid()}"
    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield f"{SERVER.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def created(store: Store, ids: list[str]) -> None:
    """Commit new orders together."""
    now = datetime.now(UTC)
    assert not any(store.commit_all([creation(order_id, at=now) for order_id in ids]))


def connected(url: str) -> psycopg.Connection[Any]:
    """Connect as a shop would."""
    return psycopg.connect(url, prepare_threshold=None)


def place(connection: psycopg.Connection[Any], order_id: str) -> None:
    """Change one order, without the COMMIT."""
    at = datetime.now(UTC).isoformat()
    done = connection.execute(_UPDATE, (at, at, _SEAL, _SEAL, order_id, 1))
    assert done.rowcount == 1
    connection.execute(_ENTRY, (order_id, 2, at, _SEAL))
    connection.execute(_MESSAGE, (f"{order_id}#2.1-{os.urandom(4).hex()}", order_id, at, _SEAL))


def processor_seconds(url: str, application: str) -> Callable[[], float]:
    """Return a function that gives the seconds of a processor that this process and its server processes took.

    Args:
        url: of a database on this machine.
        application: the `application_name` of the connections.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s", (application,)
        ).fetchall()
    pids = [pid for (pid,) in found]
    assert pids

    def seconds() -> float:
        total = time.process_time()
        for pid in pids:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                user, system = file.read().rpartition(")")[2].split()[11:13]
            total += (int(user) + int(system)) / ticks
        return total

    return seconds
