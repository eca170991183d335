"""The tests that the shop wrote for its parcels: each rule does what it says. All pass, before and after the mending."""

from collections.abc import Callable

import pytest

from order_fsm import Orders, Refused, Workflow
from order_fsm_adapters.memory import MemoryStore
from rules import mended, with_parcels


@pytest.fixture(params=[with_parcels, mended])
def orders(request: pytest.FixtureRequest) -> Orders:
    rules: Callable[[], Workflow] = request.param
    orders = Orders(MemoryStore(), workflow=rules())
    orders.create("1001", total="49.90", currency="GBP")
    return orders


def test_a_parcel_is_packed_scanned_and_so_dispatched(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "pack")
    assert "dispatched" in orders.fire("1001", "scan").order.statuses


def test_a_parcel_is_packed_only_when_it_is_paid(orders: Orders) -> None:
    orders.fire("1001", "place")
    with pytest.raises(Refused):
        orders.fire("1001", "pack")


def test_a_cancelled_order_is_not_packed(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "cancel")
    with pytest.raises(Refused):
        orders.fire("1001", "pack")


def test_a_cancelled_order_is_not_dispatched(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "cancel")
    with pytest.raises(Refused):
        orders.fire("1001", "dispatch")


def test_what_is_scanned_is_not_cancelled(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "pack")
    orders.fire("1001", "scan")
    with pytest.raises(Refused):
        orders.fire("1001", "cancel")
