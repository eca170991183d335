"""S1, S3 and S4 when calls fail: each call that a store makes, before and after it takes effect, COMMIT included.

Where a call fails the store raises an error of its own or has done what it was to do. Then it works on, in the same
instance and in a new one, and the repeated call, under the same key, leaves one entry and one effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from order_fsm.errors import OrderExists, OrderNotFound, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from order_fsm.model import Line, Message
from order_fsm.orders.service import Orders
from order_fsm.store import Store
from order_fsm.testing.store_contract.calls import Calls, Failing
from order_fsm.testing.store_contract.changes import START, creation, moment
from order_fsm.testing.store_contract.expected import ALL, LATE, exact
from order_fsm.testing.store_contract.harness import StoreHarness

PIECES = 1_000_000
"""Of the two items that the orders take; there is always enough."""

ALL_WAYS = pytest.mark.parametrize("how", Failing, ids=lambda how: how.name.lower())


_Told = tuple[str, str, int]
"""A message's id and topic, and whether its delivery has failed."""


def _clock() -> datetime:
    return START


def _shop(store: Store) -> Orders:
    return Orders(store, clock=_clock)


def _tried(call: Callable[[], object]) -> StoreError | None:
    """Make a call that may fail with an error of the store's, and with no other; gives it."""
    try:
        call()
    except (StoreUnavailable, StoreFull, StoreCorrupt) as error:
        return error
    return None


def _seen(store: Store, order_id: str) -> tuple[Any, Any, list[_Told], list[_Told]]:
    """All that there is of an order, and the stock."""
    try:
        order = exact((store.load(order_id), store.history(order_id)))
    except OrderNotFound:
        order = None
    waiting, dead = (
        # To repeat a postponement whose answer was lost counts another attempt: that is no harm.
        [(one.id, one.topic, min(one.attempts, 1)) for one in messages if one.order_id == order_id]
        for messages in (store.claim(LATE, LATE, ALL.limit), store.dead_letters(ALL.limit))
    )
    return order, store.stock(["TEAPOT", "CUP", order_id]), waiting, dead


