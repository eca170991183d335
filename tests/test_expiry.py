"""Unpaid orders expire, unplaced orders are purged, and orders with money are not."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import (
    InvalidInput,
    Order,
    OrderNotFound,
    Orders,
    Receipt,
    Rule,
    Status,
    StockLevel,
    StoreCorrupt,
    StoreUnavailable,
    When,
    Workflow,
    shop_workflow,
)
from order_fsm.validation import COMMENT_LENGTH
from order_fsm_adapters.memory import MemoryStore
from tests.damaged import Damaged
from tests.gateway import Gateway
from tests.stores import interrupted, precede

if TYPE_CHECKING:
    from tests.conftest import Shop

DAY = timedelta(days=1)


def ids(receipts: list[Receipt]) -> list[str]:
    return [receipt.order.id for receipt in receipts]


# Expire


def test_an_unpaid_order_is_cancelled_and_its_stock_returns(any_shop: Shop) -> None:
    any_shop.bring("sent")
    assert any_shop.orders.stock("TEAPOT") == 8
    any_shop.clock.pass_by(days=1)
    (receipt,) = any_shop.orders.expire(DAY)
    assert receipt.order == any_shop.orders.get("1001")
    assert (receipt.order.state, receipt.entries[0].trigger) == ("sent+cancelled", "expire")
    assert any_shop.orders.stock("TEAPOT") == 10
    assert any_shop.orders.expire(DAY) == []


@pytest.mark.parametrize("state", [state for state in Orders(MemoryStore()).workflow.states if state != "sent"])
def test_nothing_else_expires(shop: Shop, state: str) -> None:
    """Orders that are invoiced, paid, dispatched, cancelled or never placed do not expire."""
    shop.bring(state)
    shop.clock.pass_by(days=1000)
    before = shop.dump()
    assert shop.orders.expire(DAY) == []
    assert shop.dump() == before


def test_an_order_for_which_money_was_recorded_does_not_expire(any_shop: Shop) -> None:
    """This holds even after a full refund, because somebody has handled the order."""
    any_shop.create()
    any_shop.orders.fire("1001", "pay", amount="0.01")
    any_shop.clock.pass_by(days=2)
    assert any_shop.orders.expire(DAY) == []
    any_shop.orders.fire("1001", "refund")
    assert any_shop.orders.expire(DAY) == []


def test_order_with_credits_and_no_money_expires_and_is_purged(any_shop: Shop) -> None:
    """An amendment of credits is a row of 0."""
    any_shop.bring("sent", "1001")
    any_shop.create("1002")
    for number in ("1001", "1002"):
        any_shop.orders.amend(number, version=any_shop.orders.get(number).version, credited="4")
    any_shop.clock.pass_by(days=8)
    assert ids(any_shop.orders.expire(7 * DAY)) == ["1001"]
    assert any_shop.orders.purge(7 * DAY) == ["1002"]
    assert any_shop.orders.audit().ok


def test_the_age_counts_from_the_placing(any_shop: Shop) -> None:
    """A basket of a month ago is not cancelled on the day on which it is placed. The bound is exact."""
    any_shop.create()
    any_shop.clock.pass_by(days=30)
    any_shop.orders.fire("1001", "place")
    any_shop.clock.pass_by(days=1, microseconds=-1)
    assert any_shop.orders.expire(DAY) == []
    any_shop.clock.pass_by(microseconds=1)
    assert ids(any_shop.orders.expire(DAY)) == ["1001"]


@pytest.mark.parametrize(
    "undone", [("unplace", "place"), ("cancel", "reinstate"), ("expire", "reinstate"), ("invoice", "uninvoice")]
)
def test_the_age_restarts_after_a_reinstatement(shop: Shop, undone: tuple[str, str]) -> None:
    """Without this an order that is reinstated for a late customer would expire again the next night."""
    shop.bring("sent")
    shop.clock.pass_by(days=30)
    for trigger in undone:
        shop.orders.fire("1001", trigger)
    assert shop.orders.expire(DAY) == []
    shop.orders.comment("1001", "still nothing")
    shop.clock.pass_by(days=1)
    assert ids(shop.orders.expire(DAY)) == ["1001"]


def test_a_payment_before_the_commit_prevents_expiry(any_shop: Shop) -> None:
    """The order was unpaid when it was found. The cancellation is decided again at its commit."""
    before_commit = interrupted(any_shop.store)
    any_shop.bring("sent")
    any_shop.clock.pass_by(days=2)
    before_commit.append(Gateway(any_shop).send)
    assert any_shop.orders.expire(DAY) == []
    assert any_shop.orders.get("1001").state == "sent+invoiced+paid"
    assert any_shop.orders.stock("TEAPOT") == 8
    assert [entry.trigger for entry in any_shop.orders.history("1001")] == ["create", "place", "pay"]


def test_a_payment_after_expiry_is_recorded_and_due_back(any_shop: Shop) -> None:
    any_shop.bring("sent")
    any_shop.clock.pass_by(days=2)
    any_shop.orders.expire(DAY)
    assert Gateway(any_shop).send().outcome == "recorded"
    order = any_shop.orders.get("1001")
    assert (order.state, order.refund_due) == ("sent+cancelled", Decimal(10))
    assert any_shop.orders.stock("TEAPOT") == 10
    assert "refund.due" in any_shop.topics()


@pytest.mark.parametrize("error", [StoreCorrupt("ann@example.com"), StoreUnavailable(), ZeroDivisionError("ann")])
def test_one_bad_order_does_not_stop_the_rest(
    any_shop: Shop, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Any fault of it is logged with its id, without the text of the error."""
    before_commit = interrupted(any_shop.store)
    for order_id in ("1001", "1002", "1003"):
        any_shop.bring("sent", order_id)
    any_shop.clock.pass_by(days=2)

    def fails() -> None:
        raise error

    before_commit.extend([lambda: None, fails, lambda: None])
    assert ids(any_shop.orders.expire(DAY)) == ["1001", "1003"]
    assert any_shop.orders.get("1002").state == "sent"
    (record,) = [one for one in caplog.records if one.name == "order_fsm.orders.expiry"]
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"order '1002' was skipped: {type(error).__name__}"
    assert ids(any_shop.orders.expire(DAY)) == ["1002"]


