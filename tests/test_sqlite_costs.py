"""What calls of the SQLite store cost, in instructions of SQLite, which are the same on every machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from order_fsm.testing.store_contract.changes import creation, moment
from order_fsm_adapters.sqlite import SqliteStore


def steps_among(others: int, prepare: Callable[[SqliteStore, int], None], call: Callable[[SqliteStore], object]) -> int:
    """How many instructions a call takes on a store that holds so many others."""
    connection = sqlite3.connect(":memory:")
    store = SqliteStore(connection=connection)
    for number in range(others):
        prepare(store, number)
    store.commit(creation("1001", topics=["order.updated"], key="evt_1", at=moment(10_000)))
    connection.commit()
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    connection.set_progress_handler(count, 1)
    call(store)
    connection.set_progress_handler(None, 1)
    connection.close()
    return counted


def test_a_claim_does_not_step_over_the_dead_letters() -> None:
    def given_up(store: SqliteStore, number: int) -> None:
        store.commit(creation(f"dead {number}", topics=["order.updated"]))
        for message in store.claim(moment(10), moment(20), 1):
            store.postpone(message, None)

    def claim(store: SqliteStore) -> None:
        assert [message.id for message in store.claim(moment(10), moment(20), 10)] == ["1001#1.1"]

    assert steps_among(400, given_up, claim) <= steps_among(40, given_up, claim) * 1.1


def test_a_removal_takes_as_many_steps_among_many_orders_as_among_few() -> None:
    """Also to find the keys, the messages and the dead letters of the order."""

    def other(store: SqliteStore, number: int) -> None:
        store.commit(creation(f"{number:05}", topics=["order.updated"] * 2, key=f"key {number}"))
        store.postpone(store.claim(moment(10), moment(10), 1)[0], None)

    def remove(store: SqliteStore) -> None:
        store.remove(store.load("1001"))
        assert store.keyed("evt_1") is None

    assert steps_among(400, other, remove) <= steps_among(40, other, remove) * 1.1