class FailingCommits(StoreHarness):
    """Every call of a commit fails. Skipped where `boundary` is not given."""

    @ALL_WAYS
    def test_s4_a_creation_whose_calls_fail_is_made_once(self, durable_place: Path, how: Failing) -> None:
        """An order that is created again under its key is there once."""

        def do(orders: Orders, order_id: str) -> object:
            return orders.create(order_id, total="20", currency="GBP", customer="ann", key=f"create {order_id}")

        for store, order_id in self._failing(durable_place, how, do):
            assert do(_shop(store), order_id) == store.load(order_id)
            assert len(store.history(order_id)) == 1, "the repeated call must not add an entry"
            assert [one.id for one in store.find(ALL)].count(order_id) == 1

    @ALL_WAYS
    def test_s4_a_payment_whose_calls_fail_is_made_once(self, durable_place: Path, how: Failing) -> None:
        """A payment that is repeated under its key is one entry, one row of the ledger, one message; stock moves once.

        It is everything that a commit can have: entry, payment, stock of two items, message and key.
        """

        def prepare(orders: Orders, order_id: str) -> None:
            lines = [Line("TEAPOT", 2), Line("CUP", 1)]
            orders.create(order_id, total="20", currency="GBP", lines=lines, email="ann@example.com")

        def do(orders: Orders, order_id: str) -> object:
            return orders.fire(order_id, "pay", key=f"pay {order_id}", **self.payment(order_id))

        for store, order_id in self._failing(durable_place, how, do, prepare):
            receipt = _shop(store).fire(order_id, "pay", key=f"pay {order_id}", **self.payment(order_id))
            assert receipt.order == store.load(order_id)
            assert [entry.trigger for entry in store.history(order_id)] == ["create", "pay"], "it must be done once"
            assert [str(payment.amount) for payment in receipt.order.payments] == ["20"], "the money came once"
            told = [one.topic for one in store.claim(LATE, LATE, ALL.limit) if one.order_id == order_id]
            assert told == ["order.paid"], "one message for one payment"
            assert store.stock(["TEAPOT", "CUP"]) == {"TEAPOT": PIECES - 2, "CUP": PIECES - 1}, (
                "S8: an order takes its pieces once, and with its commit"
            )

    @ALL_WAYS
    def test_s4_a_form_whose_calls_fail_is_saved_once(self, durable_place: Path, how: Failing) -> None:
        """A form of several boxes that is repeated under its key is one entry for each box, and none more."""

        def prepare(orders: Orders, order_id: str) -> None:
            orders.create(order_id, total="20", currency="GBP", email="ann@example.com")

        def do(orders: Orders, order_id: str) -> object:
            ticked = {"sent", "invoiced", "dispatched"}
            return orders.save(order_id, ticked, version=1, notify=True, comment="by hand", key=f"form {order_id}")

        for store, order_id in self._failing(durable_place, how, do, prepare):
            do(_shop(store), order_id)
            assert [entry.version for entry in store.history(order_id)] == [1, 2, 3, 4]
            assert store.load(order_id).statuses == {"sent", "invoiced", "dispatched"}
            assert sum(one.order_id == order_id for one in store.claim(LATE, LATE, ALL.limit)) == 1

    @ALL_WAYS
    def test_s1_a_refused_commit_whose_calls_fail_leaves_nothing(self, durable_place: Path, how: Failing) -> None:
        """Where undoing a commit fails as well, nothing of it is there."""

        def prepare(orders: Orders, order_id: str) -> None:
            orders.create(order_id, total="20", currency="GBP")

        def do(orders: Orders, order_id: str) -> object:
            with pytest.raises(OrderExists):
                orders.create(order_id, total="21", currency="EUR", key=f"again {order_id}")
            return None

        for store, order_id in self._failing(durable_place, how, do, prepare):
            do(_shop(store), order_id)
            assert store.keyed(f"again {order_id}") is None
            assert (store.load(order_id).currency, len(store.history(order_id))) == ("GBP", 1)

    @ALL_WAYS
    def test_s8_stock_is_set_where_calls_fail(self, durable_place: Path, how: Failing) -> None:
        """An item whose number was to be set has the old one, or the new one; after the repeated call the new one."""

        def do(orders: Orders, order_id: str) -> object:
            orders.set_stock(order_id, 7)
            return None

        for store, order_id in self._failing(durable_place, how, do):
            assert store.stock([order_id]) in ({}, {order_id: 7})
            store.set_stock(order_id, 7)
            assert store.stock([order_id]) == {order_id: 7}

    def payment(self, order_id: str) -> dict[str, Any]:
        """The facts of an online payment."""
        return {"amount": "20", "currency": "GBP", "reference": f"ch {order_id}"}

    def _failing(
        self,
        place: Path,
        how: Failing,
        do: Callable[[Orders, str], object],
        prepare: Callable[[Orders, str], object] = lambda orders, order_id: None,
    ) -> Iterator[tuple[Store, str]]:
        """For each call of an operation: the store in which it failed there, or another one, and the order's id.

        What the operation raised is an error of the store's. Where it is any but StoreUnavailable, nothing has changed.

        Args:
            place: of the store.
            how: its calls fail.
            do: the operation, on an order of this id.
            prepare: what comes before it.
        """
        with self.opened(place) as store:
            _prepare(store)
            do_nothing = Calls()
            prepare(_shop(store), "counted")
            with self.boundary(do_nothing):
                do(_shop(store), "counted")
            _forget(store, "counted")
            assert do_nothing.count, "the operation makes calls that go through the boundary"
            for number in range(1, 10 * do_nothing.count):
                order_id = f"order {number}"
                prepare(_shop(store), order_id)
                before = _seen(store, order_id)
                calls = Calls(number, how)
                with self.boundary(calls):
                    error = _tried(lambda: do(_shop(store), order_id))  # noqa: B023 - called at once
                if not calls.failed:
                    break
                if number % 2 or error is None:
                    after = _seen(store, order_id)
                    if error is not None and not isinstance(error, StoreUnavailable):
                        assert after == before, f"{type(error).__name__} says that nothing has changed"
                    yield store, order_id
                    done = _seen(store, order_id)
                    assert after in (before, done), "S1: where a call failed, all was to be done, or nothing"
                    assert after == done or error is not None, "nothing was raised, and not all was done"
                with self.opened(place) as another:
                    yield another, order_id
                yield store, order_id
                _forget(store, order_id)
            else:
                pytest.fail("the operation makes more and more calls")


