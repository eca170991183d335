"""The pieces that an order holds are stored with it, so a changed table loses no piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from order_fsm import Line, Order, Orders, StockLevel, When, Workflow, shop_workflow

if TYPE_CHECKING:
    from tests.conftest import Shop

LATE = shop_workflow().extend(holds_stock=When(has={"paid"}, lacks={"cancelled"}))
"""Return rules that take stock only for paid orders. The default table takes it for placed orders."""


def under(shop: Shop, workflow: Workflow) -> Orders:
    """Return the orders of a shop after a change of its table."""
    return Orders(shop.store, workflow=workflow, clock=shop.clock)


def pieces(shop: Shop) -> int:
    """Return the available and the reserved teapots. Their sum is constant."""
    held = sum(line.quantity for order in shop.all() for line in order.reserved or ())
    return held + (shop.orders.stock("TEAPOT") or 0)


def test_order_without_stock_has_nothing_reserved(any_shop: Shop) -> None:
    assert any_shop.create().reserved is None
    any_shop.orders.fire("1001", "cancel")
    assert any_shop.orders.get("1001").reserved is None


def test_order_placed_has_its_tracked_pieces_reserved(any_shop: Shop) -> None:
    """The order has two lines of one item and a line of an untracked item."""
    any_shop.create(lines=[Line("TEAPOT", 2), Line("CUP", 1), Line("TEAPOT", 3)])
    order = any_shop.orders.fire("1001", "place").order
    assert order.reserved == (Line("TEAPOT", 5),)
    assert any_shop.orders.get("1001") == order
    assert any_shop.orders.stock("TEAPOT") == 5
    assert any_shop.orders.fire("1001", "cancel").order.reserved is None
    assert any_shop.orders.stock("TEAPOT") == 10


def test_item_tracked_after_placing_is_not_returned_by_the_order(any_shop: Shop) -> None:
    any_shop.create(lines=[Line("CUP", 2)])
    assert any_shop.orders.fire("1001", "place").order.reserved == ()
    any_shop.orders.set_stock("CUP", 7)
    any_shop.orders.fire("1001", "cancel")
    assert any_shop.orders.stock("CUP") == 7


def test_changed_table_that_holds_less_moves_no_stock_until_migrate(any_shop: Shop) -> None:
    """Case E2. The order took its pieces under the old table. By the new one it holds no pieces."""
    any_shop.bring("sent")
    late = under(any_shop, LATE)
    for trigger, comment in (("invoice", ""), ("uninvoice", ""), ("cancel", "")):
        assert late.fire("1001", trigger, comment=comment).order.reserved == (Line("TEAPOT", 2),)
        assert [finding.code for finding in late.audit().findings] == ["reserved"]
    assert late.stock_level("TEAPOT") == StockLevel(8, held=2)
    (receipt,) = late.migrate({"sent+cancelled": "sent+cancelled"}, comment="stock is taken for paid orders alone")
    assert receipt.order.reserved is None
    assert late.stock_level("TEAPOT") == StockLevel(10)
    assert late.audit().ok


def test_changed_table_that_holds_more_moves_no_stock_until_migrate(any_shop: Shop) -> None:
    """Case E2. The order took no pieces under the old table. By the new one it holds them."""
    any_shop.create()
    under(any_shop, LATE).fire("1001", "place")
    for trigger in ("invoice", "uninvoice"):
        assert any_shop.orders.fire("1001", trigger).order.reserved is None
        assert [finding.code for finding in any_shop.orders.audit().findings] == ["reserved"]
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)
    (receipt,) = any_shop.orders.migrate({"sent": "sent"}, comment="stock is taken for placed orders")
    assert receipt.order.reserved == (Line("TEAPOT", 2),)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, held=2)
    assert any_shop.orders.audit().ok


def test_order_placed_under_the_old_table_takes_nothing_twice(any_shop: Shop) -> None:
    any_shop.bring("sent")
    order = under(any_shop, LATE).fire("1001", "pay").order
    assert order.reserved == (Line("TEAPOT", 2),)
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(8, held=2)
    assert under(any_shop, LATE).audit().ok


def test_order_that_leaves_the_states_with_stock_returns_its_pieces(any_shop: Shop) -> None:
    """It took its pieces under the old table, and leaves a state in which it holds them by the new table too."""
    any_shop.bring("sent")
    late = under(any_shop, LATE)
    late.fire("1001", "pay")
    assert late.fire("1001", "cancel").order.reserved is None
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)


def test_order_that_took_nothing_returns_nothing(any_shop: Shop) -> None:
    """It never took pieces, although such an order holds its stock by the current table."""
    any_shop.create()
    assert under(any_shop, LATE).fire("1001", "place").order.reserved is None
    any_shop.orders.fire("1001", "cancel")
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10)


def test_comment_moves_no_stock_after_a_change_of_the_table(any_shop: Shop) -> None:
    any_shop.bring("sent")
    order = under(any_shop, LATE).comment("1001", "Delayed by snow").order
    assert order.reserved == (Line("TEAPOT", 2),)
    assert any_shop.orders.stock("TEAPOT") == 8


@pytest.mark.parametrize("table", [shop_workflow(), LATE])
def test_pieces_are_constant_over_changes_of_the_table(any_shop: Shop, table: Workflow) -> None:
    other = LATE if table is not LATE else shop_workflow()
    tables = [table, other] * 5
    any_shop.create(total="10.00")
    for current, (trigger, comment) in zip(
        tables,
        [("place", ""), ("pay", ""), ("unpay", "bounced"), ("cancel", ""), ("reinstate", ""), ("pay", ""),
         ("cancel", ""), ("reinstate", "")],
        strict=False,
    ):  # fmt: skip
        order: Order = under(any_shop, current).fire("1001", trigger, comment=comment).order
        assert pieces(any_shop) == 10
        assert order.reserved in (None, (Line("TEAPOT", 2),))
        held = 0 if order.reserved is None else 2
        assert any_shop.orders.stock_level("TEAPOT") == StockLevel(10 - held, held=held)
