"""Read orders by id, with the data for a decision."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from order_fsm.errors import OrderNotFound, StoreCorrupt
from order_fsm.model import Entry, Order
from order_fsm.store import IdempotencyRecord, Need, Snapshot
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
_VERSION = "SELECT version FROM order_fsm_order WHERE id = ?"
# Checks the order again: it may have been created since the first statement.
_IS_GONE = """
    SELECT 1 FROM order_fsm_entry WHERE order_id = ? AND NOT EXISTS (SELECT 1 FROM order_fsm_order WHERE id = ?) LIMIT 1
"""
RECORD = f'SELECT {RECORD_SELECTION} FROM order_fsm_key WHERE "key" = ?'  # noqa: S608


def row_of(transaction: Transaction, order_id: str, lock: str = "") -> OrderRow | None:
    """Return the row of an order, or None if it is unknown.

    Args:
        transaction: an open transaction.
        order_id: the order.
        lock: the end of a SELECT that locks the row, or empty.

    Raises:
        StoreCorrupt: if the row is missing, but its history is not.
    """
    if lock and transaction.latest and not transaction.rows(_VERSION, (order_id,)):
        # Locking a missing row locks the gap around it, and blocks inserts there.
        lock = ""
    for row in transaction.rows(ORDER + lock, (order_id,)):
        return OrderRow._make(row)
    if transaction.rows(_IS_GONE, (order_id, order_id)):
        raise gone(order_id)
    return None


def gone(order_id: str) -> StoreCorrupt:
    """Return the error for a missing order with a history."""
    return StoreCorrupt(f"order {order_id!r} is missing, and its history is not: restore it from a backup")


def not_found(order_id: str) -> OrderNotFound:
    """Return the error for an unknown order."""
    return OrderNotFound(f"there is no order {order_id!r}")


def load(transaction: Transaction, order_id: str) -> Order:
    """Implement `Store.load`."""
    row = row_of(transaction, order_id)
    if row is None:
        raise not_found(order_id)
    return order_of(row)


def history(
    transaction: Transaction, order_id: str, after: int, limit: int | None, lock: str = ""
) -> tuple[Entry, ...]:
    """Implement `Store.history`.

    Args:
        transaction: an open transaction.
        order_id, after, limit: as in `Store.history`.
        lock: the end of a SELECT that locks its rows, or empty.
    """
    row = row_of(transaction, order_id, lock)
    if row is None:
        raise not_found(order_id)
    order_of(row)
    if after > row.version:
        return ()
    # The entry `after` has the seal that the next one covers. The first and last page include any inserted entries.
    start = after or -LIMIT
    end = LIMIT - 1 if limit is None or after + limit >= row.version else after + limit
    rows = transaction.rows(ENTRIES + lock, (order_id, start, end))
    if not lock and not transaction.sees_one_moment and row_of(transaction, order_id) != row:
        return history(transaction, order_id, after, limit, lock)  # A commit came between the statements.
    return history_of(row, rows, after, limit)


def _record(transaction: Transaction, key: str, lock: str = "") -> IdempotencyRecord | None:
    """Return the record under a key, or None."""
    for row in transaction.rows(RECORD + lock, (key,)):
        return record_of(row)
    return None


def snapshots(transaction: Transaction, needs: Sequence[Need], lock: str = "") -> list[Snapshot]:
    """Implement `Store.prepare_many`.

    Args:
        transaction: an open transaction.
        needs: the needs of some calls.
        lock: the end of a SELECT that locks the rows of the orders, or empty.
    """
    if lock and len(needs) > 1:
        # Sorted, so that transactions that lock the same orders cannot deadlock.
        for order_id in sorted({need.order_id for need in needs if need.order_id is not None}):
            with suppress(StoreCorrupt):  # The snapshot of its need reports it.
                row_of(transaction, order_id, lock)
    return [_snapshot(transaction, need, lock) for need in needs]


def _is_old(transaction: Transaction, order: Order) -> bool:
    """Return whether a plain SELECT sees an older version of an order."""
    return transaction.rows(_VERSION, (order.id,)) != [(order.version,)]


def _snapshot(transaction: Transaction, need: Need, lock: str) -> Snapshot:
    """Return the snapshot for one need."""
    try:
        order = found = None
        skus = list(need.skus)
        if need.order_id is not None and (row := row_of(transaction, need.order_id, lock)) is not None:
            order = order_of(row)
            if order.reserved is None:
                skus += [line.sku for line in order.lines]
        if need.key is not None:
            found = _record(transaction, need.key)
            if found is None and order is not None and lock and _is_old(transaction, order):
                found = _record(transaction, need.key, transaction.latest)
        if not skus:
            return Snapshot(order, found, {})
        return Snapshot.of_levels(order, found, stock.levels(transaction, skus))
    except StoreCorrupt as fault:
        return Snapshot(None, None, {}, fault)
