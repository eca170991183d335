"""The stock of orders: what an order would take, what is missing, and whether it holds what the rules say."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Line, Order
from order_fsm.rules.workflow import Workflow
from order_fsm.stock_levels import StockLevel, StockMove, released, taken
from order_fsm.store import Snapshot, Store


def wanted_pieces(order: Order) -> dict[str, int]:
    """Return the pieces that an order takes when it comes to hold stock, of tracked and untracked items."""
    return order.quantities


def shortages(order: Order, stock: Mapping[str, int], backorder: Collection[str] = frozenset()) -> frozenset[str]:
    """Return the SKUs with fewer available pieces than an order would take. It keeps the pieces that it holds.

    Args:
        order: the order before it takes pieces.
        stock: the available pieces of its tracked items.
        backorder: the items that are never short.
    """
    if not stock or order.reserved is not None:
        return frozenset()
    wanted = wanted_pieces(order)
    short = [sku for sku, quantity in wanted.items() if stock.get(sku, quantity) < quantity]
    return frozenset([sku for sku in short if sku not in backorder] if backorder else short)


def has_right_stock(workflow: Workflow, order: Order) -> bool:
    """Return whether an order holds stock if and only if the rules say so. An order without lines holds none."""
    return (order.reserved is not None) == (bool(order.lines) and workflow.holds(order.state))


def reserved(order: Order, stock: Mapping[str, int]) -> tuple[Line, ...]:
    """Return the pieces that an order takes: of tracked items only."""
    wanted = wanted_pieces(order)
    lines = order.lines
    if len(wanted) == len(lines) and all(line.sku in stock and wanted.get(line.sku) == line.quantity for line in lines):
        return lines
    return tuple([Line(sku, quantity) for sku, quantity in wanted.items() if sku in stock])


def stock_moves(
    workflow: Workflow, before: Order, after: Order, stock: Mapping[str, int], *, migrates: bool
) -> tuple[Order, tuple[StockMove, ...]]:
    """Return an order with the pieces that it holds after a commit, and the moves of that commit.

    An order takes or gives back pieces if it crosses the boundary of the states that hold stock. So a changed table
    moves no stock by itself: a migration does. An order gives back exactly the pieces that it took.

    Args:
        workflow: the rules.
        before: the order before the commit.
        after: the order after it, with its stock unchanged.
        stock: the available pieces of its tracked items.
        migrates: whether the commit is a migration.
    """
    if has_right_stock(workflow, after):
        return after, ()
    if not migrates and workflow.holds(before.state) == workflow.holds(after.state):
        return after, ()
    if after.reserved is not None:
        return after.holding(None), tuple([released(line.sku, line.quantity) for line in after.reserved])
    pieces = reserved(after, stock)
    moves = [taken(line.sku, line.quantity, strict=stock[line.sku] >= line.quantity) for line in pieces]
    return after.holding(pieces), tuple(moves)


def stock_of_repeated(
    snapshots: Sequence[Snapshot], store: Store
) -> tuple[dict[str, StockLevel], dict[str, StoreCorrupt]]:
    """Read the stock of orders with several calls: a later one may take the stock that an earlier one gave back.

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
    except StoreCorrupt:  # Of some of them. They are read one by one.
        for sku in sorted(skus):
            try:
                levels |= store.stock_levels([sku])
            except StoreCorrupt as error:
                damaged[sku] = error
    return levels, damaged
