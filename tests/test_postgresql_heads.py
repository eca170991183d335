"""In PostgreSQL each order with messages has a head, so concurrent work leaves no message stuck."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import count
from threading import Event, Lock
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel

from order_fsm import Message, TransactionLost, VersionConflict
from order_fsm.testing.store_contract.changes import START, creation, moment, seeded, step
from order_fsm_adapters.postgresql import PostgresStore
from order_fsm_adapters.sql import outbox
from order_fsm_adapters.sql.codec import time_text

from .backends import backends
from .servers import PostgresServer

FIRST, SECOND = moment(10), moment(20)
LEVELS = (IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)


@pytest.fixture
def url(postgresql: PostgresServer, request: pytest.FixtureRequest) -> str:
    return postgresql.address(request.node.nodeid)


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with PostgresStore(url, size=16) as store:
        yield store


def _claimed(store: PostgresStore) -> Message:
    """Create an order with a message, and claim the message."""
    store.commit(creation("1001", topics=["order.updated"]))
    (message,) = store.claim(FIRST, SECOND, 10)
    return message


def _again(host: psycopg.Connection[Any], work: Callable[[], object]) -> None:
    """Do work in the host's transaction. If it is lost, do the work in a new one."""
    try:
        work()
    except TransactionLost:
        host.rollback()
        work()
    host.commit()


@pytest.mark.parametrize("level", LEVELS)
def test_message_of_a_host_whose_snapshot_has_a_delivered_head_is_claimable(
    url: str, store: PostgresStore, level: IsolationLevel
) -> None:
    """After the host took its snapshot, a relay delivers the order's only message. Then the host adds one."""
    message = _claimed(store)
    with psycopg.connect(url) as host:
        host.isolation_level = level
        host.execute("SELECT FROM order_fsm_message")
        store.delivered(message, SECOND)
        change = step(store.load("1001"), topics=["order.paid"])
        _again(host, partial(store.within(host).commit, change))
    assert [one.topic for one in store.claim(FIRST, SECOND, 10)] == ["order.paid"]


@pytest.mark.parametrize("level", LEVELS)
def test_dead_letter_requeued_on_a_snapshot_with_a_delivered_head_is_claimable(
    url: str, store: PostgresStore, level: IsolationLevel
) -> None:
    """The host requeues a dead letter after a relay delivered the head that the host's snapshot still shows."""
    dead = _claimed(store)
    store.retry_later(dead, SECOND, None)
    store.commit(step(store.load("1001"), topics=["order.paid"]))
    (message,) = store.claim(FIRST, SECOND, 10)
    with psycopg.connect(url) as host:
        host.isolation_level = level
        host.execute("SELECT FROM order_fsm_message")
        store.delivered(message, SECOND)
        _again(host, partial(store.within(host).requeue, dead))
    assert [one.id for one in store.claim(FIRST, SECOND, 10)] == [dead.id]


@pytest.mark.parametrize("level", ["read committed", "serializable"])
def test_message_committed_while_the_head_is_delivered_is_claimable(
    postgresql: PostgresServer, url: str, store: PostgresStore, level: str, request: pytest.FixtureRequest
) -> None:
    """A commit waits for the order while a relay deletes its head, at two default isolation levels."""
    message = _claimed(store)
    address = postgresql.address(request.node.nodeid, default_transaction_isolation=level.replace(" ", "\\ "))
    change = step(store.load("1001"), topics=["order.paid"])
    with (
        PostgresStore(address) as other,
        ThreadPoolExecutor() as threads,
        psycopg.connect(url) as relay,
        backends(url) as server,
    ):
        store.within(relay).delivered(message, SECOND)
        commit = threads.submit(other.commit, change)
        server.waiting("%order_fsm_commit%")
        relay.commit()
        commit.result()
    assert [one.topic for one in store.claim(FIRST, SECOND, 10)] == ["order.paid"]


def test_claim_during_a_commit_returns_no_message_twice(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is committed while a claim reads those that it found. It sorts before a postponed one."""
    postponed = _claimed(store)
    store.retry_later(postponed, SECOND, FIRST)
    read = outbox._message
    others = iter(["1002", "1003"])

    def committing(*given: Any) -> Message | None:
        for order_id in others:
            store.commit(creation(order_id, topics=["order.updated"]))
        return read(*given)

    monkeypatch.setattr(outbox, "_message", committing)
    claimed = [message.id for message in store.claim(SECOND, moment(30), 10)]
    assert len(claimed) == len(set(claimed)), "the handler would be called twice for one message"


def test_late_retry_of_one_relay_does_not_end_the_lease_of_another(url: str, store: PostgresStore) -> None:
    """One relay schedules a retry while another relay claims the message. The new lease holds."""
    message = _claimed(store)
    with ThreadPoolExecutor() as threads, psycopg.connect(url) as other, backends(url) as server:
        other.execute("UPDATE order_fsm_message SET due = %s WHERE id = %s", (time_text(moment(40)), message.id))
        late = threads.submit(store.retry_later, message, SECOND, moment(25))
        server.waiting("%order_fsm_message%")
        other.commit()
        late.result()
    assert store.claim(moment(30), moment(50), 10) == [], "the other relay holds the message"


def test_several_relays_deliver_each_message_once_and_in_sequence(url: str, store: PostgresStore) -> None:
    """Four relays and three writers share five orders. Only one relay at a time holds messages of an order."""
    orders = [f"{number}" for number in range(5)]
    for order_id in orders:
        store.commit(creation(order_id, topics=["order.updated"]))
    told: defaultdict[str, list[str]] = defaultdict(list)
    held: set[str] = set()
    guard, written, failed = Lock(), Event(), Event()
    moments = count(1)

    def write(seed: int) -> None:
        dice = seeded(seed)
        for _ in range(40):
            while True:
                change = step(store.load(dice.choice(orders)), topics=["order.updated", "order.paid"])
                try:
                    store.commit(change)
                except VersionConflict:
                    continue
                break

    def relay(seed: int) -> None:
        dice = seeded(seed)
        with PostgresStore(url) as own:
            while not failed.is_set():
                is_last = written.is_set()
                now = START + timedelta(milliseconds=next(moments))
                until = now + timedelta(days=1)
                claimed = own.claim(now, until, 3)
                for message in claimed:
                    with guard:
                        assert message.order_id not in held, "two relays have messages of one order"
                        held.add(message.order_id)
                for message in claimed:
                    fails = dice.random() < 0.2
                    with guard:
                        held.remove(message.order_id)
                        if not fails:
                            told[message.order_id].append(message.id)
                    if fails:
                        own.retry_later(message, until, now)
                    else:
                        own.delivered(message, until)
                if is_last and not claimed and not list(own.messages()):
                    return

    def run(work: Callable[[int], None], seed: int) -> None:
        try:
            work(seed)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(7) as pool:
        relays = [pool.submit(run, relay, seed) for seed in range(4)]
        for writer in [pool.submit(run, write, seed) for seed in range(3)]:
            writer.result()
        written.set()
        for one in relays:
            one.result()
    for order_id in orders:
        version = store.load(order_id).version
        sequence = [f"{order_id}#1.1", *(f"{order_id}#{n}.{place}" for n in range(2, version + 1) for place in (1, 2))]
        assert told[order_id] == sequence
    assert sum(map(len, told.values())) == 5 + 3 * 40 * 2
