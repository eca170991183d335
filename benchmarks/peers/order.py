"""Shops with plain orders in a dictionary or in rows, for peers that only decide."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Generic, TypeVar

from peers.shop import CREATED, CURRENCY

_SCHEMA = """
CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT, version INTEGER, total TEXT, currency TEXT, customer TEXT,
    email TEXT, lines TEXT, data TEXT, created_at TEXT, updated_at TEXT) STRICT;
CREATE INDEX queues ON orders (state, created_at, id);
CREATE TABLE entries (order_id TEXT, version INTEGER, trigger TEXT, state_before TEXT, state_after TEXT, at TEXT,
    by TEXT, comment TEXT, PRIMARY KEY (order_id, version)) STRICT, WITHOUT ROWID;
"""
_ENTER = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, NULL, '')"


class Order:
    """An order in memory."""

    def __init__(self, total: Decimal, state: str = CREATED, version: int = 1) -> None:
        self.total = total
        self.state = state
        self.version = version

    def worth_something(self) -> bool:
        """Return whether the guard holds."""
        return self.total > 0


Machine = TypeVar("Machine")

Begin = Callable[[Order], Machine]
"""Returns the object that decides for an order."""

Fire = Callable[[Machine, str], object]
"""Moves the state of the order by a trigger. Raises if that is illegal."""


class MemoryShop(Generic[Machine]):
    """Orders in a dictionary, each with its deciding object and its history."""

    def __init__(self, begin: Begin[Machine], fire: Fire[Machine]) -> None:
        self._begin = begin
        self._fire = fire
        self._orders: dict[str, tuple[Order, Machine, list[tuple[int, str, str, str, datetime]]]] = {}

    def create(self, order_id: str, total: str) -> None:
        order = Order(Decimal(total))
        history = [(1, "create", CREATED, CREATED, datetime.now(UTC))]
        self._orders[order_id] = order, self._begin(order), history

    def change(self, order_id: str, trigger: str) -> None:
        order, machine, history = self._orders[order_id]
        before = order.state
        self._fire(machine, trigger)
        order.version += 1
        history.append((order.version, trigger, before, order.state, datetime.now(UTC)))

    def state(self, order_id: str) -> str:
        return self._orders[order_id][0].state

    def entries(self, order_id: str) -> int:
        return len(self._orders[order_id][2])

    def close(self) -> None:
        """Do nothing."""


class SqlShop(Generic[Machine]):
    """Orders in rows, with hand-written SQL."""

    def __init__(self, path: Path, begin: Begin[Machine], fire: Fire[Machine]) -> None:
        self._begin = begin
        self._fire = fire
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)

    def create(self, order_id: str, total: str) -> None:
        now = datetime.now(UTC).isoformat()
        row = (order_id, CREATED, 1, total, CURRENCY, None, None, "[]", "{}", now, now)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._connection.execute(_ENTER, (order_id, 1, "create", CREATED, CREATED, now))

    def change(self, order_id: str, trigger: str) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            found = self._connection.execute("SELECT total, state, version FROM orders WHERE id = ?", (order_id,))
            total, before, version = found.fetchone()
            order = Order(Decimal(total), before, version)
            self._fire(self._begin(order), trigger)
            order.version += 1
            now = datetime.now(UTC).isoformat()
            self._connection.execute(
                "UPDATE orders SET state = ?, version = ?, updated_at = ? WHERE id = ?",
                (order.state, order.version, now, order_id),
            )
            self._connection.execute(_ENTER, (order_id, order.version, trigger, before, order.state, now))

    def state(self, order_id: str) -> str:
        found: str = self._connection.execute("SELECT state FROM orders WHERE id = ?", (order_id,)).fetchone()[0]
        return found

    def entries(self, order_id: str) -> int:
        found: int = self._connection.execute(
            "SELECT count(*) FROM entries WHERE order_id = ?", (order_id,)
        ).fetchone()[0]
        return found

    def close(self) -> None:
        self._connection.close()
