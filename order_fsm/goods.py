"""Sums over the shipments of an order: the second ledger.

A row is a fact: it is never changed or removed. Goods are counted in pieces of each SKU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

GoodsKind = Literal["shipped", "returned", "recalled"]

GOODS_KINDS: tuple[GoodsKind, ...] = get_args(GoodsKind)

Pieces = Any
"""A `Line`. Its fields have converters, which pyright cannot match with a protocol."""


class Row(Protocol):
    """The members of `Shipment` that the sums read."""

    @property
    def kind(self) -> GoodsKind:
        """The kind of movement of the goods."""
        ...

    @property
    def lines(self) -> Sequence[Pieces]:
        """All pieces."""
        ...

    @property
    def drawn(self) -> Sequence[Pieces]:
        """The pieces among them that the order had taken from stock."""
        ...


class Goods(NamedTuple):
    """The sums over the shipments of an order since the last recall.

    They count pieces of each SKU.

    Attributes:
        shipped: the pieces that left the shop, including those that came back.
        out: the pieces that left the shop and have not come back.
        drawn: the part of `out` that the order had taken from stock.
        given_up: the pieces that the order had taken from stock and that were returned. It no longer holds them.
    """

    shipped: Mapping[str, int]
    out: Mapping[str, int]
    drawn: Mapping[str, int]
    given_up: Mapping[str, int]


_NOTHING: Mapping[str, int] = {}
NO_GOODS = Goods(_NOTHING, _NOTHING, _NOTHING, _NOTHING)


def goods(rows: Iterable[Row]) -> Goods:
    """Return the sums over some shipments, oldest first."""
    shipped: dict[str, int] = {}
    out: dict[str, int] = {}
    drawn: dict[str, int] = {}
    given_up: dict[str, int] = {}
    for row in rows:
        if row.kind == "shipped":
            add(shipped, row.lines)
            add(out, row.lines)
            add(drawn, row.drawn)
        elif row.kind == "returned":
            add(out, row.lines, -1)
            add(drawn, row.drawn, -1)
            add(given_up, row.drawn)
        else:  # A recall: everything that was out came back, to be shipped again.
            shipped, out, drawn, given_up = {}, {}, {}, {}
    return Goods(shipped, out, drawn, given_up)


def add(sums: dict[str, int], pieces: Iterable[Pieces], sign: int = 1) -> None:
    """Add pieces to sums by SKU, or subtract them.

    Sums of 0 are removed.
    """
    for one in pieces:
        number = sums.get(one.sku, 0) + sign * one.quantity
        if number:
            sums[one.sku] = number
        else:
            sums.pop(one.sku, None)


def less(some: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """Subtract `others` from `some`, by SKU.

    SKUs without remaining pieces are removed.
    """
    if not others:
        return dict(some)
    left = {sku: number - others.get(sku, 0) for sku, number in some.items()}
    return {sku: number for sku, number in left.items() if number > 0}
