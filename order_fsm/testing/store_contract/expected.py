"""What a store must hold after some commits, worked out by the plainest means: dicts, lists and loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import attrs
import pytest

from order_fsm.errors import OrderFsmError, OrderNotFound
from order_fsm.model import Entry, Message, Order, When
from order_fsm.money import ZERO
from order_fsm.store import Change, Keyed, Query, Store, Tally

LATE = datetime.max.replace(tzinfo=UTC)
"""When all claims have ended."""

ALL = Query(When(), limit=1_000_000)
"""Finds every order."""


class Expected:
    """What a store must hold.

    Attributes:
        orders, histories, keys, stock: by id, key or SKU.
        messages: not delivered yet, oldest first.
        refused: changes of which nothing may be found.
        removed: ids of orders that were removed, with the keys that they had.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.histories: dict[str, tuple[Entry, ...]] = {}
        self.keys: dict[str, Keyed] = {}
        self.stock: dict[str, int] = {}
        self.messages: list[Message] = []
        self.refused: list[Change] = []
        self.removed: dict[str, set[str]] = {}

    def commit(self, change: Change) -> None:
        """Take note of a change that was committed."""
        order = change.order
        self.orders[order.id] = order
        self.histories[order.id] = self.histories.get(order.id, ()) + change.entries
        self.messages += change.messages
        for move in change.stock:
            if move.sku in self.stock:
                self.stock[move.sku] += move.quantity
        if change.key is not None:
            self.keys[change.key] = Keyed(order.id, change.expected + 1, order.version, change.content or "")

    def remove(self, order_id: str) -> None:
        """Take note of an order that was removed."""
        del self.orders[order_id], self.histories[order_id]
        self.messages = [message for message in self.messages if message.order_id != order_id]
        keys = {key for key, keyed in self.keys.items() if keyed.order_id == order_id}
        for key in keys:
            del self.keys[key]
        self.removed[order_id] = self.removed.get(order_id, set()) | keys

    def find(self, query: Query) -> list[Order]:
        """What `Store.find` must answer."""
        by_age = sorted(self.orders.values(), key=lambda order: (order.created_at, order.id))
        if query.after is not None:
            last = self.orders[query.after]
            by_age = [one for one in by_age if (one.created_at, one.id) > (last.created_at, last.id)]
        matching = (
            order
            for order in by_age
            if query.when.matches(order.statuses)
            and (query.customer is None or order.customer == query.customer)
            and (order.refund_due > 0 or not query.refund_due)
        )
        return list(matching)[: query.limit]

    def tally(self, customer: str | None) -> set[Tally]:
        """What `Store.tally` must answer, in any sequence."""
        groups: dict[tuple[str, str, bool], list[Decimal]] = {}
        for order in self.orders.values():
            if customer is None or order.customer == customer:
                groups.setdefault((order.state, order.currency, order.refund_due > 0), []).append(order.total)
        return {Tally(*group, len(totals), sum(totals, ZERO)) for group, totals in groups.items()}

    def check(self, store: Store) -> None:
        """Compare all that a store holds; its messages are claimed at the end of time for it.

        Raises:
            AssertionError: it holds something else.
        """
        for order_id in self.orders:
            self.check_order(store, order_id)
        found = [order.id for order in store.find(ALL)]
        assert found == [order.id for order in self.find(ALL)], "find gives other orders than were committed"
        for key, keyed in self.keys.items():
            assert store.keyed(key) == keyed, f"keyed({key!r}) must say what was committed under the key"
        on_hand = store.stock(self._skus())
        assert on_hand == self.stock, "the stock is not what the commits that returned have made of it"
        self._check_messages(store)
        for change in self.refused:
            self._check_absent(store, change.order.id, () if change.key is None else (change.key,))
        for order_id, keys in self.removed.items():
            self._check_absent(store, order_id, keys)

    def check_order(self, store: Store, order_id: str) -> None:
        """Compare one order and its history, exactly."""
        order = self.orders[order_id]
        assert exact(store.load(order_id)) == exact(order), f"load({order_id!r}) must give what was committed last"
        history = store.history(order_id)
        assert exact(history) == exact(self.histories[order_id]), f"history({order_id!r}) must give every entry, once"

    def _skus(self) -> list[str]:
        return [*self.stock, *(move.sku for change in self.refused for move in change.stock)]

    def _check_messages(self, store: Store) -> None:
        claimed = store.claim(LATE, LATE, ALL.limit)
        for order_id in {message.order_id for message in [*claimed, *self.messages]}:
            of_order = [message for message in claimed if message.order_id == order_id]
            wanted = [message for message in self.messages if message.order_id == order_id]
            assert exact(of_order) == exact(wanted), (
                f"the outbox must hold the messages of order {order_id!r} whose commits returned, and no others"
            )

    def _check_absent(self, store: Store, order_id: str, keys: Iterable[str]) -> None:
        """See that an order and keys are not there, unless other commits have made some."""
        for key in keys:
            if key not in self.keys:
                assert store.keyed(key) is None, f"the key {key!r} is there, its commit is not"
        if order_id not in self.orders:
            with pytest.raises(OrderNotFound):
                store.load(order_id)
            with pytest.raises(OrderNotFound):
                store.history(order_id)


