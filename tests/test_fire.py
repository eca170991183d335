"""Fire triggers, comment and explain: receipts, history, progress and times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import (
    Guard,
    InvalidInput,
    Message,
    Order,
    OrderNotFound,
    Orders,
    Receipt,
    Refused,
    Rule,
    UnknownTrigger,
    shop_workflow,
)
from order_fsm.orders import service

if TYPE_CHECKING:
    from tests.conftest import Shop


# Firing


def test_a_receipt_has_the_order_and_its_new_entries(shop: Shop) -> None:
    shop.create()
    shop.clock.pass_by(minutes=5)
    receipt = shop.orders.fire("1001", "place", by="bob", comment="by phone", key="k1")
    (entry,) = receipt.entries
    assert not receipt.duplicate
    assert receipt.order == shop.orders.get("1001")
    assert shop.orders.history("1001")[1:] == receipt.entries
    assert (receipt.order.state, receipt.order.version) == ("sent", 2)
    assert (receipt.order.created_at, receipt.order.updated_at) == (
        shop.clock.now - timedelta(minutes=5),
        shop.clock.now,
    )
    assert (entry.version, entry.trigger) == (2, "place")
    assert (entry.before, entry.after) == (frozenset(), frozenset({"sent"}))
    assert (entry.by, entry.comment, entry.key, entry.at) == ("bob", "by phone", "k1", shop.clock.now)
    assert (entry.visible, entry.notify, entry.override, entry.facts) == (False, False, False, {})


def test_the_manuals_common_case(shop: Shop) -> None:
    """An online payment ticks the first three boxes. Only dispatch is manual."""
    shop.create(total="49.90")
    shop.orders.fire("1001", "pay", amount="49.90", currency="GBP", reference="ch_1", key="evt_1")
    assert shop.orders.get("1001").statuses == {"sent", "invoiced", "paid"}
    assert [order.id for order in shop.orders.queue("to_dispatch")] == ["1001"]
    shop.orders.fire("1001", "dispatch", by="bob", comment="Royal Mail AB123", visible=True, notify=True)
    assert shop.orders.counts()["complete"] == 1
    assert [(entry.trigger, entry.comment) for entry in shop.orders.progress("1001")] == [
        ("pay", ""),
        ("dispatch", "Royal Mail AB123"),
    ]


def test_a_refusal_changes_nothing_and_lists_every_reason(shop: Shop) -> None:
    shop.create()
    before = shop.dump()
    with pytest.raises(Refused) as refusal:
        shop.orders.fire("1001", "dispatch", comment="x", notify=True, key="k1")
    assert [reason.code for reason in refusal.value.reasons] == ["needs_sent", "not_paid_nor_invoiced"]
    assert (refusal.value.order_id, refusal.value.trigger, refusal.value.state) == ("1001", "dispatch", "unfinished")
    assert shop.dump() == before
    shop.bring("sent+invoiced", "1002")
    assert shop.orders.fire("1002", "dispatch", key="k1").order.state == "sent+invoiced+dispatched"


def test_an_override_is_kept_in_the_history(shop: Shop) -> None:
    shop.bring("sent")
    with pytest.raises(Refused, match="reason_required"):
        shop.orders.fire("1001", "dispatch", override=True)
    entry = shop.orders.fire("1001", "dispatch", override=True, comment="a friend", by="bob").entries[0]
    assert (entry.override, entry.comment, entry.by) == (True, "a friend", "bob")


@pytest.mark.parametrize("trigger", ["cancel", "dispatch"])
def test_a_complete_order_stays_complete(shop: Shop, trigger: str) -> None:
    """shopware/shopware#3730: it cannot be cancelled, even with an override."""
    shop.bring("sent+invoiced+paid+dispatched")
    with pytest.raises(Refused, match="the order is dispatched"):
        shop.orders.fire("1001", trigger, override=True, comment="please")


def test_a_cancelled_order_is_not_fulfilled(shop: Shop) -> None:
    """saleor/saleor#12310: it cannot be invoiced and is not in to_dispatch."""
    shop.bring("sent+paid+cancelled")
    for trigger in ("dispatch", "invoice", "place"):
        with pytest.raises(Refused, match="forbids_cancelled"):
            shop.orders.fire("1001", trigger, override=True, comment="please")
    assert shop.orders.queue("to_dispatch") == []


