"""The stock of one item, and the moves that change it.

Stores share these functions, so all of them count alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from order_fsm.errors import InvalidInput, VersionConflict


class StockLevel(NamedTuple):
    """The stock of one item, in pieces.

    Attributes:
        available: the pieces that orders can take. Below zero if orders wait for pieces. None if the item is not
            tracked.
        held: the pieces that orders hold.
        out: the pieces that were shipped and have not come back.
        lost: the pieces that came back and did not go back on the shelf.
        backorder: whether an order may take pieces that are not available.
    """

    available: int | None = None
    held: int = 0
    out: int = 0
    lost: int = 0
    backorder: bool = False


_LIMIT = 2**63
"""The limit of each number of pieces: 64 bits with a sign."""

UNKNOWN = StockLevel()
"""The level of an item that was never set or moved."""


class StockMove(NamedTuple):
    """The change of one item's stock in one commit.

    Each number is added to the level.

    Attributes:
        sku: the item.
        available: the number for the available pieces. Negative if the order takes pieces.
        strict: whether the available pieces must not fall below zero.
        held, out, lost: the numbers for the other members of `StockLevel`.
    """

    sku: str
    available: int = 0
    strict: bool = False
    held: int = 0
    out: int = 0
    lost: int = 0


def available_of(levels: Mapping[str, StockLevel]) -> dict[str, int]:
    """Return the available pieces of the tracked items."""
    return {sku: level.available for sku, level in levels.items() if level.available is not None}


def levels_after(
    levels: Mapping[str, StockLevel], moves: Iterable[StockMove], order_id: str | None = None
) -> dict[str, StockLevel]:
    """Return the levels of the moved items after one commit.

    An item that is not tracked has no available pieces. A move cannot take available pieces from it, and available
    pieces that a move adds are dropped. Its other numbers change in any case.

    Args:
        levels: the levels of the known items before the commit.
        moves: the moves, applied in sequence.
        order_id: the order of the commit, for the messages of errors.

    Raises:
        VersionConflict: if a strict move would leave less than zero, or a move takes from an item that is not tracked.
        InvalidInput: if a number would not fit into 64 bits.
    """
    after: dict[str, StockLevel] = {}
    for sku, change, strict, held, out, lost in moves:
        before = after.get(sku) or levels.get(sku, UNKNOWN)
        available = before.available
        if available is not None:
            available += change
        if (strict and available is not None and available < 0) or (available is None and change < 0):
            about = "" if order_id is None else f"order {order_id!r}: "
            raise VersionConflict(f"{about}the stock of {sku!r} has changed: load it again")
        after[sku] = StockLevel(available, before.held + held, before.out + out, before.lost + lost, before.backorder)
    for sku, level in after.items():
        numbers = level.available or 0, level.held, level.out, level.lost
        if min(numbers) < -_LIMIT or max(numbers) >= _LIMIT:
            raise InvalidInput(f"the stock of {sku!r} must be below 2**63")
    return after


def level_set(
    sku: str, level: StockLevel | None, available: int | None, expected: int | None, backorder: bool | None
) -> StockLevel:
    """Return the level of an item after `Store.set_stock`.

    Args:
        sku: the item.
        level: the level before the call. None if the item is unknown.
        available, expected, backorder: as in `Store.set_stock`.

    Raises:
        VersionConflict: if `expected` is given and is not the number of available pieces.
    """
    before = UNKNOWN if level is None else level
    if expected is not None and before.available != expected:
        has = "is not tracked" if before.available is None else f"is {before.available}"
        raise VersionConflict(f"the stock of {sku!r} {has}, not {expected}: load it again")
    return before._replace(available=available, backorder=before.backorder if backorder is None else backorder)
