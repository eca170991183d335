"""PostgresStore on connections that are busy, aborted, closed, or configured by the host."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
import pytest

from order_fsm import (
    InvalidInput,
    OrderFsmError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    TransactionLost,
    VersionConflict,
)
from order_fsm.testing.store_contract.changes import creation, step
from order_fsm_adapters.postgresql import PostgresStore, connections
from order_fsm_adapters.postgresql.errors import store_error

from .backends import holding
from .desk import COMMITTING, CUSTOMER, EMAIL, HOLD, Desk, assert_impersonal, failed


def test_request_without_a_free_connection_times_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's only connection is busy. Nothing is written, and the request succeeds later."""
    with (
        PostgresStore(desk.url, size=1) as store,
        ThreadPoolExecutor() as threads,
        holding(desk.url, HOLD, "1001") as other,
    ):
        busy = threads.submit(store.commit, step(store.load("1001"), key="first"))
        desk.backends.waiting(COMMITTING)
        monkeypatch.setattr(connections, "TIMEOUT", 0.1)
        error = failed(lambda: store.set_stock("CUP", 3))
        assert type(error) is StoreUnavailable
        other.rollback()
        busy.result()
        monkeypatch.undo()
        assert store.stock(["CUP"]) == {}
        store.set_stock("CUP", 3)
        assert store.stock(["CUP"]) == {"CUP": 3}


def test_threads_that_share_one_connection_wait_for_each_other(desk: Desk) -> None:
    """A pool of one connection serves several threads."""
    with PostgresStore(desk.url, size=1) as store, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: store.set_stock(f"{number}", number), range(20)))
        assert store.stock([f"{number}" for number in range(20)]) == {f"{number}": number for number in range(20)}


def test_call_in_an_aborted_host_transaction_raises_transaction_lost(desk: Desk) -> None:
    """A statement of the host has failed. Every call raises until the host rolls back."""
    calls: list[Callable[[PostgresStore], object]] = [
        lambda store: store.load("1001"),
        lambda store: store.set_stock("TEAPOT", 1),
        lambda store: store.commit(step(desk.store.load("1001"))),
        lambda store: store.tally(None),
        desk.pay,
    ]
    for call in calls:
        with suppress(psycopg.Error):
            desk.host.execute("SELECT 1 / 0")
        error = failed(lambda: call(desk.store.within(desk.host)))  # noqa: B023 - called at once
        assert type(error) is TransactionLost
        assert "25P02" in str(error)
        desk.host.rollback()
    desk.pay_in_the_hosts_transaction()
    desk.host.commit()
    desk.check_payments(1)


def test_refusal_leaves_the_transaction_of_the_host_usable(desk: Desk) -> None:
    """The store refuses a change on an old version. The host then commits the row that it inserted before."""
    old = step(desk.store.load("1001"), comment="late")
    desk.orders.comment("1001", "delayed by snow")
    desk.host.execute("INSERT INTO parcel VALUES ('1')")
    with pytest.raises(VersionConflict):
        desk.store.within(desk.host).commit(old)
    desk.host.commit()
    desk.check_parcels(1)


def test_call_on_a_closed_host_connection_raises_transaction_lost(desk: Desk) -> None:
    desk.host.close()
    assert type(failed(lambda: desk.store.within(desk.host).load("1001"))) is TransactionLost


def test_host_connection_in_pipeline_mode_is_refused(desk: Desk) -> None:
    """A pipeline returns no results yet: an order would seem missing, and a change committed."""
    store = desk.store.within(desk.host)
    with desk.host.pipeline():
        for call in (lambda: store.load("1001"), lambda: desk.pay(store), lambda: store.set_stock("NEW", 1)):
            assert type(failed(call)) is InvalidInput
    desk.pay_in_the_hosts_transaction()
    desk.host.commit()
    desk.check_payments(1)


@pytest.mark.parametrize("cursors", [psycopg.RawCursor, psycopg.ClientCursor])
def test_host_connection_may_use_any_cursor_class(desk: Desk, cursors: type[psycopg.Cursor[Any]]) -> None:
    """These cursors use other placeholders."""
    desk.host.cursor_factory = cursors
    desk.pay(desk.store.within(desk.host))
    desk.host.commit()
    desk.check_payments(1)


@pytest.mark.parametrize("joined", [False, True], ids=["by itself", "joined"])
@pytest.mark.parametrize(
    ("sqlstate", "by_itself", "in_a_host"),
    [
        (None, StoreUnavailable, TransactionLost),
        ("08006", StoreUnavailable, TransactionLost),
        ("08007", StoreUnavailable, TransactionLost),
        ("57P01", StoreUnavailable, TransactionLost),
        ("57014", StoreUnavailable, TransactionLost),
        ("40001", StoreUnavailable, TransactionLost),
        ("40P01", StoreUnavailable, TransactionLost),
        ("55P03", StoreUnavailable, TransactionLost),
        ("25P02", StoreUnavailable, TransactionLost),
        ("23505", StoreUnavailable, TransactionLost),
        ("53100", StoreFull, StoreFull),
        ("42501", StoreUnavailable, StoreUnavailable),
        ("23503", StoreUnavailable, StoreUnavailable),
        ("42P01", StoreUnavailable, StoreUnavailable),
        ("23514", StoreCorrupt, StoreCorrupt),
        ("22003", StoreCorrupt, StoreCorrupt),
        ("XX001", StoreCorrupt, StoreCorrupt),
    ],
)
def test_each_sqlstate_maps_to_its_error(
    sqlstate: str | None, by_itself: type[OrderFsmError], in_a_host: type[OrderFsmError], joined: bool
) -> None:
    """Restarting the host's transaction does not help against a full disk, a missing right or a damaged table."""
    assert isinstance(store_error(sqlstate, "it failed", "here", joined=joined), in_a_host if joined else by_itself)


def test_error_of_a_violated_constraint_does_not_quote_the_row(desk: Desk) -> None:
    """PostgreSQL quotes the whole row in the details of such an error."""
    desk.backends.connection.execute("ALTER TABLE order_fsm_order ADD CHECK (id <> '1004')")
    change = creation("1004", customer=CUSTOMER, email=EMAIL)
    for store in (desk.store, desk.store.within(desk.host)):
        error = failed(partial(store.commit, change))
        assert type(error) is StoreCorrupt
        assert_impersonal(error)
