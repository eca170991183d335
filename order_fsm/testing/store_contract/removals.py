"""S1, S2 and S4 of removals: a removal deletes the whole order or nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from order_fsm.errors import OrderNotFound, VersionConflict
from order_fsm.model import Order, When
from order_fsm.store import Query, Store
from order_fsm.testing.store_contract.changes import creation, moment, order_of, seeded, step, taken
from order_fsm.testing.store_contract.crews import Crew, Worker
from order_fsm.testing.store_contract.expected import Expected, committed, consistent, drained
from order_fsm.testing.store_contract.harness import StoreHarness
from order_fsm.testing.store_contract.traffic import next_change, stocked

DONE = "done"


def _busy(store: Store) -> Expected:
    """Return four orders with all kinds of content."""
    expected = stocked(store)
    for number in range(40):
        committed(store, expected, next_change(expected, number))
    return expected


def _removed(store: Store, expected: Expected, order_id: str) -> None:
    store.remove(expected.orders[order_id])
    expected.remove(order_id)


def _tried(call: Callable[[], object]) -> str:
    """Return the result of a call: `DONE`, or the name of the error."""
    try:
        call()
    except (OrderNotFound, VersionConflict) as error:
        return type(error).__name__
    return DONE


def _remove_all(orders: list[Order], store: Store, pipe: Connection) -> None:
    """Remove one order after the other, and report each one that has returned."""
    for order in orders:
        store.remove(order)
        pipe.send(order.id)


class Removals(StoreHarness):
    """Tests of removals."""

    def test_s1_a_removal_deletes_the_whole_order(self, store: Store) -> None:
        """It deletes order, history, payments, keys and messages at once. Stock and other orders do not change."""
        expected = _busy(store)
        for order_id in list(expected.orders):
            _removed(store, expected, order_id)
            expected.check(store)
            assert set(store.tally(None)) == expected.tally(None), "tally must not count a removed order"

    def test_s1_the_dead_letters_of_a_removed_order_are_gone(self, store: Store) -> None:
        """They are not listed and cannot be requeued. Those of other orders stay."""
        for order_id in ("1001", "1002"):
            store.commit(creation(order_id, topics=["order.updated", "order.paid"]))
        held = []
        for _ in range(2):
            for message in store.claim(moment(10), moment(20), 10):
                held.append(message)
                store.retry_later(message, moment(20), None)
        store.remove(store.load("1001"))
        assert {message.order_id for message in store.dead_letters(10)} == {"1002"}
        for message in held:
            store.requeue(message)
        assert {message.order_id for message in store.messages()} == {"1002"}, (
            "the messages of 1001 must be deleted with it"
        )
        assert {message.order_id for message in drained(store)} == {"1002"}

    def test_s4_the_id_and_the_keys_of_a_removed_order_are_free(self, store: Store) -> None:
        """A new order of the id starts at version 1, and each key commits once again, on any order."""
        expected = _busy(store)
        for order_id in list(expected.orders):
            mine, other = [key for key, record in expected.records.items() if record.order_id == order_id][:2]
            _removed(store, expected, order_id)
            new = creation(order_id, customer="eve", topics=["order.updated"], key=mine)
            committed(store, expected, new, creation(f"beside {order_id}", key=other))
            committed(store, expected, step(order_of(new), state="sent", topics=["order.paid"]))
            assert len(consistent(store, order_id)) == 2, "the new order must have only its own history"
            assert store.find(Query(When(), "eve")) == expected.find(Query(When(), "eve"))
        expected.check(store)

    def test_s2_a_removal_from_another_version_removes_nothing(self, store: Store) -> None:
        """If the order changed since it was read, it stays whole."""
        expected = _busy(store)
        present = expected.orders["order-1"]
        committed(store, expected, step(present, topics=["order.updated"]))
        ahead = order_of(step(expected.orders["order-1"]))
        for order in (present, ahead):
            with pytest.raises(VersionConflict):
                store.remove(order)
        expected.check(store)

    def test_s2_a_missing_order_cannot_be_removed(self, store: Store) -> None:
        """The order may never have existed, or may have been removed before."""
        expected = _busy(store)
        gone = expected.orders["order-1"]
        _removed(store, expected, gone.id)
        for order in (gone, order_of(creation("never there"))):
            with pytest.raises(OrderNotFound, match=repr(order.id)):
                store.remove(order)
        expected.check(store)

    def test_s2_one_removal_or_commit_from_a_version_wins(self, crew: Crew) -> None:
        """If some workers remove an order and others change it, it is removed or has one change."""
        orders = [order_of(creation(f"order {number}")) for number in range(15)]
        with crew.opened() as store:
            for order in orders:
                store.commit(creation(order.id))

        def remove(store: Store) -> list[str]:
            return [_tried(partial(store.remove, order)) for order in orders]

        def change(store: Store) -> list[str]:
            return [_tried(partial(store.commit, step(order, topics=["order.updated"]))) for order in orders]

        outcomes = crew.run([remove if number % 2 else change for number in range(crew.size)])
        with crew.opened() as store:
            for number, order in enumerate(orders):
                of_order = [of_worker[number] for of_worker in outcomes]
                won = [worker for worker, outcome in enumerate(of_order) if outcome == DONE]
                assert len(won) == 1, f"{won} changed or removed one version: compare and remove under one lock"
                if won[0] % 2:
                    assert _tried(partial(store.load, order.id)) == "OrderNotFound"
                else:
                    assert len(consistent(store, order.id)) == 2
            told = list(store.messages())
            there = [order.id for order in orders if _tried(partial(store.load, order.id)) == DONE]
        assert sorted(message.order_id for message in told) == sorted(there), "each order must have one message"

    def test_s1_a_killed_process_leaves_an_order_whole_or_removed(self, durable_place: Path) -> None:
        """After kill -9 the orders with an acknowledged removal are gone, and the others are whole."""
        for era, rounds in self.eras(durable_place, share=8):
            opened = partial(self.opened, era)
            with opened() as store:
                expected = stocked(store)
            for turn in rounds:
                dice = seeded(f"kill a removal {turn}")
                with opened() as store:
                    for number in range(12):
                        new = creation(f"{turn}-{number}", topics=["order.updated"] * 3, key=f"key {turn}-{number}")
                        moves = [taken("TEAPOT", 1)]
                        change = step(order_of(new), state="sent", payments=[("captured", "50")], stock=moves)
                        committed(store, expected, new, change)
                worker = Worker(opened, partial(_remove_all, list(expected.orders.values())))
                try:
                    acknowledged = [worker.receive(), *worker.kill(dice.uniform(0.0, 0.006))]
                finally:
                    worker.end()
                for order_id in acknowledged:
                    expected.remove(order_id)
                with opened() as store:
                    under_way = next(iter(expected.orders), None)
                    if not self.local_disk and under_way is not None:
                        # A server may still run the removal.
                        _tried(partial(store.remove, expected.orders[under_way]))
                    if under_way is not None and _tried(partial(store.load, under_way)) == "OrderNotFound":
                        expected.remove(under_way)
                    expected.check(store, after_kill=True)
                    for order_id in list(expected.orders):
                        _removed(store, expected, order_id)
