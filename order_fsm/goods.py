"""Sums over the shipments of an order: the second ledger.

A row is a fact. Nothing changes or removes it. Goods are counted in pieces of each SKU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

GoodsKind = Literal["shipped", "returned", "recalled"]


Pieces = Any
"""A `Line`: a number of pieces of an item. Its fields have converters, so pyright matches them with no protocol."""


class Row(Protocol):
    """The part of `Shipment` that the sums read."""

    @property
    def kind(self) -> GoodsKind:
        """What happened to the goods."""
        ...

    @property
    def lines(self) -> Sequence[Pieces]:
        """All pieces."""
        ...

    @property
    def drawn(self) -> Sequence[Pieces]:
        """Those of the pieces that the order had taken from stock."""
        ...


class Goods(NamedTuple):
    """The sums over the shipments of an order since the last recall, in pieces of each SKU.

    Attributes:
        shipped: left the shop, those that came back included.
        out: left the shop and did not come back.
        drawn: the part of `out` that the order had taken from stock.
        given_up: pieces that the order had taken from stock and that were returned, so it holds them no more.
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
        else:  # Everything that is out came back, to be shipped again.
            shipped, out, drawn, given_up = {}, {}, {}, {}
    return Goods(shipped, out, drawn, given_up)


def add(sums: dict[str, int], pieces: Iterable[Pieces], sign: int = 1) -> None:
    """Add pieces to sums by SKU, or subtract them. A sum of 0 is left out."""
    for one in pieces:
        number = sums.get(one.sku, 0) + sign * one.quantity
        if number:
            sums[one.sku] = number
        else:
            sums.pop(one.sku, None)


def less(some: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """Subtract `others` from `some`, by SKU. Leave out each SKU that has no piece left."""
    if not others:
        return dict(some)
    left = {sku: number - others.get(sku, 0) for sku, number in some.items()}
    return {sku: number for sku, number in left.items() if number > 0}
