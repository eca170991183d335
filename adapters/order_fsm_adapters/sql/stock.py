"""Stock: statements on order_fsm_stock."""

from __future__ import annotations

from collections.abc import Iterable

from order_fsm.store import Change, StockLevel, level_set, levels_after
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.rows import STOCK_SELECTION, level_of, stock_row

_ITEM = f"SELECT {STOCK_SELECTION} FROM order_fsm_stock WHERE sku = ?"  # noqa: S608
_UPDATE = """
    UPDATE order_fsm_stock SET available = ?, held = ?, shipped = ?, lost = ?, backorder = ?, seal = ? WHERE sku = ?
"""
_INSERT = f"INSERT INTO order_fsm_stock ({STOCK_SELECTION}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


def levels(transaction: Transaction, skus: Iterable[str], lock: str = "") -> dict[str, StockLevel]:
    """Implement `Store.stock_levels`.

    Args:
        transaction: an open transaction.
        skus: the items.
        lock: the end of a SELECT that locks the rows, or empty.
    """
    found: dict[str, StockLevel] = {}
    # Sorted, so that transactions that lock the same items cannot deadlock.
    for sku in sorted(set(skus)):
        if lock and transaction.latest and not transaction.rows(_ITEM, (sku,)):
            # Locking a missing row locks the gap around it, and blocks inserts there.
            continue
        for row in transaction.rows(_ITEM + lock, (sku,)):
            found[sku] = level_of(row)
    return found


def moved(transaction: Transaction, change: Change) -> dict[str, tuple[StockLevel | None, StockLevel]]:
    """Return the levels of moved items, before and after a change.

    Raises:
        VersionConflict, InvalidInput: as in `levels_after`.
    """
    before = levels(transaction, (move.sku for move in change.stock), transaction.for_update)
    after = levels_after(before, change.stock, None if change.order is None else change.order.id)
    return {sku: (before.get(sku), level) for sku, level in after.items()}


def put(transaction: Transaction, sku: str, before: StockLevel | None, after: StockLevel) -> None:
    """Write the level of an item.

    Args:
        transaction: has locked the row.
        sku: the item.
        before: the present level, or None if the item has no row.
        after: the new level.
    """
    row = stock_row(sku, after)
    if before is None:
        transaction.run(_INSERT, row)
    else:
        transaction.run(_UPDATE, (*row[1:], sku))


def set_available(
    transaction: Transaction, sku: str, pieces: int | None, expected: int | None, backorder: bool | None
) -> None:
    """Implement `Store.set_stock`."""
    before = levels(transaction, (sku,), transaction.for_update).get(sku)
    put(transaction, sku, before, level_set(sku, before, pieces, expected, backorder))
