"""Many changes of orders in one commit, each with its own result."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from order_fsm import (
    Entry,
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
    StoreCorrupt,
    UnknownTrigger,
    VersionConflict,
    shop_workflow,
)
from order_fsm.orders.batch import Batch
from order_fsm.store import Change, Need, Snapshot
from order_fsm_adapters.memory import MemoryStore
from tests.damaged import Damaged
from tests.sqlite_files import by_hand
from tests.stores import opened, precede

if TYPE_CHECKING:
    from tests.conftest import Shop


def test_each_change_of_a_batch_has_its_result(shop: Shop) -> None:
    """Results are receipts or errors, in the sequence of the calls. A refused call does not roll back the others."""
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


def test_exception_of_a_guard_is_raised_after_the_other_calls() -> None:
    """An exception of a guard is not a result, because it is a fault of the shop's own rules."""
    broken = Guard("counted", "it is not counted", lambda order, facts: 1 / 0)
    orders = Orders(MemoryStore(), shop_workflow().extend(rules=[Rule("count", guards=(broken,))]))
    for number in ("1001", "1002"):
        orders.create(number, total="1", currency="GBP")
    batch = orders.batch()

    def counted() -> None:
        with batch:
            batch.fire("1001", "count")
            batch.fire("1002", "place")

    with pytest.raises(ZeroDivisionError):
        counted()
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
    """The second call sees the result of the first. If the first is refused, the second still runs."""
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
    """A repeated call is a duplicate. A different call under the key is an error of that call."""
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
    """The others are refused as out of stock, as separate calls would be."""
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
    with pytest.raises(InvalidInput, match="start another"):
        batch.fire("1001", "place")
    assert shop.orders.get("1001").version == 1


def test_call_outside_of_the_block_of_a_batch_raises(shop: Shop) -> None:
    shop.create()
    batch = shop.orders.batch()
    with pytest.raises(InvalidInput, match=re.escape("use it as: with orders.batch() as batch: ...")):
        batch.fire("1001", "place")
    with batch:
        pass
    assert batch.results == []
    assert shop.orders.get("1001").version == 1


def test_second_block_of_a_batch_raises_and_runs_no_call_again(shop: Shop) -> None:
    shop.create()
    batch = shop.orders.batch()
    with batch:
        batch.comment("1001", "Delayed by snow")
        with pytest.raises(InvalidInput, match="one block"), batch:
            pytest.fail("the block ran")
    with pytest.raises(InvalidInput, match="one block"), batch:
        pytest.fail("the block ran")
    assert len(batch.results) == 1
    assert shop.orders.get("1001").version == 2


def test_order_under_constant_conflict_is_given_up(shop: Shop) -> None:
    """After a hundred attempts, as without a batch, its call fails. The others are done."""

    class Contended(MemoryStore):
        attempts = 0

        def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
            self.attempts += 1
            return [None if self._others(change) else VersionConflict("it changed") for change in changes]

        def _others(self, change: Change) -> bool:
            if change.order is None or change.order.id == "1001":
                return False
            self.commit(change)
            return True

    store = Contended()
    orders = Orders(store, clock=shop.clock)
    for number in ("1001", "1002"):
        orders.create(number, total="1", currency="GBP")
    with orders.batch() as batch:
        batch.fire("1001", "place")
        batch.fire("1002", "place")
    assert [type(result) for result in batch.results] == [VersionConflict, Receipt]
    assert store.attempts == 100


def test_piece_returned_in_a_batch_is_taken_by_a_later_call(any_shop: Shop) -> None:
    any_shop.orders.set_stock("TEAPOT", 1)
    for number in ("1001", "1002"):
        any_shop.create(number, lines=[Line("TEAPOT", 1)])
    any_shop.orders.fire("1001", "place")
    with any_shop.orders.batch() as batch:
        batch.fire("1001", "cancel")
        batch.fire("1002", "place")
    assert [type(result) for result in batch.results] == [Receipt, Receipt]
    assert any_shop.orders.get("1002").reserved == (Line("TEAPOT", 1),)
    assert any_shop.orders.stock("TEAPOT") == 0


def test_piece_passed_along_in_a_batch_reaches_the_last_order(any_shop: Shop) -> None:
    """One piece moves from order to order, and back to the first one."""
    any_shop.orders.set_stock("TEAPOT", 1)
    ids = [f"{number}" for number in range(5)]
    for order_id in ids:
        any_shop.create(order_id, lines=[Line("TEAPOT", 1)])
    with any_shop.orders.batch() as batch:
        for order_id in ids:
            batch.fire(order_id, "place")
            batch.fire(order_id, "cancel")
        batch.fire("0", "reinstate")
        batch.fire("1", "reinstate")
    *done, refused = batch.results
    assert {type(result) for result in done} == {Receipt}
    assert isinstance(refused, Refused)
    assert [reason.code for reason in refused.reasons] == ["out_of_stock"]
    assert any_shop.orders.get("0").reserved == (Line("TEAPOT", 1),)
    assert any_shop.orders.stock("TEAPOT") == 0
    assert any_shop.orders.audit().ok


