"""Amendments change an order in one entry with the old values. Money, stock and messages follow."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import (
    InvalidInput,
    KeyReused,
    Line,
    Order,
    OrderNotFound,
    Orders,
    Receipt,
    Refused,
    Rule,
    Status,
    StockLevel,
    StoreCorrupt,
    UnknownTrigger,
    VersionConflict,
    When,
    Workflow,
    shop_workflow,
)
from order_fsm_adapters.memory import MemoryStore
from tests.damaged import Damaged
from tests.stores import interrupted

if TYPE_CHECKING:
    from tests.conftest import Shop

ONLINE: dict[str, Any] = {"reference": "ch_1"}


def amend(shop: Shop, order_id: str = "1001", **parts: Any) -> Receipt:
    return shop.orders.amend(order_id, version=shop.orders.get(order_id).version, **parts)


def codes_of(shop: Shop, **parts: Any) -> list[str]:
    with pytest.raises(Refused) as refused:
        amend(shop, **parts)
    return [reason.code for reason in refused.value.reasons]


# The entry


def test_amendment_keeps_old_and_new_values_in_one_entry(any_shop: Shop) -> None:
    """C1: lines and total of a placed order. C3: a mistyped address."""
    any_shop.bring("sent")
    lines = [Line("TEAPOT", 3), Line("CUP", 1)]
    receipt = amend(
        any_shop,
        lines=lines,
        total="15.00",
        email="ann@example.org",
        customer="anna",
        data={"gift": [1, 1.5, True, None]},
        by="bob",
        comment="by phone",
        visible=True,
    )
    order = any_shop.orders.get("1001")
    assert receipt.order == order
    assert (order.lines, order.total, order.email) == (tuple(lines), Decimal("15.00"), "ann@example.org")
    assert (order.customer, order.data) == ("anna", {"gift": [1, 1.5, True, None]})
    (entry,) = receipt.entries
    assert any_shop.orders.history("1001")[-1] == entry
    assert (entry.trigger, entry.state_before, entry.state_after) == ("amend", "sent", "sent")
    assert (entry.by, entry.comment, entry.visible) == ("bob", "by phone", True)
    assert entry.facts == {
        "lines": tuple(lines),
        "lines_before": (Line("TEAPOT", 2),),
        "total": Decimal("15.00"),
        "total_before": Decimal("10.00"),
        "email": "ann@example.org",
        "email_before": "ann@example.com",
        "customer": "anna",
        "customer_before": "ann",
        "data": '{"gift":[1,1.5,true,null]}',
        "data_before": "{}",
    }
    assert type(entry).from_dict(entry.to_dict()) == entry
    assert any_shop.orders.audit().findings == ()


def test_missing_argument_leaves_its_part_unchanged(any_shop: Shop) -> None:
    before = any_shop.bring("sent")
    order = amend(any_shop, total="11").order
    assert (order.lines, order.customer, order.email) == (before.lines, before.customer, before.email)
    assert set(any_shop.orders.history("1001")[-1].facts) == {"total", "total_before"}


def test_none_clears_an_optional_part(any_shop: Shop) -> None:
    any_shop.create()
    amend(any_shop, data={"gift": True})
    order = amend(any_shop, lines=None, email=None, customer=None, data=None).order
    assert (order.lines, order.email, order.customer, order.data) == ((), None, None, {})
    assert any_shop.orders.find(customer="ann") == []
    assert any_shop.orders.audit().ok


@pytest.mark.parametrize("part", ["total", "credited"])
def test_amount_must_not_be_none(shop: Shop, part: str) -> None:
    shop.create()
    parts: Any = {part: None}
    with pytest.raises(InvalidInput, match=f"{part} must be a Decimal"):
        amend(shop, **parts)


def test_amendment_without_difference_changes_nothing(any_shop: Shop) -> None:
    any_shop.bring("sent")
    before = any_shop.dump()
    receipt = amend(any_shop, total="10.0", lines=[Line("TEAPOT", 2)], customer="ann", data=None)
    assert (receipt.entries, receipt.duplicate) == ((), False)
    assert any_shop.dump() == before


def test_comment_of_amendment_without_difference_is_recorded(shop: Shop) -> None:
    shop.bring("sent")
    (entry,) = amend(shop, total="10.00", comment="checked").entries
    assert (entry.trigger, entry.comment) == ("comment", "checked")


def test_stale_amendment_is_a_conflict(any_shop: Shop) -> None:
    any_shop.bring("sent")
    before = any_shop.dump()
    with pytest.raises(VersionConflict, match=r"version 2, the amendment has 1\): reload it"):
        any_shop.orders.amend("1001", version=1, total="11")
    assert any_shop.dump() == before


def test_amendment_that_another_change_overtakes_is_a_conflict(any_shop: Shop) -> None:
    any_shop.bring("sent")
    interrupted(any_shop.store).append(lambda: any_shop.orders.comment("1001", "me first"))
    with pytest.raises(VersionConflict):
        any_shop.orders.amend("1001", version=2, total="11")
    assert any_shop.orders.get("1001").total == 10


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"total": "10.005"}, "finer than the smallest unit"),
        ({"total": 10.5}, "must be a Decimal, a string or an int, not float"),
        ({"total": "-1"}, "total must not be negative"),
        ({"credited": "0.001"}, "finer than the smallest unit"),
        ({"credited": "10.01"}, "credited must be at most the total, 10.00, not 10.01"),
        ({"credited": "6", "total": "5"}, "credited must be at most the total, 5, not 6"),
        ({"lines": {"TEAPOT": 2}}, "lines must be a list such as"),
        ({"email": "ann"}, "email must be a bare address"),
        ({"data": ["x"]}, "data must be a dict"),
        ({"version": 0}, "version must be from 1"),
        ({"key": ""}, "key must not be empty"),
    ],
)
def test_invalid_amendment_is_refused(shop: Shop, parts: dict[str, Any], message: str) -> None:
    shop.bring("sent")
    before = shop.dump()
    with pytest.raises(InvalidInput, match=message):
        shop.orders.amend("1001", **{"version": 2, **parts})
    assert shop.dump() == before


def test_unknown_order_is_not_found(any_shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        any_shop.orders.amend("1001", version=1, total="1")


def test_fire_names_the_method_for_amendments(shop: Shop) -> None:
    shop.create()
    with pytest.raises(UnknownTrigger, match=r"call Orders\.amend"):
        shop.orders.fire("1001", "amend")


def test_explain_lists_amend(shop: Shop) -> None:
    shop.create()
    shop.orders.set_stock("TEAPOT", 0)  # Too few to place the order. The amendment takes no stock.
    assert shop.orders.explain("1001")["amend"] == ()


def test_workflow_without_the_rule_amends_nothing() -> None:
    workflow = Workflow([Status("sent")], [Rule("place", adds={"sent"})], holds_stock=When(), counts=When(), queues={})
    orders = Orders(MemoryStore(), workflow=workflow)
    orders.create("1", total="1", currency="GBP")
    with pytest.raises(UnknownTrigger, match="the workflow has no rule 'amend'"):
        orders.amend("1", version=1, total="2")
    with pytest.raises(UnknownTrigger, match="the workflow has no rule 'amend'"):
        orders.assign_customer(["1"], customer="ann")


def test_form_cannot_fire_amend() -> None:
    from order_fsm import WorkflowError

    with pytest.raises(WorkflowError, match="cannot be ticked or unticked by 'amend'"):
        Workflow(
            [Status("sent", tick="amend")], [Rule("amend", adds={"sent"})], holds_stock=When(), counts=When(), queues={}
        )
    with pytest.raises(WorkflowError, match="the rules of 'amend' cannot record ledger rows"):
        Workflow(
            [Status("sent")],
            [Rule("amend", adds={"sent"}, ledger="captured")],
            holds_stock=When(),
            counts=When(),
            queues={},
        )


# Keys


def test_amendment_under_a_key_happens_once(any_shop: Shop) -> None:
    any_shop.bring("sent")
    parts: dict[str, Any] = {"total": "12", "lines": [Line("TEAPOT", 1)], "customer": "eve", "key": "k"}
    first = any_shop.orders.amend("1001", version=2, **parts)
    later = amend(any_shop, total="20", lines=[Line("TEAPOT", 5)], customer=None, email=None, data={"a": 1})
    before = any_shop.dump()
    again = any_shop.orders.amend("1001", version=2, **parts)
    assert again.duplicate
    assert again.entries == first.entries
    assert again.order.holding(None) == first.order.holding(None)
    assert again.order.data == {}
    assert any_shop.dump() == before
    assert any_shop.orders.get("1001") == later.order
    with pytest.raises(KeyReused):
        any_shop.orders.amend("1001", version=4, total="13", key="k")


def test_first_order_is_returned_as_it_was_before_its_amendments(any_shop: Shop) -> None:
    new: dict[str, Any] = {"total": "10", "currency": "GBP", "lines": [Line("TEAPOT", 1)], "data": {"n": 1}, "key": "k"}
    first = any_shop.orders.create("1", **new)
    amend(any_shop, "1", total="20", lines=(), data=None, email="ann@example.com")
    amend(any_shop, "1", total="30", data={"n": 2})
    assert any_shop.orders.create("1", **new) == first


# Money


@pytest.mark.parametrize(
    ("state", "total", "after", "due", "outstanding"),
    [
        ("unfinished", "20", "unfinished", "0", "20"),
        ("sent", "0", "sent+paid", "0", "0"),
        ("sent+paid", "12", "sent", "0", "2"),
        ("sent+paid", "4", "sent+paid", "6", "0"),
        ("sent+invoiced+paid", "12", "sent", "0", "2"),
        ("sent+invoiced+paid+dispatched", "12", "sent+invoiced+dispatched", "0", "2"),
        ("sent+invoiced+paid+dispatched", "7", "sent+invoiced+paid+dispatched", "3", "0"),
        ("sent+paid+cancelled", "12", "sent+paid+cancelled", "10", "0"),
    ],
)
def test_new_total_settles_paid(any_shop: Shop, state: str, total: str, after: str, due: str, outstanding: str) -> None:
    any_shop.bring(state)
    topics = any_shop.topics()
    before = any_shop.orders.get("1001")
    order = amend(any_shop, total=total).order
    assert (order.state, str(order.refund_due.normalize()), order.outstanding) == (
        after,
        str(Decimal(due).normalize()),
        Decimal(outstanding),
    )
    new = any_shop.topics()[len(topics) :]
    assert ("refund.due" in new) == (order.refund_due > before.refund_due)
    assert any_shop.orders.totals() == ({"GBP": order.total} if order.counted else {})
    assert any_shop.orders.audit().ok


def test_part_payment_pays_a_lower_total(any_shop: Shop) -> None:
    any_shop.create()
    any_shop.orders.fire("1001", "pay", amount="6.00", **ONLINE)
    receipt = amend(any_shop, total="6.00")
    assert receipt.order.state == "sent+invoiced+paid"
    assert receipt.order.invoiced_by_payment
    (message,) = any_shop.messages("order.paid")
    assert (message.payload["amount"], message.payload["reference"]) == ("6.00", "ch_1")


def test_message_of_an_amendment_holds_no_personal_data(shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", amount="6.00", **ONLINE)
    amend(shop, total="6", email="eve@example.com", customer="eve", data={"name": "Eve"}, lines=[Line("TEAPOT", 1)])
    (message,) = shop.messages("order.paid")
    assert "eve" not in str(message.to_dict()).casefold()
    assert message.payload["lines"] == [{"sku": "TEAPOT", "quantity": 1}]


def test_credits_are_set_by_a_refund_of_zero(any_shop: Shop) -> None:
    any_shop.create()
    any_shop.orders.fire("1001", "pay", **ONLINE)
    any_shop.orders.fire("1001", "refund", amount="4", credit=False, **ONLINE)
    receipt = amend(any_shop, credited="4")
    row = receipt.order.payments[-1]
    assert (row.kind, row.amount, row.credit, row.version) == ("refunded", Decimal(0), Decimal(4), 4)
    assert (receipt.order.state, receipt.order.credited) == ("sent+invoiced+paid", Decimal(4))
    assert receipt.entries[0].facts == {"credited": Decimal(4), "credited_before": Decimal(0)}
    assert amend(any_shop, credited="0").order.outstanding == 4
    assert any_shop.orders.audit().ok


def test_free_order_is_amended_to_cost_something(any_shop: Shop) -> None:
    any_shop.create(total="0")
    assert any_shop.orders.fire("1001", "place").order.state == "sent+paid"
    assert amend(any_shop, total="5").order.state == "sent"


@pytest.mark.parametrize("total", ["10.00", "12.00"])
def test_amendment_that_undoes_dispatched_ends_the_invoice_of_a_lost_payment(any_shop: Shop, total: str) -> None:
    any_shop.create()
    any_shop.orders.fire("1001", "pay", amount="10.00", **ONLINE)
    any_shop.orders.fire("1001", "dispatch")
    any_shop.orders.fire("1001", "unpay", comment="charge-back", **ONLINE)
    order = amend(any_shop, lines=[Line("TEAPOT", 3)], total=total).order
    assert (order.state, order.invoiced_by_payment) == ("sent", False)
    assert any_shop.orders.queue("to_dispatch") == []
    with pytest.raises(Refused):
        any_shop.orders.fire("1001", "dispatch")
    assert any_shop.orders.audit().ok


# Stock


def test_order_takes_added_pieces_and_returns_removed_ones(any_shop: Shop) -> None:
    any_shop.orders.set_stock("CUP", 3)
    any_shop.bring("sent")
    order = amend(any_shop, lines=[Line("TEAPOT", 5), Line("CUP", 1), Line("SPOON", 9)]).order
    assert order.reserved == (Line("TEAPOT", 5), Line("CUP", 1))
    assert (any_shop.orders.stock("TEAPOT"), any_shop.orders.stock("CUP")) == (5, 2)
    order = amend(any_shop, lines=[Line("CUP", 2), Line("TEAPOT", 1)]).order
    assert order.reserved == (Line("CUP", 2), Line("TEAPOT", 1))
    assert (any_shop.orders.stock("TEAPOT"), any_shop.orders.stock("CUP")) == (9, 1)
    assert amend(any_shop, lines=()).order.reserved is None
    assert (any_shop.orders.stock("TEAPOT"), any_shop.orders.stock("CUP")) == (10, 3)
    assert amend(any_shop, lines=[Line("CUP", 3)]).order.reserved == (Line("CUP", 3),)
    assert any_shop.orders.stock("CUP") == 0
    assert any_shop.orders.audit().ok


def test_amendment_waits_for_stock(any_shop: Shop) -> None:
    any_shop.bring("sent")
    before = any_shop.dump()
    assert codes_of(any_shop, lines=[Line("TEAPOT", 11)], total="50") == ["out_of_stock"]
    assert any_shop.dump() == before
    assert amend(any_shop, lines=[Line("TEAPOT", 10)]).order.reserved == (Line("TEAPOT", 10),)


def test_order_returns_only_pieces_that_it_took(any_shop: Shop) -> None:
    """The item was not tracked when the order took its stock."""
    any_shop.create(lines=[Line("CUP", 4)])
    any_shop.orders.fire("1001", "place")
    any_shop.orders.set_stock("CUP", 10)
    assert amend(any_shop, lines=[Line("CUP", 3)]).order.reserved == ()
    assert amend(any_shop, lines=[Line("CUP", 5)]).order.reserved == (Line("CUP", 2),)
    assert any_shop.orders.stock("CUP") == 8
    assert amend(any_shop, lines=[Line("CUP", 1)]).order.reserved == (Line("CUP", 1),)
    assert any_shop.orders.stock("CUP") == 9
    any_shop.orders.fire("1001", "cancel")
    assert any_shop.orders.stock("CUP") == 10


@pytest.mark.parametrize("state", ["unfinished", "sent+cancelled"])
def test_order_that_holds_no_stock_is_amended_freely(any_shop: Shop, state: str) -> None:
    any_shop.bring(state)
    order = amend(any_shop, lines=[Line("TEAPOT", 99)]).order
    assert order.reserved is None
    assert any_shop.orders.stock("TEAPOT") == 10


def test_two_amendments_want_the_last_piece_and_one_is_refused(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 5)
    any_shop.bring("sent", "1")
    any_shop.bring("sent", "2")
    interrupted(any_shop.store).append(lambda: amend(any_shop, "2", lines=[Line("TEAPOT", 3)]))
    with pytest.raises(Refused):
        amend(any_shop, "1", lines=[Line("TEAPOT", 3)])
    assert any_shop.orders.stock("TEAPOT") == 0


# Batches and customers


def test_batch_refuses_an_amendment_without_a_version(any_shop: Shop) -> None:
    any_shop.create("1")
    missing: Any = None
    with any_shop.orders.batch() as batch, pytest.raises(InvalidInput, match="version must be a whole number"):
        batch.amend("1", version=missing, total="4")
    assert any_shop.orders.get("1").version == 1


def test_batch_decides_each_call_on_the_amendment_before_it(any_shop: Shop) -> None:
    any_shop.orders.set_stock("CUP", 2)
    any_shop.create("1")
    any_shop.create("2", lines=[Line("CUP", 2)])
    with any_shop.orders.batch() as batch:
        batch.amend("1", version=1, lines=[Line("CUP", 2)], total="4")
        batch.fire("1", "place")
        batch.fire("2", "place")
        batch.amend("1", version=3, lines=[Line("CUP", 1)])
        batch.fire("2", "place")
        batch.amend("1", version=2, total="5")
        batch.fire("1", "pay", amount="4", **ONLINE)
    first, placed, refused, fewer, again, stale, paid = batch.results
    assert isinstance(refused, Refused)
    assert isinstance(again, Refused)
    assert isinstance(stale, VersionConflict)
    assert all(isinstance(one, Receipt) for one in (first, placed, fewer, paid))
    assert any_shop.orders.get("1").state == "sent+invoiced+paid"
    assert any_shop.orders.stock("CUP") == 1
    assert any_shop.orders.audit().ok


def test_orders_of_a_guest_move_into_an_account(any_shop: Shop) -> None:
    """C3: each order gets an amendment of only the customer."""
    for order_id in ("1", "2", "3"):
        any_shop.bring("sent", order_id)
    any_shop.orders.assign_customer(["1"], customer=None)
    receipts = any_shop.orders.assign_customer(["1", "3"], customer="eve", by="bob", comment="merged")
    assert [receipt.order.id for receipt in receipts] == ["1", "3"]
    assert receipts[0].entries[0].facts == {"customer": "eve", "customer_before": None}
    assert [(receipt.entries[0].by, receipt.entries[0].comment) for receipt in receipts] == [("bob", "merged")] * 2
    assert [order.id for order in any_shop.orders.find(customer="eve")] == ["1", "3"]
    assert any_shop.orders.totals("eve") == {"GBP": Decimal(20)}
    assert any_shop.orders.totals("ann") == {"GBP": Decimal(10)}
    assert any_shop.orders.audit().ok


def test_unknown_order_among_those_to_move_changes_nothing(any_shop: Shop) -> None:
    any_shop.create("1")
    before = any_shop.dump()
    with pytest.raises(OrderNotFound, match="'2'"):
        any_shop.orders.assign_customer(["1", "2"], customer="eve")
    with pytest.raises(InvalidInput, match="ids must be a list of order ids"):
        any_shop.orders.assign_customer("1", customer="eve")
    assert any_shop.dump() == before


def test_move_of_a_customer_is_decided_again_after_a_conflict(any_shop: Shop) -> None:
    order: Order = any_shop.create("1")
    interrupted(any_shop.store)
    any_shop.orders.comment("1", "changed since")
    (receipt,) = any_shop.orders.assign_customer(["1"], customer="eve")
    assert receipt.order.version == order.version + 2
    (receipt,) = any_shop.orders.assign_customer(["1"], customer="eve")
    assert receipt.entries == ()


PACKED = shop_workflow("cod").extend(holds_stock=When(has={"sent"}, lacks={"cancelled", "dispatched"}))
"""Rules under which dispatched orders hold no stock."""


@pytest.mark.parametrize(
    ("shipped", "quantity", "held", "level"),
    [(2, 5, (Line("TEAPOT", 3),), StockLevel(5, held=3, out=2)), (1, 1, None, StockLevel(9, out=1))],
    ids=["more", "less"],
)
def test_amended_lines_take_stock_by_the_new_state(
    new_shop: type[Shop], shipped: int, quantity: int, held: tuple[Line, ...] | None, level: StockLevel
) -> None:
    shop = new_shop(PACKED)
    shop.bring("sent")
    shop.orders.fire("1001", "dispatch", items={"TEAPOT": shipped})
    order = amend(shop, lines=[Line("TEAPOT", quantity)]).order
    assert (order.reserved, shop.orders.stock_level("TEAPOT")) == (held, level)
    assert shop.orders.audit().ok


def test_damaged_order_among_those_to_move_leaves_the_others_moved(new_shop: type[Shop]) -> None:
    store = Damaged("2")
    shop = new_shop(store=store)
    for order_id in ("1", "2", "3"):
        shop.create(order_id)
    store.begin()
    with pytest.raises(StoreCorrupt):
        shop.orders.assign_customer(["1", "2", "3"], customer="eve")
    assert [shop.orders.get(order_id).customer for order_id in ("1", "3")] == ["eve", "eve"]
