"""The store in memory passes the store contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from order_fsm import Line
from order_fsm.testing import StoreContract
from order_fsm_adapters.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import Shop


class TestMemoryStore(StoreContract):
    """All guarantees except S3: the content is lost with the process."""

    durable = False

    def make_store(self, place: Path) -> MemoryStore:  # noqa: ARG002 - the store writes nothing
        return MemoryStore()


def test_reused_id_is_found_by_its_new_age(shop: Shop) -> None:
    """An order is purged and its id is used again later. The new order is found once, by its age."""
    for order_id in ("1", "2", "3", "4", "5"):
        shop.create(order_id)
        shop.clock.pass_by(days=1)
    for box in ({"sent"}, set[str]()):  # The order enters another state and returns, so that it has left both.
        shop.orders.save("2", box, version=shop.orders.get("2").version)
    shop.store.remove(shop.orders.get("2"))
    assert shop.orders.create("2", total="1.00", currency="GBP").created_at == shop.clock.now
    shop.clock.pass_by(days=1)
    shop.orders.create("6", total="1.00", currency="GBP")
    assert [order.id for order in shop.orders.find()] == ["1", "3", "4", "5", "2", "6"]
    shop.orders.fire("2", "place")
    assert [order.id for order in shop.orders.find(has={"sent"})] == ["2"]


def test_reused_id_does_not_inherit_the_queues_of_the_removed_order(shop: Shop) -> None:
    shop.create("1")
    shop.orders.fire("1", "place")
    shop.orders.fire("1", "pay", amount="1000", reference="ch_1")
    assert [order.id for order in shop.orders.queue("refund_due")] == ["1"]
    shop.store.remove(shop.orders.get("1"))
    shop.create("1")
    shop.orders.fire("1", "place")
    assert shop.orders.queue("refund_due") == []
    assert shop.orders.counts()["refund_due"] == 0


def test_equal_lines_of_two_orders_share_memory(shop: Shop) -> None:
    first, second = (shop.create(order_id, lines=[Line("TEAPOT", 2)]) for order_id in ("1", "2"))
    assert first.lines == (Line("TEAPOT", 2),)
    assert second.lines is first.lines
