"""The outbox in SQLite: leases, damaged messages, and costs that do not grow with the outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from order_fsm.model import Message
from order_fsm.testing.store_contract.changes import START, creation, moment, order_of, step
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as store:
        yield store


def ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]


def test_only_the_oldest_message_of_each_order_is_claimed(store: SqliteStore) -> None:
    for order_id in ("1001", "1002"):
        store.commit(creation(order_id, topics=["order.placed", "order.paid"]))
    assert ids(store.claim(moment(1), moment(10), 10)) == ["1001#1.1", "1002#1.1"]
    assert store.claim(moment(1), moment(10), 10) == []


@pytest.mark.parametrize("end", ["delivered", "given up", "delivered late"])
def test_second_message_of_an_order_is_claimed_after_the_first_left(store: SqliteStore, end: str) -> None:
    store.commit(creation("1001", topics=["order.placed", "order.paid", "order.updated"]))
    (first,) = store.claim(moment(1), moment(10), 10)
    if end == "given up":
        store.retry_later(first, moment(10), None)
    else:
        store.delivered(first, moment(10))
    assert ids(store.claim(moment(1), moment(20), 10)) == ["1001#1.2"]


def test_relay_with_an_expired_lease_changes_nothing(store: SqliteStore) -> None:
    """Another relay has leased the message."""
    store.commit(creation("1001", topics=["order.paid"]))
    (late,) = store.claim(moment(1), moment(10), 10)
    (current,) = store.claim(moment(10), moment(20), 10)
    store.retry_later(late, moment(10), moment(11))
    store.retry_later(late, moment(10), None)
    store.delivered(late, moment(10))
    assert store.claim(moment(15), moment(30), 10) == []
    assert store.dead_letters(10) == []
    assert list(store.messages()) == [current]
    store.delivered(current, moment(20))
    assert list(store.messages()) == []


def test_retries_come_after_new_messages_by_due_time(store: SqliteStore) -> None:
    for number in range(3):
        store.commit(creation(f"{number}", topics=["order.paid"]))
    for number, message in enumerate(store.claim(moment(1), moment(10), 10)):
        store.retry_later(message, moment(10), moment(40 - 10 * number))
    store.commit(creation("new", topics=["order.paid"]))
    assert ids(store.claim(moment(50), moment(60), 10)) == ["new#1.1", "2#1.1", "1#1.1", "0#1.1"]


def test_requeued_dead_letter_comes_after_the_messages_of_its_order(store: SqliteStore) -> None:
    store.commit(creation("1001", topics=["order.placed", "order.paid"]))
    (dead,) = store.claim(moment(1), moment(10), 10)
    store.retry_later(dead, moment(10), None)
    store.requeue(dead)
    store.requeue(dead)
    (second,) = store.claim(moment(1), moment(10), 10)
    assert second.id == "1001#1.2"
    store.delivered(second, moment(10))
    assert store.claim(moment(1), moment(10), 10) == [dead]
    store.delivered(dead, moment(10))
    assert store.claim(moment(99), moment(100), 10) == []
    assert store.faults() == []


def test_damaged_message_is_left_out_and_blocks_only_its_order(
    path: Path, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(6):
        store.commit(creation(f"{number}", topics=["order.placed", "order.paid"]))
    by_hand(
        path,
        "UPDATE order_fsm_message SET payload = '' WHERE id = '0#1.1'",
        "UPDATE order_fsm_message SET topic = CAST(x'ff' AS TEXT) WHERE id = '2#1.1'",
    )
    assert ids(store.claim(moment(1), moment(10), 3)) == ["1#1.1", "3#1.1", "4#1.1"]
    assert "'0#1.1'" in caplog.text
    assert len(caplog.records) == 2
    assert by_hand(path, "SELECT due FROM order_fsm_message WHERE order_id IN ('0', '2')") == [("",)] * 4
    assert ids(store.claim(moment(1), moment(10), 3)) == ["5#1.1"]


def test_delivery_for_a_removed_order_keeps_the_message_of_the_recreated_order(store: SqliteStore) -> None:
    change = creation("1001", topics=["order.placed"])
    store.commit(change)
    (old,) = store.claim(moment(1), moment(10), 10)
    store.remove(order_of(change))
    store.commit(change)
    store.delivered(old, moment(10))
    assert ids(list(store.messages())) == [old.id]


# Costs in instructions of SQLite, which are the same on every machine


def steps_among(others: int, prepare: Callable[[SqliteStore, int], None], call: Callable[[SqliteStore], object]) -> int:
    """Return the number of SQLite instructions of a call on a store with other rows."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        store = SqliteStore(connection=connection)
        for number in range(others):
            prepare(store, number)
        store.commit(creation("1001", topics=["order.updated"], key="evt_1", at=moment(10_000)))
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        connection.set_progress_handler(count, 1)
        call(store)
        connection.set_progress_handler(None, 1)
        return counted


def _give_up(store: SqliteStore, number: int) -> None:
    store.commit(creation(f"dead {number}", topics=["order.updated"]))
    for message in store.claim(moment(10), moment(20), 1):
        store.retry_later(message, moment(20), None)


def _retry_later(store: SqliteStore, number: int) -> None:
    store.commit(creation(f"later {number}", topics=["order.placed", "order.updated"]))
    for message in store.claim(moment(10), moment(20), 1):
        store.retry_later(message, moment(20), START + timedelta(days=1))


def _queue(store: SqliteStore, number: int) -> None:
    """Create an order with many messages, the first of them postponed."""
    if number == 0:
        store.commit(creation("busy", topics=["order.placed"]))
        (first,) = store.claim(moment(10), moment(20), 1)
        store.retry_later(first, moment(20), START + timedelta(days=1))
    else:
        store.commit(step(store.load("busy"), topics=["order.updated"]))


def _claim(store: SqliteStore) -> None:
    assert ids(store.claim(moment(10), moment(20), 10)) == ["1001#1.1"]


def _deliver(store: SqliteStore) -> None:
    (message,) = store.claim(moment(10), moment(20), 10)
    store.delivered(message, moment(20))


def _remove(store: SqliteStore) -> None:
    store.remove(store.load("1001"))


@pytest.mark.parametrize("call", [_claim, _deliver, _remove])
@pytest.mark.parametrize("others", [_give_up, _retry_later, _queue])
def test_cost_of_a_call_does_not_grow_with_the_messages(
    others: Callable[[SqliteStore, int], None], call: Callable[[SqliteStore], None]
) -> None:
    assert steps_among(400, others, call) <= steps_among(40, others, call) * 1.1


def test_cost_of_a_removal_does_not_grow_with_the_keys() -> None:
    def other(store: SqliteStore, number: int) -> None:
        store.commit(creation(f"{number:05}", key=f"key {number}"))

    assert steps_among(400, other, _remove) <= steps_among(40, other, _remove) * 1.1
