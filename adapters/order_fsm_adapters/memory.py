"""Orders in memory: for tests, and for shops that keep nothing. All guarantees but S3: it ends with the process."""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from threading import Lock

from attrs import evolve

from order_fsm.errors import KeyReused, OrderExists, OrderFsmError, OrderNotFound, VersionConflict
from order_fsm.model import Entry, Message, Order, statuses_of
from order_fsm.store import Change, Keyed, Query, Tally, one_by_one
from order_fsm_adapters.finding import refund_is_due, tallies

_Place = tuple[datetime, str]


class MemoryStore:
    """A store in memory. Its values are frozen, so what it hands out is what it keeps."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._orders: dict[str, Order] = {}
        self._histories: dict[str, list[Entry]] = {}
        self._keys: dict[str, Keyed] = {}
        self._stock: dict[str, int] = {}
        self._outbox: dict[str, Message] = {}
        self._dead: dict[str, Message] = {}
        self._claimed_until: dict[str, datetime] = {}
        self._by_state: dict[str, _ByAge] = {}
        self._by_customer: dict[str, list[str]] = {}
        self._refund_due: set[str] = set()

    def load(self, order_id: str) -> Order:
        try:
            return self._orders[order_id]
        except KeyError:
            raise OrderNotFound(f"there is no order {order_id!r}") from None

    def history(self, order_id: str) -> tuple[Entry, ...]:
        with self._lock:
            self.load(order_id)
            return tuple(self._histories[order_id])

    def keyed(self, key: str) -> Keyed | None:
        return self._keys.get(key)

    def commit(self, change: Change) -> None:
        order = change.order
        with self._lock:
            before = self._orders.get(order.id)
            version = 0 if before is None else before.version
            if change.key in self._keys:
                raise KeyReused(f"the key {change.key!r} was committed before")
            if version != change.expected:
                raise _mismatch(order.id, version, change.expected)
            if change.stock:
                self._stock.update(self._moved(change))
            # Nothing raises from here on, so the commit is whole.
            self._orders[order.id] = order
            self._histories.setdefault(order.id, []).extend(change.entries)
            if change.key is not None:
                self._keys[change.key] = Keyed(order.id, change.expected + 1, order.version, change.content or "")
            for message in change.messages:
                self._outbox[message.id] = message
            self._index(before, order)

    def _moved(self, change: Change) -> dict[str, int]:
        """The numbers on hand after a change, of the items that it moves."""
        stock: dict[str, int] = {}
        for sku, quantity, strict in change.stock:
            if sku in self._stock:
                stock[sku] = stock.get(sku, self._stock[sku]) + quantity
                if strict and stock[sku] < 0:
                    raise VersionConflict(f"order {change.order.id!r}: the stock of {sku!r} has changed: load it again")
        return stock

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return one_by_one(self.commit, changes)

    def _index(self, before: Order | None, order: Order) -> None:
        if before is None:
            if order.customer is not None:
                self._by_customer.setdefault(order.customer, []).append(order.id)
        elif before.state != order.state:
            self._by_state[before.state].remove(order.id)
        if before is None or before.state != order.state:
            if order.state not in self._by_state:
                self._by_state[order.state] = _ByAge(self._orders)
            self._by_state[order.state].add(order.id)
        if refund_is_due(order):
            self._refund_due.add(order.id)
        else:
            self._refund_due.discard(order.id)

    def find(self, query: Query) -> list[Order]:
        with self._lock:
            after = None
            if query.after is not None:
                last = self.load(query.after)
                after = (last.created_at, last.id)
            found = (
                order
                for order in self._candidates(query, after)
                if query.when.matches(order.statuses) and (query.customer is None or order.customer == query.customer)
            )
            return list(islice(found, query.limit))

    def _candidates(self, query: Query, after: _Place | None) -> Iterator[Order]:
        """Orders by age, from the narrowest index there is."""
        if query.refund_due or query.customer is not None:
            ids = self._refund_due if query.refund_due else self._by_customer.get(query.customer or "", [])
            places = sorted((self._orders[one].created_at, one) for one in ids)
            return (self._orders[one] for at, one in places if after is None or (at, one) > after)
        states = [by_age for state, by_age in self._by_state.items() if query.when.matches(statuses_of(state))]
        return (self._orders[one] for _, one in heapq.merge(*(by_age.after(after) for by_age in states)))

    def tally(self, customer: str | None) -> list[Tally]:
        with self._lock:
            ids = self._orders if customer is None else self._by_customer.get(customer, [])
            orders = map(self._orders.__getitem__, ids)
            return tallies((one.state, one.currency, one.id in self._refund_due, 1, one.total) for one in orders)

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        with self._lock:
            return {sku: self._stock[sku] for sku in skus if sku in self._stock}

    def set_stock(self, sku: str, on_hand: int) -> None:
        with self._lock:
            self._stock[sku] = on_hand

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        with self._lock:
            claimed: list[Message] = []
            blocked: set[str] = set()
            for message in self._outbox.values():
                if len(claimed) == limit:
                    break
                if message.order_id in blocked:
                    continue
                if self._claimed_until.get(message.id, now) > now:
                    blocked.add(message.order_id)
                else:
                    claimed.append(message)
            self._claimed_until.update((message.id, until) for message in claimed)
            return claimed

    def delivered(self, message: Message) -> None:
        with self._lock:
            self._outbox.pop(message.id, None)
            self._claimed_until.pop(message.id, None)

    def postpone(self, message: Message, until: datetime | None) -> None:
        with self._lock:
            for other in self._outbox.values():
                if other.order_id == message.order_id:
                    self._claimed_until.pop(other.id, None)
            if message.id not in self._outbox:
                return
            failed = evolve(message, attempts=message.attempts + 1)
            if until is None:
                del self._outbox[message.id]
                self._dead[message.id] = failed
            else:
                self._outbox[message.id] = failed
                self._claimed_until[message.id] = until

    def dead_letters(self, limit: int) -> list[Message]:
        with self._lock:
            return heapq.nsmallest(limit, self._dead.values(), key=lambda message: message.created_at)

    def revive(self, message: Message) -> None:
        with self._lock:
            dead = self._dead.pop(message.id, None)
            if dead is not None:
                self._outbox[message.id] = evolve(dead, attempts=0)

    def remove(self, order: Order) -> None:
        with self._lock:
            present = self.load(order.id)
            if present.version != order.version:
                raise _mismatch(order.id, present.version, order.version)
            del self._orders[order.id], self._histories[order.id]
            self._by_state[present.state].remove(order.id)
            for by_age in self._by_state.values():
                by_age.forget(order.id)
            self._refund_due.discard(order.id)
            if present.customer is not None:
                self._by_customer[present.customer].remove(order.id)
            self._keys = {key: keyed for key, keyed in self._keys.items() if keyed.order_id != order.id}
            for messages in (self._outbox, self._dead):
                for message in [one for one in messages.values() if one.order_id == order.id]:
                    del messages[message.id]
                    self._claimed_until.pop(message.id, None)

    # What an audit asks for

    def order_ids(self) -> Iterator[str]:
        return iter(list(self._orders))

    def messages(self) -> Iterator[Message]:
        with self._lock:
            return iter(list(self._outbox.values()))

    def faults(self) -> list[str]:
        return []


def _mismatch(order_id: str, version: int, expected: int) -> OrderFsmError:
    """What is wrong where an order is not at the version that is expected; 0 stands for no order."""
    if not version:
        return OrderNotFound(f"there is no order {order_id!r}")
    if not expected:
        return OrderExists(f"there is an order {order_id!r} already")
    return VersionConflict(f"order {order_id!r} is at version {version}, not {expected}: load it again")


class _ByAge:
    """The orders in one state, oldest first.

    Those that have left are only noted, and swept out once they are half of the list: taking each out at once would
    move the rest of a long list every time.
    """

    def __init__(self, orders: Mapping[str, Order]) -> None:
        self._orders = orders
        self._ids: list[str] = []
        self._left: set[str] = set()

    def add(self, order_id: str) -> None:
        if order_id in self._left:
            self._left.discard(order_id)
        elif not self._ids or self._place(self._ids[-1]) < self._place(order_id):
            self._ids.append(order_id)
        else:
            insort(self._ids, order_id, key=self._place)

    def remove(self, order_id: str) -> None:
        self._left.add(order_id)
        if len(self._left) * 2 > len(self._ids):
            self._sweep()

    def forget(self, order_id: str) -> None:
        """Sweep out an order that has left: another of its id may come, of another age."""
        if order_id in self._left:
            self._sweep()

    def after(self, place: _Place | None) -> Iterator[_Place]:
        start = 0 if place is None else bisect_right(self._ids, place, key=self._place)
        # By number: `islice` would step through all that come before.
        ids = map(self._ids.__getitem__, range(start, len(self._ids)))
        return (self._place(one) for one in ids if one not in self._left)

    def _place(self, order_id: str) -> _Place:
        return self._orders[order_id].created_at, order_id

    def _sweep(self) -> None:
        self._ids = [one for one in self._ids if one not in self._left]
        self._left.clear()
