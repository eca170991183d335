"""Stock follows state: an order holds its pieces while it is sent and not cancelled."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import (
    Guard,
    InvalidInput,
    KeyReused,
    Line,
    Refused,
    Rule,
    VersionConflict,
    Workflow,
    shop_workflow,
)
from order_fsm.store import Change
from order_fsm.testing.store_contract.changes import creation, given_back, taken
from order_fsm_adapters.memory import MemoryStore
from tests.stores import interrupted

if TYPE_CHECKING:
    from tests.conftest import Shop


def on_hand_and_held(shop: Shop, sku: str = "TEAPOT") -> int:
    held = sum(
        order.quantities.get(sku, 0) for order in shop.all() if order.state in shop.orders.workflow.states
        and shop.orders.workflow.holds(order.state)
    )  # fmt: skip
    return (shop.orders.stock(sku) or 0) + held


def test_untracked_item_is_not_counted(shop: Shop) -> None:
    """It never prevents an order, and an order does not track it."""
    assert shop.orders.stock("CUP") is None
    shop.create(lines=[Line("CUP", 1000), Line("TEAPOT", 1)])
    shop.orders.fire("1001", "place")
    assert shop.orders.stock("CUP") is None
    assert shop.orders.stock("TEAPOT") == 9


def test_stock_is_set_and_set_again(shop: Shop) -> None:
    shop.orders.set_stock("CUP", 0)
    assert shop.orders.stock("CUP") == 0
    shop.orders.set_stock("CUP", 7)
    assert shop.orders.stock("CUP") == 7


def test_creation_holds_no_stock(shop: Shop) -> None:
    """medusajs/medusa#13625: an order that is never placed reserves no stock."""
    shop.create()
    assert shop.orders.stock("TEAPOT") == 10


def test_all_lines_of_an_item_are_counted_together(shop: Shop) -> None:
    shop.create(lines=[Line("TEAPOT", 6), Line("TEAPOT", 5)])
    with pytest.raises(Refused, match="out_of_stock"):
        shop.orders.fire("1001", "place")
    shop.create("1002", lines=[Line("TEAPOT", 6), Line("TEAPOT", 4)])
    shop.orders.fire("1002", "place")
    assert shop.orders.stock("TEAPOT") == 0


def test_an_order_is_placed_whole_or_not(shop: Shop) -> None:
    """If one item is short, the others do not move."""
    shop.orders.set_stock("CUP", 1)
    shop.create(lines=[Line("TEAPOT", 2), Line("CUP", 2)])
    before = shop.dump()
    with pytest.raises(Refused, match="out_of_stock"):
        shop.orders.fire("1001", "place")
    assert shop.dump() == before


def test_each_state_decides_whether_stock_is_held(new_shop: type[Shop], workflow: Workflow) -> None:
    """The path to the state does not matter."""
    for state in workflow.states:
        shop = new_shop(workflow)
        shop.bring(state)
        assert shop.orders.stock("TEAPOT") == (8 if "sent" in state and "cancelled" not in state else 10)


def test_cancel_returns_stock_exactly_once(shop: Shop) -> None:
    """K3, woocommerce/woocommerce#22489: ten pieces stay ten after two cancels, a refund, and a reinstatement."""
    shop.bring("sent+paid")
    shop.orders.fire("1001", "cancel", key="k1")
    assert shop.orders.stock("TEAPOT") == 10
    shop.orders.fire("1001", "cancel", key="k1")
    with pytest.raises(Refused):
        shop.orders.fire("1001", "cancel")
    shop.orders.fire("1001", "refund")
    assert shop.orders.stock("TEAPOT") == 10


def test_a_refund_moves_no_stock(shop: Shop) -> None:
    """woocommerce/woocommerce#27504."""
    shop.bring("sent+paid")
    shop.orders.fire("1001", "refund")
    assert shop.orders.stock("TEAPOT") == 8


def test_cancelling_an_order_without_stock_returns_nothing(shop: Shop) -> None:
    """vendurehq/vendure#1557."""
    shop.create()
    shop.orders.fire("1001", "cancel")
    assert shop.orders.stock("TEAPOT") == 10
    shop.orders.fire("1001", "reinstate")
    assert shop.orders.stock("TEAPOT") == 10