class Counting(MemoryStore):
    """A store that counts its calls, and lets others commit before one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        self.others: list[Callable[[], object]] = []

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        self.calls.append(("prepare_many", len(needs)))
        return super().prepare_many(needs)

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        self.calls.append(("history", 1))
        return super().history(order_id, after, limit)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        while self.others:
            self.others.pop()()
        self.calls.append(("commit_all", len(changes)))
        return super().commit_all(changes)


def test_many_changes_of_one_order_are_read_and_written_once(new_shop: type[Shop]) -> None:
    store = Counting()
    shop = new_shop(store=store)
    shop.create()
    with shop.orders.batch() as batch:
        for number in range(50):
            batch.comment("1001", f"{number}", key=f"k{number}")
    assert store.calls == [("prepare_many", 50), ("commit_all", 50)]
    assert {type(result) for result in batch.results} == {Receipt}
    assert [entry.comment for entry in shop.orders.history("1001")[1:]] == [f"{number}" for number in range(50)]


def test_call_after_a_conflicting_one_is_decided_again(new_shop: type[Shop]) -> None:
    """1001 conflicts. 1002 was refused because 1001 would hold the last piece, so it is decided again."""
    store = Counting()
    shop = new_shop(store=store)
    shop.orders.set_stock("TEAPOT", 1)
    for number in ("1001", "1002"):
        shop.create(number, lines=[Line("TEAPOT", 1)])
    store.others.append(lambda: shop.orders.fire("1001", "cancel"))
    with shop.orders.batch() as batch:
        batch.fire("1001", "place")
        batch.fire("1002", "place")
    refused, placed = batch.results
    assert isinstance(refused, Refused)
    assert refused.state == "cancelled"
    assert isinstance(placed, Receipt)
    assert placed.order.reserved == (Line("TEAPOT", 1),)


def test_conflict_in_a_chain_decides_the_whole_chain_again(new_shop: type[Shop]) -> None:
    store = Counting()
    shop = new_shop(store=store)
    shop.create()
    shop.create("1002")
    store.others.append(lambda: shop.orders.comment("1001", "me first"))
    with shop.orders.batch() as batch:
        batch.fire("1001", "place")
        batch.fire("1002", "place")
        batch.fire("1001", "invoice")
        batch.fire("1001", "dispatch")
    assert {type(result) for result in batch.results} == {Receipt}
    triggers = ["create", "comment", "place", "invoice", "dispatch"]
    assert [entry.trigger for entry in shop.orders.history("1001")] == triggers
    assert len(shop.orders.history("1002")) == 2


@pytest.mark.parametrize("found", [True, False])
def test_damaged_order_fails_its_own_calls_of_a_batch(new_shop: type[Shop], found: bool) -> None:
    store = Damaged("1002", found)
    shop = new_shop(store=store)
    for number in ("1001", "1002", "1003"):
        shop.create(number)
    store.begin()
    with shop.orders.batch() as batch:
        for number in ("1001", "1002", "1003", "1002"):
            batch.fire(number, "place")
    assert [type(result) for result in batch.results] == [Receipt, StoreCorrupt, Receipt, StoreCorrupt]
    assert shop.orders.get("1001").state == shop.orders.get("1003").state == "sent"


def test_damaged_order_fails_only_its_own_thread_of_a_group(new_shop: type[Shop]) -> None:
    store = Damaged("1002")
    shop = new_shop(store=store)
    orders = Orders(store, clock=shop.clock, group_commit=True)
    for number in ("1001", "1002", "1003"):
        shop.create(number)
    store.begin()
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(orders.fire, number, "place") for number in ("1001", "1002", "1003")]
    assert [type(call.exception()) for call in calls] == [type(None), StoreCorrupt, type(None)]


@pytest.mark.parametrize("others", ["comment", "pay"])
def test_change_of_others_within_a_batch_is_not_overwritten(any_shop: Shop, others: str) -> None:
    """The other change leads the order to the version on which the second call of the batch was decided."""
    any_shop.create()
    acts: dict[str, Callable[[], object]] = {
        "comment": lambda: any_shop.orders.comment("1001", "me first"),
        "pay": lambda: any_shop.orders.fire("1001", "pay", amount="4", reference="theirs"),
    }
    waiting = [acts[others]]
    precede(any_shop.store, "commit_all", lambda _: waiting.pop()() if waiting else None)
    with any_shop.orders.batch() as batch:
        batch.fire("1001", "pay", amount="1", reference="first")
        batch.fire("1001", "pay", amount="2", reference="second")
        batch.comment("1001", "done")
    assert {type(result) for result in batch.results} == {Receipt}
    assert any_shop.orders.get("1001").captured == (7 if others == "pay" else 3)
    assert [entry.version for entry in any_shop.orders.history("1001")] == [1, 2, 3, 4, 5]
    assert any_shop.orders.audit().ok


def test_damaged_stock_fails_the_calls_that_need_it(new_shop: type[Shop], tmp_path: Path) -> None:
    """This includes a second call of an order, whose stock is read separately. Other calls are done."""
    with opened("sqlite", tmp_path) as store:
        shop = new_shop(store=store)
        shop.orders.set_stock("CUP", 5)
        shop.bring("sent")
        shop.create("1002", lines=[Line("CUP", 1)])
        by_hand(tmp_path / "orders.db", "UPDATE order_fsm_stock SET available = 1000 WHERE sku = 'TEAPOT'")
        with shop.orders.batch() as batch:
            batch.comment("1001", "a")
            batch.comment("1001", "b")
            batch.fire("1002", "place")
        assert [type(result) for result in batch.results] == [Receipt] * 3
        with shop.orders.batch() as batch:
            batch.fire("1001", "cancel")
            batch.fire("1001", "reinstate")
            batch.fire("1002", "invoice")
        assert StoreCorrupt in [type(result) for result in batch.results[:2]]
        assert isinstance(batch.results[2], Receipt)


class TimeLimit(Exception):
    """The exception of a job queue's time limit, raised by a signal handler."""


