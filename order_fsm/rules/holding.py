"""Derive the pieces that an order holds.

They follow from its state, its lines and its shipments.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from order_fsm.goods import less
from order_fsm.model import Line, Order, quantities_of
from order_fsm.rules.shipping import Handling, lines_as_ordered, lines_of
from order_fsm.rules.workflow import Workflow

_NOTHING: Mapping[str, int] = {}


class Supply(NamedTuple):
    """The stock that a decision may take from.

    Attributes:
        available: the available pieces of the tracked items that the order may take.
        backorder: the items among them that are never short.
    """

    available: Mapping[str, int] = _NOTHING
    backorder: Collection[str] = frozenset()

    def shortages_of(self, wanted: Mapping[str, int]) -> frozenset[str]:
        """Return the SKUs with fewer available pieces than wanted."""
        available = self.available
        short = [sku for sku, number in wanted.items() if available.get(sku, number) < number]
        return frozenset([sku for sku in short if sku not in self.backorder] if short else short)

    def shortages(self, order: Order) -> frozenset[str]:
        """Return the SKUs with fewer available pieces than an order would take.

        An order that holds pieces keeps them, so it lacks none.
        """
        if not self.available or order.reserved is not None:
            return frozenset()
        return self.shortages_of(order.to_ship)


NO_SUPPLY = Supply()
"""The supply of a shop that tracks no item."""


def taken(order: Order, wanted: Mapping[str, int], tracked: Collection[str]) -> tuple[Line, ...]:
    """Return the wanted pieces of tracked items."""
    return lines_as_ordered(order, {sku: number for sku, number in wanted.items() if sku in tracked})


def held_after(
    workflow: Workflow, order: Order, target: str, handling: Handling | None, tracked: Collection[str]
) -> tuple[Line, ...] | None:
    """Return the pieces that an order holds after an entry.

    The result is None if the order then holds no stock.

    An order takes pieces and gives them back when it crosses the boundary of the states that hold stock. So only a
    migration moves stock after the table has changed. A shipment removes pieces from the held ones, and a recall adds
    them back. A recall also takes returned pieces again, if the order still has to ship them.

    Args:
        workflow: the rules.
        order: the order before the entry.
        target: the state after the entry.
        handling: the shipment that the entry records, if any.
        tracked: the SKUs of tracked items that the order may take.
    """
    held = order.reserved
    holds = workflow.holds(target)
    if workflow.holds(order.state) != holds:
        if not holds or not order.lines:
            return None
        wanted = order.to_ship if handling is None else handling.left
        return taken(order, wanted, tracked) if held is None else held
    if held is None or handling is None or handling.kind == "returned":
        return held
    if handling.kind == "shipped":
        return lines_of(less(quantities_of(held), handling.drawn)) if handling.drawn else held
    # A recall must not take returned pieces that an amendment removed.
    wanting = less(handling.left, quantities_of((*held, *handling.lines)))
    given_up = order.goods.given_up
    again = {sku: min(given_up[sku], number) for sku, number in wanting.items() if sku in given_up and sku in tracked}
    pieces = quantities_of((*held, *lines_of(handling.drawn), *lines_of(again)))
    return lines_of(pieces)


def held_as_amended(
    workflow: Workflow, before: Order, after: Order, tracked: Collection[str]
) -> tuple[Line, ...] | None:
    """Return the pieces that an order holds after its lines were amended.

    The result is None if the order then holds no stock.

    The order takes further pieces of tracked items. It gives back the pieces that it took and no longer needs.

    Args:
        workflow: the rules.
        before: the order before the amendment.
        after: the order with its new lines.
        tracked: the SKUs of tracked items among those lines.
    """
    held_before, holds = workflow.holds(before.state), workflow.holds(after.state)
    if not after.lines or (held_before and not holds):
        return None
    if before.reserved is None:
        takes = holds and not (before.lines and held_before)
        return taken(after, after.to_ship, tracked) if takes else None
    held, more = quantities_of(before.reserved), further(before, after)
    kept: dict[str, int] = {}
    for sku, left in after.to_ship.items():
        if pieces := min(held.get(sku, 0) + (more.get(sku, 0) if sku in tracked else 0), left):
            kept[sku] = pieces
    return lines_of(kept)


def held_as_migrated(workflow: Workflow, order: Order, tracked: Collection[str]) -> tuple[Line, ...] | None:
    """Return the pieces that an order holds under a changed table.

    The result is None if the order then holds no stock.
    """
    if not order.lines or not workflow.holds(order.state):
        return None
    return taken(order, order.to_ship, tracked) if order.reserved is None else order.reserved


def held_then(workflow: Workflow, now: Order, then: Order) -> tuple[Line, ...] | None:
    """Return the pieces that an order held after an earlier entry.

    The result is None if the order held no stock.

    The history does not record the items that were tracked then. The function assumes the items that the order holds or
    shipped from stock. If the order holds no stock now, it assumes all items.

    Args:
        workflow: the rules.
        now: the order now.
        then: the order after that entry.
    """
    if not then.lines or not workflow.holds(then.state):
        return None
    if now.reserved is None:
        return taken(then, then.to_ship, then.quantities)
    known = {line.sku for line in now.reserved}.union(line.sku for row in now.shipments for line in row.drawn)
    return taken(then, then.to_ship, known)


def further(before: Order, after: Order) -> dict[str, int]:
    """Return the pieces to ship that an amendment added."""
    return less(after.to_ship, before.to_ship)
