"""Move orders out of states that a changed table does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from order_fsm import InvalidInput, Line, Orders, Refused, Rule, Status, When, shop_workflow

from .conftest import Shop
from .stores import interrupted

EXTENDED = shop_workflow().extend(
    statuses=[Status("returned", tick="take_back")],
    rules=[Rule("take_back", needs={"sent"}, forbids={"returned"}, adds={"returned"})],
    holds_stock=When(has={"sent"}, lacks={"cancelled"}),
)
LEFT = {"sent+returned": "sent", "sent+dispatched+returned": {"sent", "dispatched"}}


@pytest.fixture
def shop(any_shop: Shop) -> Shop:
    """Create orders under old rules, in states that the current rules do not have."""
    extended = Orders(any_shop.store, workflow=EXTENDED, clock=any_shop.clock)
    for order_id, states in {"1001": "place", "1002": "place dispatch", "1003": "place"}.items():
        any_shop.create(order_id)
        for trigger in states.split():
            extended.fire(order_id, trigger, override=True, comment="as agreed")
        extended.fire(order_id, "take_back")
    any_shop.create("1004")
    return any_shop


def test_orders_of_an_unknown_state_are_found_refused_and_moved(shop: Shop) -> None:
    found = shop.orders.audit()
    assert sorted(finding[:2] for finding in found.findings) == [
        (order_id, "unknown_state") for order_id in ("1001", "1002", "1003")
    ]
    with pytest.raises(Refused, match="unknown_state"):
        shop.orders.fire("1001", "pay")
    moved = shop.orders.migrate(LEFT, comment="returns are no longer tracked", by="bob")
    assert [(receipt.order.id, receipt.order.state) for receipt in moved] == [
        ("1001", "sent"),
        ("1003", "sent"),
        ("1002", "sent+dispatched"),
    ]
    assert shop.orders.audit().ok
    assert shop.orders.fire("1001", "pay").order.statuses == {"sent", "paid"}


def test_a_move_is_an_entry_of_the_history(shop: Shop) -> None:
    shop.orders.migrate(LEFT, comment="no longer tracked", by="bob")
    entry = shop.orders.history("1001")[-1]
    assert (entry.version, entry.trigger, entry.state_before, entry.state_after) == (
        4,
        "migrate",
        "sent+returned",
        "sent",
    )
    assert (entry.by, entry.comment, entry.visible, entry.at) == ("bob", "no longer tracked", False, shop.clock.now)


def test_moved_order_is_not_moved_again(shop: Shop) -> None:
    assert len(shop.orders.migrate(LEFT, comment="x")) == 3
    before = shop.dump()
    assert shop.orders.migrate(LEFT, comment="x") == []
    assert shop.dump() == before


def test_the_limit_counts_moved_orders(shop: Shop) -> None:
    moved = []
    while receipts := shop.orders.migrate(LEFT, comment="x", limit=2):
        assert len(receipts) <= 2
        moved += [receipt.order.id for receipt in receipts]
    assert sorted(moved) == ["1001", "1002", "1003"]


def test_a_hundred_are_moved_by_default(any_shop: Shop) -> None:
    extended = Orders(any_shop.store, workflow=EXTENDED, clock=any_shop.clock)
    for number in range(101):
        any_shop.create(f"{number}", lines=())
        extended.fire(f"{number}", "place")
        extended.fire(f"{number}", "take_back")
    assert [len(any_shop.orders.migrate(LEFT, comment="x")) for _ in range(2)] == [100, 1]


def test_stock_follows_the_state(shop: Shop) -> None:
    assert shop.orders.stock("TEAPOT") == 4
    shop.orders.migrate({"sent+returned": "cancelled"}, comment="x")
    assert shop.orders.stock("TEAPOT") == 8
    assert shop.orders.audit().findings[0].order_id == "1002"


def test_a_move_takes_missing_stock_and_queues_a_message(any_shop: Shop) -> None:
    closed = shop_workflow().extend(
        statuses=[Status("held")], rules=[Rule("hold", forbids={"sent", "held", "cancelled"}, adds={"held"})]
    )
    any_shop.create("1001", lines=[Line("TEAPOT", 12)])
    Orders(any_shop.store, workflow=closed, clock=any_shop.clock).fire("1001", "hold")
    any_shop.orders.migrate({"held": {"sent"}}, comment="x")
    assert any_shop.orders.stock("TEAPOT") == -2
    assert any_shop.topics() == ["stock.short"]
    assert any_shop.orders.audit().ok


def test_refund_that_becomes_due_queues_a_message(shop: Shop) -> None:
    Orders(shop.store, workflow=EXTENDED, clock=shop.clock).fire("1001", "pay", reference="ch_1")
    (receipt,) = shop.orders.migrate({"sent+invoiced+paid+returned": {"sent", "paid", "cancelled"}}, comment="x")
    assert receipt.order.refund_due == 10
    assert "refund.due" in shop.topics()


def test_an_order_that_changes_before_the_commit_is_decided_again(shop: Shop) -> None:
    """A comment does not stop the move. A change of the state does."""
    extended = Orders(shop.store, workflow=EXTENDED, clock=shop.clock)
    before = interrupted(shop.store)
    before.append(lambda: shop.orders.comment("1001", "meanwhile"))
    moved = shop.orders.migrate({"sent+returned": "sent"}, comment="x")
    assert [receipt.order.version for receipt in moved] == [5, 4]
    shop.create("1005")
    extended.fire("1005", "place")
    extended.fire("1005", "take_back")
    before.append(lambda: extended.fire("1005", "dispatch", override=True, comment="x"))
    assert shop.orders.migrate({"sent+returned": "sent"}, comment="x") == []
    assert shop.orders.get("1005").state == "sent+dispatched+returned"


def test_a_state_that_counts_differently_may_be_mapped_to_itself(any_shop: Shop) -> None:
    workflow = shop_workflow().extend(counts=When(has={"paid"}))
    any_shop.bring("sent", "1001")
    any_shop.bring("sent+paid", "1002")
    orders = Orders(any_shop.store, workflow=workflow, clock=any_shop.clock)
    assert [finding[:2] for finding in orders.audit().findings] == [("1001", "counted")]
    moved = orders.migrate({"sent": "sent", "sent+paid": "sent+paid"}, comment="only what is paid counts")
    assert [receipt.order.id for receipt in moved] == ["1001"]
    assert orders.audit().ok


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"sent+returned": "sent+returned"}, "no state"),
        ({"sent+returned": "dispatched+paid"}, "no state"),
        ({"sent+returned": {"returned"}}, "no state"),
        ({"sent+returned": 7}, "a set of names"),
        ({"sent": "sent+paid"}, "leave it by the triggers"),
        ({7: "sent"}, "an old state must be its name"),
        (["sent"], "mapping must be a dict"),
    ],
)
def test_a_mapping_to_an_unknown_state_is_refused_and_changes_nothing(
    shop: Shop, mapping: Mapping[Any, Any], said: str
) -> None:
    before = shop.dump()
    with pytest.raises(InvalidInput, match=said):
        shop.orders.migrate(mapping, comment="x")
    assert shop.dump() == before


@pytest.mark.parametrize("comment", ["", "  ", None])
def test_a_comment_is_required(shop: Shop, comment: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^comment must not be blank: give the reason"):
        shop.orders.migrate(LEFT, comment=comment)


def test_a_new_state_may_be_named_in_any_order(shop: Shop) -> None:
    receipts = shop.orders.migrate({"sent+dispatched+returned": "dispatched+sent"}, comment="x")
    assert [receipt.order.state for receipt in receipts] == ["sent+dispatched"]
