"""Find and sum the orders of an interval by scanning all orders.

An index by placing time would take memory for each order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal

from order_fsm.model import Order, Sales
from order_fsm.money import ZERO, plus
from order_fsm.store import Query, is_within, sales_of


def found(orders: Iterable[Order], query: Query) -> Iterator[Order]:
    """Yield the orders that match a dated query, oldest placing first. Ignore its limit."""
    matching = [
        ((order.placed_at, order.id), order) for order in orders if order.placed_at is not None and query.matches(order)
    ]
    matching.sort(key=lambda one: one[0])
    return (order for place, order in matching if query.after is None or place > query.after)


def placed(
    orders: Iterable[Order], since: datetime | None, until: datetime | None, customer: str | None = None
) -> dict[str, tuple[int, Decimal]]:
    """Sum the counted orders placed in an interval, by currency.

    Returns:
        Their number and total.
    """
    sums: dict[str, tuple[int, Decimal]] = {}
    for order in orders:
        if order.counted and customer in (None, order.customer) and is_within(order.placed_at, since, until):
            number, total = sums.get(order.currency, (0, ZERO))
            sums[order.currency] = number + 1, plus(total, order.total)
    return sums


def report(orders: Iterable[Order], since: datetime | None, until: datetime | None) -> dict[str, Sales]:
    """Return the result of `Store.report`."""
    orders = list(orders)
    recorded: dict[tuple[str, str], Decimal] = {}
    for order in orders:
        for row in order.payments:
            if is_within(row.at, since, until):
                for kind, amount in ((row.kind, row.amount), ("credited", row.credit)):
                    if amount and (order.counted or kind != "credited"):
                        key = row.currency, kind
                        recorded[key] = plus(recorded.get(key, ZERO), amount)
    return sales_of(placed(orders, since, until), recorded)
