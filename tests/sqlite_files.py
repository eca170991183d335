"""Helpers for tests of the SQLite store: edits by another program, and an order with every kind of row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from unittest.mock import ANY, patch

from order_fsm.model import Entry, Line, Order
from order_fsm.store import Store, marks_of
from order_fsm.testing.store_contract.changes import creation, order_of, reserving, step, taken
from order_fsm_adapters.sql import entry_rows, order_rows, seals
from order_fsm_adapters.sql.entry_rows import ENTRY_COLUMNS, EntryRow
from order_fsm_adapters.sql.order_rows import ORDER_COLUMNS, OrderRow


def by_hand(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements as another program does. Return the rows of the last one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def by_hand_and_sealed(path: Path, *statements: str) -> None:
    """Run statements as another program that computes all seals of orders and entries again."""
    by_hand(path, *statements)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA recursive_triggers = ON")  # A replaced row leaves the tallies.
        for found in connection.execute(f"SELECT {ORDER_COLUMNS} FROM order_fsm_order").fetchall():  # noqa: S608
            order_row = OrderRow._make(found)
            statement = f"SELECT {ENTRY_COLUMNS} FROM order_fsm_entry WHERE order_id = ? ORDER BY version"  # noqa: S608
            found = connection.execute(statement, (order_row.id,)).fetchall()
            order, entries = _decoded(order_row, map(EntryRow._make, found))
            last = b""
            for entry in entries:
                sealed = entry_rows.entry_row(order.id, entry, last)
                _replace(connection, "order_fsm_entry", ENTRY_COLUMNS, sealed)
                last = sealed.seal
            _replace(
                connection, "order_fsm_order", ORDER_COLUMNS, order_rows.order_row(order, marks_of(order), None, last)
            )


def _decoded(order_row: OrderRow, found: Iterable[EntryRow]) -> tuple[Order, list[Entry]]:
    """Return an order and its history from their rows, without checking their seals."""
    with ExitStack() as stack:
        for module in (order_rows, entry_rows, seals):
            stack.enter_context(patch.object(module, "seal", lambda *_: ANY))
        return order_rows.order_of.__wrapped__(order_row), [entry_rows.entry_of(row, b"") for row in found]


def _replace(connection: sqlite3.Connection, table: str, columns: str, row: tuple[object, ...]) -> None:
    places = ", ".join("?" * len(row))
    connection.execute(f"REPLACE INTO {table} ({columns}) VALUES ({places})", row)  # noqa: S608


def paid_order(store: Store, order_id: str = "1001") -> Order:
    """Commit an order with a row in every table except the dead letters. Return it."""
    store.set_stock("TEAPOT", 10)
    line = Line("TEAPOT", 2)
    change = creation(order_id, lines=[line], customer="ann", email="ann@example.com", data={"gift": True})
    store.commit(change)
    change = step(
        order_of(change),
        state="sent+paid",
        comment="thank you",
        facts={"reference": "ch_1"},
        payments=[("captured", "49.90"), ("captured", "5")],
        stock=[taken("TEAPOT", 2)],
        topics=["order.paid"],
        key=f"evt {order_id}",
    )
    change = reserving(change, [line])
    store.commit(change)
    return order_of(change)
