"""S1, S3 and S4 when calls of a store fail, before or after they take effect.

This includes COMMIT. If a call fails, the store raises an error of `order_fsm.errors` or completes the operation.
Afterwards the same instance and a new one work. The repeated request under the same key has one entry and one effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from order_fsm.errors import (
    KeyReused,
    OrderExists,
    OrderNotFound,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from order_fsm.model import Line, Message, Order
from order_fsm.store import Change, Need, Snapshot, StockLevel, Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract.calls import Calls, Failing
from order_fsm.testing.store_contract.changes import START, creation, moment, reserving, step, taken
from order_fsm.testing.store_contract.erasures import PERSONAL, erasure, files_with
from order_fsm.testing.store_contract.expected import ALL, record_under
from order_fsm.testing.store_contract.harness import StoreHarness

PIECES = 1_000_000
"""The first stock of the two items that the orders take: enough for all orders."""

HELD_UNTIL = moment(20)
"""The end of leases in the tests of a relay."""

LINES = (Line("TEAPOT", 2), Line("CUP", 1))

_Shown = tuple[str, int]
"""The id of a message and its number of attempts."""

_Do = Callable[[Store, str], object]
"""An operation on the order of an id."""


def _tried(call: Callable[[], object]) -> StoreError | None:
    """Make a call that may fail only with an error of the store. Return the error."""
    try:
        call()
    except (StoreUnavailable, StoreFull, StoreCorrupt) as error:
        return error
    return None


def _requested(store: Store, order_id: str, key: str, change: Callable[[Order | None], Change]) -> None:
    """Commit a change as the engine does: only if its key was not committed."""
    snapshot = store.prepare_many([Need(order_id, key)])[0].checked()
    if snapshot.record is None:
        with suppress(KeyReused):
            store.commit(change(snapshot.order))


def _pay(order: Order | None) -> Change:
    """Return a change with an entry, payment, stock of two items, message and key."""
    assert order is not None, "the snapshot must have the committed order"
    change = step(
        order,
        state="sent+paid",
        payments=[("captured", "20")],
        stock=[taken(line.sku, line.quantity) for line in LINES],
        topics=["order.paid"],
        key=f"pay {order.id}",
    )
    return reserving(change, LINES)


def _tick(order: Order | None) -> Change:
    """Return a change of several entries."""
    assert order is not None, "the snapshot must have the committed order"
    return step(order, state="sent+invoiced", entries=3, topics=["order.updated"], key=f"form {order.id}")


def _seen(store: Store, order_id: str) -> tuple[Any, Any, list[_Shown], list[_Shown]]:
    """Return all content of an order, and the stock."""
    try:
        order = exact((store.load(order_id), store.history(order_id)))
    except OrderNotFound:
        order = None
    waiting, dead = (
        [(one.id, one.attempts) for one in messages if one.order_id == order_id]
        for messages in (store.messages(), store.dead_letters(ALL.limit))
    )
    return order, store.stock_levels(["TEAPOT", "CUP", order_id]), sorted(waiting), sorted(dead)


class FailingCommits(StoreHarness):
    """Tests in which every call of a commit fails. Skipped without `boundary`."""

    def test_s4_a_creation_with_failing_calls_is_committed_once(self, durable_place: Path, how: Failing) -> None:
        """An order whose creation is repeated under its key is stored once."""

        def do(store: Store, order_id: str) -> None:
            key = f"create {order_id}"
            _requested(store, order_id, key, lambda _: creation(order_id, customer="ann", key=key))

        for store, order_id in self._failing(durable_place, how, do):
            do(store, order_id)
            assert store.load(order_id).customer == "ann"
            assert len(store.history(order_id)) == 1, "the repeated call must not add an entry"
            assert [one.id for one in store.find(ALL)].count(order_id) == 1

    def test_s4_a_payment_with_failing_calls_is_committed_once(self, durable_place: Path, how: Failing) -> None:
        """A repeated payment has one entry, one ledger row and one message, and takes its stock once."""

        def prepare(store: Store, order_id: str) -> None:
            store.commit(creation(order_id, total="20", lines=LINES))

        def do(store: Store, order_id: str) -> None:
            _requested(store, order_id, f"pay {order_id}", _pay)

        for store, order_id in self._failing(durable_place, how, do, prepare):
            do(store, order_id)
            assert [entry.version for entry in store.history(order_id)] == [1, 2], "the payment must have one entry"
            payments = store.load(order_id).payments
            assert [str(payment.amount) for payment in payments] == ["20"], "the payment must have one ledger row"
            told = [one.topic for one in store.messages() if one.order_id == order_id]
            assert told == ["order.paid"], "the payment must have one message"
            assert store.stock(["TEAPOT", "CUP"]) == {"TEAPOT": PIECES - 2, "CUP": PIECES - 1}, (
                "S8: an order takes its pieces once, in its commit"
            )

    def test_s4_a_form_with_failing_calls_is_saved_once(self, durable_place: Path, how: Failing) -> None:
        """A repeated change of several entries stores each entry once."""

        def prepare(store: Store, order_id: str) -> None:
            store.commit(creation(order_id))

        def do(store: Store, order_id: str) -> None:
            _requested(store, order_id, f"form {order_id}", _tick)

        for store, order_id in self._failing(durable_place, how, do, prepare):
            do(store, order_id)
            assert [entry.version for entry in store.history(order_id)] == [1, 2, 3, 4]
            assert store.load(order_id).statuses == {"sent", "invoiced"}
            assert sum(one.order_id == order_id for one in store.messages()) == 1

    def test_s1_a_refused_commit_with_failing_calls_leaves_nothing(self, durable_place: Path, how: Failing) -> None:
        """If the rollback of a commit fails too, nothing is stored."""

        def prepare(store: Store, order_id: str) -> None:
            store.commit(creation(order_id))

        def do(store: Store, order_id: str) -> None:
            with pytest.raises(OrderExists):
                store.commit(creation(order_id, currency="EUR", topics=["order.paid"], key=f"again {order_id}"))

        for store, order_id in self._failing(durable_place, how, do, prepare):
            do(store, order_id)
            assert record_under(store, f"again {order_id}") is None
            assert (store.load(order_id).currency, len(store.history(order_id))) == ("GBP", 1)
            assert not any(one.order_id == order_id for one in store.messages())

    def test_s8_a_stock_setting_with_failing_calls_is_whole(self, durable_place: Path, how: Failing) -> None:
        """The item has the old or the new number. After the repeated call it has the new one."""

        def do(store: Store, order_id: str) -> None:
            store.set_stock(order_id, 7)

        for store, order_id in self._failing(durable_place, how, do):
            assert store.stock([order_id]) in ({}, {order_id: 7})
            store.set_stock(order_id, 7)
            assert store.stock([order_id]) == {order_id: 7}

    def _failing(
        self, place: Path, how: Failing, do: _Do, prepare: _Do = lambda store, order_id: None
    ) -> Iterator[tuple[Store, str]]:
        """Yield, for each call of an operation, a store after its failure and the order's id.

        The store is the one that failed or a new one. The operation may raise only errors of the store. After any error
        except StoreUnavailable nothing may have changed.

        Args:
            place: the folder of the store.
            how: the way in which calls fail.
            do: runs the operation.
            prepare: runs before it.
        """
        with self.opened(place) as store:
            _prepare(store)
            do_nothing = Calls()
            prepare(store, "counted")
            with self.boundary(do_nothing):
                do(store, "counted")
            _forget(store, "counted")
            assert do_nothing.count, "the operation must make calls through the boundary"
            for number in range(1, 10 * do_nothing.count):
                order_id = f"order {number}"
                prepare(store, order_id)
                before = _seen(store, order_id)
                calls = Calls(number, how)
                with self.boundary(calls):
                    error = _tried(lambda: do(store, order_id))  # noqa: B023 - called at once
                if not calls.failed:
                    break
                if number % 2 or error is None:
                    after = _seen(store, order_id)
                    if error is not None and not isinstance(error, StoreUnavailable):
                        assert after == before, f"nothing may have changed after {type(error).__name__}"
                    yield store, order_id
                    done = _seen(store, order_id)
                    assert after in (before, done), (
                        "S1: if a call failed, the operation must be complete or without effect"
                    )
                    assert after == done or error is not None, "an operation that returns must be complete"
                with self.opened(place) as another:
                    yield another, order_id
                yield store, order_id
                _forget(store, order_id)
            else:
                pytest.fail("the operation makes more and more calls")


class Failures(FailingCommits):
    """Tests in which every call of every operation fails."""

    @pytest.mark.parametrize("doing", ["claim", "delivered", "retry later", "give up", "requeue"])
    def test_s9_a_relay_with_failing_calls_loses_no_message(
        self, durable_place: Path, doing: str, how: Failing
    ) -> None:
        """An operation on a message happens or does not. No message is lost or doubled. No attempt counts twice."""
        first: dict[str, Message] = {}

        def prepare(store: Store, order_id: str) -> None:
            store.commit(creation(order_id, topics=["order.updated", "order.paid"]))
            if doing != "claim":
                claimed = store.claim(moment(10), HELD_UNTIL, ALL.limit)
                first[order_id] = next(one for one in claimed if one.id == f"{order_id}#1.1")
            if doing == "requeue":
                store.retry_later(first[order_id], HELD_UNTIL, None)

        def do(store: Store, order_id: str) -> None:
            if doing == "claim":
                store.claim(moment(10), HELD_UNTIL, ALL.limit)
            elif doing == "delivered":
                store.delivered(first[order_id], HELD_UNTIL)
            elif doing == "requeue":
                store.requeue(first[order_id])
            else:
                store.retry_later(first[order_id], HELD_UNTIL, None if doing == "give up" else moment(30))

        after = {
            "claim": ([("1.1", 0), ("1.2", 0)], []),
            "delivered": ([("1.2", 0)], []),
            "retry later": ([("1.1", 1), ("1.2", 0)], []),
            "give up": ([("1.2", 0)], [("1.1", 1)]),
            "requeue": ([("1.1", 0), ("1.2", 0)], []),
        }
        for store, order_id in self._failing(durable_place, how, do, prepare):
            do(store, order_id)
            _, _, *found = _seen(store, order_id)
            shown = [[(one.removeprefix(f"{order_id}#"), tries) for one, tries in some] for some in found]
            assert tuple(shown) == after[doing]

    def test_s1_a_removal_with_failing_calls_is_whole(self, durable_place: Path, how: Failing) -> None:
        """An order whose removal failed is whole or absent. After the repeated call it is absent."""

        def prepare(store: Store, order_id: str) -> None:
            store.commit(creation(order_id, topics=["order.updated"], key=f"key {order_id}"))

        def do(store: Store, order_id: str) -> None:
            store.remove(store.load(order_id))

        for store, order_id in self._failing(durable_place, how, do, prepare):
            with suppress(OrderNotFound):
                store.remove(store.load(order_id))
            assert record_under(store, f"key {order_id}") is None
            levels = dict.fromkeys(("TEAPOT", "CUP"), StockLevel(PIECES))
            assert _seen(store, order_id) == (None, levels, [], [])

    def test_s1_an_erasure_with_failing_calls_is_whole(self, durable_place: Path, how: Failing) -> None:
        """An order whose erasure failed is blank or unchanged. After the repeated call and a scrub no byte is left."""

        def prepare(store: Store, order_id: str) -> None:
            store.commit(creation(order_id, customer=PERSONAL, topics=["order.updated"], key=f"key {order_id}"))
            store.commit(step(store.load(order_id), comment=PERSONAL, facts={"parcel": PERSONAL}))

        def do(store: Store, order_id: str) -> None:
            order = store.load(order_id)
            if order.customer is not None:
                store.commit(erasure(order))
            store.scrub()

        for store, order_id in self._failing(durable_place, how, do, prepare):
            do(store, order_id)
            assert [entry.erased for entry in store.history(order_id)] == [False, True, False]
            record = record_under(store, f"key {order_id}")
            assert record is not None
            assert record.request_fingerprint == ""
            if self.local_disk and self.scrubs:
                assert files_with(durable_place, PERSONAL) == []

    def test_s10_a_read_with_failing_calls_is_right_or_raises(self, durable_place: Path, how: Failing) -> None:
        """If a store cannot read an order, item or key, it does not report it as missing."""
        with self.opened(durable_place) as store:
            _prepare(store)
            for order_id in ("1001", "1002"):
                store.commit(creation(order_id, lines=LINES, topics=["order.updated"], key=f"key {order_id}"))
            asked: list[Callable[[], object]] = [
                lambda: store.load("1001"),
                lambda: store.history("1001"),
                lambda: _prepared(store),
                lambda: store.find(ALL),
                lambda: store.tally(None),
                lambda: store.totals(START, None, None),
                lambda: store.report(START, None),
                lambda: store.stock(["TEAPOT", "CUP"]),
                lambda: store.dead_letters(10),
                lambda: sorted(store.order_ids()),
                lambda: sorted(message.id for message in store.messages()),
            ]
            for ask in asked:
                answer = ask()
                for number in count(1):
                    calls = Calls(number, how)
                    answers: list[object] = []
                    with self.boundary(calls):
                        error = _tried(lambda: answers.append(ask()))  # noqa: B023 - called at once
                    assert error is not None or answers == [answer], f"call {number} failed, and the result is wrong"
                    assert ask() == answer, "the store must work again"
                    if not calls.failed:
                        break

    def test_s3_an_opening_with_failing_calls_does_no_harm(self, durable_place: Path, how: Failing) -> None:
        """If a new or used store cannot be opened, it raises an error of `order_fsm.errors` and opens later."""
        for number in count(1):
            place = durable_place / f"{number}"
            place.mkdir()
            failed = 0
            for _ in range(2):
                calls = Calls(number, how)
                with self.boundary(calls):
                    _tried(lambda: self.make_store(place).close())  # noqa: B023 - called at once
                failed += calls.failed
                with self.opened(place) as store:
                    _prepare(store)
                    if not store.find(ALL):
                        store.commit(creation("1001"))
                    assert store.load("1001").version == 1
            if not failed:
                break


def _prepared(store: Store) -> list[tuple[object, ...]]:
    """Return the snapshots of several needs. Raise their faults."""
    snapshots = store.prepare_many([Need("1001", "key 1002", ("CUP",)), Need("missing", "key 1001"), Need("1002")])
    return [(one.order, one.record, dict(one.stock)) for one in map(Snapshot.checked, snapshots)]


def _prepare(store: Store) -> None:
    for sku in ("TEAPOT", "CUP"):
        store.set_stock(sku, PIECES)


def _forget(store: Store, order_id: str) -> None:
    """Restore the store from before an operation, so that the next round makes as many calls."""
    with suppress(OrderNotFound):
        store.remove(store.load(order_id))
    _prepare(store)
