"""The stock of orders: what an order would take, what is missing, and whether it holds what the rules say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Line, Order, quantities_of
from order_fsm.orders.calls import amended_lines
from order_fsm.rules.decide import Call
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Need, Snapshot, Store


def needs_of(calls: Iterable[Call]) -> Iterator[Need]:
    """Yield what must be read to decide some calls in sequence.

    A later call on an order may take the items of an amendment before it.
    """
    skus: dict[str, tuple[str, ...]] = {}
    for call in calls:
        if lines := amended_lines(call):
            skus[call.order_id] = (*skus.get(call.order_id, ()), *(line.sku for line in lines))
        yield Need(call.order_id, call.request.key, skus.get(call.order_id, ()))


def shortages(order: Order, stock: Mapping[str, int], lines: tuple[Line, ...] | None = None) -> frozenset[str]:
    """Return the SKUs with fewer available pieces than an order would take. It keeps the pieces that it holds.

    Args:
        order: as it is.
        stock: the available pieces of tracked items.
        lines: those that it shall have, None if they stay.
    """
    if not stock or (lines is None and order.reserved is not None):
        return frozenset()
    quantities = order.quantities if lines is None else quantities_of(lines)
    if order.reserved is not None:
        ordered = order.quantities
        quantities = {sku: quantity - ordered.get(sku, 0) for sku, quantity in quantities.items()}
    return frozenset([sku for sku, available in stock.items() if available < quantities.get(sku, 0) > 0])


def reserved_as_amended(
    before: Order, lines: tuple[Line, ...], stock: Mapping[str, int]
) -> tuple[tuple[Line, ...], dict[str, int]]:
    """Return the pieces that an order holds after an amendment, and the further pieces of each item (below 0: fewer).

    Further pieces of tracked items are taken. Of fewer pieces those are given back that the order took and needs no
    more.

    Args:
        before: an order that holds stock.
        lines: those that it shall have.
        stock: the available pieces of tracked items.
    """
    held, ordered = quantities_of(before.reserved or ()), before.quantities
    moves: dict[str, int] = {}
    kept: list[Line] = []
    for sku, quantity in quantities_of(lines).items():
        had, more = held.pop(sku, 0), quantity - ordered.get(sku, 0)
        now = had + more if more > 0 and sku in stock else min(had, quantity)
        if now:
            kept.append(Line(sku, now))
        if now != had:
            moves[sku] = now - had
    moves |= {sku: -had for sku, had in held.items()}
    return tuple(kept), moves


def has_right_stock(workflow: Workflow, order: Order) -> bool:
    """Return whether an order holds stock if and only if the rules say so. An order without lines holds none."""
    return (order.reserved is not None) == (bool(order.lines) and workflow.holds(order.state))


def reserved(order: Order, stock: Mapping[str, int]) -> tuple[Line, ...]:
    """Return the pieces that an order takes: of tracked items only."""
    quantities = order.quantities
    if len(quantities) == len(order.lines) and all(sku in stock for sku in quantities):
        return order.lines
    return tuple([Line(sku, quantity) for sku, quantity in quantities.items() if sku in stock])


def stock_of_repeated(snapshots: Sequence[Snapshot], store: Store) -> tuple[dict[str, int], dict[str, StoreCorrupt]]:
    """Read the stock of orders with several calls: a later one may take the stock that an earlier one gave back.

    Returns:
        The available pieces by SKU, and the faults of damaged items.
    """
    seen: dict[str, int] = {}
    skus: set[str] = set()
    for snapshot in snapshots:
        if snapshot.order is not None:
            seen[snapshot.order.id] = seen.get(snapshot.order.id, 0) + 1
            if seen[snapshot.order.id] == 2:
                skus.update(line.sku for line in snapshot.order.lines)
    if not skus:
        return {}, {}
    try:
        return store.stock(skus), {}
    except StoreCorrupt:
        pass  # Of some of them. They are read one by one.
    stock: dict[str, int] = {}
    damaged: dict[str, StoreCorrupt] = {}
    needs = [Need(None, None, (sku,)) for sku in sorted(skus)]
    for (_, _, (sku,)), read in zip(needs, store.prepare_many(needs), strict=True):
        if read.fault is None:
            stock |= read.stock
        else:
            damaged[sku] = read.fault
    return stock, damaged