def test_a_failed_attempt_does_not_hide_the_next_payment(shop: Shop) -> None:
    """lunarphp/lunar#2204: a payment after a refused one counts."""
    shop.create()
    with pytest.raises(Refused, match="nothing_outstanding"):
        shop.orders.fire("1001", "pay", amount="0", reference="ch_1", key="evt_1")
    assert "paid" in shop.orders.fire("1001", "pay", reference="ch_2", key="evt_2").order.statuses


def test_a_payment_after_dispatch_is_recorded(shop: Shop) -> None:
    """vendurehq/vendure#2657: invoices are paid long after dispatch."""
    shop.bring("sent+invoiced+dispatched")
    order = shop.orders.fire("1001", "pay", reference="ch_1", key="evt_1").order
    assert order.state == "sent+invoiced+paid+dispatched"


# Comments and progress


def test_a_comment_changes_no_box(shop: Shop) -> None:
    order = shop.bring("sent+paid")
    receipt = shop.orders.comment("1001", "Delayed by snow ❄", by="bob")
    (entry,) = receipt.entries
    assert (entry.trigger, entry.comment, entry.before, entry.after) == (
        "comment",
        "Delayed by snow ❄",
        order.statuses,
        order.statuses,
    )
    assert receipt.order.version == order.version + 1
    assert receipt.order.payments == order.payments
    assert receipt.order.counted is order.counted


def test_a_comment_is_hidden_from_the_customer_by_default(shop: Shop) -> None:
    """Every kind of comment is hidden unless `visible` is True."""
    shop.create()
    shop.orders.comment("1001", "hidden")
    shop.orders.fire("1001", "place", comment="hidden")
    shop.orders.fire("1001", "pay", reference="ch_1", comment="hidden")
    shop.orders.save("1001", {"sent", "paid", "invoiced", "dispatched"}, version=4, comment="hidden")
    assert shop.orders.progress("1001") == ()
    shop.orders.comment("1001", "seen 1", visible=True)
    shop.orders.fire("1001", "undispatch", comment="seen 2", visible=True)
    shop.orders.save("1001", {"sent", "paid"}, version=7, comment="seen 3", visible=True)
    assert [entry.comment for entry in shop.orders.progress("1001")] == ["seen 1", "seen 2", "seen 3"]


def test_the_history_is_append_only(shop: Shop) -> None:
    """K5: nothing overwrites the progress text. Each change starts from the old history."""
    shop.create()
    seen: tuple[Any, ...] = ()
    steps: list[Callable[[], Receipt]] = [
        lambda: shop.orders.comment("1001", "one", visible=True),
        lambda: shop.orders.fire("1001", "cancel"),
        lambda: shop.orders.fire("1001", "pay", amount="10", reference="ch_1"),
        lambda: shop.orders.save("1001", {"sent", "invoiced", "paid"}, version=4, comment="two"),
    ]
    for step in steps:
        seen = shop.orders.history("1001")
        step()
        assert shop.orders.history("1001")[: len(seen)] == seen
    assert [entry.version for entry in shop.orders.history("1001")] == [1, 2, 3, 4, 5]


# Time


def test_a_clock_in_another_time_zone_is_converted_to_utc(shop: Shop) -> None:
    tokyo = timezone(timedelta(hours=9))
    orders = Orders(shop.store, clock=lambda: datetime(2026, 1, 6, 3, 0, tzinfo=tokyo))
    order = orders.create("1001", total=1, currency="GBP")
    assert order.created_at == datetime(2026, 1, 5, 18, 0, tzinfo=UTC)
    assert order.created_at.tzinfo is UTC
    orders.fire("1001", "pay")
    assert {entry.at.tzinfo for entry in orders.history("1001")} == {UTC}
    assert orders.get("1001").payments[0].at.tzinfo is UTC


def test_the_systems_clock_is_the_default(shop: Shop) -> None:
    before = datetime.now(UTC)
    order = Orders(shop.store).create("1001", total=1, currency="GBP")
    assert before <= order.created_at <= datetime.now(UTC)


