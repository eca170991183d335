"""Find and count orders in memory by state, customer and reference."""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import compress

from order_fsm.model import Order, statuses_of
from order_fsm.money import ZERO, minus, plus
from order_fsm.store import NO_MARKS, Marks, Query, Tally, marks_of

_Group = tuple[str, str, Marks]
"""A state, a currency, and the queues that do not follow from the state."""

_Place = tuple[datetime, str]
"""The creation time and the id of an order."""


class OrderIndex:
    """An index over the orders of a store."""

    def __init__(self, orders: Mapping[str, Order]) -> None:
        """Start empty.

        Args:
            orders: the store's orders by id. It must have every indexed order.
        """
        self._orders = orders
        self._by_state: dict[str, _ByAge] = {}
        self._queues = (_ByAge(), _ByAge(), _ByAge())
        """The orders in the queues of `Marks`."""
        self._marks: dict[str, Marks] = {}
        """The marks of the orders in these queues, by id."""
        self._sums: dict[_Group, tuple[int, Decimal]] = {}
        # A customer has few orders. An index by state and age would add a tenth to the memory of the orders.
        self._customers: dict[str, list[str]] = {}
        # Most payments belong to one order. A set of one id would take half the memory of the order.
        self._references: dict[str, str | set[str]] = {}

    def put(self, before: Order | None, order: Order, marks: Marks) -> None:
        """Index an order with its marks, and replace its previous version, if any."""
        place = order.created_at, order.id
        former = self._marks.get(order.id, NO_MARKS)
        moved = before is None or before.state != order.state
        if before is None or moved or former != marks or before.total != order.total:
            if before is not None:
                self._take_out(before, place, former, moved=moved)
            self._add(order, place, marks, moved=moved)
        # Only new rows matter, because no row of a ledger is ever removed.
        for row in order.payments[0 if before is None else len(before.payments) :]:
            if row.reference is not None:
                known = self._references.setdefault(row.reference, order.id)
                if isinstance(known, set):
                    known.add(order.id)
                elif known != order.id:
                    self._references[row.reference] = {known, order.id}
        if before is None or before.customer != order.customer:
            if before is not None:
                self._forget_customer(before)
            if order.customer is not None:
                self._customers.setdefault(order.customer, []).append(order.id)

    def remove(self, order: Order) -> None:
        """Remove an order from the index."""
        place = order.created_at, order.id
        self._take_out(order, place, self._marks.get(order.id, NO_MARKS), moved=True)
        for reference in order.references:
            known = self._references[reference]
            if isinstance(known, set):
                known.discard(order.id)
            if not known or known == order.id:
                del self._references[reference]
        self._forget_customer(order)

    def _add(self, order: Order, place: _Place, marks: Marks, *, moved: bool) -> None:
        if moved:
            by_age = self._by_state.get(order.state)
            if by_age is None:
                by_age = self._by_state[order.state] = _ByAge()
            by_age.add(place)
        if marks is not NO_MARKS:
            self._marks[order.id] = marks
            for queue in compress(self._queues, marks):
                queue.add(place)
        _count(self._sums, order, marks)

    def _take_out(self, order: Order, place: _Place, marks: Marks, *, moved: bool) -> None:
        if moved:
            self._by_state[order.state].remove(place)
        if marks is not NO_MARKS:
            del self._marks[order.id]
            for queue in compress(self._queues, marks):
                queue.remove(place)
        group = order.state, order.currency, marks
        orders, total = self._sums[group]
        if orders == 1:
            del self._sums[group]
        else:
            self._sums[group] = orders - 1, minus(total, order.total)

    def _forget_customer(self, order: Order) -> None:
        if order.customer is not None:
            of_customer = self._customers[order.customer]
            of_customer.remove(order.id)
            if not of_customer:
                del self._customers[order.customer]

    def found(self, query: Query) -> Iterator[Order]:
        """Yield the orders that match a query, oldest first.

        The limit of the query is not applied.
        """
        when, orders = query.when, self._orders
        if query.reference is not None:
            known = self._references.get(query.reference, ())
            return self._among((known,) if isinstance(known, str) else known, query)
        if query.customer is not None:
            return self._among(self._customers.get(query.customer, ()), query)
        wanted = query.marks
        if any(wanted):
            queue = next(compress(self._queues, wanted))
            return filter(query.matches, (orders[order_id] for _, order_id in queue.after(query.after)))
        lists = [
            by_age.after(query.after) for state, by_age in self._by_state.items() if when.matches(statuses_of(state))
        ]
        return (orders[one[1]] for one in (lists[0] if len(lists) == 1 else heapq.merge(*lists)))

    def _among(self, ids: Iterable[str], query: Query) -> Iterator[Order]:
        orders = self._orders
        places = [(orders[order_id].created_at, order_id) for order_id in ids]
        places.sort()
        start = 0 if query.after is None else bisect_right(places, query.after)
        return filter(query.matches, (orders[order_id] for _, order_id in places[start:]))

    def tally(self, customer: str | None) -> list[Tally]:
        """Return the result of `Store.tally`."""
        if customer is None:
            sums = self._sums
        else:
            sums = {}
            for order_id in self._customers.get(customer, ()):
                order = self._orders[order_id]
                _count(sums, order, marks_of(order))
        return [
            Tally(state, currency, marks.refund_due, *counted, marks.unmatched, marks.part_dispatched)
            for (state, currency, marks), counted in sums.items()
        ]


def _count(sums: dict[_Group, tuple[int, Decimal]], order: Order, marks: Marks) -> None:
    group = order.state, order.currency, marks
    orders, total = sums.get(group, (0, ZERO))
    sums[group] = orders + 1, plus(total, order.total)


class _ByAge:
    """Places of orders, oldest first.

    A removed place is only marked. When half of the list is marked, the marked places are deleted: deleting each at
    once would move the rest of a long list every time.
    """

    __slots__ = ("_left", "_places")

    def __init__(self) -> None:
        self._places: list[_Place] = []
        # The marked places by order id. A set of them would compute the hashes of their times.
        self._left: dict[str, _Place] = {}

    def add(self, place: _Place) -> None:
        left = self._left.pop(place[1], None)
        if left == place:
            return
        if left is not None:  # A removed order was created again.
            self._places = [one for one in self._places if one != left]
        if not self._places or self._places[-1] < place:
            self._places.append(place)
        else:
            insort(self._places, place)

    def remove(self, place: _Place) -> None:
        self._left[place[1]] = place
        if len(self._left) * 2 > len(self._places):
            left = self._left
            self._places = [one for one in self._places if one[1] not in left]
            self._left = {}

    def after(self, place: _Place | None) -> Iterator[_Place]:
        places, left = self._places, self._left
        start = 0 if place is None else bisect_right(places, place)
        # Access by index: `islice` would step through the places before the start.
        found = map(places.__getitem__, range(start, len(places)))
        return found if not left else (one for one in found if one[1] not in left)
