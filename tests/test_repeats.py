"""A repeated request is one change: keys, payment references and their conflicts."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import KeyReused, Line, Orders, Receipt, Refused, Rule, shop_workflow
from order_fsm_adapters.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import Shop


def test_a_redelivery_returns_the_first_receipt(shop: Shop) -> None:
    """It has the order of that time, even after later changes. Nothing changes."""
    shop.create()
    first = shop.orders.fire("1001", "pay", amount="10", reference="ch_1", key="evt_1")
    shop.orders.fire("1001", "pay", amount="3", reference="ch_2")
    shop.orders.fire("1001", "cancel")
    before = shop.dump()
    again = shop.orders.fire("1001", "pay", amount="10.00", reference="ch_1", key="evt_1")
    assert again == Receipt(first.order, first.entries, duplicate=True)
    assert shop.dump() == before


def test_every_operation_is_done_once_under_its_key(shop: Shop) -> None:
    shop.create()
    calls: list[Callable[[], Receipt]] = [
        lambda: shop.orders.fire("1001", "place", key="k1"),
        lambda: shop.orders.comment("1001", "snow", key="k2", visible=True, notify=True),
        lambda: shop.orders.save("1001", {"sent", "paid", "invoiced"}, version=3, key="k3", notify=True),
    ]
    firsts = [call() for call in calls]
    shop.orders.fire("1001", "dispatch")
    before = shop.dump()
    for call, first in zip(calls, firsts, strict=True):
        assert call() == Receipt(first.order, first.entries, duplicate=True)
    assert shop.dump() == before


@pytest.mark.parametrize(
    "other",
    [
        lambda orders: orders.fire("1001", "pay", amount="9.99", reference="ch_1", key="k"),
        lambda orders: orders.fire("1001", "pay", amount="10", reference="ch_2", key="k"),
        lambda orders: orders.fire("1001", "pay", amount="10", currency="EUR", reference="ch_1", key="k"),
        lambda orders: orders.fire("1001", "refund", amount="10", reference="ch_1", key="k"),
        lambda orders: orders.fire("1001", "dispatch", key="k"),
        lambda orders: orders.fire("1002", "pay", amount="10", reference="ch_1", key="k"),
        lambda orders: orders.comment("1001", "hello", key="k"),
        lambda orders: orders.save("1001", {"sent"}, version=2, key="k"),
        lambda orders: orders.create("1001", total=10, currency="GBP", key="k"),
        lambda orders: orders.create("1003", total=10, currency="GBP", key="k"),
    ],
)
def test_a_key_belongs_to_one_request(shop: Shop, other: Callable[[Orders], object]) -> None:
    """Another amount, reference, currency, trigger, operation or order under it is refused and changes nothing."""
    shop.create()
    shop.create("1002")
    shop.orders.fire("1001", "pay", amount="10", reference="ch_1", key="k")
    before = shop.dump()
    with pytest.raises(KeyReused, match="'k'"):
        other(shop.orders)
    assert shop.dump() == before


def test_one_payment_under_two_event_ids_counts_once(shop: Shop) -> None:
    """Automattic/woocommerce-payments#3345: webhook and redirect arrive with the same reference."""
    shop.create()
    first = shop.orders.fire("1001", "pay", amount="10", reference="ch_1", key="evt_1", by="webhook")
    before = shop.dump()
    for key in ("evt_2", None, "evt_2"):
        again = shop.orders.fire("1001", "pay", amount="10.0", reference="ch_1", key=key, by="redirect", notify=True)
        assert again == Receipt(first.order, first.entries, duplicate=True)
    assert shop.orders.fire("1001", "pay", reference="ch_1").duplicate
    assert shop.dump() == before


@pytest.mark.parametrize("other", [{"amount": "9"}, {"amount": "10", "currency": "EUR"}])
def test_one_payment_has_one_amount(shop: Shop, other: dict[str, Any]) -> None:
    """The same reference with another amount or currency is a conflict, not a duplicate."""
    shop.create()
    shop.orders.fire("1001", "pay", amount="10", reference="ch_1", key="evt_1")
    before = shop.dump()
    with pytest.raises(KeyReused, match="ch_1"):
        shop.orders.fire("1001", "pay", reference="ch_1", key="evt_2", **other)
    assert shop.dump() == before