def committed(store: Store, expected: Expected, *changes: Change) -> None:
    """Commit changes, and take note of them."""
    for change in changes:
        store.commit(change)
        expected.commit(change)


def refused(store: Store, expected: Expected, change: Change, error: type[OrderFsmError], why: str) -> None:
    """Try a commit that must raise, and see that nothing of it is there.

    Raises:
        AssertionError: something of it is there.
        pytest.fail.Exception: it did not raise.
    """
    try:
        store.commit(change)
    except error:
        expected.refused.append(change)
        expected.check(store)
    else:
        pytest.fail(f"commit must raise {error.__name__} here, and write nothing: {why}")


def exact(value: Any) -> Any:
    """A value in a form in which only the same is equal: 1 is not True or 1.0, and 1.50 is not 1.5."""
    kind = type(value)
    form = _forms.get(kind)
    if form is None:
        form = _forms[kind] = _form_of(kind)
    return form(value)


_forms: dict[type, Callable[[Any], Any]] = {}
"""By type, as whole stores are compared again and again."""


def _form_of(kind: type) -> Callable[[Any], Any]:
    """What gives the values of a type their form."""
    name = kind.__name__
    if kind is str:  # As it is: other forms are no str.
        return lambda value: value
    if attrs.has(kind):
        names = [attribute.name for attribute in attrs.fields(kind)]
        return lambda value: (name, {one: exact(getattr(value, one)) for one in names})
    if issubclass(kind, Mapping):
        return lambda value: {key: exact(one) for key, one in value.items()}
    if issubclass(kind, list):
        return lambda value: [exact(one) for one in value]
    if issubclass(kind, tuple):
        return lambda value: ("tuple", [exact(one) for one in value])
    if issubclass(kind, datetime):
        return lambda value: ("datetime", value.isoformat())
    if issubclass(kind, Decimal):
        return lambda value: ("Decimal", str(value))
    if issubclass(kind, float):
        return lambda value: ("float", value, math.copysign(1, value))
    return lambda value: (name, value)


def consistent(store: Store, order_id: str) -> tuple[Entry, ...]:
    """The history of an order, seen to be dense from 1 and to lead to the order's state.

    Raises:
        AssertionError: it is not.
    """
    order, history = store.load(order_id), store.history(order_id)
    versions = [entry.version for entry in history]
    assert versions == list(range(1, order.version + 1)), f"S5: the versions of order {order_id!r} must be dense from 1"
    for before, after in pairwise(history):
        assert before.state_after == after.state_before, f"an entry of order {order_id!r} does not follow on the last"
    assert history[-1].state_after == order.state, f"the history of order {order_id!r} does not lead to its state"
    return history