@pytest.mark.parametrize("act", ["expire", "purge"])
@pytest.mark.parametrize("found", [True, False])
def test_damaged_order_does_not_stop_expiry_and_purge(new_shop: type[Shop], act: str, found: bool) -> None:
    """The store may still find the order or leave it out."""
    store = Damaged("1002", found)
    shop = new_shop(store=store)
    for order_id in ("1001", "1002", "1003"):
        shop.bring("sent" if act == "expire" else "unfinished", order_id)
    shop.clock.pass_by(days=2)
    store.begin()
    assert len(getattr(shop.orders, act)(DAY)) == 2
    with pytest.raises(StoreCorrupt):
        shop.orders.get("1002")


def test_the_limit_counts_expired_orders(any_shop: Shop) -> None:
    """The oldest come first. Orders that may not expire do not count, over several pages."""
    for number in range(60):
        any_shop.create(f"p{number:02d}", lines=())
        any_shop.orders.fire(f"p{number:02d}", "pay", amount="1")
    for number in range(3):
        any_shop.bring("sent", f"{number}")
    any_shop.clock.pass_by(days=2)
    assert ids(any_shop.orders.expire(DAY, limit=2)) == ["0", "1"]
    assert ids(any_shop.orders.expire(DAY, limit=2)) == ["2"]


