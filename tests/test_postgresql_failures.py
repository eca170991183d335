"""PostgresStore when the server, the network or another transaction fails, on its own and joined.

After a failure of the store's own transaction, the repeated request is done once. A failure of a joined request loses
the host's transaction, which the host restarts.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest

from order_fsm import (
    Orders,
    StoreUnavailable,
)
from order_fsm.testing.store_contract.changes import step
from order_fsm.testing.store_contract.erasures import erasure
from order_fsm_adapters.postgresql import PostgresStore

from .backends import Backends, holding
from .desk import COMMITTING, HOLD, PREPARING, Desk, assert_impersonal, failed
from .proxies import proxy

# Terminated server processes and cancelled statements


ENDINGS = {
    "terminated": Backends.terminate,
    "cancelled": Backends.cancel,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_commit_ended_during_its_wait_for_a_lock_is_not_written(desk: Desk, ending: str) -> None:
    """Another transaction has locked the order. The repeated request is done once."""
    with ThreadPoolExecutor() as threads, holding(desk.url, HOLD, "1001") as other:
        payment = threads.submit(failed, desk.pay)
        (pid,) = desk.backends.waiting(COMMITTING)
        ENDINGS[ending](desk.backends, pid)
        error = payment.result()
        other.rollback()
    desk.check_repeated(error)


@pytest.mark.parametrize("ending", ENDINGS)
def test_host_whose_statement_is_ended_loses_its_transaction(desk: Desk, ending: str) -> None:
    """A joined store waits for an order that another transaction has locked."""
    with ThreadPoolExecutor() as threads, holding(desk.url, HOLD, "1001") as other:
        payment = threads.submit(failed, desk.pay_in_the_hosts_transaction)
        (pid,) = desk.backends.waiting(PREPARING)
        ENDINGS[ending](desk.backends, pid)
        error = payment.result()
        other.rollback()
        desk.check_lost(error)


DEFERRED = """
    CREATE FUNCTION wait_for_gate() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(hashtext(current_schema())); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON order_fsm_entry
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_for_gate();
"""
CLOSE_GATE = "SELECT pg_advisory_xact_lock(hashtext(current_schema()))"


@pytest.mark.parametrize("ending", ENDINGS)
def test_request_ended_during_commit_is_done_once_when_repeated(desk: Desk, ending: str) -> None:
    """A deferred trigger blocks the server's COMMIT."""
    desk.backends.connection.execute(DEFERRED)
    with ThreadPoolExecutor() as threads, holding(desk.url, CLOSE_GATE) as other:
        payment = threads.submit(failed, desk.pay)
        (pid,) = desk.backends.waiting()
        ENDINGS[ending](desk.backends, pid)
        error = payment.result()
        other.rollback()
    desk.check_repeated(error)


@pytest.mark.parametrize("ending", ENDINGS)
def test_ended_commit_of_a_host_writes_nothing(desk: Desk, ending: str) -> None:
    """The host's COMMIT raises the driver's error. The host's row and the payment are both rolled back."""
    desk.backends.connection.execute(DEFERRED)
    with ThreadPoolExecutor() as threads, holding(desk.url, CLOSE_GATE) as other:
        desk.pay_in_the_hosts_transaction()
        commit = threads.submit(desk.host.commit)
        (pid,) = desk.backends.waiting("COMMIT")
        ENDINGS[ending](desk.backends, pid)
        with pytest.raises(psycopg.Error):
            commit.result()
        other.rollback()
        desk.check_payments(0)
        desk.check_parcels(0)


