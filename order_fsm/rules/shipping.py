"""Derive the shipment that a request would add."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from order_fsm.errors import InvalidInput
from order_fsm.goods import Goods, GoodsKind, less
from order_fsm.model import Line, Order, Shipment, quantities_of
from order_fsm.rules.request import Request
from order_fsm.validation import Check, flag, name, shown


class Handling(Struct, frozen=True):
    """A shipment that is not recorded yet.

    Attributes:
        kind: as in `Shipment`.
        pieces: the pieces of each SKU.
        drawn: the pieces among them that the order had taken from stock.
        beyond: the SKUs with more requested pieces than the order has left to ship, or has out.
        left: the pieces that are left to ship after the shipment.
        restock: whether returned pieces go back on the shelf.
        recorded: whether there is something to record. A recall is recorded even if all pieces came back already.
    """

    kind: GoodsKind
    pieces: Mapping[str, int]
    drawn: Mapping[str, int]
    beyond: tuple[str, ...]
    left: Mapping[str, int]
    restock: bool
    recorded: bool

    @property
    def lines(self) -> tuple[Line, ...]:
        """The pieces, one line for each SKU."""
        return lines_of(self.pieces)

    def row(self, order: Order, request: Request) -> Shipment:
        """Return the row that the next entry of an order records."""
        lines, version = lines_as_ordered(order, self.pieces), order.version + 1
        drawn = lines if self.drawn == self.pieces else lines_of(self.drawn)
        return Shipment(self.kind, lines, drawn, request.at, version, self.restock)


def handle(order: Order, kind: GoodsKind, request: Request) -> Handling:
    """Return the shipment that a request would add.

    It has the pieces that the request names. By default it has all pieces that can be shipped or returned.
    """
    goods = order.goods
    bound = less(order.quantities, goods.shipped) if kind == "shipped" else goods.out
    items = request.facts.get("items")
    pieces = quantities_of(items) if isinstance(items, tuple) else bound
    if kind == "shipped":
        left = less(bound, pieces)
    else:
        left = order.quantities if kind == "recalled" else less(order.quantities, goods.shipped)
    return Handling(
        kind,
        pieces,
        _drawn(order, kind, pieces, goods, left),
        tuple([sku for sku, number in pieces.items() if number > bound.get(sku, 0)]),
        left,
        request.facts.get("restock") is not False,
        bool(goods.shipped) if kind == "recalled" else bool(pieces),
    )


def _drawn(
    order: Order, kind: GoodsKind, pieces: Mapping[str, int], goods: Goods, left: Mapping[str, int]
) -> Mapping[str, int]:
    """Return the pieces that the order had taken from stock.

    An item may be tracked now although it was not tracked when the order took its stock. As long as an order has pieces
    to ship, it keeps the pieces that it holds for them.
    """
    if kind == "shipped":
        held = quantities_of(order.reserved or ())
        spare = {sku: number - min(number, left.get(sku, 0)) for sku, number in held.items()}
        drawn = {sku: min(number, spare.get(sku, 0)) for sku, number in pieces.items()}
    else:
        drawn = {sku: min(number, goods.drawn.get(sku, 0)) for sku, number in pieces.items()}
    return {sku: number for sku, number in drawn.items() if number > 0}


def lines_of(pieces: Mapping[str, int]) -> tuple[Line, ...]:
    """Return pieces as lines, one for each SKU."""
    return tuple([Line(sku, number) for sku, number in pieces.items()])


def lines_as_ordered(order: Order, pieces: Mapping[str, int]) -> tuple[Line, ...]:
    """Return pieces as lines, sharing the order's lines if equal.

    Shared lines take no further memory.
    """
    lines = order.lines
    same = len(lines) == len(pieces) and all(pieces.get(line.sku) == line.quantity for line in lines)
    return lines if same else lines_of(pieces)


def items_of(value: object, what: str) -> tuple[Line, ...]:
    """Check the pieces of a shipment: a dict such as `{"TEAPOT": 2}`.

    Raises:
        InvalidInput: if the value is not a dict of SKUs to whole numbers of 1 or more, or is empty.
    """
    if isinstance(value, tuple) and value and all(type(line) is Line for line in value):
        return value
    if not isinstance(value, Mapping) or not value:
        given = "an empty one" if value == {} else shown(value)
        raise InvalidInput(f"{what} must be a dict such as {{'TEAPOT': 2}}, not {given}")
    return lines_of(value)


GOODS_CHECKS: Mapping[str, Check] = {"items": items_of, "parcel": name, "restock": flag}
"""The checks of the facts about goods."""
