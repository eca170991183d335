"""A store that recalls orders may know them as they no longer are: what comes of a call is as if it had read them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from order_fsm import (
    Guard,
    Order,
    OrderNotFound,
    Orders,
    Receipt,
    Refused,
    Rule,
    StoreCorrupt,
    VersionConflict,
    shop_workflow,
)
from order_fsm.store import Recalling, Store
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand
from .stores import opened, precede

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Pair(NamedTuple):
    """Two programs with the same orders. What the other one does, ours does not see."""

    store: Store
    ours: Orders
    others: Orders


@pytest.fixture(params=["sqlite", "json"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        store, other = (stack.enter_context(opened(request.param, tmp_path)) for _ in range(2))
        yield Pair(store, Orders(store, clock=lambda: NOW), Orders(other, clock=lambda: NOW))


def created(orders: Orders, total: str = "10") -> Order:
    return orders.create("1001", total=total, currency="GBP")


def test_a_change_of_an_order_that_was_just_changed_begins_without_a_read(pair: Pair) -> None:
    created(pair.ours)
    read: list[object] = []
    precede(pair.store, "load", read.append)
    assert pair.ours.fire("1001", "place").order.version == 2
    assert pair.ours.comment("1001", "Delayed by snow").order.version == 3
    assert not read


def test_so_does_one_of_an_order_that_was_just_read(pair: Pair) -> None:
    created(pair.others)
    pair.ours.get("1001")
    read: list[object] = []
    precede(pair.store, "load", read.append)
    pair.ours.fire("1001", "place")
    assert not read


def test_what_others_have_made_possible_is_done(pair: Pair) -> None:
    """Of the order as it was recalled it would be refused."""
    created(pair.ours)
    pair.others.fire("1001", "place")
    receipt = pair.ours.fire("1001", "invoice")
    assert (receipt.order.state, receipt.order.version) == ("sent+invoiced", 3)


def test_what_others_have_made_impossible_is_refused(pair: Pair) -> None:
    """With the reasons of the order as it is."""
    created(pair.ours)
    pair.ours.fire("1001", "place")
    pair.others.fire("1001", "cancel")
    with pytest.raises(Refused) as refused:
        pair.ours.fire("1001", "invoice")
    assert refused.value.state == "sent+cancelled"
    assert [reason.code for reason in refused.value.reasons] == ["forbids_cancelled"]
    assert pair.ours.get("1001").version == 3


def test_what_is_refused_is_refused_of_the_order_as_it_is(pair: Pair) -> None:
    created(pair.ours)
    pair.others.fire("1001", "cancel")
    with pytest.raises(Refused) as refused:
        pair.ours.fire("1001", "dispatch")
    assert refused.value.state == "cancelled"


def test_a_change_follows_what_others_have_changed_meanwhile(pair: Pair) -> None:
    """Nothing of theirs is lost."""
    created(pair.ours)
    pair.others.fire("1001", "place")
    receipt = pair.ours.comment("1001", "Delayed by snow")
    assert receipt.order.state == "sent"
    assert [entry.trigger for entry in pair.others.history("1001")] == ["create", "place", "comment"]


def test_a_form_that_is_stale_by_what_others_did_is_refused(pair: Pair) -> None:
    created(pair.ours)
    pair.others.fire("1001", "place")
    with pytest.raises(VersionConflict, match="is at version 2, the form shows 1"):
        pair.ours.save("1001", {"sent"}, version=1)
    assert pair.ours.save("1001", {"sent", "invoiced"}, version=2).order.version == 3


def test_so_is_one_that_differs_in_nothing_from_the_order_as_it_was(pair: Pair) -> None:
    created(pair.ours)
    pair.others.fire("1001", "place")
    with pytest.raises(VersionConflict, match="is at version 2, the form shows 1"):
        pair.ours.save("1001", set(), version=1)


def test_an_order_that_was_removed_is_not_there(pair: Pair) -> None:
    created(pair.ours)
    pair.others.purge(NOW - NOW)
    with pytest.raises(OrderNotFound):
        pair.ours.fire("1001", "place")
    with pytest.raises(OrderNotFound):
        pair.ours.fire("1001", "dispatch")


def made_again(pair: Pair) -> None:
    """What our store recalls of 1001 is of an order that is gone."""
    created(pair.ours, total="10")
    pair.others._store.remove(pair.others.get("1001"))
    created(pair.others, total="99")


def alone(orders: Orders, amount: str) -> Receipt:
    return orders.fire("1001", "pay", amount=amount)


def in_a_batch(orders: Orders, amount: str) -> Receipt:
    with orders.batch() as batch:
        batch.fire("1001", "pay", amount=amount)
    (result,) = batch.results
    assert isinstance(result, Receipt)
    return result


@pytest.mark.parametrize("paid", [alone, in_a_batch])
def test_an_order_that_was_made_again_is_the_new_one(pair: Pair, paid: Callable[[Orders, str], Receipt]) -> None:
    """Of the same version, and made in the same moment: what paid for the old one does not pay for the new one."""
    made_again(pair)
    receipt = paid(pair.ours, "10")
    assert (receipt.order.outstanding, receipt.order.state) == (Decimal(89), "sent")
    assert pair.others.get("1001") == receipt.order


def paid_in_a_batch_beside(pair: Pair, other: str) -> Order:
    with pair.ours.batch() as batch:
        batch.fire("1001", "pay", amount="10")
        batch.comment(other, "It reads one order more")
    return pair.others.get("1001")


def test_what_a_change_was_decided_on_may_be_recalled_no_more(pair: Pair) -> None:
    """Other calls of its batch have pushed it out: it is compared all the same."""
    made_again(pair)
    for number in range(499):
        pair.ours.create(f"o{number}", total="1", currency="GBP")
    pair.others.create("other", total="1", currency="GBP")
    order = paid_in_a_batch_beside(pair, "other")
    assert (order.outstanding, order.state) == (Decimal(89), "sent")


def test_so_it_is_where_one_large_order_has_pushed_it_out(pair: Pair) -> None:
    made_again(pair)
    pair.others.create("large", total="1", currency="GBP")
    pair.others.comment("large", "x" * 20_000)
    order = paid_in_a_batch_beside(pair, "large")
    assert (order.outstanding, order.state) == (Decimal(89), "sent")


def test_somebody_may_read_the_order_between_deciding_and_commit(pair: Pair) -> None:
    """Then the store recalls another one than the change was decided on."""
    made_again(pair)
    precede(pair.store, "commit", lambda _: pair.ours.get("1001"))
    pair.ours.fire("1001", "pay", amount="10")
    order = pair.others.get("1001")
    assert (order.outstanding, order.state) == (Decimal(89), "sent")


@pytest.mark.parametrize(
    "edit",
    [
        "state = 'paid'",
        "counted = 1 - counted",
        "version = 7",
        "payments = '[ ]'",
        "updated_at = created_at || ' '",
        "refund_is_due = 1",
        "last_seal = x'00'",
        "seal = x'00'",
    ],
)
def test_a_change_does_not_write_over_an_edit_by_hand(tmp_path: Path, edit: str) -> None:
    with opened("sqlite", tmp_path) as store:
        orders = Orders(store)
        created(orders)
        by_hand(tmp_path / "orders.db", f"UPDATE order_fsm_order SET {edit}")  # noqa: S608 - of this file
        with pytest.raises(StoreCorrupt):
            orders.fire("1001", "pay", amount="10")
        assert by_hand(tmp_path / "orders.db", "SELECT count(*) FROM order_fsm_entry") == [(1,)]


@pytest.mark.parametrize(
    "column", ["total", "currency", "customer", "email", "lines", "data", "unit", "units", "created_at"]
)
def test_an_edit_of_what_no_change_writes_stays_to_be_found_by_a_read(tmp_path: Path, column: str) -> None:
    """An order that is recalled is decided on as it was written."""
    with opened("sqlite", tmp_path) as store:
        orders = Orders(store)
        order = created(orders)
        edit = f"UPDATE order_fsm_order SET {column} = '99'"  # noqa: S608 - of this file
        by_hand(tmp_path / "orders.db", edit)
        assert orders.fire("1001", "place").order.total == order.total
        with pytest.raises(StoreCorrupt):
            orders.get("1001")


def test_what_a_guard_raises_of_an_order_as_it_was_is_not_told(pair: Pair) -> None:
    weighed = Guard("weighed", "it is not weighed", lambda order, facts: 1 / (order.version - 1))
    workflow = shop_workflow().extend(rules=[Rule("weigh", guards=(weighed,))])
    ours = Orders(pair.store, workflow, clock=lambda: NOW)
    created(ours)
    with pytest.raises(ZeroDivisionError):
        ours.fire("1001", "weigh")
    pair.others.comment("1001", "It has come")
    assert ours.fire("1001", "weigh").order.version == 3


def test_what_a_shop_has_rolled_back_was_not(tmp_path: Path) -> None:
    """On its own connection the store recalls what is there no more."""
    connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    orders = Orders(SqliteStore(connection=connection))
    connection.execute("BEGIN")
    created(orders)
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    orders.fire("1001", "place")
    connection.execute("ROLLBACK")
    connection.execute("BEGIN")
    assert orders.fire("1001", "place").order.version == 2
    connection.execute("COMMIT")
    assert [entry.trigger for entry in orders.history("1001")] == ["create", "place"]
    connection.close()


def test_the_stores_on_disk_recall_orders(pair: Pair) -> None:
    assert isinstance(pair.store, Recalling)
    assert pair.store.recall("1001") is None
    order = created(pair.ours)
    assert pair.store.recall("1001") == order


def test_no_store_recalls_more_than_so_many_orders(pair: Pair) -> None:
    """Its memory does not grow with its orders."""
    assert isinstance(pair.store, Recalling)
    ids = [f"o{number}" for number in range(1200)]
    with pair.ours.batch() as batch:
        for order_id in ids:
            pair.others.create(order_id, total="1", currency="GBP")
            batch.comment(order_id, "Delayed by snow")
    recalled = [order_id for order_id in ids if pair.store.recall(order_id) is not None]
    assert 0 < len(recalled) <= 500
