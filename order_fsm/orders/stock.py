"""Derive the stock reads and the stock moves of a commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from order_fsm.errors import StoreCorrupt
from order_fsm.goods import add
from order_fsm.model import Order
from order_fsm.orders.calls import Amend
from order_fsm.rules.decide import Call
from order_fsm.stock_levels import StockLevel, StockMove
from order_fsm.store import Need, Snapshot, Store


def need_of(call: Call) -> Need:
    """Return the need of a call."""
    lines = call.lines if isinstance(call, Amend) else None
    return Need(call.order_id, call.request.key, tuple([line.sku for line in lines]) if lines else ())


def needs_of(calls: Iterable[Call]) -> Iterator[Need]:
    """Yield the needs of calls that are decided in sequence.

    A later call on an order may take the items of an earlier amendment.
    """
    skus: dict[str, tuple[str, ...]] = {}
    for call in calls:
        need = need_of(call)
        if need.skus:
            skus[call.order_id] = (*skus.get(call.order_id, ()), *need.skus)
        yield replace(need, skus=skus.get(call.order_id, ())) if skus else need


def stock_moves(before: Order, after: Order, available: Mapping[str, int]) -> tuple[StockMove, ...]:
    """Return the stock moves of a commit.

    They are the difference of the held and shipped pieces before and after it.

    Pieces that an order newly holds or ships come from the available ones. So the sum of available, held, out and lost
    pieces is constant by construction.

    Args:
        before: the order before the commit.
        after: the order after the commit.
        available: the available pieces of the tracked items that the order may take. The order takes missing pieces
            without `strict`.
    """
    if before.reserved is after.reserved and before.shipments is after.shipments:
        return ()
    held: dict[str, int] = {}
    out: dict[str, int] = {}
    lost: dict[str, int] = {}
    add(held, after.reserved or ())
    add(held, before.reserved or (), -1)
    for row in after.shipments[len(before.shipments) :]:
        add(out, row.drawn, 1 if row.kind == "shipped" else -1)
        if row.kind == "returned" and not row.restock:
            add(lost, row.drawn)
    moves: list[StockMove] = []
    for sku in {**held, **out, **lost}:
        numbers = held.get(sku, 0), out.get(sku, 0), lost.get(sku, 0)
        more = sum(numbers)
        moves.append(StockMove(sku, -more, more > 0 and available.get(sku, 0) >= more, *numbers))
    return tuple(moves)


def stock_of_repeated(
    snapshots: Sequence[Snapshot], store: Store
) -> tuple[dict[str, StockLevel], dict[str, StoreCorrupt]]:
    """Read the stock of orders with several calls.

    A later call may take the stock that an earlier one gave back.

    Returns:
        The levels by SKU, and the faults of damaged items.
    """
    seen: dict[str, int] = {}
    skus: set[str] = set()
    for snapshot in snapshots:
        if snapshot.order is not None:
            seen[snapshot.order.id] = seen.get(snapshot.order.id, 0) + 1
            if seen[snapshot.order.id] == 2:
                skus.update(line.sku for line in snapshot.order.lines)
    levels: dict[str, StockLevel] = {}
    damaged: dict[str, StoreCorrupt] = {}
    if not skus:
        return levels, damaged
    try:
        levels = store.stock_levels(skus)
    except StoreCorrupt:  # Some of the items are damaged: read them one by one to find these.
        for sku in sorted(skus):
            try:
                levels |= store.stock_levels([sku])
            except StoreCorrupt as error:
                damaged[sku] = error
    return levels, damaged