def test_expiry_is_commented_visible_and_notified_on_request(any_shop: Shop) -> None:
    """F4: by default it is silent."""
    any_shop.bring("sent", "1001")
    any_shop.bring("sent", "1002")
    any_shop.orders.deliver(lambda message: None)
    any_shop.clock.pass_by(days=2)
    (silent,) = any_shop.orders.expire(DAY, limit=1)
    (told,) = any_shop.orders.expire(DAY, comment="Not paid in time.", visible=True, notify=True)
    assert [(one.comment, one.visible, one.notify) for one in silent.entries] == [("", False, False)]
    assert any_shop.orders.progress("1001") == ()
    assert any_shop.orders.progress("1002") == told.entries
    (message,) = any_shop.messages()
    assert (message.topic, message.order_id, message.payload["triggers"]) == ("order.updated", "1002", ["expire"])
    assert any_shop.comment_of(message) == "Not paid in time."


@pytest.mark.parametrize(
    "bad", [{"comment": 1}, {"visible": "yes"}, {"notify": 1}, {"comment": "x" * (COMMENT_LENGTH + 1)}]
)
def test_expiry_checks_its_arguments_before_it_changes_anything(shop: Shop, bad: dict[str, Any]) -> None:
    shop.bring("sent")
    shop.clock.pass_by(days=2)
    with pytest.raises(InvalidInput, match=next(iter(bad))):
        shop.orders.expire(DAY, **bad)
    assert shop.orders.get("1001").state == "sent"


@pytest.mark.parametrize("act", ["expire", "purge"])
@pytest.mark.parametrize("bad", [1, -DAY, None, timedelta(microseconds=-1)])
def test_an_age_is_a_timedelta_and_not_negative(shop: Shop, act: str, bad: Any) -> None:
    with pytest.raises(InvalidInput, match=f"older_than must be a timedelta such as .*{type(bad).__name__}"):
        getattr(shop.orders, act)(bad)


def test_an_age_may_be_zero(any_shop: Shop) -> None:
    """A shop can clean up all older orders at once."""
    any_shop.bring("sent")
    any_shop.create("1002")
    any_shop.clock.pass_by(seconds=1)
    assert ids(any_shop.orders.expire(timedelta(0))) == ["1001"]
    assert any_shop.orders.purge(timedelta(0)) == ["1002"]


def test_a_hundred_expire_by_default(shop: Shop) -> None:
    for number in range(101):
        shop.create(f"placed {number:03d}", lines=())
        shop.orders.fire(f"placed {number:03d}", "place")
        shop.create(f"unfinished {number:03d}", lines=())
    shop.clock.pass_by(days=1)
    assert [len(shop.orders.expire(DAY)) for _ in range(2)] == [100, 1]
    assert [len(shop.orders.purge(DAY)) for _ in range(2)] == [100, 1]


def test_expiry_without_the_rule_raises(new_shop: type[Shop]) -> None:
    placed = When(has={"sent"})
    workflow = Workflow(
        [Status("sent")], [Rule("place", forbids={"sent"}, adds={"sent"})], holds_stock=placed, counts=placed, queues={}
    )
    with pytest.raises(InvalidInput, match="'expire'"):
        new_shop(workflow).orders.expire(DAY)


# Purge


def test_purge_continues_after_an_order_that_changed_since(any_shop: Shop) -> None:
    any_shop.create("1001")
    any_shop.create("1002")
    any_shop.clock.pass_by(days=1)
    any_shop.orders.comment("1001", "The customer rang.")
    any_shop.clock.pass_by(hours=1)
    assert any_shop.orders.purge(DAY) == ["1002"]