def test_a_duplicate_callback_takes_no_stock(shop: Shop) -> None:
    """K4: a second payment, a dispatch or an invoice takes no stock either."""
    shop.create()
    for _ in range(3):
        shop.orders.fire("1001", "pay", reference="ch_1", key="evt_1")
    shop.orders.fire("1001", "pay", amount="10", reference="ch_2")
    shop.orders.fire("1001", "dispatch")
    assert shop.orders.stock("TEAPOT") == 8


def test_a_reinstated_order_takes_its_stock_again(shop: Shop) -> None:
    """woocommerce/woocommerce#36702, paynl/magento2-plugin#220: it takes it once each time."""
    shop.bring("sent")
    for _ in range(3):
        shop.orders.fire("1001", "cancel")
        assert shop.orders.stock("TEAPOT") == 10
        shop.orders.fire("1001", "reinstate")
        assert shop.orders.stock("TEAPOT") == 8
    shop.orders.fire("1001", "unplace")
    assert shop.orders.stock("TEAPOT") == 10
    shop.orders.fire("1001", "place")
    assert shop.orders.stock("TEAPOT") == 8


def test_an_order_is_not_reinstated_without_stock(shop: Shop) -> None:
    """solidusio/solidus#3719: another order has the pieces now."""
    shop.bring("sent+paid+cancelled")
    shop.create("1002", lines=[Line("TEAPOT", 9)])
    shop.orders.fire("1002", "place")
    with pytest.raises(Refused, match="out_of_stock"):
        shop.orders.fire("1001", "reinstate", override=True, comment="please")
    assert shop.orders.stock("TEAPOT") == 1
    shop.orders.set_stock("TEAPOT", 2)
    shop.orders.fire("1001", "reinstate")
    assert shop.orders.stock("TEAPOT") == 0


def test_an_order_that_never_held_stock_is_reinstated_without_stock(shop: Shop) -> None:
    """It was cancelled before it was placed, so it takes no stock."""
    shop.bring("cancelled")
    shop.orders.set_stock("TEAPOT", 0)
    assert shop.orders.fire("1001", "reinstate").order.state == "unfinished"


def test_a_payment_never_waits_for_stock(shop: Shop) -> None:
    """The number on hand falls below zero, and a message lists the shortages."""
    shop.orders.set_stock("TEAPOT", 1)
    shop.orders.set_stock("CUP", 5)
    shop.create(lines=[Line("TEAPOT", 2), Line("CUP", 1), Line("SPOON", 1)])
    shop.orders.fire("1001", "pay", reference="ch_1")
    assert (shop.orders.stock("TEAPOT"), shop.orders.stock("CUP")) == (-1, 4)
    (message,) = shop.messages("stock.short")
    assert message.payload["items"] == [{"sku": "TEAPOT", "taken": 2}]
    assert shop.orders.fire("1001", "cancel").order.state == "sent+invoiced+paid+cancelled"
    assert (shop.orders.stock("TEAPOT"), shop.orders.stock("CUP")) == (1, 5)


def test_a_part_payment_does_not_wait_for_stock_either(shop: Shop) -> None:
    shop.orders.set_stock("TEAPOT", 0)
    shop.create()
    shop.orders.fire("1001", "pay", amount="1.00")
    assert shop.orders.stock("TEAPOT") == -2
    assert shop.topics() == ["payment.received", "stock.short"]


def test_an_order_keeps_the_pieces_that_it_holds(shop: Shop) -> None:
    """Stock of zero or below does not affect an order that already holds its pieces."""
    shop.bring("sent")
    shop.orders.set_stock("TEAPOT", 0)
    shop.orders.fire("1001", "invoice")
    shop.orders.fire("1001", "pay")
    assert shop.orders.fire("1001", "dispatch").order.state == "sent+invoiced+paid+dispatched"
    assert shop.topics() == ["order.placed"]


def test_an_order_that_holds_its_pieces_has_no_shortage(new_shop: type[Shop]) -> None:
    """A guard of a shop gets as shortages only pieces that the order still has to take."""
    in_stock = Guard("short", "it is short", lambda order, facts: not facts["shortages"])
    shop = new_shop(shop_workflow().extend(rules=[Rule("pack", guards=(in_stock,))]))
    shop.bring("sent", "1001")
    shop.create("1002")
    shop.orders.set_stock("TEAPOT", 0)
    assert shop.orders.fire("1001", "pack").order.state == "sent"
    with pytest.raises(Refused, match="it is short"):
        shop.orders.fire("1002", "pack")


