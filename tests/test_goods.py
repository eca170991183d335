"""Goods that leave in parts and come back, on every store. Case C2."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from msgspec.structs import replace

from order_fsm import (
    Entry,
    InvalidInput,
    KeyReused,
    Line,
    Order,
    Orders,
    Receipt,
    Refused,
    Shipment,
    StockLevel,
    When,
    shop_workflow,
)

if TYPE_CHECKING:
    from tests.conftest import Shop

POTS_AND_CUPS = (Line("TEAPOT", 2), Line("CUP", 3))


def paid(shop: Shop, lines: Iterable[Line] = (Line("TEAPOT", 3),), order_id: str = "1001") -> Order:
    """Create a paid order for three of the ten teapots."""
    shop.create(order_id, lines=lines)
    return shop.orders.fire(order_id, "pay", reference=f"ch_{order_id}").order


def amend(shop: Shop, **parts: Any) -> Receipt:
    return shop.orders.amend("1001", version=shop.orders.get("1001").version, **parts)


def codes(refused: pytest.ExceptionInfo[Refused]) -> list[str]:
    return [reason.code for reason in refused.value.reasons]


def refusal(shop: Shop, trigger: str, **given: Any) -> list[str]:
    """Return the codes of a refusal, after checking that it changed nothing."""
    before = shop.dump()
    with pytest.raises(Refused) as refused:
        shop.orders.fire("1001", trigger, **given)
    assert shop.dump() == before
    return codes(refused)


def check(shop: Shop, *, pieces: int = 10) -> None:
    """Check that the sum of teapots is constant and the audit has no finding."""
    level = shop.orders.stock_level("TEAPOT")
    assert level is not None
    assert level.available is not None
    assert level.available + level.held + level.out + level.lost == pieces
    assert shop.orders.audit().findings == ()


# Shipments by part


def test_part_dispatch_leaves_the_order_undispatched(any_shop: Shop) -> None:
    paid(any_shop)
    order = any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}, parcel="AB123", by="bob").order
    assert "dispatched" not in order.statuses
    assert (order.part_dispatched, order.to_ship, order.out) == (True, {"TEAPOT": 2}, {"TEAPOT": 1})
    assert order.reserved == (Line("TEAPOT", 2),)
    assert any_shop.orders.history("1001")[-1].facts == {"items": (Line("TEAPOT", 1),), "parcel": "AB123"}
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, held=2, out=1)
    check(any_shop)


def test_dispatch_of_the_rest_ticks_dispatched(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}, parcel="AB123")
    order = any_shop.orders.fire("1001", "dispatch", parcel="AB124").order
    assert "dispatched" in order.statuses
    assert (order.part_dispatched, order.to_ship, order.out) == (False, {}, {"TEAPOT": 3})
    assert [row.lines for row in order.shipments] == [(Line("TEAPOT", 1),), (Line("TEAPOT", 2),)]
    assert [entry.facts.get("parcel") for entry in any_shop.orders.history("1001")[-2:]] == ["AB123", "AB124"]
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, out=3)
    check(any_shop)


def test_dispatch_by_parts_of_two_lines_ticks_dispatched_with_the_last_piece(any_shop: Shop) -> None:
    paid(any_shop, POTS_AND_CUPS)
    for items in ({"CUP": 3}, {"TEAPOT": 1}):
        order = any_shop.orders.fire("1001", "dispatch", items=items).order
        assert order.part_dispatched
    order = any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}).order
    assert "dispatched" in order.statuses
    assert not order.part_dispatched
    check(any_shop)


def test_several_lines_of_one_item_are_shipped_as_one(any_shop: Shop) -> None:
    paid(any_shop, (Line("TEAPOT", 1), Line("CUP", 1), Line("TEAPOT", 2)))
    assert refusal(any_shop, "dispatch", items={"TEAPOT": 4}) == ["beyond_order"]
    order = any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 3}).order
    assert order.to_ship == {"CUP": 1}
    check(any_shop)


@pytest.mark.parametrize("items", [{"TEAPOT": 4}, {"CUP": 1}, {"TEAPOT": 1, "CUP": 1}, {"TEAPOT": 2**63 - 1}])
def test_dispatch_of_more_than_was_ordered_is_refused(any_shop: Shop, items: dict[str, int]) -> None:
    paid(any_shop)
    assert refusal(any_shop, "dispatch", items=items) == ["beyond_order"]


def test_dispatch_of_more_than_is_left_is_refused(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 2})
    assert refusal(any_shop, "dispatch", items={"TEAPOT": 2}) == ["beyond_order"]
    any_shop.orders.fire("1001", "dispatch")
    assert refusal(any_shop, "dispatch") == ["forbids_dispatched"]
    assert refusal(any_shop, "dispatch", comment="again", override=True) == ["forbids_dispatched"]


def test_part_dispatch_of_an_unpaid_order_needs_an_override(any_shop: Shop) -> None:
    any_shop.bring("sent")
    assert refusal(any_shop, "dispatch", items={"TEAPOT": 1}) == ["not_paid_nor_invoiced"]
    order = any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}, comment="a friend", override=True).order
    assert order.part_dispatched
    assert refusal(any_shop, "dispatch") == ["not_paid_nor_invoiced"]
    check(any_shop)


def test_dispatch_of_a_cancelled_order_is_refused(any_shop: Shop) -> None:
    any_shop.bring("sent+paid+cancelled")
    assert refusal(any_shop, "dispatch", items={"TEAPOT": 1}) == ["forbids_cancelled"]


@pytest.mark.parametrize("trigger", ["dispatch", "return_items"])
@pytest.mark.parametrize(
    "items",
    [
        {},
        {"TEAPOT": 0},
        {"TEAPOT": -1},
        {"TEAPOT": True},
        {"TEAPOT": 1.0},
        {"TEAPOT": "1"},
        {"TEAPOT": None},
        {"TEAPOT": 2**63},
        {"": 1},
        {"A\nB": 1},
        {1: 1},
        [("TEAPOT", 1)],
        [Line("TEAPOT", 1)],
        (),
        ({"TEAPOT": 1},),
        "TEAPOT",
        1,
        True,
        {"TEAPOT"},
    ],
    ids=repr,
)
def test_items_that_are_not_valid_are_refused(any_shop: Shop, trigger: str, items: Any) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    before = any_shop.dump()
    with pytest.raises(InvalidInput):
        any_shop.orders.fire("1001", trigger, items=items)
    assert any_shop.dump() == before


@pytest.mark.parametrize(
    ("trigger", "given"),
    [
        ("dispatch", {"parcel": ""}),
        ("dispatch", {"parcel": "A\r\nB"}),
        ("dispatch", {"parcel": 7}),
        ("dispatch", {"restock": True}),
        ("return_items", {"restock": 1}),
        ("return_items", {"restock": "no"}),
        ("return_items", {"parcel": "AB123"}),
        ("undispatch", {"items": {"TEAPOT": 1}, "comment": "back"}),
        ("cancel", {"items": {"TEAPOT": 1}}),
    ],
)
def test_fact_about_goods_that_is_not_valid_is_refused(any_shop: Shop, trigger: str, given: dict[str, Any]) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    with pytest.raises(InvalidInput):
        any_shop.orders.fire("1001", trigger, **given)


def test_items_of_none_mean_all_pieces_left(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}, parcel=None)
    order = any_shop.orders.fire("1001", "dispatch", items=None, parcel=None).order
    assert "dispatched" in order.statuses
    assert any_shop.orders.history("1001")[-1].facts == {"items": (Line("TEAPOT", 2),)}


def test_subclasses_in_items_are_stored_as_base_types(any_shop: Shop) -> None:
    class Safe(str):
        pass

    class Number(int):
        pass

    paid(any_shop)
    order = any_shop.orders.fire("1001", "dispatch", items={Safe("TEAPOT"): Number(1)}, parcel=Safe("AB123")).order
    row = any_shop.orders.get("1001").shipments[0]
    assert row == order.shipments[0]
    assert (type(row.lines[0].sku), type(row.lines[0].quantity)) == (str, int)
    assert type(any_shop.orders.history("1001")[-1].facts["parcel"]) is str


# Orders without lines


def test_order_without_lines_is_ticked_dispatched_directly(any_shop: Shop) -> None:
    paid(any_shop, ())
    order = any_shop.orders.fire("1001", "dispatch", parcel="AB123").order
    assert "dispatched" in order.statuses
    assert order.shipments == ()
    assert any_shop.orders.history("1001")[-1].facts == {"parcel": "AB123"}
    assert "nothing_out" in refusal(any_shop, "return_items")
    assert any_shop.orders.fire("1001", "undispatch", comment="back").order.shipments == ()
    check(any_shop)


def test_order_without_lines_has_no_items_to_dispatch(any_shop: Shop) -> None:
    paid(any_shop, ())
    assert refusal(any_shop, "dispatch", items={"TEAPOT": 1}) == ["beyond_order"]


def test_lines_that_a_dispatched_order_gets_are_left_to_ship(any_shop: Shop) -> None:
    paid(any_shop, ())
    any_shop.orders.fire("1001", "dispatch")
    order = amend(any_shop, lines=[Line("TEAPOT", 2)]).order
    assert "dispatched" not in order.statuses
    assert (order.to_ship, order.reserved, order.part_dispatched) == ({"TEAPOT": 2}, (Line("TEAPOT", 2),), False)
    assert "dispatched" in any_shop.orders.fire("1001", "dispatch").order.statuses
    check(any_shop)


# Returns


@pytest.mark.parametrize("restock", [True, False, None])
def test_returned_pieces_go_back_on_the_shelf_or_are_lost(any_shop: Shop, restock: bool | None) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    order = any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 2}, restock=restock).order
    assert "dispatched" in order.statuses
    assert (order.out, order.to_ship) == ({"TEAPOT": 1}, {})
    on_shelf, lost = (7, 2) if restock is False else (9, 0)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(on_shelf, out=1, lost=lost)
    assert order.shipments[-1].restock is (restock is not False)
    assert any_shop.orders.fire("1001", "return_items").order.out == {}
    check(any_shop)


def test_return_of_more_than_is_out_is_refused(any_shop: Shop) -> None:
    paid(any_shop, POTS_AND_CUPS)
    assert refusal(any_shop, "return_items") == ["nothing_out"]
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 2})
    for items in ({"TEAPOT": 3}, {"CUP": 1}, {"TEAPOT": 2, "CUP": 1}):
        assert refusal(any_shop, "return_items", items=items) == ["beyond_out"]
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 2})
    assert refusal(any_shop, "return_items") == ["nothing_out"]


def test_returned_piece_is_not_shipped_again(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    any_shop.orders.fire("1001", "return_items")
    assert any_shop.orders.get("1001").to_ship == {"TEAPOT": 2}
    assert refusal(any_shop, "dispatch", items={"TEAPOT": 3}) == ["beyond_order"]
    assert "dispatched" in any_shop.orders.fire("1001", "dispatch").order.statuses
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, out=2)
    check(any_shop)


def test_return_to_an_item_that_is_not_tracked_any_more_adds_no_pieces(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    any_shop.orders.stop_tracking("TEAPOT")
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1})
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(None, out=2)
    any_shop.orders.set_stock("TEAPOT", 8)
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1}, restock=False)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, out=1, lost=1)
    assert any_shop.orders.audit().findings == ()


# Amendments


def test_amend_that_removes_the_pieces_left_ticks_dispatched(any_shop: Shop) -> None:
    paid(any_shop, POTS_AND_CUPS)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 2, "CUP": 1})
    order = amend(any_shop, lines=[Line("TEAPOT", 2), Line("CUP", 1)], total="8.00").order
    assert "dispatched" in order.statuses
    assert (order.part_dispatched, order.reserved) == (False, ())
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, out=2)
    check(any_shop)


def test_amend_that_removes_an_unshipped_line_returns_its_pieces(any_shop: Shop) -> None:
    paid(any_shop, POTS_AND_CUPS)
    any_shop.orders.fire("1001", "dispatch", items={"CUP": 3})
    order = amend(any_shop, lines=[Line("CUP", 3)]).order
    assert "dispatched" in order.statuses
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)
    check(any_shop)


@pytest.mark.parametrize("lines", [[Line("TEAPOT", 1)], [Line("CUP", 3)], []])
def test_amend_below_the_pieces_that_are_out_is_refused(any_shop: Shop, lines: list[Line]) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 2})
    before = any_shop.dump()
    with pytest.raises(Refused) as refused:
        amend(any_shop, lines=lines)
    assert codes(refused) == ["below_out"]
    assert any_shop.dump() == before
    any_shop.orders.fire("1001", "dispatch")
    with pytest.raises(Refused) as refused:
        amend(any_shop, lines=lines)
    assert codes(refused) == ["below_out"]


def test_amend_that_raises_a_line_unticks_dispatched(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    order = amend(any_shop, lines=[Line("TEAPOT", 5)]).order
    assert "dispatched" not in order.statuses
    assert (order.part_dispatched, order.to_ship) == (True, {"TEAPOT": 2})
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(5, held=2, out=3)
    assert [one.id for one in any_shop.orders.queue("part_dispatched")] == ["1001"]
    assert "dispatched" in any_shop.orders.fire("1001", "dispatch").order.statuses
    check(any_shop)


def test_amend_that_raises_a_dispatched_line_beyond_stock_is_refused(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    with pytest.raises(Refused) as refused:
        amend(any_shop, lines=[Line("TEAPOT", 11)])
    assert codes(refused) == ["out_of_stock"]
    any_shop.orders.set_stock("TEAPOT", 7, backorder=True)
    assert amend(any_shop, lines=[Line("TEAPOT", 11)]).order.reserved == (Line("TEAPOT", 8),)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(-1, held=8, out=3, backorder=True)
    check(any_shop)


def test_amend_to_fewer_pieces_than_were_returned_of_a_line_settles_it(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 2})
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1})
    order = amend(any_shop, lines=[Line("TEAPOT", 1)]).order
    assert "dispatched" in order.statuses
    assert (order.out, order.to_ship, order.reserved) == ({"TEAPOT": 1}, {}, ())
    check(any_shop)


# An order with goods out is not cancelled, unplaced or expired


def test_order_with_goods_out_is_not_cancelled_before_their_return(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    assert refusal(any_shop, "cancel") == ["goods_out"]
    with pytest.raises(Refused) as refused:
        any_shop.orders.save("1001", {"sent", "paid", "invoiced", "cancelled"}, version=3)
    assert codes(refused) == ["goods_out"]
    any_shop.orders.fire("1001", "return_items")
    order = any_shop.orders.fire("1001", "cancel").order
    assert (order.part_dispatched, order.reserved) == (False, None)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)
    assert any_shop.orders.queue("part_dispatched") == []
    check(any_shop)


def test_reinstated_order_takes_its_pieces_left_to_ship(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    any_shop.orders.fire("1001", "return_items", restock=False)
    any_shop.orders.fire("1001", "cancel")
    any_shop.orders.set_stock("TEAPOT", 2)
    order = any_shop.orders.fire("1001", "reinstate").order
    assert (order.reserved, order.part_dispatched) == ((Line("TEAPOT", 2),), True)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(0, held=2, lost=1)
    check(any_shop, pieces=3)


@pytest.mark.parametrize("trigger", ["unplace", "expire"])
def test_order_with_goods_out_is_not_unplaced_and_does_not_expire(any_shop: Shop, trigger: str) -> None:
    any_shop.bring("sent")
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}, comment="a friend", override=True)
    assert refusal(any_shop, trigger) == ["goods_out"]
    any_shop.create("1002")
    any_shop.orders.fire("1002", "place")
    any_shop.clock.pass_by(days=10)
    assert [receipt.order.id for receipt in any_shop.orders.expire(timedelta(days=7))] == ["1002"]
    any_shop.orders.fire("1001", "return_items")
    assert any_shop.orders.fire("1001", trigger).order.part_dispatched is False
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)
    check(any_shop)


def test_order_placed_again_after_a_return_takes_its_pieces_left_to_ship(any_shop: Shop) -> None:
    any_shop.bring("sent")
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}, comment="a friend", override=True)
    any_shop.orders.fire("1001", "return_items")
    any_shop.orders.fire("1001", "unplace")
    order = any_shop.orders.fire("1001", "place").order
    assert (order.reserved, order.part_dispatched) == ((Line("TEAPOT", 1),), True)
    check(any_shop)


def test_order_amended_to_its_shipped_pieces_while_cancelled_is_dispatched_by_hand(any_shop: Shop) -> None:
    """Reinstating ticks no goods. Nothing is left to ship, so `dispatch` records no shipment."""
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    any_shop.orders.fire("1001", "return_items")
    any_shop.orders.fire("1001", "cancel")
    amend(any_shop, lines=[Line("TEAPOT", 1)])
    order = any_shop.orders.fire("1001", "reinstate").order
    assert (order.to_ship, order.part_dispatched) == ({}, False)
    assert refusal(any_shop, "dispatch", items={"TEAPOT": 1}) == ["beyond_order"]
    order = any_shop.orders.fire("1001", "dispatch").order
    assert "dispatched" in order.statuses
    assert len(order.shipments) == 2
    check(any_shop)


# Undispatch


def test_undispatch_brings_everything_that_is_out_back(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    any_shop.orders.fire("1001", "dispatch")
    order = any_shop.orders.fire("1001", "undispatch", comment="wrong address").order
    assert order.shipments[-1].kind == "recalled"
    assert (order.out, order.to_ship, order.part_dispatched) == ({}, {"TEAPOT": 3}, False)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, held=3)
    assert any_shop.orders.fire("1001", "cancel").order.reserved is None
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)
    check(any_shop)


@pytest.mark.parametrize("restock", [True, False])
@pytest.mark.parametrize("returned", [1, 2, 3])
def test_undispatch_takes_returned_pieces_from_stock_again(any_shop: Shop, returned: int, restock: bool) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": returned}, restock=restock)
    order = any_shop.orders.fire("1001", "undispatch", comment="send it again").order
    assert (order.to_ship, order.reserved) == ({"TEAPOT": 3}, (Line("TEAPOT", 3),))
    lost = 0 if restock else returned
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7 - lost, held=3, lost=lost)
    assert "dispatched" in any_shop.orders.fire("1001", "dispatch").order.statuses
    check(any_shop)


def test_undispatch_of_pieces_sold_since_queues_a_message(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 3)
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 2})
    paid(any_shop, [Line("TEAPOT", 2)], "1002")
    any_shop.orders.fire("1001", "undispatch", comment="send it again")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(-2, held=5)
    assert [message.payload["items"] for message in any_shop.messages("stock.short")] == [
        [{"sku": "TEAPOT", "taken": 2}]
    ]
    check(any_shop, pieces=3)


def test_undispatch_takes_no_returned_piece_that_is_not_ordered_any_more(any_shop: Shop) -> None:
    paid(any_shop, POTS_AND_CUPS)
    any_shop.orders.set_stock("CUP", 5)
    any_shop.orders.fire("1001", "dispatch")
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1, "CUP": 3})
    amend(any_shop, lines=[Line("TEAPOT", 1)])
    order = any_shop.orders.fire("1001", "undispatch", comment="send it again").order
    assert (order.to_ship, order.reserved) == ({"TEAPOT": 1}, (Line("TEAPOT", 1),))
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(9, held=1)
    check(any_shop)


def test_undispatch_takes_as_many_returned_pieces_as_are_ordered_now(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    any_shop.orders.fire("1001", "return_items")
    amend(any_shop, lines=[Line("TEAPOT", 2)])
    order = any_shop.orders.fire("1001", "undispatch", comment="send it again").order
    assert (order.to_ship, order.reserved) == ({"TEAPOT": 2}, (Line("TEAPOT", 2),))
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, held=2)
    check(any_shop)


def test_order_is_dispatched_returned_and_recalled_again_and_again(any_shop: Shop) -> None:
    paid(any_shop)
    for number in range(3):
        any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 2}, parcel=f"P{number}")
        any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1})
        any_shop.orders.fire("1001", "dispatch", parcel=f"Q{number}")
        any_shop.orders.fire("1001", "undispatch", comment="once more")
    order = any_shop.orders.get("1001")
    assert (order.to_ship, order.reserved, len(order.shipments)) == ({"TEAPOT": 3}, (Line("TEAPOT", 3),), 12)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, held=3)
    check(any_shop)


# Items that are not tracked, or are back-ordered


def test_pieces_that_were_not_taken_from_stock_never_change_it(any_shop: Shop) -> None:
    paid(any_shop, [Line("CUP", 3)])
    any_shop.orders.set_stock("CUP", 5)
    any_shop.orders.fire("1001", "dispatch", items={"CUP": 2})
    any_shop.orders.fire("1001", "return_items", items={"CUP": 1})
    any_shop.orders.fire("1001", "dispatch")
    assert [row.drawn for row in any_shop.orders.get("1001").shipments] == [(), (), ()]
    any_shop.orders.fire("1001", "undispatch", comment="back")
    assert any_shop.orders.get("1001").reserved == ()
    assert any_shop.orders.stock_level("CUP") == StockLevel(5)
    check(any_shop)


def test_item_that_is_not_tracked_any_more_is_shipped_and_tracked_again(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.stop_tracking("TEAPOT")
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    any_shop.orders.set_stock("TEAPOT", 7)
    any_shop.orders.fire("1001", "dispatch")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, out=3)
    any_shop.orders.fire("1001", "undispatch", comment="back")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, held=3)
    check(any_shop)


def test_line_partly_taken_from_stock_ships_untaken_pieces_first(any_shop: Shop) -> None:
    """Two cups were ordered before cups were tracked, and one since. The held cup stays for the rest."""
    paid(any_shop, [Line("CUP", 2)])
    any_shop.orders.set_stock("CUP", 5)
    order = amend(any_shop, lines=[Line("CUP", 3)]).order
    assert order.reserved == (Line("CUP", 1),)
    order = any_shop.orders.fire("1001", "dispatch", items={"CUP": 2}).order
    assert (order.shipments[0].drawn, order.reserved) == ((), (Line("CUP", 1),))
    any_shop.orders.fire("1001", "dispatch")
    assert any_shop.orders.stock_level("CUP") == StockLevel(4, out=1)
    any_shop.orders.fire("1001", "return_items")
    assert any_shop.orders.stock_level("CUP") == StockLevel(5)
    check(any_shop)


def test_backordered_pieces_are_shipped_by_part(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 1, backorder=True)
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(-2, held=2, out=1, backorder=True)
    any_shop.orders.adjust_stock("TEAPOT", 2)
    any_shop.orders.fire("1001", "dispatch")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(0, out=3, backorder=True)
    check(any_shop, pieces=3)


# The form


def test_form_that_ticks_several_boxes_ships_everything(any_shop: Shop) -> None:
    any_shop.create()
    receipt = any_shop.orders.save("1001", {"sent", "invoiced", "dispatched"}, version=1)
    assert [entry.trigger for entry in receipt.entries] == ["place", "invoice", "dispatch"]
    assert receipt.order.out == {"TEAPOT": 2}
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, out=2)
    check(any_shop)


def test_form_that_dispatches_more_than_the_stock_is_refused(any_shop: Shop) -> None:
    any_shop.create(lines=[Line("TEAPOT", 11)])
    before = any_shop.dump()
    with pytest.raises(Refused) as refused:
        any_shop.orders.save("1001", {"sent", "invoiced", "dispatched"}, version=1)
    assert "out_of_stock" in codes(refused)
    assert any_shop.dump() == before


def test_form_that_ticks_dispatched_ships_the_rest(any_shop: Shop) -> None:
    paid(any_shop)
    order = any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}).order
    preview = any_shop.orders.preview("1001", order.statuses | {"dispatched"}, version=3)
    receipt = any_shop.orders.save("1001", order.statuses | {"dispatched"}, version=3)
    assert preview.order.shipments == receipt.order.shipments
    assert receipt.entries[-1].facts == {"items": (Line("TEAPOT", 2),)}
    check(any_shop)


def test_form_that_unticks_dispatched_recalls_everything(any_shop: Shop) -> None:
    paid(any_shop)
    order = any_shop.orders.fire("1001", "dispatch").order
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1})
    wanted = order.statuses - {"dispatched"}
    with pytest.raises(Refused):
        any_shop.orders.save("1001", wanted, version=4)
    preview = any_shop.orders.preview("1001", wanted, version=4, comment="back")
    receipt = any_shop.orders.save("1001", wanted, version=4, comment="back")
    assert preview.order.reserved == receipt.order.reserved == (Line("TEAPOT", 3),)
    check(any_shop)


def test_form_that_recalls_and_cancels_returns_everything(any_shop: Shop) -> None:
    paid(any_shop)
    order = any_shop.orders.fire("1001", "dispatch").order
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1})
    any_shop.orders.save("1001", order.statuses - {"dispatched"} | {"cancelled"}, version=4, comment="gone")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)
    check(any_shop)


# Batches, keys and conflicts


def test_batch_ships_one_order_in_several_parts(any_shop: Shop) -> None:
    paid(any_shop)
    with any_shop.orders.batch() as batch:
        batch.fire("1001", "dispatch", items={"TEAPOT": 1}, parcel="A")
        batch.fire("1001", "dispatch", items={"TEAPOT": 3}, parcel="B")
        batch.fire("1001", "dispatch", items={"TEAPOT": 1}, parcel="C")
        batch.fire("1001", "dispatch", parcel="D")
        batch.fire("1001", "return_items", items={"TEAPOT": 2}, restock=False)
    assert [type(result) for result in batch.results] == [Receipt, Refused, Receipt, Receipt, Receipt]
    assert any_shop.orders.get("1001").out == {"TEAPOT": 1}
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, out=1, lost=2)
    check(any_shop)


def test_batch_recalls_pieces_that_it_returned_before(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 3)
    paid(any_shop)
    with any_shop.orders.batch() as batch:
        batch.fire("1001", "dispatch")
        batch.fire("1001", "return_items", items={"TEAPOT": 2})
        batch.fire("1001", "undispatch", comment="again")
    assert [type(result) for result in batch.results] == [Receipt, Receipt, Receipt]
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(0, held=3)
    assert any_shop.messages("stock.short") == []
    check(any_shop, pieces=3)


def test_batch_places_an_order_on_pieces_that_it_returned_before(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 3)
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    any_shop.create("1002", lines=[Line("TEAPOT", 2)])
    with any_shop.orders.batch() as batch:
        batch.fire("1002", "place")
        batch.fire("1001", "return_items", items={"TEAPOT": 2})
        batch.fire("1002", "place")
    assert [type(result) for result in batch.results] == [Refused, Receipt, Receipt]
    check(any_shop, pieces=3)


def test_repeated_shipment_gets_the_first_receipt(any_shop: Shop) -> None:
    paid(any_shop, POTS_AND_CUPS)
    given: dict[str, Any] = {"items": {"TEAPOT": 1, "CUP": 2}, "parcel": "AB123", "key": "scan-1"}
    first = any_shop.orders.fire("1001", "dispatch", **given)
    any_shop.orders.fire("1001", "dispatch", key="scan-2")
    again = any_shop.orders.fire("1001", "dispatch", **{**given, "items": {"CUP": 2, "TEAPOT": 1}})
    assert again.duplicate
    assert again == replace(first, duplicate=True)
    for changed in ({"items": {"TEAPOT": 1, "CUP": 1}}, {"parcel": "AB124"}, {"items": None}):
        with pytest.raises(KeyReused):
            any_shop.orders.fire("1001", "dispatch", **{**given, **changed})
    check(any_shop)


def test_repeated_return_gets_the_first_receipt(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch")
    first = any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1}, restock=False, key="r-1")
    again = any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1}, restock=False, key="r-1")
    assert again == replace(first, duplicate=True)
    with pytest.raises(KeyReused):
        any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1}, restock=True, key="r-1")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, out=2, lost=1)


def test_pieces_that_many_clerks_ship_at_once_leave_once(any_shop: Shop) -> None:
    paid(any_shop)

    def ship(number: int) -> bool:
        try:
            any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}, parcel=f"P{number}", key=f"scan-{number}")
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ship, range(8))).count(True) == 3
    order = any_shop.orders.get("1001")
    assert "dispatched" in order.statuses
    assert (order.out, len(order.shipments)) == ({"TEAPOT": 3}, 3)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(7, out=3)
    check(any_shop)


# Money: a part-dispatched order counts as undispatched


def test_part_dispatched_order_that_is_refunded_in_full_is_not_paid(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    order = any_shop.orders.fire("1001", "refund", reference="ch_1001").order
    assert not order.statuses & {"paid", "invoiced"}
    assert (str(order.outstanding), bool(order.credited), order.part_dispatched) == ("10.00", False, True)
    assert refusal(any_shop, "dispatch") == ["not_paid_nor_invoiced"]
    assert [one.id for one in any_shop.orders.queue("part_dispatched")] == ["1001"]
    assert any_shop.orders.queue("to_dispatch") == any_shop.orders.queue("debt") == []
    check(any_shop)


def test_dispatched_order_that_is_refunded_in_full_stays_paid(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    any_shop.orders.fire("1001", "dispatch")
    order = any_shop.orders.fire("1001", "refund", reference="ch_1001").order
    assert "paid" in order.statuses
    assert (bool(order.outstanding), str(order.credited)) == (False, "10.00")
    check(any_shop)


# Queues


def test_part_dispatched_orders_are_found_counted_and_paged(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 100)
    for number in range(1, 8):
        paid(any_shop, order_id=f"{number}")
        any_shop.clock.pass_by(seconds=1)
        if number % 2:
            any_shop.orders.fire(f"{number}", "dispatch", items={"TEAPOT": 1})
    first = any_shop.orders.queue("part_dispatched", limit=3)
    rest = any_shop.orders.queue("part_dispatched", limit=3, after=first[-1].id)
    assert [order.id for order in (*first, *rest)] == ["1", "3", "5", "7"]
    assert any_shop.orders.counts()["part_dispatched"] == 4
    assert any_shop.orders.counts()["to_dispatch"] == 7
    any_shop.orders.fire("3", "dispatch")
    any_shop.orders.fire("5", "return_items")
    any_shop.orders.fire("5", "cancel")
    assert [order.id for order in any_shop.orders.queue("part_dispatched")] == ["1", "7"]
    assert any_shop.orders.counts()["part_dispatched"] == 2
    assert any_shop.orders.audit().findings == ()


# Audits and dicts


def test_audit_finds_edited_shipments(any_shop: Shop) -> None:
    paid(any_shop)
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 2})
    order = any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1}).order
    entries = any_shop.orders.history("1001")
    shipped, returned = order.shipments
    edits: list[tuple[Shipment, ...]] = [
        (),
        (shipped,),
        (replace(shipped, lines=(Line("TEAPOT", 3),)), returned),
        (replace(shipped, drawn=(Line("TEAPOT", 3),)), returned),
        (shipped, replace(returned, kind="shipped")),
        (shipped, replace(returned, restock=False)),
        (shipped, replace(returned, version=2)),
        (replace(shipped, at=shipped.at + timedelta(seconds=1)), returned),
        (shipped, returned, replace(returned, version=9)),
        (returned, shipped),
    ]
    from order_fsm.audit.consistency import Tables, findings

    tables = Tables(any_shop.orders.workflow)
    assert list(findings(tables, order, entries)) == []
    for rows in edits:
        assert list(findings(tables, replace(order, shipments=rows), entries)), rows


def test_shipments_and_entries_return_from_their_dicts(any_shop: Shop) -> None:
    paid(any_shop, POTS_AND_CUPS)
    any_shop.orders.fire("1001", "dispatch", items={"CUP": 1, "TEAPOT": 2}, parcel="AB123")
    any_shop.orders.fire("1001", "return_items", items={"CUP": 1}, restock=False)
    order = any_shop.orders.get("1001")
    assert Order.from_dict(order.to_dict()) == order
    for entry in any_shop.orders.history("1001"):
        assert Entry.from_dict(entry.to_dict()) == entry
    for row in order.shipments:
        assert Shipment.from_dict(row.to_dict()) == row


def test_explain_has_the_reasons_of_goods(any_shop: Shop) -> None:
    paid(any_shop)
    assert [reason.code for reason in any_shop.orders.explain("1001")["return_items"]] == ["nothing_out"]
    any_shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    explained = any_shop.orders.explain("1001")
    assert explained["return_items"] == explained["dispatch"] == ()
    assert [reason.code for reason in explained["cancel"]] == ["goods_out"]


def test_messages_of_a_shops_own_shipments_hold_no_parcel_number(any_shop: Shop) -> None:
    table = shop_workflow()
    rules = [evolve(rule, announces="goods.left") if rule.goods == "shipped" else rule for rule in table.rules]
    workflow = type(table)(
        table.statuses, rules, holds_stock=table.holds_stock, counts=table.counts, queues=table.queues
    )
    orders = Orders(any_shop.store, workflow=workflow, clock=any_shop.clock)
    paid(any_shop)
    orders.fire("1001", "dispatch", items={"TEAPOT": 1}, parcel="AB123")
    (message,) = any_shop.messages("goods.left")
    assert message.payload == {"items": [{"sku": "TEAPOT", "quantity": 1}], "state": "sent+invoiced+paid"}


def test_undispatch_of_an_order_without_lines_records_no_goods_that_came_back_before(any_shop: Shop) -> None:
    """Its goods went out and came back, then it was amended to have no lines, and the box was ticked directly."""
    any_shop.create()
    orders = any_shop.orders
    orders.fire("1001", "place")
    orders.fire("1001", "dispatch", comment="a reason", override=True)
    orders.fire("1001", "undispatch", comment="a reason")
    orders.amend("1001", version=4, lines=(), comment="a voucher instead")
    orders.fire("1001", "dispatch", comment="a reason", override=True)
    order = orders.fire("1001", "undispatch", comment="a reason").order
    assert [row.kind for row in order.shipments] == ["shipped", "recalled"]
    assert orders.audit().ok


def test_shipment_without_items_names_the_mistake(shop: Shop) -> None:
    shop.bring("sent+paid")
    with pytest.raises(InvalidInput, match=r"items must be a dict such as .*, not an empty one"):
        shop.orders.fire("1001", "dispatch", items={})


def test_missing_stock_refuses_instead_of_choosing_a_rule_that_takes_none(new_shop: type[Shop]) -> None:
    """Orders take their stock when they are paid. Placing an unpaid order takes none."""
    shop = new_shop(shop_workflow().extend(holds_stock=When(has={"paid"}, lacks={"cancelled"})))
    shop.orders.set_stock("TEAPOT", 2)
    for order_id in ("1", "2"):
        shop.create(order_id)
        shop.orders.fire(order_id, "place")
        shop.orders.fire(order_id, "pay", reference=f"ch_{order_id}")
        if order_id == "1":
            shop.orders.fire("1", "cancel")
    shop.create("3")
    assert shop.orders.fire("3", "place").order.state == "sent"
    shop.create("free", total="0")
    for order_id, trigger in (("1", "reinstate"), ("free", "place")):
        with pytest.raises(Refused, match="out_of_stock"):
            shop.orders.fire(order_id, trigger)
    assert shop.orders.audit().ok
