"""The rules of goods for `reference`, with loops over rows and dicts of pieces.

It shares the values with the engine and no decision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from order_fsm.model import Line, Order, Shipment

Pieces = dict[str, int]


class Goods(NamedTuple):
    """The pieces of an order since its last recall.

    Attributes:
        ordered, shipped, out: as in `Order.quantities` and `order_fsm.goods`.
        drawn: the part of `out` that came from stock.
        given_up: pieces from stock that were returned.
    """

    ordered: Pieces
    shipped: Pieces
    out: Pieces
    drawn: Pieces
    given_up: Pieces

    @property
    def to_ship(self) -> Pieces:
        """The ordered pieces that were not shipped."""
        return _positive({sku: wanted - self.shipped.get(sku, 0) for sku, wanted in self.ordered.items()})


def goods_of(order: Order) -> Goods:
    """Count the pieces of an order."""
    shipped: Pieces = {}
    out: Pieces = {}
    drawn: Pieces = {}
    given_up: Pieces = {}
    for row in order.shipments:
        pieces, from_stock = _counted(row.lines), _counted(row.drawn)
        if row.kind == "recalled":
            for sums in (shipped, out, drawn, given_up):
                sums.clear()
        elif row.kind == "shipped":
            for sums, more in ((shipped, pieces), (out, pieces), (drawn, from_stock)):
                for sku, number in more.items():
                    sums[sku] = sums.get(sku, 0) + number
        else:
            for sku, number in from_stock.items():
                given_up[sku] = given_up.get(sku, 0) + number
            for sums, fewer in ((out, pieces), (drawn, from_stock)):
                for sku, number in fewer.items():
                    sums[sku] -= number
                    if not sums[sku]:
                        del sums[sku]
    return Goods(_counted(order.lines), shipped, out, drawn, given_up)


def goods_facts(order: Order, kind: Any, given: Mapping[str, Any], at: Any) -> dict[str, Any]:
    """Return the facts about goods that guards read, and the rows that the order would then have."""
    goods = goods_of(order)
    bound = goods.to_ship if kind == "shipped" else goods.out
    pieces: Pieces = dict(given.get("items", bound))
    left = {sku: number - pieces.get(sku, 0) * (kind == "shipped") for sku, number in goods.to_ship.items()}
    drawn: Pieces = {}
    for sku, number in pieces.items():
        if kind == "shipped":
            held = _counted(order.reserved or ()).get(sku, 0)
            drawn[sku] = min(number, held - min(held, max(left.get(sku, 0), 0)))
        else:
            drawn[sku] = min(number, goods.drawn.get(sku, 0))
    row = Shipment(kind, _lines(pieces), _lines(_positive(drawn)), at, order.version + 1, given.get("restock", True))
    return {
        "pieces": sum(pieces.values()),
        "beyond": [sku for sku, number in pieces.items() if number > bound.get(sku, 0)],
        "goods_left": any(number > 0 for number in left.values()),
        "rows": [row] if pieces or (kind == "recalled" and goods.shipped) else [],
    }


def reserved_after(
    order: Order, rows: Iterable[Shipment], held_before: bool, holds: bool, tracked: Collection[str]
) -> tuple[Line, ...] | None:
    """Return the pieces that an order holds after an entry.

    Args:
        order: before the entry.
        rows: the shipments of the entry.
        held_before, holds: whether it holds stock by its states before and after the entry.
        tracked: the tracked items.
    """
    goods, reserved = goods_of(order), order.reserved
    if held_before != holds:
        if not holds:
            return None
        if reserved is None:
            left = goods.to_ship
            for row in rows:
                left = goods.ordered if row.kind == "recalled" else left
            return _lines({sku: number for sku, number in left.items() if sku in tracked})
        return reserved
    if reserved is None:
        return None
    held = _counted(reserved)
    for row in rows:
        if row.kind == "shipped":
            for line in row.drawn:
                held[line.sku] -= line.quantity
        elif row.kind == "recalled":
            missing = {sku: number - held.get(sku, 0) - goods.out.get(sku, 0) for sku, number in goods.ordered.items()}
            for line in row.drawn:
                held[line.sku] = held.get(line.sku, 0) + line.quantity
            for sku, number in missing.items():
                if sku in tracked and sku in goods.given_up and number > 0:
                    held[sku] = held.get(sku, 0) + min(number, goods.given_up[sku])
    return _lines(_positive(held))


def reserved_as_amended(before: Order, after: Order, holds: bool, tracked: Collection[str]) -> tuple[Line, ...] | None:
    """Return the pieces that an order holds after an amendment of its lines."""
    if not after.lines or (before.reserved is None and (before.lines or not holds)):
        return None
    held = _counted(before.reserved or ())
    had, kept = goods_of(before).to_ship, {}
    for sku, number in goods_of(after).to_ship.items():
        more = max(number - had.get(sku, 0), 0) if sku in tracked else 0
        kept[sku] = min(held.get(sku, 0) + more, number)
    return _lines(_positive(kept))


def missing_for(before: Order, after: Order, on_hand: Mapping[str, int]) -> set[str]:
    """Return the items of which an amended order would take more pieces than are available."""
    had = goods_of(before).to_ship if before.reserved is not None else {}
    wanted = {sku: number - had.get(sku, 0) for sku, number in goods_of(after).to_ship.items()}
    return {sku for sku, number in wanted.items() if number > 0 and on_hand.get(sku, number) < number}


def stock_differences(before: Order, after: Order) -> dict[str, list[int]]:
    """Return the changes that a call makes to each item: available, held, out and lost."""
    sums: dict[str, list[int]] = {}

    def add(sku: str, *numbers: int) -> None:
        sums[sku] = [one + more for one, more in zip(sums.get(sku, [0] * 4), numbers, strict=True)]

    for line in before.reserved or ():
        add(line.sku, line.quantity, -line.quantity, 0, 0)
    for line in after.reserved or ():
        add(line.sku, -line.quantity, line.quantity, 0, 0)
    for row in after.shipments[len(before.shipments) :]:
        for line in row.drawn:
            number = line.quantity
            if row.kind == "shipped":
                add(line.sku, -number, 0, number, 0)
            elif row.kind == "returned" and not row.restock:
                add(line.sku, 0, 0, -number, number)
            else:
                add(line.sku, number, 0, -number, 0)
    return sums


def _counted(lines: Iterable[Line]) -> Pieces:
    pieces: Pieces = {}
    for line in lines:
        pieces[line.sku] = pieces.get(line.sku, 0) + line.quantity
    return pieces


def _positive(pieces: Mapping[str, int]) -> Pieces:
    return {sku: number for sku, number in pieces.items() if number > 0}


def _lines(pieces: Mapping[str, int]) -> tuple[Line, ...]:
    return tuple(Line(sku, number) for sku, number in pieces.items())