def test_two_buyers_and_one_last_item(shop: Shop) -> None:
    """vendurehq/vendure#3508: eight threads place an order for it, and one gets it."""
    shop.orders.set_stock("TEAPOT", 1)
    ids = [f"{n}" for n in range(8)]
    for order_id in ids:
        shop.create(order_id, lines=[Line("TEAPOT", 1)])

    def place(order_id: str) -> str:
        try:
            return shop.orders.fire(order_id, "place").order.state
        except Refused as refused:
            return refused.reasons[0].code

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(place, ids))
    assert sorted(outcomes) == ["out_of_stock"] * 7 + ["sent"]
    assert shop.orders.stock("TEAPOT") == 0


def test_two_payments_and_one_last_item(shop: Shop) -> None:
    """Both are recorded, and one order is short."""
    shop.orders.set_stock("TEAPOT", 1)
    ids = [f"{n}" for n in range(8)]
    for order_id in ids:
        shop.create(order_id, lines=[Line("TEAPOT", 1)])
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda order_id: shop.orders.fire(order_id, "pay", reference=f"ch_{order_id}"), ids))
    assert {receipt.order.captured for receipt in receipts} == {10}
    assert shop.orders.stock("TEAPOT") == -7
    assert len(shop.messages("stock.short")) == 7


