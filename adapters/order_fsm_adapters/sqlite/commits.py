"""Writing a change to the tables of the SQLite store, in a transaction that is open."""

from __future__ import annotations

from functools import partial
from sqlite3 import Cursor

from order_fsm.errors import KeyReused, OrderExists, OrderNotFound, StoreError, VersionConflict
from order_fsm.model import Order
from order_fsm.store import Change
from order_fsm_adapters.sqlite import outbox, seals, stock
from order_fsm_adapters.sqlite.rows import (
    LAST_SEAL,
    VERSION,
    Row,
    changing,
    entry_row,
    order_row,
    order_row_after,
)

ORDER = """
    SELECT id, state, counted, version, total, currency, customer, email, lines, data, unit, units, payments,
        created_at, updated_at, refund_is_due, last_seal, seal
    FROM order_fsm_order WHERE id = ?
"""
_INSERT_ORDER = """
    INSERT INTO order_fsm_order (id, state, counted, version, total, currency, customer, email, lines, data, unit,
        units, payments, created_at, updated_at, refund_is_due, last_seal, seal)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
# What else an order has never changes after its creation, and is under the seal. All that is written over is compared,
# and not the seal alone: an edit or damage stays, to be found.
_UPDATE_ORDER = """
    UPDATE order_fsm_order
    SET state = ?, counted = ?, version = ?, payments = ?, updated_at = ?, refund_is_due = ?, last_seal = ?, seal = ?
    WHERE id = ? AND (state, counted, version, payments, updated_at, refund_is_due, last_seal, seal)
        IS (?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_ENTRY = """
    INSERT INTO order_fsm_entry (order_id, version, trigger, state_before, state_after, at, by, comment, visible,
        notify, key, override, facts, seal)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_KEY_IS_THERE = "SELECT 1 FROM order_fsm_key WHERE key = ?"
_INSERT_KEY = "INSERT INTO order_fsm_key (key, order_id, first, last, content, seal) VALUES (?, ?, ?, ?, ?, ?)"

# A key stands in the entries that were committed under it, so it is found without an index of its own.
_REMOVE = (
    """
    DELETE FROM order_fsm_key
    WHERE order_id = :id AND key IN (SELECT key FROM order_fsm_entry WHERE order_id = :id)
    """,
    "DELETE FROM order_fsm_entry WHERE order_id = :id",
    "DELETE FROM order_fsm_order WHERE id = :id",
)


Rows = tuple[Row, Row, list[Row]]
"""The rows of a change, with their seals: the order's row after it; the columns of it that change, its id, and the same
columns before (empty for a new order); the new rows of its history."""


def rows(change: Change, before: Row | None) -> Rows:
    """The rows of a change.

    Args:
        change: what is to be written.
        before: the order's row at the version that the change was decided on; None for a new order.
    """
    order = change.order
    entries = map(partial(entry_row, order.id), change.entries)
    if before is None:
        history = seals.chained(b"", entries)
        return seals.sealed((*order_row(order), history[-1][-1])), (), history
    history = seals.chained(before[LAST_SEAL], entries)
    paid = bool(order.payments) and order.payments[-1].version > change.expected
    row = seals.sealed((*order_row_after(before, order, paid), history[-1][-1]))
    return row, (*changing(row), order.id, *changing(before)), history


def write(change: Change, ahead: Rows | None, cursor: Cursor) -> Row:
    """Write a change; where it is refused, nothing of it is written.

    Args:
        change: what is to be written.
        ahead: its rows, if it was known what they follow, as it is of a new order.
        cursor: in a write transaction.

    Returns:
        The order's row after it.

    Raises:
        OrderExists, OrderNotFound, VersionConflict, KeyReused: as `Store.commit` does.
    """
    order = change.order
    if change.key is not None and cursor.execute(_KEY_IS_THERE, (change.key,)).fetchall():
        raise KeyReused(f"the key {change.key!r} was committed before")
    on_hand = stock.moved(cursor, order.id, change.stock) if change.stock else {}
    if not change.expected:
        row, _, history = ahead or rows(change, None)
        if not cursor.execute(_INSERT_ORDER, row).rowcount:
            raise OrderExists(f"there is an order {order.id!r} already")
    else:
        row, update, history = ahead or rows(change, _before(cursor, change))
        if cursor.execute(_UPDATE_ORDER, update).rowcount != 1:
            row, update, history = rows(change, _before(cursor, change))
            cursor.execute(_UPDATE_ORDER, update)
    # From here on nothing is refused.
    for entry in history:
        cursor.execute(_INSERT_ENTRY, entry)
    if change.key is not None:
        keyed = (change.key, order.id, change.expected + 1, order.version, change.content or "")
        cursor.execute(_INSERT_KEY, seals.sealed(keyed))
    if on_hand:
        stock.put(cursor, on_hand)
    if change.messages:
        outbox.put(cursor, change.messages)
    return row


def remove(cursor: Cursor, order: Order) -> None:
    """Remove an order; see `Store.remove`."""
    _expected(cursor, order, order.version)
    for statement in _REMOVE:
        cursor.execute(statement, {"id": order.id})
    outbox.forget(cursor, order.id)


def _before(cursor: Cursor, change: Change) -> Row:
    """The row of an order before a change, where it is not the one that was kept.

    Raises:
        OrderNotFound, VersionConflict: it is not what the change was decided on, or not known to be.
        StoreCorrupt: it is not as it was written.
    """
    row = _expected(cursor, change.order, change.expected)
    if change.recalled is not None:
        raise VersionConflict(f"order {change.order.id!r} is not known to be as it was recalled: load it again")
    return row


def _expected(cursor: Cursor, order: Order, version: int) -> Row:
    """The row of an order that must be at a version.

    Raises:
        OrderNotFound, VersionConflict: it is not.
        StoreCorrupt: it is not as it was written.
    """
    row = sealed_row(order.id, cursor.execute(ORDER, (order.id,)).fetchall())
    if row[VERSION] != version:
        raise VersionConflict(f"order {order.id!r} is at version {row[VERSION]}, not {version}: load it again")
    return row


def sealed_row(order_id: str, found: list[Row]) -> Row:
    """The row of an order, with its seals, as it was written.

    Args:
        order_id: which order.
        found: its row, or none.

    Raises:
        OrderNotFound: there is none.
        StoreCorrupt: it is not as it was written.
    """
    if not found:
        raise not_found(order_id)
    seals.check(found[0], "order", order_id)
    return found[0]


def not_found(order_id: str) -> StoreError:
    """The error for an order that is not there."""
    return OrderNotFound(f"there is no order {order_id!r}")