def test_an_unplaced_order_is_purged_whole(any_shop: Shop) -> None:
    """K9: no other order is purged at any age."""
    any_shop.create("0999", customer="bob")
    any_shop.orders.comment("0999", "nobody?", key="k1", notify=True)
    any_shop.bring("sent")
    any_shop.clock.pass_by(days=1)
    assert any_shop.orders.purge(DAY) == ["0999"]
    with pytest.raises(OrderNotFound):
        any_shop.orders.get("0999")
    with pytest.raises(OrderNotFound):
        any_shop.orders.history("0999")
    assert [order.id for order in any_shop.all()] == ["1001"]
    assert any_shop.orders.find(customer="bob") == []
    assert any_shop.orders.counts()["unfinished"] == 0
    assert any_shop.record("k1") is None
    assert [message.order_id for message in any_shop.messages()] == ["1001"]
    assert any_shop.orders.purge(DAY) == []


def test_the_id_of_a_removed_order_can_be_used_again(any_shop: Shop) -> None:
    """So can its keys. The new order has nothing of the old one."""
    orders = any_shop.orders
    orders.create("1001", total=1, currency="GBP", key="basket")
    orders.comment("1001", "old", key="k1", notify=True)
    any_shop.clock.pass_by(days=1)
    assert orders.purge(DAY) == ["1001"]
    orders.create("1001", total=2, currency="EUR", key="basket")
    orders.comment("1001", "new", key="k1", notify=True)
    assert [entry.comment for entry in orders.history("1001")] == ["", "new"]
    assert [message.version for message in any_shop.messages()] == [2]


@pytest.mark.parametrize("state", [one for one in Orders(MemoryStore()).workflow.states if one != "unfinished"])
def test_an_order_with_a_box_is_never_purged(shop: Shop, state: str) -> None:
    """K9: orders with money, invoice or dispatch and cancelled orders stay."""
    shop.bring(state)
    shop.clock.pass_by(days=1000)
    before = shop.dump()
    assert shop.orders.purge(DAY) == []
    assert shop.dump() == before


def test_order_that_holds_stock_is_never_removed(any_shop: Shop) -> None:
    """It took its pieces by a migration to a table in which unfinished orders hold stock."""
    table = shop_workflow().extend(holds_stock=When(lacks={"cancelled"}))
    orders = Orders(any_shop.store, workflow=table, clock=any_shop.clock)
    any_shop.create()
    orders.migrate({"unfinished": "unfinished"}, comment="baskets hold stock")
    any_shop.clock.pass_by(days=1000)
    assert orders.purge(DAY) == []
    assert orders.stock_level("TEAPOT") == StockLevel(8, held=2)
    any_shop.orders.migrate({"unfinished": "unfinished"}, comment="they do not")
    any_shop.clock.pass_by(days=1000)
    assert orders.purge(DAY) == ["1001"]
    assert orders.stock_level("TEAPOT") == StockLevel(10)
    assert orders.audit().ok


@pytest.mark.parametrize("undone", [("place", "unplace"), ("cancel", "reinstate")])
def test_an_order_that_once_had_a_box_is_never_purged(any_shop: Shop, undone: tuple[str, str]) -> None:
    """It is unfinished again, and its history has facts."""
    any_shop.create()
    for trigger in undone:
        any_shop.orders.fire("1001", trigger)
    assert any_shop.orders.get("1001").state == "unfinished"
    any_shop.clock.pass_by(days=1000)
    assert any_shop.orders.purge(DAY) == []


def test_a_recently_changed_basket_is_not_purged(any_shop: Shop) -> None:
    """The age counts from the last change. The bound is exact."""
    any_shop.create()
    any_shop.clock.pass_by(days=30)
    any_shop.orders.comment("1001", "please keep it")
    any_shop.clock.pass_by(days=1, microseconds=-1)
    assert any_shop.orders.purge(DAY) == []
    any_shop.clock.pass_by(microseconds=1)
    assert any_shop.orders.purge(DAY) == ["1001"]


