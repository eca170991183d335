"""Reading orders by id, with all that the engine needs to decide a change."""

from __future__ import annotations

from order_fsm.errors import OrderNotFound, StoreCorrupt
from order_fsm.model import Entry, Order
from order_fsm.store import IdempotencyRecord, Need, Snapshot, available_of
from order_fsm_adapters.sql import stock
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.entry_rows import ENTRY_COLUMNS, history_of
from order_fsm_adapters.sql.order_rows import ORDER_COLUMNS, OrderRow, order_of
from order_fsm_adapters.sql.rows import RECORD_SELECTION, record_of

ORDER = f"SELECT {ORDER_COLUMNS} FROM order_fsm_order WHERE id = ?"  # noqa: S608
ENTRIES = f"""
    SELECT {ENTRY_COLUMNS} FROM order_fsm_entry WHERE order_id = ? AND version BETWEEN ? AND ? ORDER BY version
"""  # noqa: S608
LIMIT = 2**63
# The order may have been created after the statement that looked for it.
_IS_GONE = """
    SELECT 1 FROM order_fsm_entry WHERE order_id = ? AND NOT EXISTS (SELECT 1 FROM order_fsm_order WHERE id = ?) LIMIT 1
"""
RECORD = f'SELECT {RECORD_SELECTION} FROM order_fsm_key WHERE "key" = ?'  # noqa: S608


def row_of(transaction: Transaction, order_id: str, lock: str = "") -> OrderRow | None:
    """Return the row of an order, None if there is no such order.

    Args:
        transaction: an open one.
        order_id: the order.
        lock: ends the statement if the row shall be locked.

    Raises:
        StoreCorrupt: if the row is missing and the history is not.
    """
    for row in transaction.rows(ORDER + lock, (order_id,)):
        return OrderRow._make(row)
    if transaction.rows(_IS_GONE, (order_id, order_id)):
        raise gone(order_id)
    return None


def gone(order_id: str) -> StoreCorrupt:
    """Return the error for an order that left its history behind."""
    return StoreCorrupt(f"order {order_id!r} is gone and its history is not: restore it from a backup")


def not_found(order_id: str) -> OrderNotFound:
    """Return the error for an unknown order."""
    return OrderNotFound(f"there is no order {order_id!r}")


def load(transaction: Transaction, order_id: str) -> Order:
    """Answer `Store.load`."""
    row = row_of(transaction, order_id)
    if row is None:
        raise not_found(order_id)
    return order_of(row)


def history(transaction: Transaction, order_id: str, after: int, limit: int | None) -> tuple[Entry, ...]:
    """Answer `Store.history`."""
    row = row_of(transaction, order_id)
    if row is None:
        raise not_found(order_id)
    order_of(row)
    if after > row.version:
        return ()
    # The entry `after` has the seal that the next one follows. A page at either end has all that may be inserted there.
    start = after or -LIMIT
    end = LIMIT - 1 if limit is None or after + limit >= row.version else after + limit
    rows = transaction.rows(ENTRIES, (order_id, start, end))
    if not transaction.sees_one_moment and row_of(transaction, order_id) != row:
        return history(transaction, order_id, after, limit)  # A commit came between the statements.
    return history_of(row, rows, after, limit)


def record(transaction: Transaction, key: str) -> IdempotencyRecord | None:
    """Return the record under a key, or None."""
    for row in transaction.rows(RECORD, (key,)):
        return record_of(row)
    return None


def snapshot(transaction: Transaction, need: Need) -> Snapshot:
    """Answer one need of `Store.prepare_many`."""
    try:
        order = found = None
        skus = list(need.skus)
        if need.order_id is not None and (row := row_of(transaction, need.order_id)) is not None:
            order = order_of(row)
            if order.reserved is None:
                skus += [line.sku for line in order.lines]
        if need.key is not None:
            found = record(transaction, need.key)
        if not skus:
            return Snapshot(order, found, {})
        levels = stock.levels(transaction, skus)
        backorder = frozenset([sku for sku, level in levels.items() if level.backorder])
        return Snapshot(order, found, available_of(levels), None, backorder)
    except StoreCorrupt as fault:
        return Snapshot(None, None, {}, fault)
