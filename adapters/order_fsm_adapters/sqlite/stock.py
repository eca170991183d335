"""The stock of the SQLite store: statements on order_fsm_stock."""

from __future__ import annotations

from collections.abc import Iterable
from sqlite3 import Cursor

from order_fsm.errors import InvalidInput, VersionConflict
from order_fsm.store import StockMove
from order_fsm_adapters.sqlite.seals import check, sealed

_ON_HAND_LIMIT = 2**63
"""The number on hand is a whole number of 64 bits."""

_ON_HAND = "SELECT sku, on_hand, seal FROM order_fsm_stock WHERE sku = ?"
_PUT = """
    INSERT INTO order_fsm_stock (sku, on_hand, seal) VALUES (?, ?, ?)
    ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand, seal = excluded.seal
"""


def on_hand(cursor: Cursor, skus: Iterable[str]) -> dict[str, int]:
    """See `Store.stock`."""
    stock: dict[str, int] = {}
    for sku in skus:
        for row in cursor.execute(_ON_HAND, (sku,)).fetchall():
            check(row, "the stock of", sku)
            stock[sku] = row[1]
    return stock


def moved(cursor: Cursor, order_id: str, moves: Iterable[StockMove]) -> dict[str, int]:
    """The numbers of the items that are tracked, as moves will leave them; `put` writes them.

    Args:
        cursor: in a transaction.
        order_id: whose moves they are, for the message.
        moves: in their sequence.

    Raises:
        VersionConflict: a strict move would leave less than zero.
        InvalidInput: a number would not fit.
    """
    stock = on_hand(cursor, {one.sku for one in moves})
    for one in moves:
        if one.sku in stock:
            stock[one.sku] += one.quantity
            if one.strict and stock[one.sku] < 0:
                raise VersionConflict(f"order {order_id!r}: the stock of {one.sku!r} has changed: load it again")
            if not -_ON_HAND_LIMIT <= stock[one.sku] < _ON_HAND_LIMIT:
                raise InvalidInput(f"order {order_id!r}: the stock of {one.sku!r} would be beyond 64 bits")
    return stock


def put(cursor: Cursor, stock: dict[str, int]) -> None:
    """Write how many are on hand of items; those that were not tracked are from now on."""
    cursor.executemany(_PUT, map(sealed, stock.items()))
