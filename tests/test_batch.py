"""Many changes of orders in one commit: each with a result of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from order_fsm import (
    Guard,
    InvalidInput,
    KeyReused,
    Line,
    OrderFsmError,
    OrderNotFound,
    Orders,
    Receipt,
    Refused,
    Rule,
    UnknownTrigger,
    VersionConflict,
    shop_workflow,
)
from order_fsm.store import Change
from order_fsm_adapters.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import Shop


def test_each_change_of_a_batch_has_its_result(shop: Shop) -> None:
    """A receipt or the error, in the sequence of the calls; a refused one does not undo the others."""
    for number in ("1001", "1002", "1003"):
        shop.create(number)
    with shop.orders.batch() as batch:
        batch.fire("1001", "place", by="ann", key="k1")
        batch.fire("1002", "dispatch")
        batch.comment("1003", "Delayed by snow", visible=True)
        batch.fire("1004", "place")
        batch.save("1003", {"sent", "invoiced"}, version=2)
    placed, refused, noted, missing, saved = batch.results
    assert isinstance(placed, Receipt)
    assert placed.order == shop.orders.get("1001")
    assert (placed.order.state, placed.entries[-1].by, placed.entries[-1].key) == ("sent", "ann", "k1")
    assert isinstance(refused, Refused)
    assert shop.orders.get("1002").version == 1
    assert isinstance(noted, Receipt)
    assert isinstance(missing, OrderNotFound)
    assert isinstance(saved, Receipt)
    assert [entry.trigger for entry in shop.orders.history("1003")] == ["create", "comment", "place", "invoice"]


def test_a_guard_that_fails_is_raised_once_the_others_are_done() -> None:
    """What is no error of the library is nobody's result: it is a fault of the shop's own rules."""
    broken = Guard("counted", "it is not counted", lambda order, facts: 1 / 0)
    orders = Orders(MemoryStore(), shop_workflow().extend(rules=[Rule("count", guards=(broken,))]))
    for number in ("1001", "1002"):
        orders.create(number, total="1", currency="GBP")
    batch = orders.batch()
    batch.fire("1001", "count")
    batch.fire("1002", "place")
    with pytest.raises(ZeroDivisionError), batch:
        pass
    assert orders.get("1001").version == 1
    assert orders.get("1002").state == "sent"
    assert isinstance(batch.results[1], Receipt)


def test_nothing_of_a_batch_happens_before_its_end(shop: Shop) -> None:
    shop.create()
    with shop.orders.batch() as batch:
        batch.fire("1001", "place")
        assert shop.orders.get("1001").version == 1
        assert batch.results == []
    assert shop.orders.get("1001").version == 2


def test_changes_of_one_order_are_decided_one_after_the_other(shop: Shop) -> None:
    """The second finds what the first has left, and a refused first does not stop the second."""
    shop.create(total="10.00")
    with shop.orders.batch() as batch:
        batch.fire("1001", "dispatch")
        batch.fire("1001", "place")
        batch.fire("1001", "pay", amount="10.00", reference="ch_1")
        batch.fire("1001", "place")
        batch.fire("1001", "dispatch")
    assert [type(result) for result in batch.results] == [Refused, Receipt, Receipt, Refused, Receipt]
    assert [entry.trigger for entry in shop.orders.history("1001")] == ["create", "place", "pay", "dispatch"]


def test_a_key_counts_once_in_a_batch_and_over_batches(shop: Shop) -> None:
    """The same call again is a duplicate; the key on something else is an error of that call."""
    for number in ("1001", "1002"):
        shop.create(number)
    for _ in range(2):
        with shop.orders.batch() as batch:
            batch.fire("1001", "place", key="k1")
            batch.fire("1001", "place", key="k1")
            batch.fire("1002", "place", key="k1")
        first, again, other = batch.results
        assert isinstance(first, Receipt)
        assert isinstance(again, Receipt)
        assert (again.entries, again.duplicate) == (first.entries, True)
        assert isinstance(other, KeyReused)
    assert shop.orders.get("1001").version == 2
    assert shop.orders.get("1002").version == 1


def test_the_last_piece_goes_to_the_first_of_a_batch(shop: Shop) -> None:
    """The others are refused as out of stock, as they would be one by one."""
    shop.orders.set_stock("TEAPOT", 1)
    for number in ("1001", "1002"):
        shop.create(number, lines=[Line("TEAPOT", 1)])
    with shop.orders.batch() as batch:
        batch.fire("1001", "place")
        batch.fire("1002", "place")
    won, lost = batch.results
    assert isinstance(won, Receipt)
    assert isinstance(lost, Refused)
    assert [reason.code for reason in lost.reasons] == ["out_of_stock"]
    assert shop.orders.stock("TEAPOT") == 0


def test_a_wrong_call_raises_at_once_and_undoes_the_batch(shop: Shop) -> None:
    shop.create()
    batch = shop.orders.batch()

    def mistyped() -> None:
        with batch:
            batch.fire("1001", "place")
            batch.fire("1001", "plaice")

    with pytest.raises(UnknownTrigger):
        mistyped()
    assert batch.results == []
    assert shop.orders.get("1001").version == 1


def test_a_batch_that_is_over_takes_no_more(shop: Shop) -> None:
    shop.create()
    with shop.orders.batch() as batch:
        pass
    assert batch.results == []
    with pytest.raises(InvalidInput, match="begin another"):
        batch.fire("1001", "place")
    assert shop.orders.get("1001").version == 1


def test_an_order_that_others_keep_changing_is_given_up(shop: Shop) -> None:
    """After a hundred attempts, as outside of a batch; the others are done."""

    class Contended(MemoryStore):
        attempts = 0

        def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
            self.attempts += 1
            errors = super().commit_all([change for change in changes if change.order.id != "1001"])
            return [VersionConflict("changed meanwhile") if one.order.id == "1001" else errors.pop() for one in changes]

    store = Contended()
    orders = Orders(store, clock=shop.clock)
    for number in ("1001", "1002"):
        orders.create(number, total="1", currency="GBP")
    with orders.batch() as batch:
        batch.fire("1001", "place")
        batch.fire("1002", "place")
    assert [type(result) for result in batch.results] == [VersionConflict, Receipt]
    assert store.attempts == 100
