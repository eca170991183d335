"""What the stores share that find and count orders: what a query asks, and the sums."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from order_fsm.model import Order
from order_fsm.money import ZERO, plus
from order_fsm.store import Query, Tally

Counted = tuple[str, str, bool, int, Decimal]
"""A state, a currency and whether a refund is due; how many orders are so, and the sum of their totals."""


def refund_is_due(order: Order) -> bool:
    """Whether money of the order is due back."""
    return bool(order.payments) and order.refund_due > 0


def matches(query: Query, order: Order) -> bool:
    """Whether a query describes an order; its `after` is not looked at."""
    return (
        query.when.matches(order.statuses)
        and (query.customer is None or order.customer == query.customer)
        and (not query.refund_due or refund_is_due(order))
    )


def tallies(counted: Iterable[Counted]) -> list[Tally]:
    """Orders that were counted one by one or in parts, summed by state, currency and whether a refund is due."""
    groups: dict[tuple[str, str, bool], tuple[int, Decimal]] = {}
    for state, currency, due, number, total in counted:
        orders, sum_of_totals = groups.get((state, currency, due), (0, ZERO))
        groups[state, currency, due] = (orders + number, plus(sum_of_totals, total))
    return [Tally(*group, *sums) for group, sums in groups.items()]
