"""Events end with the same money in any order of arrival.

A gateway repeats an event until its answer is not 503. So do these tests: they deliver parked events again, after all
others, until no event is parked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from order_fsm import Orders
from tests.gateway import Gateway
from tests.stores import opened

if TYPE_CHECKING:
    from tests.conftest import Shop

Arrival = Callable[[Orders, Gateway], int]
"""An arrival at the shop. Returns an HTTP status."""


def event(kind: str, event_id: str, reference: str, amount: str) -> Arrival:
    return lambda orders, gateway: gateway.send(kind, event_id, reference=reference, amount=amount).http_status


def cancel(orders: Orders, _: Gateway) -> int:
    orders.fire("1001", "cancel")
    return 200


HALF_1 = event("captured", "evt_1", "ch_1", "5.00")
HALF_2 = event("captured", "evt_2", "ch_2", "5.00")
FAILED = event("failed", "evt_3", "ch_2", "5.00")
SAME_EVENT = HALF_1
SAME_PAYMENT = event("captured", "evt_1b", "ch_1", "5.00")


def arrivals(again: Arrival, given_back: Arrival) -> list[Arrival]:
    return [HALF_1, HALF_2, FAILED, given_back, cancel, again]


def refund(reference: str) -> Arrival:
    return event("refunded", "evt_4", reference, "5.00")


def deliver(shop: Shop, arriving: Iterable[Arrival]) -> int:
    """Deliver all events, and parked ones again. Return the number of times that an event was parked."""
    shop.create()
    gateway = Gateway(shop)
    waiting, parked = list(arriving), 0
    while waiting:
        refused = [one for one in waiting if one(shop.orders, gateway) == 503]
        assert len(refused) < len(waiting), "a parked event must be recorded in the end"
        waiting, parked = refused, parked + len(refused)
    return parked


def assert_same_end(shop: Shop) -> None:
    """Check that both halves are captured, one is refunded, the other is due back, and each is counted once.

    Paid is ticked if the order was paid when it was cancelled.
    """
    order = shop.orders.get("1001")
    assert (order.captured, order.refunded, order.reversed) == (Decimal(10), Decimal(5), Decimal(0))
    assert (order.outstanding, order.refund_due) == (Decimal(0), Decimal(5))
    assert order.statuses - {"invoiced", "paid"} == {"sent", "cancelled"}
    assert sorted((one.kind, one.reference) for one in order.payments if one.kind == "captured") == [
        ("captured", "ch_1"),
        ("captured", "ch_2"),
    ]
    assert shop.topics().count("order.paid") <= 1
    assert shop.orders.stock("TEAPOT") == 10
    assert shop.orders.totals() == {}
    assert [entry.comment for entry in shop.orders.history("1001")].count("gateway: failed, 5.00 GBP, ch_2") == 1


@pytest.mark.parametrize(
    ("again", "reference"), [(SAME_EVENT, "ch_1"), (SAME_PAYMENT, "ch_2")], ids=["the same event", "the same payment"]
)
def test_every_order_of_arrival_ends_with_the_same_money(new_shop: type[Shop], again: Arrival, reference: str) -> None:
    """All 720 orders of two halves, one of them twice, a failed attempt, a refund and a cancellation."""
    parked = 0
    for arriving in permutations(arrivals(again, refund(reference))):
        shop = new_shop()
        parked += deliver(shop, arriving)
        assert_same_end(shop)
    assert parked > 0, "some refunds came before all money"


def some_orders(seed: int) -> list[Sequence[Arrival]]:
    every = list(permutations(arrivals(SAME_PAYMENT, refund("ch_2"))))
    return Random(seed).sample(every, 40)  # noqa: S311


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_some_orders_of_arrival_end_with_the_same_money_on_disk(
    new_shop: type[Shop], kind: str, tmp_path: Path
) -> None:
    for number, arriving in enumerate(some_orders(seed=2026)):
        place = tmp_path / str(number)
        place.mkdir()
        with opened(kind, place) as store:
            shop = new_shop(store=store)
            deliver(shop, arriving)
            assert_same_end(shop)


def test_paid_follows_the_ledger_in_every_order_of_a_reversal(new_shop: type[Shop]) -> None:
    """All 120 orders of two halves, one of them twice, a failed attempt, and a chargeback of the second half."""
    reversal = event("reversed", "evt_4", "ch_2", "5.00")
    for arriving in permutations([HALF_1, HALF_2, FAILED, reversal, SAME_PAYMENT]):
        shop = new_shop()
        deliver(shop, arriving)
        order = shop.orders.get("1001")
        assert (order.captured, order.reversed, order.outstanding) == (Decimal(10), Decimal(5), Decimal(5))
        assert "paid" not in order.statuses


def test_paid_follows_the_ledger_after_every_arrival(new_shop: type[Shop]) -> None:
    for arriving in some_orders(seed=1):
        shop = new_shop()
        shop.create()
        gateway = Gateway(shop)
        for one in arriving:
            one(shop.orders, gateway)
            order = shop.orders.get("1001")
            assert not order.counted or ("paid" in order.statuses) == (not order.outstanding)
