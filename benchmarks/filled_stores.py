"""Stores of many orders, filled without waiting for the disk: durability is not what is timed in them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import mock

from order_fsm import Orders
from order_fsm.store import Store
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

KINDS = ("memory", "sqlite", "json")


def filled(folder: Path, kind: str, number: int) -> Store:
    """A store of so many orders.

    Args:
        folder: where the store shall be, under the name that `place` gives.
        kind: one of `KINDS`.
        number: how many orders: `o0`, `o1` and so on.
    """
    path = place(folder, kind, number)
    if kind == "memory":
        memory = MemoryStore()
        fill(Orders(memory), number)
        return memory
    if kind == "json":
        with mock.patch("os.fsync"), closing(JsonStore(path)) as store:
            fill(Orders(store), number)
        store = JsonStore(path)
        store.tally(None)  # Builds what it builds at first use.
        return store
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        fill(Orders(SqliteStore(connection=connection)), number)
        connection.commit()
    return SqliteStore(path)


def place(folder: Path, kind: str, number: int) -> Path:
    """Where the store of so many orders is."""
    return folder / f"{number}.{kind}"


def fill(orders: Orders, number: int) -> None:
    """Most orders are complete, and every fiftieth waits for its payment."""
    for one in range(number):
        order_id = f"o{one}"
        orders.create(order_id, total="49.90", currency="GBP")
        if one % 50:
            orders.save(order_id, {"sent", "paid", "dispatched"}, version=1)
        else:
            orders.fire(order_id, "place")