def test_a_payment_before_the_removal_prevents_it(any_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The conflict is not logged as a fault."""
    any_shop.create()
    any_shop.clock.pass_by(days=2)
    precede(any_shop.store, "remove", lambda order: Gateway(any_shop).send())
    assert any_shop.orders.purge(DAY) == []
    assert caplog.records == []
    assert any_shop.orders.get("1001").state == "sent+invoiced+paid"


def test_two_purges_at_once_do_not_stop_each_other(any_shop: Shop) -> None:
    """The other purge removes all orders of the current page of this one."""
    for number in range(60):
        any_shop.create(f"{number:02d}")
    any_shop.clock.pass_by(days=2)
    others: list[str] = []

    def quicker(_: Order) -> None:
        if not others:
            others.append("at work")
            others.extend(any_shop.orders.purge(DAY, limit=50))

    precede(any_shop.store, "remove", quicker)
    assert any_shop.orders.purge(DAY) == [f"{number:02d}" for number in range(50, 60)]
    assert others[1:] == [f"{number:02d}" for number in range(50)]
    assert any_shop.all() == []


def test_the_limit_counts_purged_orders(any_shop: Shop) -> None:
    """The purge reads several pages with other orders in between."""
    for number in range(70):
        any_shop.create(f"{number:02d}", lines=())
        if number % 7 == 0:
            any_shop.orders.fire(f"{number:02d}", "place")
    any_shop.clock.pass_by(days=2)
    assert len(any_shop.orders.purge(DAY, limit=5)) == 5
    assert len(any_shop.orders.purge(DAY)) == 55
    assert len(any_shop.all()) == 10


# Ages, and orders that change


def test_longest_age_is_older_than_every_order(any_shop: Shop) -> None:
    any_shop.bring("sent")
    any_shop.create("1002")
    any_shop.clock.pass_by(days=1000)
    assert any_shop.orders.expire(timedelta.max) == []
    assert any_shop.orders.purge(timedelta.max) == []
    assert len(any_shop.all()) == 2


def test_order_placed_again_before_its_cancellation_stays(any_shop: Shop) -> None:
    """It was due when it was found. Then the customer unplaced it and placed it again."""
    any_shop.bring("sent")
    any_shop.clock.pass_by(days=2)
    before_commit = interrupted(any_shop.store)

    def again() -> None:
        any_shop.orders.fire("1001", "unplace")
        any_shop.orders.fire("1001", "place")

    before_commit.append(again)
    assert any_shop.orders.expire(DAY) == []
    assert any_shop.orders.get("1001").state == "sent"
    assert [entry.trigger for entry in any_shop.orders.history("1001")] == ["create", "place", "unplace", "place"]
    assert any_shop.orders.expire(DAY) == []
    any_shop.clock.pass_by(days=1)
    assert ids(any_shop.orders.expire(DAY)) == ["1001"]


def test_order_placed_again_while_it_is_found_stays(any_shop: Shop) -> None:
    """The placing comes between the read of the page and the read of the history."""
    any_shop.bring("sent")
    any_shop.clock.pass_by(days=2)
    acts = ["unplace", "place"]

    def again(_: str) -> None:
        while acts:
            any_shop.orders.fire("1001", acts.pop(0))

    precede(any_shop.store, "history", again)
    assert any_shop.orders.expire(DAY) == []
    assert any_shop.orders.get("1001").state == "sent"


def test_orders_of_every_rule_expire(new_shop: type[Shop]) -> None:
    workflow = shop_workflow().extend(
        statuses=[Status("on_hold", tick="hold")],
        rules=[
            Rule("hold", needs={"sent"}, forbids={"on_hold", "paid", "cancelled"}, adds={"on_hold"}),
            Rule("expire", needs_any={"on_hold"}, forbids={"paid", "cancelled"}, adds={"cancelled"}),
        ],
        forbids={"expire": {"on_hold"}},
    )
    shop = new_shop(workflow)
    for order_id in ("1001", "1002"):
        shop.bring("sent", order_id)
    shop.orders.fire("1002", "hold")
    shop.clock.pass_by(days=2)
    assert ids(shop.orders.expire(DAY)) == ["1001", "1002"]
