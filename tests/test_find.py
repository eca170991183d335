"""Find orders by boxes, customer and queue, in pages, and their totals."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from order_fsm import InvalidInput, Line, Order
from tests.damaged import Damaged

if TYPE_CHECKING:
    from tests.conftest import Shop


def ids(orders: list[Order]) -> list[str]:
    return [order.id for order in orders]


@pytest.fixture
def full(shop: Shop) -> Shop:
    """Create an order in each state, named after it, one per minute, over 1, 2, 4 and so on, by two customers."""
    shop.orders.set_stock("TEAPOT", 1000)
    for number, state in enumerate(shop.orders.workflow.states):
        shop.bring(state, order_id=state, total=str(2**number))
        shop.clock.pass_by(minutes=1)
    return shop


def test_orders_are_found_by_ticked_and_unticked_boxes(full: Shop) -> None:
    """Any boxes can be given. The oldest orders come first."""
    states = full.orders.workflow.states
    for has, lacks in [
        (set(), set()),
        ({"paid"}, {"dispatched"}),
        ({"sent", "paid"}, set()),
        (set(), {"sent"}),
        ({"cancelled"}, {"cancelled"}),
        ({"cancelled", "dispatched"}, set()),
    ]:
        wanted = [
            state
            for state in states
            if has <= set(state.split("+")) and not lacks & set(state.split("+"))
        ]  # fmt: skip
        assert ids(full.orders.find(has=has, lacks=lacks)) == wanted


def test_any_iterable_of_statuses_is_accepted(full: Shop) -> None:
    assert full.orders.find(has=["paid"]) == full.orders.find(has=iter(("paid", "paid"))) != []


def test_orders_are_found_by_customer(shop: Shop) -> None:
    shop.create("1", customer="ann")
    shop.create("2", customer="bob")
    shop.create("3", customer=None)
    shop.bring("sent", "4")
    assert ids(shop.orders.find(customer="ann")) == ["1", "4"]
    assert ids(shop.orders.find(customer="ann", has={"sent"})) == ["4"]
    assert ids(shop.orders.find(customer="Ann")) == []
    assert ids(shop.orders.find()) == ["1", "2", "3", "4"]


def test_pages_follow_each_other(shop: Shop) -> None:
    """A page starts after an id. Orders of one moment are sorted by id."""
    for number in (5, 3, 1, 4, 2):
        shop.create(f"{number}", customer="ann")
    shop.clock.pass_by(seconds=1)
    shop.create("0", customer="ann")
    pages = []
    after = None
    while page := shop.orders.find(after=after, limit=2, customer="ann"):
        pages.append(ids(page))
        after = page[-1].id
    assert pages == [["1", "2"], ["3", "4"], ["5", "0"]]
    assert ids(shop.orders.find(after="3", limit=2)) == ["4", "5"]


def test_a_page_continues_after_an_order_that_left(shop: Shop) -> None:
    """The last order of a page may be in another queue now."""
    for number in range(4):
        shop.bring("sent+paid", f"{number}")
    first = shop.orders.queue("to_dispatch", limit=2)
    shop.orders.fire(first[-1].id, "dispatch")
    assert ids(shop.orders.queue("to_dispatch", after=first[-1].id)) == ["2", "3"]


def test_fifty_orders_are_found_by_default(shop: Shop) -> None:
    for number in range(60):
        shop.create(f"{number:02}", lines=())
    assert len(shop.orders.find()) == len(shop.orders.queue("unfinished")) == 50
    assert len(shop.orders.find(limit=1000)) == 60


def test_queues_hold_the_orders_of_their_jobs(full: Shop) -> None:
    """A queue has the orders in its states, the oldest first, and `counts` agrees."""
    workflow = full.orders.workflow
    for name in workflow.queues:
        wanted = [state for state in workflow.states if name in workflow.queues_of(state)]
        assert ids(full.orders.queue(name)) == wanted
        assert full.orders.counts()[name] == len(wanted)
    assert ids(full.orders.queue("debt")) == ["sent+dispatched", "sent+invoiced+dispatched"]


def test_paid_and_not_invoiced_order_is_in_a_queue(full: Shop) -> None:
    """K7: it is in to_invoice and to_dispatch."""
    assert "sent+paid" in ids(full.orders.queue("to_invoice"))
    assert "sent+paid" in ids(full.orders.queue("to_dispatch"))


def test_the_queue_of_refunds_follows_the_ledger(shop: Shop) -> None:
    shop.bring("sent+paid", "1")
    shop.bring("sent+paid+cancelled", "2")
    shop.bring("sent+cancelled", "3")
    shop.bring("sent", "4")
    assert ids(shop.orders.queue("refund_due")) == ["2"]
    shop.orders.fire("1", "pay", amount="1")
    shop.orders.fire("3", "pay", amount="1")
    assert ids(shop.orders.queue("refund_due")) == ["1", "2", "3"]
    assert ids(shop.orders.queue("refund_due", after="1", limit=1)) == ["2"]
    shop.orders.fire("1", "refund", amount="1")
    shop.orders.fire("2", "refund", amount="9.99")
    shop.orders.fire("3", "unpay", comment="x")
    assert ids(shop.orders.queue("refund_due")) == ["2"]
    assert shop.orders.counts()["refund_due"] == 1
    shop.orders.fire("2", "reinstate")
    assert ids(shop.orders.queue("refund_due")) == []


def test_the_queue_of_unmatched_money_follows_the_ledger(shop: Shop) -> None:
    for order_id in ("1", "2", "3"):
        shop.create(order_id)
        shop.orders.fire(order_id, "pay", amount="5", currency="EUR")
    assert ids(shop.orders.queue("unmatched")) == ["1", "2", "3"]
    shop.orders.fire("2", "refund", amount="5", currency="EUR")
    assert ids(shop.orders.queue("unmatched")) == ["1", "3"]
    assert ids(shop.orders.queue("unmatched", after="1", limit=1)) == ["3"]
    assert shop.orders.counts()["unmatched"] == 2
    assert shop.orders.counts()["refund_due"] == 0


def test_counts_name_every_queue(shop: Shop) -> None:
    names = {*shop.orders.workflow.queues, "refund_due", "unmatched", "part_dispatched"}
    assert shop.orders.counts() == dict.fromkeys(names, 0)
    shop.create()
    assert shop.orders.counts() == {**dict.fromkeys(names, 0), "unfinished": 1}


@pytest.mark.parametrize("name", ["nowhere", "", "TO_PAY", "sent"])
def test_an_unknown_queue_raises_with_the_known_ones(shop: Shop, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"unfinished, to_invoice, .*refund_due"):
        shop.orders.queue(name)


def test_totals_count_sent_orders_that_are_not_cancelled(full: Shop) -> None:
    """K6, saleor/saleor#12310: cancelled orders do not count, paid or not."""
    live = [
        2**number
        for number, state in enumerate(full.orders.workflow.states)
        if "sent" in state and "cancelled" not in state
    ]
    assert full.orders.totals() == {"GBP": Decimal(sum(live))}


