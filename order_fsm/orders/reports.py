"""The half of `Orders` that answers about many orders at once: by id, and in sums over an interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import Order, Sales
from order_fsm.store import Need, Store


class Reports:
    """Reads of many orders. See `Orders`."""

    _store: Store

    def get_many(self, order_ids: Iterable[str]) -> dict[str, Order]:
        """Return some orders by id, in one round trip to the store.

        Args:
            order_ids: an id may come twice.

        Returns:
            The orders in the sequence of the ids. Unknown ids are left out.
        """
        if isinstance(order_ids, str | Mapping) or not isinstance(order_ids, Iterable):
            raise InvalidInput(f"order ids must be a list such as ['1001'], not {validation.shown(order_ids)}")
        needs = [Need(one) for one in dict.fromkeys(validation.identifier(one, "order id") for one in order_ids)]
        orders: dict[str, Order] = {}
        for snapshot in self._store.prepare_many(needs):
            if snapshot.fault is not None:
                raise snapshot.fault
            if snapshot.order is not None:
                orders[snapshot.order.id] = snapshot.order
        return orders

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        """Return the sales and the money of an interval, by currency, from one snapshot of the store.

        Orders that count (sent and not cancelled) are in it by the time at which they were last placed. Payments and
        refunds of all orders are in it by the time at which they were recorded, in their own currency. So are the
        credits, of the orders that count: once an order is cancelled, neither its total nor its credits are in `net`.

        Args:
            since: the beginning of the interval. It has a time zone. None for all before `until`.
            until: the first moment after the interval. None for all from `since` on.

        Returns:
            The sums by currency. A currency in which nothing happened is left out.
        """
        return self._store.report(*validation.interval(since, until))
