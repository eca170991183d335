"""A shop on PostgreSQL whose calls fail, with checks of its state after each failure."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest

from order_fsm import (
    Line,
    OrderFsmError,
    Orders,
    StoreUnavailable,
    TransactionLost,
)
from order_fsm.testing.store_contract.expected import consistent
from order_fsm_adapters.postgresql import PostgresStore

from .backends import Backends, backends
from .servers import PostgresServer

CUSTOMER, EMAIL, COMMENT = "Ann Smith", "ann.smith@example.com", "leave it at the back door"
HOLD = "SELECT FROM order_fsm_order WHERE id = %s FOR UPDATE"
COMMITTING = "%order_fsm_commit%"
PREPARING = "%order_fsm_prepare%"


class Desk:
    """A shop with an order, its own table, and a second connection to check both."""

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
        """Return the URL with server settings for its connections."""
        return self._server.address(self._name, **settings)

    def connection(self) -> psycopg.Connection[Any]:
        """Open a connection of the shop."""
        connection = psycopg.connect(self.url)
        self._stack.callback(connection.close)
        return connection

    def pay(self, store: PostgresStore | None = None, order_id: str = "1001") -> None:
        """Record a payment, always under the same key."""
        store = self.store if store is None else store
        Orders(store).fire(order_id, "pay", amount="10", comment=COMMENT, key=f"pay {order_id}")

    def pay_in_the_hosts_transaction(self) -> None:
        """Record the payment together with a row of the shop. Leave the shop's transaction open."""
        self.host.execute("INSERT INTO parcel VALUES ('1')")
        self.pay(self.store.within(self.host))

    def check_payments(self, number: int, order_id: str = "1001") -> None:
        """Check the number of an order's payments, and the entries and messages that belong to them."""
        with PostgresStore(self.url) as store:
            entries = [entry.trigger for entry in consistent(store, order_id)]
            assert entries == ["create"] + ["pay"] * number
            assert len(store.load(order_id).payments) == number
            assert sum(message.topic == "payment.received" for message in store.messages()) <= number
            assert store.faults() == []

    def check_parcels(self, number: int) -> None:
        """Check the number of rows in the shop's table."""
        assert len(self.backends.connection.execute("SELECT FROM parcel").fetchall()) == number

    def check_lost(self, error: OrderFsmError) -> None:
        """Check that the whole host transaction is lost and can be restarted."""
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
        """Check that a request repeated after an error is done once."""
        assert isinstance(error, StoreUnavailable)
        assert_impersonal(error)
        assert len(self.store.load("1001").payments) in written
        self.pay()
        self.check_payments(1)


def assert_impersonal(error: BaseException) -> None:
    """Check that an error and its traceback quote no value of the customer."""
    text = "".join(traceback.format_exception(error))
    assert not [value for value in (CUSTOMER, EMAIL, COMMENT) if value in text]


def failed(work: Callable[[], object]) -> OrderFsmError:
    with pytest.raises(OrderFsmError) as caught:
        work()
    return caught.value
