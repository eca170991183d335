"""The stock level of an item: expected numbers, tracking and back orders."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import InvalidInput, Line, Orders, Refused, Rule, Status, StockLevel, VersionConflict, shop_workflow
from order_fsm.rules.holding import Supply
from tests.stores import interrupted

if TYPE_CHECKING:
    from tests.conftest import Shop

CUPS = [Line("CUP", 2)]


def test_second_of_two_forms_that_show_one_number_is_refused(any_shop: Shop) -> None:
    """Case C4. It raises, and does not change the number or the back-order flag."""
    shown = any_shop.orders.stock("TEAPOT")
    any_shop.orders.set_stock("TEAPOT", 15, expected=shown)
    with pytest.raises(VersionConflict, match="the stock of 'TEAPOT' is 15, not 10: load it again"):
        any_shop.orders.set_stock("TEAPOT", 12, expected=shown, backorder=True)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(15)


def test_form_that_shows_a_number_from_before_an_order_is_refused(any_shop: Shop) -> None:
    """Case C4. The order took two of the pieces in the form."""
    shown = any_shop.orders.stock("TEAPOT")
    any_shop.bring("sent")
    with pytest.raises(VersionConflict, match="is 8, not 10"):
        any_shop.orders.set_stock("TEAPOT", 12, expected=shown)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, held=2)
    any_shop.orders.set_stock("TEAPOT", 12, expected=8)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(12, held=2)


@pytest.mark.parametrize("stopped", [False, True])
def test_expected_number_of_an_untracked_item_is_refused(any_shop: Shop, stopped: bool) -> None:
    if stopped:
        any_shop.orders.set_stock("CUP", 0)
        any_shop.orders.stop_tracking("CUP")
    with pytest.raises(VersionConflict, match="the stock of 'CUP' is not tracked, not 0"):
        any_shop.orders.set_stock("CUP", 5, expected=0)
    assert any_shop.orders.stock("CUP") is None


def test_one_of_eight_forms_that_show_one_number_is_saved(any_shop: Shop) -> None:
    def save(number: int) -> bool:
        try:
            any_shop.orders.set_stock("TEAPOT", number, expected=10)
        except VersionConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(save, range(20, 28)))
    assert saved.count(True) == 1
    assert any_shop.orders.stock("TEAPOT") == 20 + saved.index(True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"available": -1}, "available must be from 0"),
        ({"available": None}, "available must be a whole number"),
        ({"available": 1, "expected": "10"}, "expected must be a whole number"),
        ({"available": 1, "expected": 2**63}, "expected must be from"),
        ({"available": 1, "backorder": 1}, "backorder must be True or False"),
        ({"available": 1, "backorder": "no"}, "backorder must be True or False"),
    ],
)
def test_invalid_setting_is_refused(any_shop: Shop, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        any_shop.orders.set_stock("TEAPOT", **given)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)


def test_level_of_an_unknown_item_is_none(any_shop: Shop) -> None:
    assert any_shop.orders.stock_level("CUP") is None
    any_shop.create(lines=CUPS)
    any_shop.orders.fire("1001", "place")
    assert any_shop.orders.stock_level("CUP") is None


# An item that is not tracked for a time


def test_untracked_item_prevents_no_order(any_shop: Shop) -> None:
    """Case C4. New orders take no piece of it, and earlier orders keep their pieces."""
    any_shop.bring("sent", "1001")
    any_shop.orders.stop_tracking("TEAPOT")
    assert any_shop.orders.stock("TEAPOT") is None
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(None, held=2)
    any_shop.create("1002", lines=[Line("TEAPOT", 1000)])
    assert any_shop.orders.fire("1002", "place").order.reserved == ()
    assert any_shop.orders.audit().ok
    with pytest.raises(InvalidInput, match="'TEAPOT' is not tracked"):
        any_shop.orders.adjust_stock("TEAPOT", 1)


def test_item_tracked_again_counts_the_pieces_that_orders_hold(any_shop: Shop) -> None:
    """One order returned its pieces while the item was untracked, and the new stock includes them."""
    any_shop.bring("sent", "1001")
    any_shop.bring("sent", "1002")
    any_shop.orders.stop_tracking("TEAPOT")
    any_shop.orders.fire("1001", "cancel")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(None, held=2)
    any_shop.orders.set_stock("TEAPOT", 8)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, held=2)
    any_shop.orders.fire("1002", "cancel")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)
    assert any_shop.orders.audit().ok


def test_item_that_stops_being_tracked_before_the_commit_is_not_taken(any_shop: Shop) -> None:
    any_shop.create()
    before_commit = interrupted(any_shop.store)
    before_commit.append(lambda: any_shop.orders.stop_tracking("TEAPOT"))
    assert any_shop.orders.fire("1001", "place").order.reserved == ()
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(None)


def test_item_that_becomes_tracked_before_the_commit_is_not_taken(any_shop: Shop) -> None:
    any_shop.create(lines=CUPS)
    before_commit = interrupted(any_shop.store)
    before_commit.append(lambda: any_shop.orders.set_stock("CUP", 7))
    assert any_shop.orders.fire("1001", "place").order.reserved == ()
    any_shop.orders.fire("1001", "cancel")
    assert any_shop.orders.stock_level("CUP") == StockLevel(7)


# An item that becomes tracked after an order


def _expire(shop: Shop) -> None:
    shop.clock.pass_by(days=10)
    assert len(shop.orders.expire(timedelta(days=7))) == 1


def _cancel_in_a_batch(shop: Shop) -> None:
    with shop.orders.batch() as batch:
        batch.comment("1001", "Sold out")
        batch.fire("1001", "cancel")
        batch.fire("1001", "cancel")
    assert [type(result) for result in batch.results].count(Refused) == 1


def _cancel_twice_under_a_key(shop: Shop) -> None:
    receipts = [shop.orders.fire("1001", "cancel", key="c") for _ in range(2)]
    assert [receipt.duplicate for receipt in receipts] == [False, True]


def _migrate(shop: Shop) -> None:
    """Migrate the order from a state of an older table."""
    extended = shop_workflow().extend(
        statuses=[Status("returned")], rules=[Rule("take_back", needs={"sent"}, adds={"returned"})]
    )
    Orders(shop.store, workflow=extended, clock=shop.clock).fire("1001", "take_back")
    assert len(shop.orders.migrate({"sent+returned": "cancelled"}, comment="x")) == 1


WAYS: dict[str, Callable[[Shop], object]] = {
    "cancel": lambda shop: shop.orders.fire("1001", "cancel"),
    "unplace": lambda shop: shop.orders.fire("1001", "unplace"),
    "form": lambda shop: shop.orders.save("1001", {"sent", "cancelled"}, version=2),
    "expire": _expire,
    "batch": _cancel_in_a_batch,
    "duplicate": _cancel_twice_under_a_key,
    "migrate": _migrate,
}


@pytest.mark.parametrize("way", WAYS)
def test_order_returns_no_piece_that_it_never_took(any_shop: Shop, way: str) -> None:
    """The cups became tracked after the placing. The teapots come back."""
    any_shop.create(lines=[Line("TEAPOT", 3), *CUPS])
    any_shop.orders.fire("1001", "place")
    any_shop.orders.set_stock("CUP", 7)
    WAYS[way](any_shop)
    assert any_shop.orders.get("1001").reserved is None
    assert any_shop.orders.stock_level("CUP") == StockLevel(7)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)
    assert any_shop.orders.audit().ok


@pytest.mark.parametrize("way", ["alone", "batch"])
def test_reinstated_order_takes_the_items_that_are_tracked_now(any_shop: Shop, way: str) -> None:
    any_shop.create(lines=CUPS)
    any_shop.orders.fire("1001", "place")
    any_shop.orders.set_stock("CUP", 7)
    if way == "alone":
        any_shop.orders.fire("1001", "cancel")
        any_shop.orders.fire("1001", "reinstate")
    else:
        with any_shop.orders.batch() as batch:
            batch.fire("1001", "cancel")
            batch.fire("1001", "reinstate")
    assert any_shop.orders.get("1001").reserved == (Line("CUP", 2),)
    assert any_shop.orders.stock_level("CUP") == StockLevel(5, held=2)
    any_shop.orders.fire("1001", "cancel")
    assert any_shop.orders.stock_level("CUP") == StockLevel(7)


# Items that may be back-ordered


def test_back_ordered_item_is_taken_below_zero_with_a_message(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 1, backorder=True)
    any_shop.create()
    assert any_shop.orders.explain("1001")["place"] == ()
    assert any_shop.orders.fire("1001", "place").order.reserved == (Line("TEAPOT", 2),)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(-1, held=2, backorder=True)
    (message,) = any_shop.messages("stock.short")
    assert message.payload["items"] == [{"sku": "TEAPOT", "taken": 2}]
    assert any_shop.orders.audit().ok
    assert any_shop.orders.adjust_stock("TEAPOT", +5) == 4


def test_back_order_item_in_stock_is_not_short(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 2, backorder=True)
    any_shop.bring("sent")
    assert any_shop.orders.stock("TEAPOT") == 0
    assert any_shop.messages("stock.short") == []


def test_order_with_another_item_that_is_short_is_refused(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 0, backorder=True)
    any_shop.orders.set_stock("CUP", 1)
    any_shop.create(lines=[Line("TEAPOT", 2), *CUPS])
    with pytest.raises(Refused, match="out_of_stock"):
        any_shop.orders.fire("1001", "place")
    assert [reason.code for reason in any_shop.orders.explain("1001")["place"]] == ["out_of_stock"]
    assert any_shop.orders.stock("TEAPOT") == 0


def test_item_may_be_back_ordered_until_it_is_set_otherwise(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 0, backorder=True)
    any_shop.orders.set_stock("TEAPOT", 1)
    any_shop.orders.adjust_stock("TEAPOT", -1)
    any_shop.orders.stop_tracking("TEAPOT")
    any_shop.orders.set_stock("TEAPOT", 0)
    any_shop.bring("sent")
    assert any_shop.orders.stock("TEAPOT") == -2
    any_shop.orders.set_stock("TEAPOT", 0, backorder=False)
    any_shop.create("1002")
    with pytest.raises(Refused, match="out_of_stock"):
        any_shop.orders.fire("1002", "place")


def test_pieces_taken_before_the_commit_make_an_order_wait_for_more(any_shop: Shop) -> None:
    """It found enough pieces. It is decided again, and two pieces are missing."""
    any_shop.orders.set_stock("TEAPOT", 2, backorder=True)
    any_shop.create("1001")
    any_shop.create("1002")
    before_commit = interrupted(any_shop.store)
    before_commit.append(lambda: any_shop.orders.fire("1002", "place"))
    any_shop.orders.fire("1001", "place")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(-2, held=4, backorder=True)
    assert [message.order_id for message in any_shop.messages("stock.short")] == ["1001"]


def test_back_orders_in_a_batch_are_decided_one_after_the_other(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 2, backorder=True)
    for number in ("1001", "1002"):
        any_shop.create(number)
    with any_shop.orders.batch() as batch:
        for trigger in ("place", "cancel", "reinstate"):
            batch.fire("1001", trigger)
        batch.fire("1002", "place")
    assert not any(isinstance(result, Refused) for result in batch.results)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(-2, held=4, backorder=True)
    assert [message.order_id for message in any_shop.messages("stock.short")] == ["1002"]


def test_order_reinstated_in_a_batch_waits_for_pieces_again(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 0, backorder=True)
    any_shop.bring("sent")
    with any_shop.orders.batch() as batch:
        batch.fire("1001", "cancel")
        batch.fire("1001", "reinstate")
    assert not any(isinstance(result, Refused) for result in batch.results)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(-2, held=2, backorder=True)


def test_item_below_zero_is_not_short_for_an_order_without_it(any_shop: Shop) -> None:
    """A batch reads the stock of all orders with several calls at once."""
    any_shop.create("1001", lines=[Line("TEAPOT", 30)])
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    any_shop.orders.set_stock("CUP", 5)
    any_shop.create("1002", lines=CUPS)
    with any_shop.orders.batch() as batch:
        batch.comment("1001", "More teapots are on their way")
        batch.comment("1001", "They are here")
        batch.comment("1002", "Gift wrapping")
        batch.fire("1002", "place")
    assert [result for result in batch.results if isinstance(result, Refused)] == []
    assert Supply({"CUP": -3, "TEAPOT": 2}).shortages(any_shop.create("1003")) == frozenset()


def test_stock_beyond_64_bits_is_refused_before_anything_is_written(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 2)
    any_shop.bring("sent")
    any_shop.orders.set_stock("TEAPOT", 2**63 - 1)
    before = any_shop.dump()
    for change in (
        lambda: any_shop.orders.adjust_stock("TEAPOT", 1),
        lambda: any_shop.orders.fire("1001", "cancel"),
    ):
        with pytest.raises(InvalidInput, match=r"the stock of 'TEAPOT' must be below 2\*\*63"):
            change()
    assert any_shop.dump() == before
