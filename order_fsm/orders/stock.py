"""The stock of orders: what an order would take, what is missing, and whether it holds what the rules say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Line, Order
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Need, Snapshot, Store


def shortages(order: Order, stock: Mapping[str, int]) -> frozenset[str]:
    """Return the SKUs with fewer available pieces than an order would take. It keeps the pieces that it holds."""
    if not stock or order.reserved is not None:
        return frozenset()
    quantities = order.quantities
    return frozenset([sku for sku, available in stock.items() if available < quantities.get(sku, 0)])


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
