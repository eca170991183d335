"""The store in PostgreSQL when the server, the network or another transaction fails it, by itself and joined.

After a failure by itself the repeated request is done once. A joined one is lost with the host's rows, and the host
restarts its whole transaction.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel

from order_fsm import (
    InvalidInput,
    Line,
    OrderFsmError,
    Orders,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    TransactionLost,
    VersionConflict,
)
from order_fsm.testing.store_contract.changes import creation, step
from order_fsm.testing.store_contract.erasures import erasure
from order_fsm.testing.store_contract.expected import consistent
from order_fsm_adapters.postgresql import PostgresStore, connections
from order_fsm_adapters.postgresql.errors import store_error

from .backends import Backends, backends, holding
from .proxies import proxy
from .servers import PostgresServer

CUSTOMER, EMAIL, COMMENT = "Ann Smith", "ann.smith@example.com", "leave it at the back door"
HOLD = "SELECT FROM order_fsm_order WHERE id = %s FOR UPDATE"
COMMITTING = "%order_fsm_commit%"
PREPARING = "%order_fsm_prepare%"


class Desk:
    """A shop with an order, a table of its own, and a second way to look at both."""

    def __init__(self, server: PostgresServer, name: str, stack: ExitStack) -> None:
        self._server = server
        self._name = name
        self._stack = stack
        self.url = server.address(name)
        self.store = stack.enter_context(PostgresStore(self.url))
        self.orders = Orders(self.store)
        self.orders.set_stock("TEAPOT", 10)
        self.create("1001")
        self.backends: Backends = stack.enter_context(backends(self.url))
        self.backends.connection.execute("CREATE TABLE parcel (id text)")
        self.host = self.connection()

    def create(self, order_id: str) -> None:
        lines = [Line("TEAPOT", 1)]
        self.orders.create(order_id, total="10", currency="GBP", customer=CUSTOMER, email=EMAIL, lines=lines)

    def address(self, **settings: str) -> str:
        """Return the URL, with settings of the server for its connections."""
        return self._server.address(self._name, **settings)

    def connection(self) -> psycopg.Connection[Any]:
        """Open a connection of the shop."""
        connection = psycopg.connect(self.url)
        self._stack.callback(connection.close)
        return connection

    def pay(self, store: PostgresStore | None = None, order_id: str = "1001") -> None:
        """Record a payment. Its key is the same each time."""
        store = self.store if store is None else store
        Orders(store).fire(order_id, "pay", amount="10", comment=COMMENT, key=f"pay {order_id}")

    def pay_in_the_hosts_transaction(self) -> None:
        """Do the same together with a row of the shop. The shop's transaction stays open."""
        self.host.execute("INSERT INTO parcel VALUES ('1')")
        self.pay(self.store.within(self.host))

    def check_payments(self, number: int, order_id: str = "1001") -> None:
        """Check that an order has so many payments, and all that belongs to them."""
        with PostgresStore(self.url) as store:
            entries = [entry.trigger for entry in consistent(store, order_id)]
            assert entries == ["create"] + ["pay"] * number
            assert len(store.load(order_id).payments) == number
            assert sum(message.topic == "payment.received" for message in store.messages()) <= number
            assert store.faults() == []

    def check_parcels(self, number: int) -> None:
        """Check that the shop's table has so many rows."""
        assert len(self.backends.connection.execute("SELECT FROM parcel").fetchall()) == number

    def check_lost(self, error: OrderFsmError) -> None:
        """Check that the host's transaction is lost as a whole, and can be restarted."""
        assert type(error) is TransactionLost
        assert_impersonal(error)
        with suppress(psycopg.Error):
            self.host.rollback()
        self.check_payments(0)
        self.check_parcels(0)
        if self.host.closed:
            self.host = self.connection()
        self.pay_in_the_hosts_transaction()
        self.host.commit()
        self.check_payments(1)
        self.check_parcels(1)

    def check_repeated(self, error: OrderFsmError, written: tuple[int, ...] = (0,)) -> None:
        """Check that a request may be repeated after an error, and is done once then."""
        assert isinstance(error, StoreUnavailable)
        assert_impersonal(error)
        assert len(self.store.load("1001").payments) in written
        self.pay()
        self.check_payments(1)