class Failures(FailingCommits):
    """Every call of every operation fails."""

    @ALL_WAYS
    @pytest.mark.parametrize("doing", ["claim", "delivered", "postpone", "give up", "revive"])
    def test_s9_a_relay_whose_calls_fail_loses_no_message(self, durable_place: Path, doing: str, how: Failing) -> None:
        """What was to be done with a message is done or not; neither it nor one beside it is lost or doubled."""
        first: dict[str, Message] = {}

        def prepare(orders: Orders, order_id: str) -> None:
            store: Store = orders._store
            store.commit(creation(order_id, topics=["order.updated", "order.paid"]))
            if doing != "claim":
                claimed = store.claim(moment(10), moment(20), ALL.limit)
                first[order_id] = next(one for one in claimed if one.id == f"{order_id}#1.1")
            if doing == "revive":
                store.postpone(first[order_id], None)

        def do(orders: Orders, order_id: str) -> object:
            store: Store = orders._store
            if doing == "claim":
                return store.claim(moment(10), moment(20), ALL.limit)
            if doing == "delivered":
                store.delivered(first[order_id])
            elif doing == "revive":
                store.revive(first[order_id])
            else:
                store.postpone(first[order_id], None if doing == "give up" else moment(30))
            return None

        after = {
            "claim": ([("1.1", 0), ("1.2", 0)], []),
            "delivered": ([("1.2", 0)], []),
            "postpone": ([("1.1", 1), ("1.2", 0)], []),
            "give up": ([("1.2", 0)], [("1.1", 1)]),
            "revive": ([("1.2", 0), ("1.1", 0)], []),
        }
        for store, order_id in self._failing(durable_place, how, do, prepare):
            do(_shop(store), order_id)
            _, _, *found = _seen(store, order_id)
            shown = [[(one.removeprefix(f"{order_id}#"), tries) for one, _, tries in some] for some in found]
            assert tuple(shown) == after[doing]

    @ALL_WAYS
    def test_s1_a_removal_whose_calls_fail_is_whole(self, durable_place: Path, how: Failing) -> None:
        """An order whose removal failed is there or gone, with all of it; after the repeated call it is gone."""

        def prepare(orders: Orders, order_id: str) -> None:
            orders._store.commit(creation(order_id, topics=["order.updated"], key=f"key {order_id}"))

        def do(orders: Orders, order_id: str) -> object:
            orders._store.remove(orders._store.load(order_id))
            return None

        for store, order_id in self._failing(durable_place, how, do, prepare):
            with suppress(OrderNotFound):
                store.remove(store.load(order_id))
            assert store.keyed(f"key {order_id}") is None
            assert _seen(store, order_id) == (None, {"TEAPOT": PIECES, "CUP": PIECES}, [], [])

    @ALL_WAYS
    def test_s10_an_answer_whose_calls_fail_is_right_or_an_error(self, durable_place: Path, how: Failing) -> None:
        """What a store cannot read it does not answer for: no order, item or key is said not to be there."""
        with self.opened(durable_place) as store:
            _prepare(store)
            orders = _shop(store)
            for order_id in ("1001", "1002"):
                orders.create(order_id, total="20", currency="GBP", lines=[Line("CUP", 1)], key=f"key {order_id}")
            asked: list[Callable[[], object]] = [
                lambda: store.load("1001"),
                lambda: store.history("1001"),
                lambda: store.keyed("key 1001"),
                lambda: store.find(ALL),
                lambda: store.tally(None),
                lambda: store.stock(["TEAPOT", "CUP"]),
                lambda: store.dead_letters(10),
            ]
            for ask in asked:
                answer = ask()
                for number in count(1):
                    calls = Calls(number, how)
                    answers: list[object] = []
                    with self.boundary(calls):
                        error = _tried(lambda: answers.append(ask()))  # noqa: B023 - called at once
                    assert error is not None or answers == [answer], f"call {number} failed, and the answer is wrong"
                    assert ask() == answer, "the store must answer again"
                    if not calls.failed:
                        break

    @ALL_WAYS
    def test_s3_an_opening_whose_calls_fail_harms_nothing(self, durable_place: Path, how: Failing) -> None:
        """A store that cannot be opened, new or not, says so with an error of its own, and can be opened later."""
        for number in count(1):
            place = durable_place / f"{number}"
            place.mkdir()
            failed = 0
            for _ in range(2):
                calls = Calls(number, how)
                with self.boundary(calls):
                    _tried(lambda: self.close_store(self.make_store(place)))  # noqa: B023 - called at once
                failed += calls.failed
                with self.opened(place) as store:
                    _prepare(store)
                    if not store.find(ALL):
                        _shop(store).create("1001", total="20", currency="GBP")
                    assert store.load("1001").version == 1
            if not failed:
                break


def _prepare(store: Store) -> None:
    for sku in ("TEAPOT", "CUP"):
        store.set_stock(sku, PIECES)


def _forget(store: Store, order_id: str) -> None:
    """Leave the store as it was before an operation, so that the next round makes as many calls."""
    with suppress(OrderNotFound):
        store.remove(store.load(order_id))
    _prepare(store)
