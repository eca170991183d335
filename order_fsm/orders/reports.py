"""The part of `Orders` that reads many orders and sums intervals."""

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
        """Return orders by id, in one round trip to the store.

        Args:
            order_ids: the ids. An id may occur twice.

        Returns:
            The orders in the sequence of the ids, without unknown ids.
        """
        if isinstance(order_ids, str | Mapping) or not isinstance(order_ids, Iterable):
            raise InvalidInput(f"order ids must be a list such as ['1001'], not {validation.shown(order_ids)}")
        needs = [Need(one) for one in dict.fromkeys(validation.identifier(one, "order id") for one in order_ids)]
        orders: dict[str, Order] = {}
        for snapshot in self._store.prepare_many(needs):
            order = snapshot.checked().order
            if order is not None:
                orders[order.id] = order
        return orders

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        """Return the sales and the money of an interval, by currency.

        All sums come from one snapshot of the store.

        An order that counts (sent and not cancelled) belongs to the interval in which it was last placed. A payment or
        refund of any order belongs to the interval in which it was recorded, in its own currency. A credit belongs to
        the interval in which it was recorded, if its order counts. So `net` includes no total and no credit of a
        cancelled order.

        Args:
            since: the beginning of the interval, with a time zone. None includes everything before `until`.
            until: the end of the interval, itself excluded. None includes everything from `since` on.

        Returns:
            The sums by currency, without currencies in which nothing happened.
        """
        return self._store.report(*validation.interval(since, until))