def test_totals_follow_the_orders(shop: Shop) -> None:
    """`sent` adds an order and `cancelled` removes it, paid or not."""
    shop.create(total="10.10")
    assert shop.orders.totals() == {}
    shop.orders.fire("1001", "pay", amount="99")
    assert shop.orders.totals() == {"GBP": Decimal("10.10")}
    shop.orders.fire("1001", "cancel")
    assert shop.orders.totals() == {}
    shop.orders.fire("1001", "reinstate")
    assert shop.orders.totals() == {"GBP": Decimal("10.10")}


def test_totals_are_by_currency_and_customer(shop: Shop) -> None:
    for order_id, total, currency, customer in [
        ("1", "1.10", "GBP", "ann"),
        ("2", "2.20", "GBP", "bob"),
        ("3", "4.40", "EUR", "ann"),
        ("4", "8.80", "GBP", None),
    ]:
        shop.orders.create(order_id, total=total, currency=currency, customer=customer, lines=[Line("CUP", 1)])
        shop.orders.fire(order_id, "place")
    assert shop.orders.totals() == {"GBP": Decimal("12.10"), "EUR": Decimal("4.40")}
    assert shop.orders.totals("ann") == {"GBP": Decimal("1.10"), "EUR": Decimal("4.40")}
    assert shop.orders.totals(customer="nobody") == {}


def test_damaged_order_stops_no_queue(new_shop: type[Shop]) -> None:
    store = Damaged("1002")
    shop = new_shop(store=store)
    for number in ("1001", "1002", "1003"):
        shop.bring("sent", number)
    store.begin()
    assert [order.id for order in shop.orders.queue("to_pay")] == ["1001", "1003"]
    assert [order.id for order in shop.orders.queue("to_pay", after="1001", limit=1)] == ["1003"]
    assert shop.orders.counts()["to_pay"] == 3
