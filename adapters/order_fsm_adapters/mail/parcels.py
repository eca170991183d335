"""The goods in a mail: pieces that left or came back, their parcels, and pieces to come.

They come from the order and its history at delivery, so an erased parcel number is not mailed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from order_fsm import Entry, Line, Message, Order


class Parcels(NamedTuple):
    """The goods that a commit moved.

    Attributes:
        shipped, returned: the pieces of each item.
        numbers: the numbers of the parcels.
        is_rest: whether parts of the order were shipped before.
        to_come: the pieces that the order still has to ship at delivery of the mail.
    """

    shipped: Sequence[Line] = ()
    returned: Sequence[Line] = ()
    numbers: Sequence[str] = ()
    is_rest: bool = False
    to_come: Sequence[Line] = ()


def parcels_of(message: Message, order: Order, history: Sequence[Entry]) -> Parcels:
    """Return the goods that the commit of a message moved.

    Args:
        message: a message about a change of the order.
        order: the order at delivery.
        history: all entries of the order.
    """
    payload = message.payload
    last = message.version
    first = max(last - len(payload.get("triggers", ())) + 1, 1)
    rows = [row for row in order.shipments if first <= row.version <= last]
    before = replace(order, shipments=tuple(row for row in order.shipments if row.version < first))
    shipped = _lines(row.lines for row in rows if row.kind == "shipped")
    more_to_ship = "dispatched" in payload.get("dropped", ()) and all(row.kind != "recalled" for row in rows)
    return Parcels(
        shipped,
        _lines(row.lines for row in rows if row.kind == "returned"),
        [number for entry in history[first - 1 : last] if isinstance(number := entry.facts.get("parcel"), str)],
        bool(before.goods.shipped),
        _of_pieces(order.to_ship) if order.counted and (shipped or more_to_ship) else (),
    )


def _lines(shipments: Iterable[Sequence[Line]]) -> Sequence[Line]:
    pieces: dict[str, int] = {}
    for lines in shipments:
        for line in lines:
            pieces[line.sku] = pieces.get(line.sku, 0) + line.quantity
    return _of_pieces(pieces)


def _of_pieces(pieces: Mapping[str, int]) -> Sequence[Line]:
    return [Line(sku, number) for sku, number in pieces.items()]