class Interrupted(MemoryStore):
    """A store in which another buyer's change comes just before the first commit."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Callable[[], object] | None = None

    def commit(self, change: Change) -> None:
        if self.other is not None and change.expected_version:
            other, self.other = self.other, None
            other()
        super().commit(change)


@pytest.fixture
def last_item(new_shop: type[Shop]) -> tuple[Shop, Interrupted]:
    """Create two orders for the last teapot. The second is placed just before the first."""
    store = Interrupted()
    shop = new_shop(store=store)
    shop.orders.set_stock("TEAPOT", 1)
    shop.create("1001", lines=[Line("TEAPOT", 1)])
    shop.create("1002", lines=[Line("TEAPOT", 1)])
    store.other = lambda: shop.orders.fire("1002", "place")
    return shop, store


def test_stock_taken_before_the_commit_refuses_the_placing(last_item: tuple[Shop, Interrupted]) -> None:
    """The order did not change, and it is decided again and refused."""
    shop, _ = last_item
    with pytest.raises(Refused, match="out_of_stock"):
        shop.orders.fire("1001", "place")
    assert shop.orders.stock("TEAPOT") == 0


def test_a_payment_whose_stock_is_taken_before_the_commit_is_short(last_item: tuple[Shop, Interrupted]) -> None:
    shop, _ = last_item
    assert shop.orders.fire("1001", "pay", reference="ch_1").order.captured == 10
    assert shop.orders.stock("TEAPOT") == -1
    assert [message.order_id for message in shop.messages("stock.short")] == ["1001"]


def test_on_hand_and_held_is_constant(shop: Shop) -> None:
    """Eight threads place, pay, cancel and reinstate orders for the same ten teapots."""
    ids = [f"{n}" for n in range(8)]
    for order_id in ids:
        shop.create(order_id)

    def live(order_id: str) -> None:
        for trigger in ("place", "cancel", "reinstate", "pay", "cancel", "reinstate", "dispatch", "cancel"):
            try:
                shop.orders.fire(order_id, trigger)
            except Refused:
                continue

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, ids))
    assert on_hand_and_held(shop) == 10


def test_moves_of_one_item_in_one_commit_add_up(any_shop: Shop) -> None:
    """If they are strict, together they may not take more than the stock."""
    any_shop.store.commit(creation("1001", stock=[taken("TEAPOT", 4), given_back("TEAPOT", 1), taken("TEAPOT", 3)]))
    assert any_shop.orders.stock("TEAPOT") == 4
    with pytest.raises(VersionConflict, match="'TEAPOT'"):
        any_shop.store.commit(creation("1002", stock=[taken("TEAPOT", 3), taken("TEAPOT", 2)]))
    assert any_shop.orders.stock("TEAPOT") == 4


# Changes by a difference


def test_adjusted_stock_is_changed_by_the_difference(any_shop: Shop) -> None:
    """Moves of orders in between are kept."""
    assert any_shop.orders.adjust_stock("TEAPOT", +5) == 15
    any_shop.bring("sent")
    assert any_shop.orders.adjust_stock("TEAPOT", -3) == 10
    assert any_shop.orders.adjust_stock("TEAPOT", 0) == 10
    assert any_shop.orders.stock("TEAPOT") == 10
    any_shop.orders.fire("1001", "cancel")
    assert any_shop.orders.stock("TEAPOT") == 12
    assert any_shop.orders.audit().ok


def test_adjustment_repeated_under_its_key_happens_once(any_shop: Shop) -> None:
    assert [any_shop.orders.adjust_stock("TEAPOT", +5, key="delivery 7") for _ in range(3)] == [15, 15, 15]
    assert [any_shop.orders.adjust_stock("TEAPOT", +5) for _ in range(2)] == [20, 25]


@pytest.mark.parametrize(("sku", "by"), [("TEAPOT", 4), ("TEAPOT", -5), ("CUP", 5)])
def test_key_of_an_adjustment_is_refused_for_another(any_shop: Shop, sku: str, by: int) -> None:
    any_shop.orders.set_stock("CUP", 1)
    any_shop.orders.adjust_stock("TEAPOT", +5, key="k")
    with pytest.raises(KeyReused, match="'k' was already used for a different request"):
        any_shop.orders.adjust_stock(sku, by, key="k")
    assert (any_shop.orders.stock("TEAPOT"), any_shop.orders.stock("CUP")) == (15, 1)


def test_key_of_an_adjustment_has_no_first_time(any_shop: Shop) -> None:
    any_shop.orders.adjust_stock("TEAPOT", +5, key="k")
    with pytest.raises(KeyReused, match="'k' was already used for a change"):
        any_shop.orders.first_seen("k")


def test_orders_and_adjustments_share_keys(any_shop: Shop) -> None:
    any_shop.bring("sent")
    any_shop.orders.fire("1001", "pay", key="paid")
    with pytest.raises(KeyReused):
        any_shop.orders.adjust_stock("TEAPOT", 1, key="paid")
    any_shop.orders.adjust_stock("TEAPOT", 1, key="counted")
    with pytest.raises(KeyReused, match="on the stock"):
        any_shop.orders.comment("1001", "x", key="counted")
    with pytest.raises(KeyReused, match="on the stock"):
        any_shop.orders.create("1002", total=1, currency="GBP", key="counted")
    assert any_shop.orders.stock("TEAPOT") == 9


def test_adjustment_of_an_untracked_item_is_refused(any_shop: Shop) -> None:
    with pytest.raises(InvalidInput, match=r"the stock of 'CUP' is not tracked: call set_stock first"):
        any_shop.orders.adjust_stock("CUP", 1, key="k")
    assert any_shop.orders.stock("CUP") is None
    assert any_shop.record("k") is None


def test_adjustment_below_zero_is_refused(any_shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="the stock of 'TEAPOT' is 10, so 11 pieces cannot be taken out"):
        any_shop.orders.adjust_stock("TEAPOT", -11)
    assert any_shop.orders.adjust_stock("TEAPOT", -10) == 0


def test_adjustment_that_adds_is_allowed_below_zero(any_shop: Shop) -> None:
    """Paid orders wait for these pieces."""
    any_shop.create(lines=[Line("TEAPOT", 13)])
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    assert any_shop.orders.adjust_stock("TEAPOT", +2) == -1


def test_adjustments_from_eight_threads_are_all_counted(any_shop: Shop) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: any_shop.orders.adjust_stock("TEAPOT", 1, key=f"{number // 2}"), range(40)))
    assert any_shop.orders.stock("TEAPOT") == 30


def test_pieces_taken_before_the_commit_are_seen_by_the_adjustment(any_shop: Shop) -> None:
    any_shop.create(lines=[Line("TEAPOT", 8)])
    before_commit = interrupted(any_shop.store)
    before_commit.append(lambda: any_shop.orders.fire("1001", "place"))
    with pytest.raises(InvalidInput, match="is 2, so 5 pieces cannot be taken out"):
        any_shop.orders.adjust_stock("TEAPOT", -5)
    assert any_shop.orders.stock("TEAPOT") == 2


@pytest.mark.parametrize("by", [1.0, "1", None, True, 2**63, -(2**63)])
def test_difference_that_is_not_a_whole_number_is_refused(any_shop: Shop, by: Any) -> None:
    with pytest.raises(InvalidInput, match="by must be"):
        any_shop.orders.adjust_stock("TEAPOT", by)
    assert any_shop.orders.stock("TEAPOT") == 10
