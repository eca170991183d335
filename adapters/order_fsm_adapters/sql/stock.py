"""Stock: statements on order_fsm_stock."""

from __future__ import annotations

from collections.abc import Iterable

from order_fsm.errors import InvalidInput, VersionConflict
from order_fsm.store import Change
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.rows import available_of, stock_row

_LIMIT = 2**63
"""The available pieces are a whole number of 64 bits."""

_ITEM = "SELECT sku, available, seal FROM order_fsm_stock WHERE sku = ?"
_UPDATE = "UPDATE order_fsm_stock SET available = ?, seal = ? WHERE sku = ?"
_INSERT = "INSERT INTO order_fsm_stock (sku, available, seal) VALUES (?, ?, ?)"


def available(transaction: Transaction, skus: Iterable[str]) -> dict[str, int]:
    """Answer `Store.stock`."""
    stock: dict[str, int] = {}
    for sku in skus:
        if sku not in stock:
            for row in transaction.rows(_ITEM, (sku,)):
                stock[sku] = available_of(row)
    return stock


def moved(transaction: Transaction, change: Change) -> dict[str, int]:
    """Return the available pieces of the items that a change moves, as it leaves them.

    Raises:
        VersionConflict: if a strict move would leave less than zero, or a move takes from an untracked item.
        InvalidInput: if a number would not fit into 64 bits.
    """
    stock = available(transaction, (move.sku for move in change.stock))
    for sku, quantity, strict in change.stock:
        if sku not in stock:
            if quantity < 0:
                raise _conflict(change, sku)
            continue
        stock[sku] += quantity
        if strict and stock[sku] < 0:
            raise _conflict(change, sku)
        if not -_LIMIT <= stock[sku] < _LIMIT:
            raise InvalidInput(f"the stock of {sku!r} must be below 2**63")
    return stock


def put(transaction: Transaction, sku: str, pieces: int) -> None:
    """Write the available pieces of an item. It is tracked from now on."""
    _, pieces, seal = row = stock_row(sku, pieces)
    if not transaction.run(_UPDATE, (pieces, seal, sku)):
        transaction.run(_INSERT, row)


def _conflict(change: Change, sku: str) -> VersionConflict:
    about = "" if change.order is None else f"order {change.order.id!r}: "
    return VersionConflict(f"{about}the stock of {sku!r} has changed: load it again")