def test_the_comment_is_part_of_the_request_under_a_key(shop: Shop) -> None:
    """The same boxes with another comment are a different form."""
    shop.create()
    shop.orders.comment("1001", "one", key="k1")
    shop.orders.save("1001", {"sent"}, version=2, comment="one", key="k2")
    before = shop.dump()
    with pytest.raises(KeyReused, match="k1"):
        shop.orders.comment("1001", "two", key="k1")
    with pytest.raises(KeyReused, match="k2"):
        shop.orders.save("1001", {"sent"}, version=2, comment="two", key="k2")
    with pytest.raises(KeyReused, match="k2"):
        shop.orders.save("1001", {"sent", "paid"}, version=2, comment="one", key="k2")
    assert shop.dump() == before


def test_refund_and_payment_may_share_an_id(shop: Shop) -> None:
    """A refund under an id does not make a payment under the same id a duplicate."""
    shop.create()
    shop.orders.fire("1001", "pay", amount="4", reference="ch_1", transaction_id="t_1")
    shop.orders.fire("1001", "refund", amount="4", reference="ch_1", transaction_id="t_2")
    again = shop.orders.fire("1001", "pay", amount="4", reference="ch_1", transaction_id="t_2")
    assert (again.duplicate, again.order.captured, again.order.held) == (False, Decimal(8), Decimal(4))


def test_refund_beyond_its_payment_is_refused(shop: Shop) -> None:
    """Manual money cannot be refunded under the reference of a gateway."""
    shop.create()
    shop.orders.fire("1001", "pay", amount="4")
    before = shop.dump()
    with pytest.raises(Refused, match="beyond_bound"):
        shop.orders.fire("1001", "refund", amount="4", reference="ch_1")
    assert shop.dump() == before


def test_a_late_redelivery_of_a_reversed_payment_is_a_duplicate(shop: Shop) -> None:
    """The redelivery, under another key, returns the first receipt."""
    shop.create()
    first = shop.orders.fire("1001", "pay", reference="ch_1", key="evt_1")
    shop.orders.fire("1001", "unpay", comment="charged back", reference="ch_1", key="evt_2")
    again = shop.orders.fire("1001", "pay", reference="ch_1", key="evt_3")
    assert (again.duplicate, again.order) == (True, first.order)
    assert "paid" not in shop.orders.get("1001").statuses


def test_order_cancelled_twice_queues_one_message(shop: Shop) -> None:
    """mollie/Shopware6#286: the second is refused, or under its key the first receipt; one message either way."""
    shop.bring("sent")
    shop.orders.fire("1001", "cancel", notify=True, key="k1")
    assert shop.orders.fire("1001", "cancel", notify=True, key="k1").duplicate
    with pytest.raises(Refused, match="forbids_cancelled"):
        shop.orders.fire("1001", "cancel", notify=True)
    assert shop.topics() == ["order.placed", "order.updated"]


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (Decimal("1.0"), "1"),
        ("1", Decimal("1")),
        ("1", 1),
        (1, True),
        (Decimal("1"), 1),
        (None, "None"),
    ],
)
@pytest.mark.parametrize("ledger", [None, "refunded"])
def test_similar_facts_of_a_shop_are_different_content(first: Any, other: Any, ledger: Any) -> None:
    """A number and its text under one key differ. Two spellings of the same number are equal."""
    weigh = Rule("weigh", facts={"amount", "weight"} if ledger is None else {"weight"}, ledger=ledger)
    orders = Orders(MemoryStore(), workflow=shop_workflow().extend(rules=[weigh]))
    orders.create("1001", total="10", currency="GBP")
    name = "amount" if ledger is None else "weight"
    facts: dict[str, Any] = {name: first}
    orders.fire("1001", "weigh", key="k", **facts)
    others: dict[str, Any] = {name: other}
    with pytest.raises(KeyReused, match="k"):
        orders.fire("1001", "weigh", key="k", **others)
    again: dict[str, Any] = {name: Decimal("1.00")} if isinstance(first, Decimal) else facts
    assert orders.fire("1001", "weigh", key="k", **again).duplicate


def test_request_fingerprints_are_stable_over_releases(shop: Shop) -> None:
    """A store of years ago must still match its keys."""
    lines = [Line("TEAPOT", 2), Line("CUP", 1)]
    shop.orders.create(
        "1001",
        total="10.00",
        currency="GBP",
        lines=lines,
        customer="ann",
        email="ann@example.com",
        data={"a": 1},
        key="b",
    )
    created = shop.record("b")
    assert created is not None
    assert created.request_fingerprint == "a0475de6e55650acddb12240c27e4a9a4a564bb0f40f132f1c592f9996295a97"
    shop.orders.fire("1001", "pay", amount="10.00", currency="GBP", reference="ch_é", key="k")
    record = shop.record("k")
    assert record is not None
    assert record.request_fingerprint == "095f738d259a4019249aa99b83f0b53d0b04799b5e670a69e7aa55676dc2be5a"
