"""What the tests of the SQLite store do beside it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from order_fsm import Line
from order_fsm.model import Order
from order_fsm.testing.store_contract.changes import creation, step, taken
from order_fsm_adapters.sqlite import SqliteStore, commits, seals
from order_fsm_adapters.sqlite.rows import LAST_SEAL
from order_fsm_adapters.sqlite.store import ENTRIES


def by_hand(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """What another program does to the file; returns the rows of the last statement."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return [connection.execute(statement).fetchall() for statement in statements][-1]
    finally:
        connection.close()


def by_hand_and_sealed(path: Path, *statements: str) -> None:
    """What another program does to the orders in the file that makes their seals anew."""
    by_hand(path, *statements)
    connection = sqlite3.connect(path, isolation_level=None)
    seal_entry = "UPDATE order_fsm_entry SET seal = ? WHERE order_id = ? AND version = ?"
    for (order_id,) in connection.execute("SELECT id FROM order_fsm_order").fetchall():
        entries = connection.execute(ENTRIES, (order_id,)).fetchall()
        sealed = seals.chained(b"", [entry[:-1] for entry in entries])
        connection.executemany(seal_entry, [(entry[-1], *entry[:2]) for entry in sealed])
        (row,) = connection.execute(commits.ORDER, (order_id,)).fetchall()
        last = sealed[-1][-1]
        statement = "UPDATE order_fsm_order SET last_seal = ?, seal = ? WHERE id = ?"
        connection.execute(statement, (last, seals.seal((*row[:LAST_SEAL], last)), order_id))
    connection.close()


def paid_order(store: SqliteStore, order_id: str = "1001") -> Order:
    """An order with something in every table."""
    store.set_stock("TEAPOT", 10)
    change = creation(order_id, lines=[Line("TEAPOT", 2)], customer="ann", data={"gift": True})
    store.commit(change)
    change = step(
        change.order,
        state="sent+paid",
        facts={"reference": "ch_1"},
        payments=[("captured", "49.90"), ("captured", "5")],
        stock=[taken("TEAPOT", 2)],
        topics=["order.paid"],
        key=f"evt {order_id}",
    )
    store.commit(change)
    return change.order