class Interrupting(MemoryStore):
    """A workflow that raises it during a decision."""

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return [replace(snapshot, stock=Interrupted()) for snapshot in super().prepare_many(needs)]


class Interrupted(dict[str, int]):
    def __bool__(self) -> bool:
        raise TimeLimit


def test_time_limit_in_a_batch_reaches_the_caller(new_shop: type[Shop]) -> None:
    """It is not the result of one call."""
    shop = new_shop(store=Interrupting())
    shop.create()
    batch = shop.orders.batch()
    with pytest.raises(TimeLimit), batch:
        batch.fire("1001", "place")


def test_repeated_batch_reads_a_history_once(new_shop: type[Shop]) -> None:
    store = Counting()
    shop = new_shop(store=store)
    shop.create()
    for again in (False, True):
        store.calls.clear()
        with shop.orders.batch() as batch:
            for number in range(50):
                batch.comment("1001", f"{number}", key=f"k{number}")
        receipts = [receipt for receipt in batch.results if isinstance(receipt, Receipt)]
        assert [(one.duplicate, one.order.version, one.entries[0].comment) for one in receipts] == [
            (again, number + 2, f"{number}") for number in range(50)
        ]
    assert [name for name, _ in store.calls].count("history") == 1


def test_calls_after_a_call_refused_by_the_store_are_decided_without_it(new_shop: type[Shop], tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as store:
        shop = new_shop(store=store)
        shop.bring("sent")
        by_hand(tmp_path / "orders.db", "UPDATE order_fsm_stock SET available = 1000 WHERE sku = 'TEAPOT'")
        with shop.orders.batch() as batch:
            batch.fire("1001", "cancel")
            batch.comment("1001", "cancelled?")
            batch.fire("1001", "reinstate")
        assert [type(result) for result in batch.results] == [StoreCorrupt, Receipt, Refused]
        assert shop.orders.get("1001").state == "sent"


@pytest.mark.parametrize("again", ["key", "reference"])
def test_repeated_call_after_an_amendment_in_one_batch_gets_its_first_receipt(any_shop: Shop, again: str) -> None:
    any_shop.create(customer="ann")

    def repeat(calls: Batch | Orders) -> Receipt | None:
        if again == "key":
            return calls.comment("1001", "x", key="k")
        return calls.fire("1001", "pay", amount="5", reference="ch_1")

    first = repeat(any_shop.orders)
    with any_shop.orders.batch() as batch:
        batch.amend("1001", version=2, total="20", customer="eve")
        repeat(batch)
    _, answer = batch.results
    assert isinstance(answer, Receipt)
    assert answer.duplicate
    assert first is not None
    assert (answer.order, answer.entries) == (first.order, first.entries)
    assert any_shop.orders.get("1001").customer == "eve"
