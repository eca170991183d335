"""PostgresStore in conflict with other transactions: deadlocks, timeouts, old snapshots."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from psycopg import IsolationLevel

from order_fsm import (
    OrderExists,
    OrderNotFound,
    TransactionLost,
    VersionConflict,
)
from order_fsm.testing.store_contract.changes import creation, step
from order_fsm.testing.store_contract.expected import consistent
from order_fsm_adapters.postgresql import PostgresStore

from .backends import holding
from .desk import COMMITTING, HOLD, Desk, failed


def test_batch_that_is_the_victim_of_a_deadlock_is_retried(desk: Desk) -> None:
    """The batch has locked order 1001 and waits for 1003, whose owner waits for 1001."""
    for order_id in ("1002", "1003"):
        desk.create(order_id)
    changes = [step(desk.store.load(order_id), key=order_id) for order_id in ("1001", "1002", "1003")]
    with (
        PostgresStore(desk.address(deadlock_timeout="10ms")) as store,
        ThreadPoolExecutor() as threads,
        holding(desk.url, HOLD, "1002") as gate,
        holding(desk.address(deadlock_timeout="1h"), HOLD, "1003") as other,
    ):
        batch = threads.submit(store.commit_all, changes)
        desk.backends.waiting(COMMITTING)
        crossing = threads.submit(other.execute, HOLD, ("1001",))
        desk.backends.waiting(number=2)
        gate.rollback()
        crossing.result()
        other.rollback()
        assert batch.result() == [None, None, None]
    assert [len(consistent(desk.store, order_id)) for order_id in ("1001", "1002", "1003")] == [2, 2, 2]


def test_host_that_is_the_victim_of_a_deadlock_loses_its_transaction(desk: Desk) -> None:
    """The host has paid one order and waits for a second one, whose owner waits for the first."""
    desk.create("1002")
    desk.host.execute("SET deadlock_timeout = '10ms'")
    desk.host.commit()
    with (
        ThreadPoolExecutor() as threads,
        holding(desk.address(deadlock_timeout="1h"), HOLD, "1002") as other,
    ):
        desk.pay_in_the_hosts_transaction()
        crossing = threads.submit(other.execute, HOLD, ("1001",))
        desk.backends.waiting()
        error = failed(lambda: desk.pay(desk.store.within(desk.host), "1002"))
        assert "40P01" in str(error)
        desk.host.rollback()
        crossing.result()
        other.rollback()
        desk.check_lost(error)


TIMEOUTS = {"lock_timeout": "55P03", "statement_timeout": "57014"}


def _time_out(desk: Desk, setting: str) -> None:
    """Shorten the lock timeout of the functions."""
    for function in ("prepare", "commit"):
        statement = f"ALTER FUNCTION order_fsm_{function}_1 SET lock_timeout = '50ms'"
        if setting == "lock_timeout":
            desk.backends.connection.execute(statement.encode())


@pytest.mark.parametrize("setting", TIMEOUTS)
def test_commit_that_times_out_is_not_written(desk: Desk, setting: str) -> None:
    """Another transaction locks the order for too long."""
    _time_out(desk, setting)
    settings = {setting: "1s"} if setting == "statement_timeout" else {}
    with PostgresStore(desk.address(**settings)) as store, holding(desk.url, HOLD, "1001"):
        error = failed(partial(desk.pay, store))
    assert TIMEOUTS[setting] in str(error)
    assert ("call within(connection)" in str(error)) == (setting == "lock_timeout")
    desk.check_repeated(error)


@pytest.mark.parametrize("setting", TIMEOUTS)
def test_host_whose_statement_times_out_loses_its_transaction(desk: Desk, setting: str) -> None:
    """Another transaction locks the order for longer than the host's limit."""
    _time_out(desk, setting)
    with holding(desk.url, HOLD, "1001") as other:
        if setting == "statement_timeout":
            desk.host.execute("SET LOCAL statement_timeout = '1s'")
        error = failed(desk.pay_in_the_hosts_transaction)
        assert TIMEOUTS[setting] in str(error)
        other.rollback()
        desk.check_lost(error)


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_host_whose_snapshot_is_too_old_loses_its_transaction(desk: Desk, level: IsolationLevel) -> None:
    """The order changes after the host's transaction took its snapshot."""
    desk.host.isolation_level = level
    desk.host.execute("SELECT FROM parcel")
    desk.orders.comment("1001", "delayed by snow")
    error = failed(desk.pay_in_the_hosts_transaction)
    assert type(error) is TransactionLost
    assert "40001" in str(error)
    desk.host.rollback()
    desk.check_parcels(0)
    desk.pay_in_the_hosts_transaction()
    desk.host.commit()
    assert [entry.trigger for entry in consistent(desk.store, "1001")] == ["create", "comment", "pay"]
    desk.check_parcels(1)


def test_threads_whose_transactions_are_serializable_by_default_lose_nothing(desk: Desk) -> None:
    """The store retries the transactions that the server aborts in favour of others."""
    with PostgresStore(desk.address(default_transaction_isolation="serializable")) as store:

        def comment(number: int) -> None:
            while True:
                try:
                    store.commit(step(store.load("1001"), comment=f"{number}", key=f"{number}"))
                except VersionConflict:
                    continue
                return

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(comment, range(20)))
        assert sorted(int(entry.comment) for entry in consistent(store, "1001")[1:]) == list(range(20))


@pytest.mark.parametrize("guest", [False, True], ids=["by itself", "joined"])
def test_order_created_during_another_creation_is_not_reported_as_damaged(desk: Desk, guest: bool) -> None:
    """Another creation commits after the call looked for the order and before it looks for the history."""
    with ThreadPoolExecutor() as threads, holding(desk.url, "LOCK TABLE order_fsm_entry") as other:
        desk.store.within(other).commit(creation("1002", customer="ann"))
        store = desk.store.within(desk.host) if guest else desk.store
        commit = threads.submit(failed, partial(store.commit, creation("1002")))
        desk.backends.waiting(COMMITTING)
        other.commit()
        assert type(commit.result()) is OrderExists


def test_order_created_during_a_load_is_not_reported_as_damaged(desk: Desk) -> None:
    """The host's transaction sees the order from its next statement on."""
    with ThreadPoolExecutor() as threads, holding(desk.url, "LOCK TABLE order_fsm_entry") as other:
        desk.store.within(other).commit(creation("1002", customer="ann"))
        load = threads.submit(failed, partial(desk.store.within(desk.host).load, "1002"))
        desk.backends.waiting("%order_fsm_entry%")
        other.commit()
        assert type(load.result()) is OrderNotFound
        assert desk.store.within(desk.host).load("1002").customer == "ann"


def test_history_that_grows_during_a_read_is_not_reported_as_damaged(desk: Desk) -> None:
    """A commit falls between the host's statements, each of which sees the latest commits."""
    with ThreadPoolExecutor() as threads, holding(desk.url, "LOCK TABLE order_fsm_entry") as other:
        desk.store.within(other).commit(step(desk.store.load("1001")))
        history = threads.submit(desk.store.within(desk.host).history, "1001")
        desk.backends.waiting("%order_fsm_entry%")
        other.commit()
        assert [entry.version for entry in history.result()] == [1, 2]
