"""The content of a store in memory, without locks: checks changes and applies commits."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import chain, islice
from typing import Generic, NamedTuple, TypeVar

from order_fsm.erasure import erased_message, is_lasting
from order_fsm.errors import OrderFsmError, OrderNotFound
from order_fsm.model import Entry, Message, Order, Sales
from order_fsm.store import (
    Change,
    IdempotencyRecord,
    Marks,
    Need,
    Query,
    Snapshot,
    StockLevel,
    Tally,
    available_of,
    key_reused,
    level_set,
    levels_after,
    mismatch,
    one_by_one,
)
from order_fsm_adapters.memory import reports
from order_fsm_adapters.memory.index import OrderIndex
from order_fsm_adapters.memory.outbox import Outbox

T = TypeVar("T")
E = TypeVar("E")
"""The type of the entries that a store keeps."""


class Ahead(NamedTuple):
    """The results of accepted changes that are not applied yet."""

    orders: dict[str, Order]
    keys: set[str]
    levels: dict[str, StockLevel]


class Projection(Generic[E]):
    """Orders, histories, keys, stock and outbox.

    The values are frozen, so reads return them without a copy.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.orders: dict[str, Order] = {}
        # A tuple takes less memory than a list, which has spare capacity.
        self.histories: dict[str, tuple[E, ...]] = {}
        self.records: dict[str, IdempotencyRecord] = {}
        self.levels: dict[str, StockLevel] = {}
        self.outbox = Outbox()
        self._index = OrderIndex(self.orders)
        self._keys: dict[str, list[str]] = {}

    def keys_of(self, order_id: str) -> list[str]:
        """Return the idempotency keys of an order's changes."""
        return self._keys.get(order_id, [])

    def order(self, order_id: str) -> Order:
        """Return an order.

        Raises:
            OrderNotFound: if there is no such order.
        """
        try:
            return self.orders[order_id]
        except KeyError:
            raise OrderNotFound(f"there is no order {order_id!r}") from None

    def history(self, order_id: str) -> tuple[E, ...]:
        """Return the entries of an order.

        Raises:
            OrderNotFound: if there is no such order.
        """
        self.order(order_id)
        return self.histories[order_id]

    def snapshot(self, need: Need) -> Snapshot:
        """Return the snapshot for one need of `Store.prepare_many`."""
        order_id, key, skus = need.order_id, need.key, need.skus
        order = None if order_id is None else self.orders.get(order_id)
        record = None if key is None else self.records.get(key)
        wanted: Iterable[str] = skus
        if order is not None and order.reserved is None and order.lines:
            wanted = chain(skus, [line.sku for line in order.lines])
        elif not skus:
            return Snapshot(order, record, {})
        stock: dict[str, int] = {}
        backorder: frozenset[str] = frozenset()
        levels = self.levels
        for sku in wanted:
            level = levels.get(sku)
            if level is not None and level.available is not None:
                stock[sku] = level.available
                if level.backorder:
                    backorder |= {sku}
        return Snapshot(order, record, stock, None, backorder)

    def available(self, skus: Iterable[str]) -> dict[str, int]:
        """Return the available pieces of these items, if they are tracked."""
        return available_of(self.stock_levels(skus))

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        """Return the levels of these items, if they are known."""
        levels = self.levels
        return {sku: levels[sku] for sku in skus if sku in levels}

    def level_set(self, sku: str, available: int | None, expected: int | None, backorder: bool | None) -> StockLevel:
        """Return the level after `Store.set_stock`, or raise its error."""
        return level_set(sku, self.levels.get(sku), available, expected, backorder)

    def find(self, query: Query) -> list[Order]:
        """Return the result of `Store.find`."""
        found = reports.found(self.orders.values(), query) if query.is_dated else self._index.found(query)
        return list(islice(found, query.limit))

    def tally(self, customer: str | None) -> list[Tally]:
        """Return the result of `Store.tally`."""
        return self._index.tally(customer)

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        """Return the result of `Store.totals`."""
        placed = reports.placed(self.orders.values(), since, until, customer)
        return {currency: total for currency, (_, total) in placed.items()}

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        """Return the result of `Store.report`."""
        return reports.report(self.orders.values(), since, until)

    def check(self, change: Change, ahead: Ahead | None = None) -> dict[str, StockLevel]:
        """Return the levels of the moved items after a change.

        Args:
            change: the change.
            ahead: accepted changes before it that are not applied yet.

        Raises:
            KeyReused, OrderExists, OrderNotFound, VersionConflict: as in `Store.commit`.
        """
        key, order = change.key, change.order
        if key is not None and (key in self.records or (ahead is not None and key in ahead.keys)):
            raise key_reused(key)
        if order is not None:
            before = (None if ahead is None else ahead.orders.get(order.id)) or self.orders.get(order.id)
            version = 0 if before is None else before.version
            if version != change.expected_version:
                raise mismatch(order.id, version, change.expected_version)
        if not change.stock:
            return {}
        levels = self.levels if ahead is None else ChainMap(ahead.levels, self.levels)
        return levels_after(levels, change.stock, None if order is None else order.id)

    def accepted(
        self, changes: Sequence[Change], result: Callable[[Change, dict[str, StockLevel]], T]
    ) -> tuple[list[T], list[OrderFsmError | None]]:
        """Check changes in sequence, each on the result of the allowed ones before it. Apply none.

        Args:
            changes: the changes, in sequence.
            result: a function of an allowed change and the result of `check`. It may also refuse the change.

        Returns:
            The results of the allowed changes, and the result of `Store.commit_all`.
        """
        ahead = Ahead({}, set(), {})
        results: list[T] = []

        def add(change: Change) -> None:
            levels = self.check(change, ahead)
            results.append(result(change, levels))
            ahead.levels.update(levels)
            if change.key is not None:
                ahead.keys.add(change.key)
            if change.order is not None:
                ahead.orders[change.order.id] = change.order

        return results, one_by_one(add, changes)

    def put(self, order: Order, marks: Marks, entries: Iterable[E], messages: Iterable[Message]) -> None:
        """Apply a committed change of an order.

        Args:
            order: the order after the change.
            marks: the ledger queues that it is in.
            entries: the entries to append to its history.
            messages: the messages to append to the outbox.
        """
        before = self.orders.get(order.id)
        self.orders[order.id] = order
        self.histories[order.id] = (*self.histories.get(order.id, ()), *entries)
        for message in messages:
            self.outbox.add(message)
        self._index.put(before, order, marks)

    def put_record(self, key: str, record: IdempotencyRecord) -> None:
        """Add the record of a committed key."""
        self.records[key] = record
        if record.order_id is not None:
            self._keys.setdefault(record.order_id, []).append(key)

    def erase(self, order_id: str, entries: Sequence[Entry], erased: Iterable[E]) -> None:
        """Blank the personal values of an order.

        They are in its history, keys, messages and dead letters.

        Args:
            order_id: the order.
            entries: its history before the erasure.
            erased: its history after the erasure.
        """
        self.histories[order_id] = tuple(erased)
        for key in self.keys_of(order_id):
            record = self.records[key]
            if not is_lasting(entries[record.first - 1 : record.last]):
                self.records[key] = record._replace(request_fingerprint="")
        self.outbox.edit(order_id, erased_message)

    def check_removal(self, order: Order) -> None:
        """Check that an order can be removed.

        Raises:
            OrderNotFound, VersionConflict: as in `Store.remove`.
        """
        present = self.order(order.id)
        if present.version != order.version:
            raise mismatch(order.id, present.version, order.version)

    def remove(self, order_id: str) -> None:
        """Remove an order and everything that belongs to it."""
        self._index.remove(self.orders[order_id])
        del self.orders[order_id], self.histories[order_id]
        for key in self._keys.pop(order_id, ()):
            del self.records[key]
        self.outbox.forget(order_id)
