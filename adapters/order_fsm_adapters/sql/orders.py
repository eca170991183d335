"""Reading orders by id, with all that the engine needs to decide a change."""

from __future__ import annotations

from collections.abc import Sequence

from order_fsm.errors import OrderNotFound, StoreCorrupt
from order_fsm.model import Entry, Order
from order_fsm.store import IdempotencyRecord, Need, Snapshot, available_of
from order_fsm_adapters.sql import stock
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.entry_rows import ENTRY_COLUMNS, history_of
from order_fsm_adapters.sql.order_rows import ORDER_COLUMNS, OrderRow, order_of
from order_fsm_adapters.sql.rows import RECORD_SELECTION, record_of

ORDER = f"SELECT {ORDER_COLUMNS} FROM order_fsm_order WHERE id = ?"  # noqa: S608
# To lock the place of a row that is not there would keep others from inserting rows near it.
_LOCKED = f"{ORDER[:-1]}(SELECT seen.id FROM order_fsm_order AS seen WHERE seen.id = ?)"  # noqa: S608
ENTRIES = f"""
    SELECT {ENTRY_COLUMNS} FROM order_fsm_entry WHERE order_id = ? AND version BETWEEN ? AND ? ORDER BY version
"""  # noqa: S608
LIMIT = 2**63
_VERSION = "SELECT version FROM order_fsm_order WHERE id = ?"
_HAS_ENTRIES = "SELECT 1 FROM order_fsm_entry WHERE order_id = ? LIMIT 1"
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
    statement = _LOCKED + lock if lock else ORDER
    for row in transaction.rows(statement, (order_id,)):
        return OrderRow._make(row)
    if not transaction.rows(_HAS_ENTRIES, (order_id,)):
        return None
    # It may have been created or removed between the two statements.
    for row in transaction.rows(statement, (order_id,)):
        return OrderRow._make(row)
    if not transaction.rows(_HAS_ENTRIES + transaction.latest, (order_id,)):
        return None
    raise gone(order_id)


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


def history(
    transaction: Transaction, order_id: str, after: int, limit: int | None, lock: str = ""
) -> tuple[Entry, ...]:
    """Answer `Store.history`.

    Args:
        transaction: an open one.
        order_id, after, limit: as in `Store.history`.
        lock: ends the statements if the rows shall be locked.
    """
    row = row_of(transaction, order_id, lock)
    if row is None:
        raise not_found(order_id)
    order_of(row)
    if after > row.version:
        return ()
    # The entry `after` has the seal that the next one follows. A page at either end has all that may be inserted there.
    start = after or -LIMIT
    end = LIMIT - 1 if limit is None or after + limit >= row.version else after + limit
    return history_of(row, transaction.rows(ENTRIES + lock, (order_id, start, end)), after, limit)


def _record(transaction: Transaction, key: str, lock: str = "") -> IdempotencyRecord | None:
    """Return the record under a key, or None."""
    for row in transaction.rows(RECORD + lock, (key,)):
        return record_of(row)
    return None


def snapshots(transaction: Transaction, needs: Sequence[Need], lock: str = "") -> list[Snapshot]:
    """Answer `Store.prepare_many`.

    Args:
        transaction: an open one.
        needs: of some calls.
        lock: ends a statement if the rows of the orders shall be locked.
    """
    if lock and len(needs) > 1:
        # In one sequence, so that two transactions that lock the same orders do not wait for each other.
        for order_id in sorted({need.order_id for need in needs if need.order_id is not None}):
            transaction.rows(_LOCKED + lock, (order_id,))
    return [_snapshot(transaction, need, lock) for need in needs]


def _is_old(transaction: Transaction, order: Order) -> bool:
    """Return whether a transaction sees an order as it was before its present version, if it does not lock it."""
    return transaction.rows(_VERSION, (order.id,)) != [(order.version,)]


def _snapshot(transaction: Transaction, need: Need, lock: str) -> Snapshot:
    """Answer one need."""
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
        levels = stock.levels(transaction, skus)
        backorder = frozenset([sku for sku, level in levels.items() if level.backorder])
        return Snapshot(order, found, available_of(levels), None, backorder)
    except StoreCorrupt as fault:
        return Snapshot(None, None, {}, fault)
