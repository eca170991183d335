"""The content that a store must have after some commits, in dicts and lists."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import pairwise

import pytest

from order_fsm.erasure import erased_entry, erased_message, is_lasting
from order_fsm.errors import OrderFsmError, OrderNotFound
from order_fsm.model import Entry, Message, Order, Sales, When
from order_fsm.money import EXACT, ZERO
from order_fsm.store import Change, Cursor, IdempotencyRecord, Need, Query, Store, Tally, record_of
from order_fsm.testing.exact import exact

LATE = datetime.max.replace(tzinfo=UTC)
"""A time after all leases."""

ALL = Query(When(), limit=1_000_000)
"""A query that finds every order."""


def record_under(store: Store, key: str) -> IdempotencyRecord | None:
    """Return the record that a store has under a key, or None."""
    return store.prepare_many([Need(None, key)])[0].checked().record


def cursor_at(order: Order, *, dated: bool = False) -> Cursor:
    """Return the cursor of an order, after which the next page starts."""
    at = order.placed_at if dated else order.created_at
    assert at is not None
    return Cursor(at, order.id)


def drained(store: Store) -> list[Message]:
    """Deliver all messages of a store after all leases. Return them in the sequence of delivery.

    Raises:
        AssertionError: if a delivered message is claimed again.
    """
    found: list[Message] = []
    ids: set[str] = set()
    while claimed := store.claim(LATE, LATE, ALL.limit):
        for message in claimed:
            assert message.id not in ids, f"message {message.id!r} is claimed again after its delivery"
            ids.add(message.id)
            found.append(message)
            store.delivered(message, LATE)
    return found


class Expected:
    """The content that a store must have.

    Attributes:
        orders, histories, records: by id or key.
        stock: the available pieces of each tracked item.
        others: the held, out and lost pieces of each item.
        messages: the undelivered messages, oldest first.
        refused: changes that must have stored nothing.
        removed: the ids of removed orders, with their keys.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.histories: dict[str, tuple[Entry, ...]] = {}
        self.records: dict[str, IdempotencyRecord] = {}
        self.stock: dict[str, int] = {}
        self.others: dict[str, tuple[int, int, int]] = {}
        self.messages: list[Message] = []
        self.refused: list[Change] = []
        self.removed: dict[str, set[str]] = {}

    def commit(self, change: Change) -> None:
        """Record a committed change."""
        order = change.order
        if order is not None:
            if change.erases:
                self._erase(order.id)
            self.orders[order.id] = order
            self.histories[order.id] = self.histories.get(order.id, ()) + change.entries
        self.messages += change.messages
        for move in change.stock:
            if move.sku in self.stock:
                self.stock[move.sku] += move.available
            held, out, lost = self.others.get(move.sku, (0, 0, 0))
            self.others[move.sku] = (held + move.held, out + move.out, lost + move.lost)
        if change.key is not None:
            self.records[change.key] = record_of(change)

    def _erase(self, order_id: str) -> None:
        entries = self.histories[order_id]
        self.histories[order_id] = tuple(erased_entry(entry) for entry in entries)
        self.messages = [erased_message(one) if one.order_id == order_id else one for one in self.messages]
        for key, record in self.records.items():
            if record.order_id == order_id and not is_lasting(entries[record.first - 1 : record.last]):
                self.records[key] = record._replace(request_fingerprint="")

    def remove(self, order_id: str) -> None:
        """Record a removed order."""
        del self.orders[order_id], self.histories[order_id]
        self.messages = [message for message in self.messages if message.order_id != order_id]
        keys = {key for key, record in self.records.items() if record.order_id == order_id}
        for key in keys:
            del self.records[key]
        self.removed[order_id] = self.removed.get(order_id, set()) | keys

    def find(self, query: Query) -> list[Order]:
        """Return the expected result of `Store.find`."""
        present = self.orders.values()
        placed = [order for order in present if _is_in(order.placed_at, query.since, query.until)]
        cursor = partial(cursor_at, dated=query.is_dated)
        matching = (
            order
            for order in sorted(placed if query.is_dated else present, key=cursor)
            if (query.after is None or cursor(order) > query.after)
            and query.when.matches(order.statuses)
            and (query.customer is None or order.customer == query.customer)
            and (order.refund_due > 0 or not query.refund_due)
            and (order.unmatched or not query.unmatched)
            and (order.part_dispatched or not query.part_dispatched)
            and (query.reference is None or query.reference in order.references)
        )
        return list(matching)[: query.limit]

    def tally(self, customer: str | None) -> set[Tally]:
        """Return the expected result of `Store.tally`, in any sequence."""
        groups: dict[tuple[str, str, bool, bool, bool], list[Decimal]] = {}
        for order in self.orders.values():
            if customer is None or order.customer == customer:
                marks = order.refund_due > 0, bool(order.unmatched), order.part_dispatched
                groups.setdefault((order.state, order.currency, *marks), []).append(order.total)
        return {Tally(*group[:3], len(totals), sum(totals, ZERO), *group[3:]) for group, totals in groups.items()}

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        """Return the expected result of `Store.totals`."""
        totals: dict[str, Decimal] = {}
        for order in self.orders.values():
            mine = customer is None or order.customer == customer
            if mine and order.counted and _is_in(order.placed_at, since, until):
                totals[order.currency] = EXACT.add(totals.get(order.currency, ZERO), order.total)
        return totals

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        """Return the expected result of `Store.report`."""
        money: dict[str, dict[str, Decimal]] = {}
        for order in self.orders.values():
            for row in order.payments:
                credit = row.credit if order.counted else ZERO
                if _is_in(row.at, since, until) and (row.amount or credit):
                    sums = money.setdefault(row.currency, {})
                    sums[row.kind] = EXACT.add(sums.get(row.kind, ZERO), row.amount)
                    sums["credited"] = EXACT.add(sums.get("credited", ZERO), credit)
        gross = self.totals(since, until, None)
        report: dict[str, Sales] = {}
        for currency in {*gross, *money}:
            sums = money.get(currency, {})
            came, went, back, failed, returned = [
                sums.get(kind, ZERO) for kind in ("captured", "reversed", "restored", "refund_failed", "refunded")
            ]
            report[currency] = Sales(
                currency,
                sum(
                    order.counted and order.currency == currency and _is_in(order.placed_at, since, until)
                    for order in self.orders.values()
                ),
                gross.get(currency, ZERO),
                EXACT.add(EXACT.subtract(came, went), back),
                EXACT.subtract(returned, failed),
                sums.get("credited", ZERO),
            )
        return report

    def check(self, store: Store, *, after_kill: bool = False) -> None:
        """Compare the whole content of a store. This leases the oldest message of each order until `LATE`.

        Args:
            store: to compare.
            after_kill: whether a process was killed. The store may then report remains of an unacknowledged change.

        Raises:
            AssertionError: if the store has another content.
        """
        for order_id in self.orders:
            self.check_order(store, order_id)
        found = [order.id for order in store.find(ALL)]
        assert found == [order.id for order in self.find(ALL)], "find must return the committed orders"
        assert store.report(None, None) == self.report(None, None), "the report must agree with the orders"
        assert sorted(store.order_ids()) == sorted(self.orders), "order_ids must return each order once"
        for key, record in self.records.items():
            assert record_under(store, key) == record, f"the record under {key!r} must be that of its commit"
        available = store.stock(self._skus())
        assert available == self.stock, "the stock must be the result of the commits that returned"
        self.check_levels(store)
        self._check_messages(store)
        for change in self.refused:
            refused_id = None if change.order is None else change.order.id
            self._check_absent(store, refused_id, () if change.key is None else (change.key,))
        for removed_id, keys in self.removed.items():
            self._check_absent(store, removed_id, keys)
        faults = list(store.faults())
        assert after_kill or faults == [], "an undamaged store must report no fault"

    def check_order(self, store: Store, order_id: str) -> None:
        """Compare one order and its history, exactly."""
        order = self.orders[order_id]
        assert exact(store.load(order_id)) == exact(order), (
            f"load({order_id!r}) must return the order of the last commit"
        )
        history = store.history(order_id)
        assert exact(history) == exact(self.histories[order_id]), f"history({order_id!r}) must return every entry once"

    def check_levels(self, store: Store) -> None:
        """Compare all stock levels."""
        levels = store.stock_levels(self._skus())
        tracked = {sku: level.available for sku, level in levels.items() if level.available is not None}
        assert tracked == self.stock, "stock_levels and stock must return the same available pieces"
        others = {sku: level[1:4] for sku, level in levels.items() if any(level[1:4])}
        assert others == {sku: pieces for sku, pieces in self.others.items() if any(pieces)}, (
            "held, out and lost pieces must be the result of the commits that returned"
        )
        assert set(others) <= set(store.stock_items()), "stock_items must return every item"

    def _skus(self) -> list[str]:
        return [*self.stock, *self.others, *(move.sku for change in self.refused for move in change.stock)]

    def _check_messages(self, store: Store) -> None:
        present = sorted(store.messages(), key=_id)
        assert exact(present) == exact(sorted(self.messages, key=_id)), (
            "the outbox must hold the messages of the commits that returned, and no others"
        )
        heads: dict[str, Message] = {}
        for message in self.messages:
            heads.setdefault(message.order_id, message)
        claimed = sorted(store.claim(LATE, LATE, ALL.limit), key=_id)
        assert exact(claimed) == exact(sorted(heads.values(), key=_id)), (
            "after all leases, claim must return the oldest message of each order, and no others"
        )

    def _check_absent(self, store: Store, order_id: str | None, keys: Iterable[str]) -> None:
        """Check that an order and keys are absent, unless other commits created them."""
        for key in keys:
            if key not in self.records:
                assert record_under(store, key) is None, f"the key {key!r} is stored without its commit"
        if order_id is not None and order_id not in self.orders:
            with pytest.raises(OrderNotFound):
                store.load(order_id)
            with pytest.raises(OrderNotFound):
                store.history(order_id)


