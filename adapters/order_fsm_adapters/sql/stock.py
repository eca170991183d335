"""Stock: statements on order_fsm_stock."""

from __future__ import annotations

from collections.abc import Iterable

from order_fsm.store import Change, StockLevel, level_set, levels_after
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.rows import STOCK_COLUMNS, level_of, stock_row

_ITEM = f"SELECT {STOCK_COLUMNS} FROM order_fsm_stock WHERE sku = ?"  # noqa: S608
# To lock the place of a row that is not there would keep others from inserting rows near it.
_LOCKED = f"{_ITEM[:-1]}(SELECT seen.sku FROM order_fsm_stock AS seen WHERE seen.sku = ?)"  # noqa: S608
_UPDATE = """
    UPDATE order_fsm_stock SET available = ?, held = ?, shipped = ?, lost = ?, backorder = ?, seal = ? WHERE sku = ?
"""
_INSERT = f"INSERT INTO order_fsm_stock ({STOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


def levels(transaction: Transaction, skus: Iterable[str], lock: str = "") -> dict[str, StockLevel]:
    """Answer `Store.stock_levels`.

    Args:
        transaction: an open one.
        skus: the items.
        lock: ends the statement if the rows shall be locked.
    """
    found: dict[str, StockLevel] = {}
    statement = _LOCKED + lock if lock else _ITEM
    # In one sequence, so that two transactions that lock the same items do not wait for each other.
    for sku in sorted(set(skus)):
        for row in transaction.rows(statement, (sku,)):
            found[sku] = level_of(row)
    return found


def moved(transaction: Transaction, change: Change) -> dict[str, tuple[StockLevel | None, StockLevel]]:
    """Return the levels of the items that a change moves, as it finds and as it leaves them.

    Raises:
        VersionConflict, InvalidInput: as `levels_after` does.
    """
    before = levels(transaction, (move.sku for move in change.stock), transaction.for_update)
    after = levels_after(before, change.stock, None if change.order is None else change.order.id)
    return {sku: (before.get(sku), level) for sku, level in after.items()}


def put(transaction: Transaction, sku: str, before: StockLevel | None, after: StockLevel) -> None:
    """Write the level of an item.

    Args:
        transaction: an open one, which has locked the row.
        sku: the item.
        before: the present level, None if the item has no row.
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
    """Answer `Store.set_stock`."""
    before = levels(transaction, (sku,), transaction.for_update).get(sku)
    put(transaction, sku, before, level_set(sku, before, pieces, expected, backorder))
