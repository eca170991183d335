"""A created order has the given values, and each id and key creates one order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import KeyReused, Line, Order, OrderExists

from .stores import interrupted

if TYPE_CHECKING:
    from tests.conftest import Shop


def test_an_order_begins_unfinished(shop: Shop) -> None:
    """It has one entry, all given values and no money."""
    order = shop.orders.create(
        "1001",
        total="49.90",
        currency="GBP",
        lines=[Line("TEAPOT", 2), Line("CUP", 1), Line("TEAPOT", 1)],
        customer="ann",
        email="ann@example.com",
        data={"gift": True, "tags": ["x"]},
        by="web",
    )
    assert (order.id, order.state, order.statuses, order.version) == ("1001", "unfinished", frozenset(), 1)
    assert (str(order.total), order.currency, order.customer, order.email) == (
        "49.90",
        "GBP",
        "ann",
        "ann@example.com",
    )
    assert order.lines == (Line("TEAPOT", 2), Line("CUP", 1), Line("TEAPOT", 1))
    assert order.quantities == {"TEAPOT": 3, "CUP": 1}
    assert order.data == {"gift": True, "tags": ["x"]}
    assert order.created_at == order.updated_at == shop.clock.now
    (entry,) = shop.orders.history("1001")
    assert (entry.version, entry.trigger, entry.before, entry.after) == (1, "create", frozenset(), frozenset())
    assert (entry.by, entry.at, entry.visible) == ("web", shop.clock.now, False)
    assert shop.orders.get("1001") == order
    assert shop.topics() == []


def test_an_order_may_have_no_lines_and_no_customer(shop: Shop) -> None:
    order = shop.orders.create("1001", total=0, currency="JPY")
    assert (order.lines, order.customer, order.email, order.data) == ((), None, None, {})


def test_an_id_is_taken_once(shop: Shop) -> None:
    shop.create()
    before = shop.dump()
    with pytest.raises(OrderExists, match="1001"):
        shop.create()
    assert shop.dump() == before


def test_repeated_creation_under_a_key_returns_the_first(shop: Shop) -> None:
    """After later changes too, the receipt has the order as created."""
    first = shop.orders.create("1001", total="10.0", currency="GBP", lines=[Line("CUP", 1)], key="basket-1")
    shop.orders.fire("1001", "pay")
    before = shop.dump()
    again = shop.orders.create("1001", total="10.00", currency="GBP", lines=[Line("CUP", 1)], key="basket-1")
    assert again == first
    assert shop.dump() == before


@pytest.mark.parametrize(
    "other",
    [
        {"order_id": "1002"},
        {"total": "10.01"},
        {"currency": "EUR"},
        {"lines": [Line("CUP", 2)]},
        {"lines": []},
        {"customer": "bob"},
        {"email": "bob@example.com"},
        {"data": {"gift": True}},
    ],
    ids=str,
)
def test_a_key_of_another_creation_is_refused(shop: Shop, other: dict[str, Any]) -> None:
    call: dict[str, Any] = {
        "order_id": "1001",
        "total": "10.00",
        "currency": "GBP",
        "lines": [Line("CUP", 1)],
        "key": "basket-1",
    }
    shop.orders.create(**call)
    before = shop.dump()
    with pytest.raises(KeyReused, match="basket-1"):
        shop.orders.create(**{**call, **other})
    assert shop.dump() == before


def test_the_same_creation_by_another_worker_is_returned(any_shop: Shop) -> None:
    """The other worker commits between this worker's read and its commit. Both get the same order."""
    call: dict[str, Any] = {"total": "10.00", "currency": "GBP", "key": "basket-1"}
    firsts: list[Order] = []

    def quicker() -> None:
        any_shop.clock.pass_by(seconds=1)
        firsts.append(any_shop.orders.create("1001", **call))

    interrupted(any_shop.store).append(quicker)
    assert [any_shop.orders.create("1001", **call)] == firsts
    assert any_shop.orders.get("1001") == firsts[0]


@pytest.mark.parametrize(
    ("order_id", "key", "error"),
    [("1001", None, OrderExists), ("1001", "basket-2", OrderExists), ("1002", "basket-1", KeyReused)],
    ids=["no key", "another key", "another order"],
)
def test_a_different_creation_by_another_worker_is_refused(
    any_shop: Shop, order_id: str, key: str | None, error: type[Exception]
) -> None:
    """It has the same id under another key or no key, or another id under the same key."""
    call: dict[str, Any] = {"total": "10.00", "currency": "GBP"}
    interrupted(any_shop.store).append(lambda: any_shop.orders.create(order_id, key=key, **call))
    with pytest.raises(error, match=order_id):
        any_shop.orders.create("1001", key="basket-1", **call)


def test_given_and_returned_data_is_independent_of_the_order(shop: Shop) -> None:
    """Changing the given or the returned data changes no order."""
    data = {"tags": ["x"]}
    order = shop.orders.create("1001", total=1, currency="GBP", data=data)
    data["tags"].append("y")
    order.data["tags"].append("z")
    assert shop.orders.get("1001").data == {"tags": ["x"]}
    shop.orders.fire("1001", "pay")
    shop.orders.history("1001")[-1].facts["amount"] = None
    assert shop.orders.history("1001")[-1].facts["amount"] == 1