def _is_in(at: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    return at is not None and (since is None or since <= at) and (until is None or at < until)


def _id(message: Message) -> str:
    return message.id


def committed(store: Store, expected: Expected, *changes: Change) -> None:
    """Commit changes and record them."""
    for change in changes:
        store.commit(change)
        expected.commit(change)


def refused(store: Store, expected: Expected, change: Change, error: type[OrderFsmError], why: str) -> None:
    """Try a commit that must raise, and check that it stored nothing.

    Raises:
        AssertionError: if the commit stored something.
        pytest.fail.Exception: if the commit did not raise.
    """
    try:
        store.commit(change)
    except error:
        expected.refused.append(change)
        expected.check(store)
    else:
        pytest.fail(f"commit must raise {error.__name__} here, and write nothing: {why}")


def consistent(store: Store, order_id: str) -> tuple[Entry, ...]:
    """Check the history of an order, and return it.

    Raises:
        AssertionError: if its versions are not dense from 1, or it does not lead to the order's state.
    """
    order, history = store.load(order_id), store.history(order_id)
    versions = [entry.version for entry in history]
    assert versions == list(range(1, order.version + 1)), f"S5: the versions of order {order_id!r} must be dense from 1"
    for before, after in pairwise(history):
        assert before.state_after == after.state_before, (
            f"an entry of order {order_id!r} does not start in the state that the last one led to"
        )
    assert history[-1].state_after == order.state, f"the history of order {order_id!r} does not lead to its state"
    return history
