"""What statements alone cannot say of the way to a newer schema. It knows the tables as they were at that step."""

from __future__ import annotations

from collections.abc import Iterator
from sqlite3 import Cursor

import msgspec

from order_fsm.errors import StoreCorrupt
from order_fsm_adapters.sqlite import seals
from order_fsm_adapters.sqlite.rows import Row, in_units, money

_PAGE = 500

_ALONE = (
    ("order_fsm_key", "key", "key, order_id, first, last, content"),
    ("order_fsm_stock", "sku", "sku, on_hand"),
    ("order_fsm_message", "number", "id, order_id, topic, payload, created_at"),
    ("order_fsm_dead_letter", "order_id, id", "id, order_id, topic, payload, created_at"),
)
"""Tables, their keys, and the columns that are sealed."""

_ORDER = """
    id, state, counted, version, total, currency, customer, email, lines, data, created_at, updated_at, refund_is_due
"""
_ENTRIES = """
    SELECT order_id, version, trigger, state_before, state_after, at, by, comment, visible, notify, key, override, facts
    FROM order_fsm_entry WHERE order_id = ? ORDER BY version
"""
_PAYMENTS = "SELECT kind, amount, reference, at, version FROM order_fsm_payment WHERE order_id = ? ORDER BY number"
_SEAL_ENTRY = "UPDATE order_fsm_entry SET seal = ? WHERE order_id = ? AND version = ?"
_SEAL_ORDER = "UPDATE order_fsm_order SET unit = ?, units = ?, payments = ?, last_seal = ?, seal = ? WHERE id = ?"


def to_seals(cursor: Cursor) -> None:
    """Schema 4: move payments into the rows of their orders, and seal all rows as they stand."""
    for table, key, columns in _ALONE:
        statement = f"UPDATE {table} SET seal = ? WHERE ({key}) = ({_marks(key)})"  # noqa: S608 - names of this file
        for place, row in _paged(cursor, table, key, columns):
            cursor.execute(statement, (seals.seal(row), *place))
    for place, row in _paged(cursor, "order_fsm_order", "id", _ORDER):
        entries = seals.chained(b"", cursor.execute(_ENTRIES, place).fetchall())
        cursor.executemany(_SEAL_ENTRY, ((entry[-1], *entry[:2]) for entry in entries))
        last = entries[-1][-1] if entries else b""
        payments = _as_json(cursor.execute(_PAYMENTS, place).fetchall())
        units = _in_units(row[4])
        sealed = seals.seal((*row[:10], *units, payments, *row[10:], last))
        cursor.execute(_SEAL_ORDER, (*units, payments, last, sealed, *place))


def _in_units(total: str) -> tuple[str, int]:
    try:
        return in_units(money(total))
    except StoreCorrupt:
        return total, 1  # It is found when the order is read, or the totals are.


def _as_json(payments: list[Row]) -> str:
    names = ("kind", "amount", "reference", "at", "version")
    return msgspec.json.encode([dict(zip(names, payment, strict=True)) for payment in payments]).decode()


def _marks(key: str) -> str:
    return ", ".join("?" for _ in key.split(","))


def _paged(cursor: Cursor, table: str, key: str, columns: str) -> Iterator[tuple[Row, Row]]:
    """The rows of a table, each with its key before it, a page at a time: they are changed meanwhile."""
    width = len(key.split(","))
    rows = f"SELECT {key}, {columns} FROM {table}"  # noqa: S608 - names of this file
    order = f"ORDER BY {key} LIMIT {_PAGE}"
    page = cursor.execute(f"{rows} {order}").fetchall()
    while page:
        yield from ((row[:width], row[width:]) for row in page)
        after = page[-1][:width]
        page = cursor.execute(f"{rows} WHERE ({key}) > ({_marks(key)}) {order}", after).fetchall()
