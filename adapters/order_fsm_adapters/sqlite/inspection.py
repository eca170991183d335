"""What an audit asks of the SQLite store: ids and messages, a page at a time, and what is wrong beside the orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from sqlite3 import Cursor
from typing import Any

from order_fsm.errors import StoreCorrupt
from order_fsm_adapters.sqlite.rows import Row
from order_fsm_adapters.sqlite.seals import check

_PAGE = 500

_IDS = "SELECT id FROM order_fsm_order WHERE id > ? ORDER BY id LIMIT ?"
_MESSAGES = """
    SELECT number, id, order_id, topic, payload, created_at, seal, attempts
    FROM order_fsm_message WHERE number > ? ORDER BY number LIMIT ?
"""

_STRAY_KEYS = """
    SELECT key, order_id FROM order_fsm_key AS one WHERE NOT EXISTS (
        SELECT 1 FROM order_fsm_entry AS entry
        WHERE entry.order_id = one.order_id AND entry.version = one.last AND entry.key = one.key
    )
"""
_STOCK = "SELECT sku, on_hand, seal FROM order_fsm_stock"
_STRAY_ENTRIES = """
    SELECT DISTINCT order_id FROM order_fsm_entry AS entry
    WHERE NOT EXISTS (SELECT 1 FROM order_fsm_order WHERE id = entry.order_id)
"""
Rows = Callable[[str, Row], list[Row]]
"""Runs a statement with these values."""


def order_ids(rows: Rows) -> Iterator[str]:
    """See `Inspectable.order_ids`."""
    return (order_id for (order_id,) in _paged(rows, _IDS, ""))


def messages(rows: Rows) -> Iterator[Row]:
    """The rows of the messages that wait, as `outbox.sealed_message` reads them."""
    return (row[1:] for row in _paged(rows, _MESSAGES, -(2**63)))


def _paged(rows: Rows, statement: str, after: Any) -> Iterator[Row]:
    """Rows in the sequence of their first column. No transaction is open between two pages."""
    while page := rows(statement, (after, _PAGE)):
        for row in page:
            # In a broken index that may not be so, and a walk along it would not end.
            if not isinstance(row[0], type(after)) or row[0] <= after:
                raise StoreCorrupt("an index of the database is out of order: mend it with SQLite's REINDEX")
            yield row
            after = row[0]


def faults(cursor: Cursor) -> list[str]:
    """See `Inspectable.faults`: what SQLite's own check finds, and strays.

    Args:
        cursor: in a transaction.
    """
    found = [f"SQLite: {said}" for (said,) in cursor.execute("PRAGMA integrity_check") if said != "ok"]
    for key, order_id in cursor.execute(_STRAY_KEYS):
        found.append(f"key {key!r} leads to order {order_id!r}, of which no entry carries it")
    for row in cursor.execute(_STOCK):
        try:
            check(row, "the stock of", row[0])
        except StoreCorrupt as error:
            found.append(str(error))
    for (order_id,) in cursor.execute(_STRAY_ENTRIES):
        found.append(f"there are entries of order {order_id!r}, which is not there")
    return found