def test_request_succeeds_after_the_server_ended_all_idle_connections(desk: Desk) -> None:
    """The pool replaces the connections, as after a server restart. The shop does not have to repeat requests."""
    with ThreadPoolExecutor(5) as threads, holding(desk.url, HOLD, "1001") as other:
        waiting = [threads.submit(desk.store.set_stock, f"{number}", number) for number in range(5)]
        payment = threads.submit(desk.store.commit, step(desk.store.load("1001"), key="first"))
        [one.result() for one in waiting]
        desk.backends.waiting(COMMITTING)
        other.rollback()
        payment.result()
    assert desk.backends.terminate_others() >= 2
    desk.host = desk.connection()
    desk.store.set_stock("CUP", 3)
    desk.store.commit(step(desk.store.load("1001"), key="second"))
    assert desk.store.claim(desk.orders.get("1001").updated_at, desk.orders.get("1001").updated_at, 10) == []
    assert [entry.key for entry in desk.store.history("1001")] == [None, "first", "second"]


def test_host_whose_connection_was_ended_between_calls_loses_its_transaction(desk: Desk) -> None:
    """The server process ends after the host's first statement."""
    desk.host.execute("SELECT 1")
    desk.backends.terminate(desk.host.info.backend_pid)
    desk.check_lost(failed(lambda: desk.pay(desk.store.within(desk.host))))


# The network


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
def test_commit_whose_connection_is_cut_is_done_once_when_repeated(desk: Desk, before: bool) -> None:
    """The socket is cut before the commit reaches the server, or after the commit and before its result."""
    with proxy(desk.url) as cable, PostgresStore(cable.url) as store:
        cable.cut(b"order_fsm_commit", before=before)
        error = failed(partial(desk.pay, store))
        assert cable.cuts == 1
        assert len(desk.store.load("1001").payments) == (0 if before else 1)
        desk.check_repeated(error, (0, 1))
        assert len(Orders(store).history("1001")) == 2


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
@pytest.mark.parametrize("statement", ["BEGIN", "order_fsm_prepare"])
def test_request_whose_connection_is_cut_before_its_commit_succeeds(desk: Desk, statement: str, before: bool) -> None:
    """Nothing is written yet, so the store retries on another connection."""
    with proxy(desk.url) as cable, PostgresStore(cable.url) as store:
        assert Orders(store).stock("TEAPOT") is not None
        cable.cut(statement.encode(), before=before)
        store.set_stock("TEAPOT", 9)
        desk.pay(store)
        assert cable.cuts == 1
    desk.check_payments(1)


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
def test_page_of_an_audit_whose_connection_is_cut_is_read_again(desk: Desk, before: bool) -> None:
    """Each page is one statement without a transaction."""
    with proxy(desk.url) as cable, PostgresStore(cable.url) as store:
        cable.cut(b"SELECT id FROM order_fsm_order WHERE id >", before=before)
        assert list(store.order_ids()) == ["1001"]
        assert cable.cuts == 1


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
def test_erasure_whose_commit_is_cut_is_done_or_not(desk: Desk, before: bool) -> None:
    """An erasure is several statements. It is done whole or not at all, and can be repeated."""
    with proxy(desk.url) as cable, PostgresStore(cable.url) as store:
        change = erasure(store.load("1001"))
        cable.cut(b"COMMIT\0", before=before)
        error = failed(lambda: store.commit(change))
        assert isinstance(error, StoreUnavailable)
        assert_impersonal(error)
        assert (desk.store.load("1001").customer is None) is not before
        Orders(store).erase_order("1001")
    assert desk.store.load("1001").customer is None
    assert desk.store.faults() == []


def test_host_whose_connection_is_cut_loses_its_transaction(desk: Desk) -> None:
    """The result of the joined store's commit is lost. The server rolls the host's transaction back."""
    with proxy(desk.url) as cable, psycopg.connect(cable.url) as host:
        desk.host = host
        cable.cut(b"order_fsm_commit", before=False)
        desk.check_lost(failed(desk.pay_in_the_hosts_transaction))


def test_host_in_autocommit_whose_connection_is_cut_repeats_the_request(desk: Desk) -> None:
    """The host has no open transaction, so the outcome of the payment is unknown."""
    with proxy(desk.url) as cable, psycopg.connect(cable.url, autocommit=True) as host:
        cable.cut(b"order_fsm_commit", before=False)
        error = failed(partial(desk.pay, desk.store.within(host)))
        desk.check_repeated(error, (1,))
