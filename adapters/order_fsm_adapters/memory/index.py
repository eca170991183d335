"""Finding and counting orders in memory: by state and age, for all orders and for each customer."""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import compress
from typing import cast

from order_fsm.model import Order, statuses_of
from order_fsm.money import ZERO, minus, plus
from order_fsm.store import NO_MARKS, Marks, Query, Tally, marks_of

_Group = tuple[str, str, Marks]
"""A state, a currency, and the queues that the state does not tell."""

_Place = tuple[datetime, str]
"""The creation time and the id of an order."""


class OrderIndex:
    """An index over the orders of a store."""

    def __init__(self, orders: Mapping[str, Order]) -> None:
        """Start empty.

        Args:
            orders: the store's orders by id. An indexed order must be in it.
        """
        self._orders = orders
        self._all = _Section(orders)
        self._customers: dict[str, _Section] = {}
        # Most payments belong to one order. A set of one would take as much memory as half of the order.
        self._references: dict[str, str | set[str]] = {}

    def put(self, before: Order | None, order: Order) -> None:
        """Index an order in place of its former version, if there is one."""
        self._all.put(before, order)
        # No row of a ledger is ever removed.
        for row in order.payments[0 if before is None else len(before.payments) :]:
            if row.reference is not None:
                known = self._references.setdefault(row.reference, order.id)
                if isinstance(known, set):
                    known.add(order.id)
                elif known != order.id:
                    self._references[row.reference] = {known, order.id}
        if before is not None and before.customer != order.customer:
            self._forget_customer(before)
            before = None
        if order.customer is not None:
            section = self._customers.get(order.customer)
            if section is None:
                section = self._customers[order.customer] = _Section(self._orders)
            section.put(before, order)

    def remove(self, order: Order) -> None:
        """Drop an order."""
        self._all.remove(order)
        for reference in order.references:
            known = self._references[reference]
            if isinstance(known, set):
                known.discard(order.id)
            if not known or known == order.id:
                del self._references[reference]
        self._forget_customer(order)

    def _forget_customer(self, order: Order) -> None:
        if order.customer is not None:
            section = self._customers[order.customer]
            section.remove(order)
            if not section.sums:
                del self._customers[order.customer]

    def found(self, query: Query) -> Iterator[Order]:
        """Yield the orders that match a query, oldest first. Its limit is not applied."""
        if query.reference is not None:
            return self._with_reference(query.reference, query)
        section = self._section(query.customer)
        if section is None:
            return iter(())
        return section.found(query)

    def _with_reference(self, reference: str, query: Query) -> Iterator[Order]:
        known = self._references.get(reference, set())
        orders = [self._orders[order_id] for order_id in ((known,) if isinstance(known, str) else known)]
        return (
            order
            for order in sorted(orders, key=_place)
            if (query.after is None or _place(order) > query.after) and query.matches(order)
        )

    def tally(self, customer: str | None) -> list[Tally]:
        """Answer `Store.tally`."""
        section = self._section(customer)
        return [] if section is None else section.tally()

    def _section(self, customer: str | None) -> _Section | None:
        return self._all if customer is None else self._customers.get(customer)


class _Section:
    """The index of all orders, or of those of one customer."""

    __slots__ = ("_by_state", "_marked", "_orders", "sums")

    def __init__(self, orders: Mapping[str, Order]) -> None:
        self._orders = orders
        self._by_state: dict[str, _ByAge] = {}
        self._marked: tuple[_ByAge | None, ...] = _NONE_MARKED
        self.sums: dict[_Group, tuple[int, Decimal]] = {}

    def put(self, before: Order | None, order: Order) -> None:
        group = (order.state, order.currency, marks_of(order))
        if before is not None:
            was = (before.state, before.currency, group[2] if _same_facts(before, order) else marks_of(before))
            if was == group and before.total == order.total:
                return
            self._take_out(before, was, moved=was[0] != group[0])
        place = _place(order)
        if before is None or before.state != order.state:
            by_age = self._by_state.get(order.state)
            if by_age is None:
                by_age = self._by_state[order.state] = _ByAge()
            by_age.add(place)
        if group[2] is not NO_MARKS:
            if self._marked is _NONE_MARKED:
                self._marked = tuple([_ByAge() for _ in group[2]])
            for queue in compress(self._marked, group[2]):
                cast(_ByAge, queue).add(place)
        orders, total = self.sums.get(group, (0, ZERO))
        self.sums[group] = (orders + 1, plus(total, order.total))

    def remove(self, order: Order) -> None:
        self._take_out(order, (order.state, order.currency, marks_of(order)), moved=True)

    def _take_out(self, order: Order, group: _Group, *, moved: bool) -> None:
        if moved:
            self._by_state[order.state].remove(_place(order))
        for queue in compress(self._marked, group[2]):
            cast(_ByAge, queue).remove(_place(order))
        orders, total = self.sums.pop(group)
        if orders > 1:
            self.sums[group] = (orders - 1, minus(total, order.total))

    def tally(self) -> list[Tally]:
        return [
            Tally(state, currency, marks.refund_due, *sums, marks.unmatched, marks.part_dispatched)
            for (state, currency, marks), sums in self.sums.items()
        ]

    def found(self, query: Query) -> Iterator[Order]:
        when, orders = query.when, self._orders
        wanted = query.marks
        if any(wanted):
            queue = next(compress(self._marked, wanted), None)
            found = queue.after(query.after) if queue is not None else iter(())
            queued = (order for one in found if when.matches((order := orders[one[1]]).statuses))
            return filter(query.matches, queued) if sum(wanted) > 1 else queued
        lists = [
            by_age.after(query.after) for state, by_age in self._by_state.items() if when.matches(statuses_of(state))
        ]
        return (orders[one[1]] for one in (lists[0] if len(lists) == 1 else heapq.merge(*lists)))


_NONE_MARKED: tuple[None, ...] = (None, None, None)


def _same_facts(before: Order, order: Order) -> bool:
    """Return whether all that the marks of an order are derived from is as before."""
    return (
        before.payments is order.payments
        and before.shipments is order.shipments
        and before.lines is order.lines
        and before.counted == order.counted
        and before.total == order.total
    )


def _place(order: Order) -> _Place:
    return order.created_at, order.id


class _ByAge:
    """Places of orders, oldest first.

    A place that left is only marked. The marked ones are swept out when they are half of the list: removing each at
    once would move the rest of a long list every time.
    """

    __slots__ = ("_left", "_places")

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._left: set[_Place] | None = None

    def add(self, place: _Place) -> None:
        if self._left is not None and place in self._left:
            self._left.discard(place)
        elif not self._places or self._places[-1] < place:
            self._places.append(place)
        else:
            insort(self._places, place)

    def remove(self, place: _Place) -> None:
        if self._left is None:
            self._left = set()
        self._left.add(place)
        if len(self._left) * 2 > len(self._places):
            left = self._left
            self._places = [one for one in self._places if one not in left]
            self._left = None

    def after(self, place: _Place | None) -> Iterator[_Place]:
        places, left = self._places, self._left
        start = 0 if place is None else bisect_right(places, place)
        # By number: `islice` would step through the places before the start.
        found = map(places.__getitem__, range(start, len(places)))
        return found if not left else (one for one in found if one not in left)