def assert_impersonal(error: BaseException) -> None:
    """Check that neither the text of an error nor its traceback quotes a value of the customer."""
    text = "".join(traceback.format_exception(error))
    assert not [value for value in (CUSTOMER, EMAIL, COMMENT) if value in text]


@pytest.fixture
def desk(postgresql: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(postgresql, request.node.nodeid, stack)


def failed(work: Callable[[], object]) -> OrderFsmError:
    with pytest.raises(OrderFsmError) as caught:
        work()
    return caught.value


# Server processes that end, statements that are cancelled


ENDINGS = {
    "terminated": Backends.terminate,
    "cancelled": Backends.cancel,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_commit_that_is_ended_while_it_waits_is_not_written(desk: Desk, ending: str) -> None:
    """Another transaction holds the order. The repeated request is done once."""
    with ThreadPoolExecutor() as threads, holding(desk.url, HOLD, "1001") as other:
        payment = threads.submit(failed, desk.pay)
        (pid,) = desk.backends.waiting(COMMITTING)
        ENDINGS[ending](desk.backends, pid)
        error = payment.result()
        other.rollback()
    desk.check_repeated(error)


@pytest.mark.parametrize("ending", ENDINGS)
def test_host_whose_statement_is_ended_loses_its_transaction(desk: Desk, ending: str) -> None:
    """A joined store waits for the order that another transaction holds."""
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
def test_commit_that_is_ended_during_commit_is_done_once_when_repeated(desk: Desk, ending: str) -> None:
    """A deferred trigger waits while the server commits."""
    desk.backends.connection.execute(DEFERRED)
    with ThreadPoolExecutor() as threads, holding(desk.url, CLOSE_GATE) as other:
        payment = threads.submit(failed, desk.pay)
        (pid,) = desk.backends.waiting()
        ENDINGS[ending](desk.backends, pid)
        error = payment.result()
        other.rollback()
    desk.check_repeated(error)


@pytest.mark.parametrize("ending", ENDINGS)
def test_host_whose_commit_is_ended_finds_nothing_written(desk: Desk, ending: str) -> None:
    """The error of the host's COMMIT is its driver's. Neither its row nor the payment is there."""
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


def test_request_after_all_idle_connections_were_ended_succeeds(desk: Desk) -> None:
    """The pool replaces them, as after a restart of the server. The first requests need not be repeated."""
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
    """The server process ends after the host's first row."""
    desk.host.execute("SELECT 1")
    desk.backends.terminate(desk.host.info.backend_pid)
    desk.check_lost(failed(lambda: desk.pay(desk.store.within(desk.host))))


# The network


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
def test_commit_whose_connection_is_cut_is_done_once_when_repeated(desk: Desk, before: bool) -> None:
    """The socket is cut before the server has the commit, or after it is done and before its answer."""
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
    """Nothing is written yet, so the store repeats it on another connection."""
    with proxy(desk.url) as cable, PostgresStore(cable.url) as store:
        assert Orders(store).stock("TEAPOT") is not None
        cable.cut(statement.encode(), before=before)
        store.set_stock("TEAPOT", 9)
        desk.pay(store)
        assert cable.cuts == 1
    desk.check_payments(1)


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
def test_several_statements_whose_commit_is_cut_are_done_or_not(desk: Desk, before: bool) -> None:
    """An erasure is several statements. It is done as a whole or not at all, and may be repeated."""
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
    """The commit of a joined store is done, and its answer is lost. The server rolls the host's transaction back."""
    with proxy(desk.url) as cable, psycopg.connect(cable.url) as host:
        desk.host = host
        cable.cut(b"order_fsm_commit", before=False)
        desk.check_lost(failed(desk.pay_in_the_hosts_transaction))


def test_host_in_autocommit_whose_connection_is_cut_repeats_the_request(desk: Desk) -> None:
    """No transaction of the host is open, so it is unknown whether the payment is written."""
    with proxy(desk.url) as cable, psycopg.connect(cable.url, autocommit=True) as host:
        cable.cut(b"order_fsm_commit", before=False)
        error = failed(partial(desk.pay, desk.store.within(host)))
        desk.check_repeated(error, (1,))


# Locks and timeouts


def test_commit_of_a_batch_that_is_the_victim_of_a_deadlock_is_repeated(desk: Desk) -> None:
    """The batch holds order 1001 and waits for 1003, whose holder waits for 1001."""
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
    """The host has paid one order and waits for a second one, whose holder waits for the first."""
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
    """Let each wait of the functions for a lock end soon."""
    for function in ("prepare", "commit"):
        statement = f"ALTER FUNCTION order_fsm_{function}_1 SET lock_timeout = '50ms'"
        if setting == "lock_timeout":
            desk.backends.connection.execute(statement.encode())


@pytest.mark.parametrize("setting", TIMEOUTS)
def test_commit_that_times_out_is_not_written(desk: Desk, setting: str) -> None:
    """Another transaction holds the order for too long."""
    _time_out(desk, setting)
    settings = {setting: "1s"} if setting == "statement_timeout" else {}
    with PostgresStore(desk.address(**settings)) as store, holding(desk.url, HOLD, "1001"):
        error = failed(partial(desk.pay, store))
    assert TIMEOUTS[setting] in str(error)
    desk.check_repeated(error)


@pytest.mark.parametrize("setting", TIMEOUTS)
def test_host_whose_statement_times_out_loses_its_transaction(desk: Desk, setting: str) -> None:
    """Another transaction holds the order for longer than the host's limit."""
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
    """The store repeats the transactions that the server ends for the sake of others."""
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


# Connections


def test_request_without_a_free_connection_times_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only connection of the pool is busy. Nothing is written, and the request succeeds later."""
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


def test_call_in_an_aborted_transaction_of_the_host_is_lost(desk: Desk) -> None:
    """A statement of the host failed before. Every call raises, and after a rollback all is as usual."""
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
    """A change on an old version is refused after the host inserted a row, which is committed."""
    old = step(desk.store.load("1001"), comment="late")
    desk.orders.comment("1001", "delayed by snow")
    desk.host.execute("INSERT INTO parcel VALUES ('1')")
    with pytest.raises(VersionConflict):
        desk.store.within(desk.host).commit(old)
    desk.host.commit()
    desk.check_parcels(1)


def test_closed_connection_of_the_host_is_lost(desk: Desk) -> None:
    """The host closed its connection before."""
    desk.host.close()
    assert type(failed(lambda: desk.store.within(desk.host).load("1001"))) is TransactionLost


def test_pipeline_of_the_host_is_refused(desk: Desk) -> None:
    """A pipeline has no answers yet: an order would seem to be missing, and a change to be done."""
    store = desk.store.within(desk.host)
    with desk.host.pipeline():
        for call in (lambda: store.load("1001"), lambda: desk.pay(store), lambda: store.set_stock("NEW", 1)):
            assert type(failed(call)) is InvalidInput
    desk.pay_in_the_hosts_transaction()
    desk.host.commit()
    desk.check_payments(1)


@pytest.mark.parametrize("cursors", [psycopg.RawCursor, psycopg.ClientCursor])
def test_cursors_of_the_host_do_not_matter(desk: Desk, cursors: type[psycopg.Cursor[Any]]) -> None:
    """The host's connection has cursors that take other placeholders."""
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
def test_each_code_of_an_error_has_its_type(
    sqlstate: str | None, by_itself: type[OrderFsmError], in_a_host: type[OrderFsmError], joined: bool
) -> None:
    """A restart does not help against a full disk, a missing right or a damaged table, in a host's transaction too."""
    assert isinstance(store_error(sqlstate, "it failed", "here", joined=joined), in_a_host if joined else by_itself)


def test_values_of_a_row_that_a_constraint_refuses_are_not_in_the_error(desk: Desk) -> None:
    """PostgreSQL quotes the whole row in the details of such an error."""
    desk.backends.connection.execute("ALTER TABLE order_fsm_order ADD CHECK (id <> '1004')")
    change = creation("1004", customer=CUSTOMER, email=EMAIL)
    for store in (desk.store, desk.store.within(desk.host)):
        error = failed(partial(store.commit, change))
        assert type(error) is StoreCorrupt
        assert_impersonal(error)