class Frozen(datetime):
    """A datetime of a library that freezes time."""


@pytest.mark.parametrize("is_the_systems", [True, False], ids=["the system's", "the shop's"])
def test_a_clock_may_give_a_subclass_of_datetime(
    any_shop: Shop, is_the_systems: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store gets a plain datetime."""
    monkeypatch.setattr(service, "datetime", Frozen)
    orders = Orders(any_shop.store, clock=None if is_the_systems else lambda: Frozen(2026, 1, 5, 18, 0, tzinfo=UTC))
    created = orders.create("1001", total=1, currency="GBP")
    orders.fire("1001", "pay", notify=True)
    times = [created.created_at, orders.get("1001").payments[0].at, *(entry.at for entry in orders.history("1001"))]
    assert {type(at) for at in times} == {datetime}
    told: list[Message] = []
    assert orders.deliver(told.append) == 1
    assert type(told[0].created_at) is datetime


# Missing orders


@pytest.mark.parametrize(
    "call",
    [
        lambda orders: orders.fire("1001", "pay"),
        lambda orders: orders.fire("1001", "pay", key="k", reference="ch_1"),
        lambda orders: orders.save("1001", {"sent"}, version=1),
        lambda orders: orders.comment("1001", "hello"),
        lambda orders: orders.explain("1001"),
        lambda orders: orders.get("1001"),
        lambda orders: orders.history("1001"),
        lambda orders: orders.progress("1001"),
        lambda orders: orders.find(after="1001"),
        lambda orders: orders.queue("to_pay", after="1001"),
        lambda orders: orders.queue("refund_due", after="1001"),
    ],
)
def test_a_missing_order_raises_order_not_found(shop: Shop, call: Callable[[Orders], object]) -> None:
    with pytest.raises(OrderNotFound, match="1001"):
        call(shop.orders)


@pytest.mark.parametrize("trigger", ["teleport", "create", "comment", "save", "", "PAY"])
def test_an_unknown_trigger_raises_with_the_known_ones(shop: Shop, trigger: str) -> None:
    shop.create()
    with pytest.raises(UnknownTrigger, match="place, pay, refund_failed"):
        shop.orders.fire("1001", trigger)
    assert shop.orders.get("1001").version == 1


def test_explain_changes_nothing(shop: Shop) -> None:
    order: Order = shop.bring("sent")
    before = shop.dump()
    reasons = shop.orders.explain("1001")
    assert list(reasons) == list(shop.orders.workflow.triggers)
    assert {trigger for trigger in reasons if not reasons[trigger]} == {
        *("pay", "invoice", "cancel", "expire", "unplace", "amend"),
    }
    assert [reason.code for reason in reasons["dispatch"]] == ["not_paid_nor_invoiced"]
    assert shop.dump() == before
    assert shop.orders.get("1001") == order


def test_explain_knows_the_stock(shop: Shop) -> None:
    shop.create()
    assert shop.orders.explain("1001")["place"] == ()
    shop.orders.set_stock("TEAPOT", 1)
    assert [reason.code for reason in shop.orders.explain("1001")["place"]] == ["out_of_stock"]
    assert shop.orders.explain("1001")["pay"] == ()


def test_a_naive_clock_is_refused(shop: Shop) -> None:
    shop.create()
    before = shop.dump()
    orders = Orders(shop.store, clock=lambda: datetime(2026, 1, 5, 9, 0))
    with pytest.raises(InvalidInput, match="time zone"):
        orders.fire("1001", "place")
    assert shop.dump() == before


def test_guard_that_returns_a_coroutine_is_an_error_and_allows_nothing(new_shop: type[Shop]) -> None:
    """A coroutine would count as true."""

    async def refuses(*_: object) -> bool:
        return False

    shop = new_shop(
        shop_workflow().extend(
            rules=[Rule("mark", needs={"sent"}, guards=(Guard("never", "never", lambda *about: refuses(*about)),))]
        )
    )
    shop.create()
    shop.orders.fire("1001", "place")
    before = shop.dump()
    with pytest.raises(InvalidInput, match="the test of the guard 'never' must be a plain function"):
        shop.orders.fire("1001", "mark")
    assert shop.dump() == before
