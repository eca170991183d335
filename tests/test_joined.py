"""S11 on each kind of connection: orders commit and roll back in the shop's transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError

from order_fsm import InvalidInput, OrderNotFound, Receipt, Refused, TransactionLost, VersionConflict

from .hosts import ON_MARIADB, ON_POSTGRESQL, ON_SQLITE, Joined, Shop, mariadb_shop, postgresql_shop, sqlite_shop


class Abandoned(Exception):
    """The shop abandons a transaction."""


@pytest.fixture(params=[*ON_POSTGRESQL, *ON_MARIADB, *ON_SQLITE])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A shop with an order 1001 that may be placed."""
    if request.param in ON_SQLITE:
        opened = sqlite_shop(request.param, tmp_path / "shop.db")
    elif request.param in ON_MARIADB:
        opened = mariadb_shop(request.param, request.getfixturevalue("mariadb"), str(tmp_path))
    else:
        opened = postgresql_shop(request.param, request.getfixturevalue("postgresql"), str(tmp_path))
    with opened as shop:
        shop.orders.create("1001", total="20.00", currency="EUR")
        yield shop


on_postgresql = pytest.mark.parametrize("shop", ON_POSTGRESQL, indirect=True)
on_servers = pytest.mark.parametrize("shop", [*ON_POSTGRESQL, *ON_MARIADB], indirect=True)


def state(shop: Shop) -> str:
    return shop.orders.get("1001").state


def test_rows_and_status_commit_together(shop: Shop) -> None:
    def place(joined: Joined) -> None:
        joined.invoice("before")
        joined.orders.fire("1001", "place")
        assert joined.orders.get("1001").state == "sent"
        assert (shop.invoices(), state(shop)) == ([], "unfinished")
        joined.invoice("after")

    shop.transaction(place)
    assert (shop.invoices(), state(shop)) == (["after", "before"], "sent")


def test_everything_rolls_back_with_the_shop(shop: Shop) -> None:
    def work(joined: Joined) -> None:
        joined.invoice("1")
        joined.orders.fire("1001", "place", key="key")
        joined.orders.create("1002", total="5.00", currency="EUR")
        joined.orders.set_stock("TEAPOT", 3)
        raise Abandoned

    with pytest.raises(Abandoned):
        shop.transaction(work)
    assert (shop.invoices(), state(shop), shop.orders.stock("TEAPOT")) == ([], "unfinished", None)
    with pytest.raises(OrderNotFound):
        shop.orders.get("1002")
    assert not shop.orders.fire("1001", "place", key="key").duplicate


def test_failing_statement_of_the_shop_undoes_the_status(shop: Shop) -> None:
    shop.transaction(lambda joined: joined.invoice("1"))

    def work(joined: Joined) -> None:
        joined.orders.fire("1001", "place")
        joined.invoice("1")

    with pytest.raises((IntegrityError, psycopg.IntegrityError)):
        shop.transaction(work)
    assert (shop.invoices(), state(shop)) == (["1"], "unfinished")


def test_rolled_back_savepoint_takes_only_its_own_changes(shop: Shop) -> None:
    def work(joined: Joined) -> None:
        joined.invoice("1")
        joined.orders.fire("1001", "place")
        with suppress(Abandoned), joined.savepoint():
            joined.invoice("2")
            joined.orders.fire("1001", "cancel")
            raise Abandoned
        assert joined.orders.get("1001").state == "sent"
        with joined.savepoint():
            joined.orders.fire("1001", "invoice")

    shop.transaction(work)
    assert (shop.invoices(), state(shop)) == (["1"], "sent+invoiced")
    assert [entry.trigger for entry in shop.orders.history("1001")] == ["create", "place", "invoice"]


def test_refusal_leaves_the_transaction_usable(shop: Shop) -> None:
    def work(joined: Joined) -> None:
        joined.invoice("1")
        with pytest.raises(Refused):
            joined.orders.fire("1001", "dispatch")
        with pytest.raises(VersionConflict):
            joined.orders.save("1001", {"sent"}, version=7)
        with pytest.raises(OrderNotFound):
            joined.orders.fire("1002", "place")
        joined.orders.fire("1001", "place")
        joined.invoice("2")

    shop.transaction(work)
    assert (shop.invoices(), state(shop)) == (["1", "2"], "sent")


def test_batch_commits_and_rolls_back_with_the_transaction(shop: Shop) -> None:
    shop.orders.create("1002", total="5.00", currency="EUR")

    def work(joined: Joined) -> None:
        with joined.orders.batch() as batch:
            batch.fire("1001", "place")
            batch.fire("1001", "dispatch")
            batch.comment("1002", "a note")
            batch.fire("1001", "invoice")
        assert [type(result) for result in batch.results] == [Receipt, Refused, Receipt, Receipt]
        joined.invoice("1")

    def abandon(joined: Joined) -> None:
        work(joined)
        raise Abandoned

    with suppress(Abandoned):
        shop.transaction(abandon)
    assert (shop.invoices(), state(shop)) == ([], "unfinished")
    shop.transaction(work)
    assert (shop.invoices(), state(shop)) == (["1"], "sent+invoiced")


def test_repeated_key_returns_the_first_receipt_in_the_transaction(shop: Shop) -> None:
    def work(joined: Joined) -> None:
        first = joined.orders.fire("1001", "place", key="key")
        again = joined.orders.fire("1001", "place", key="key")
        assert (first.duplicate, again.duplicate) == (False, True)
        assert first.order == again.order

    shop.transaction(work)


def test_messages_are_not_delivered_inside_a_transaction(shop: Shop) -> None:
    shop.orders.fire("1001", "place")
    told: list[str] = []

    def work(joined: Joined) -> None:
        with pytest.raises(InvalidInput, match="transaction"):
            joined.orders.deliver(lambda message: told.append(message.topic))

    shop.transaction(work)
    assert told == []
    assert shop.orders.deliver(lambda message: told.append(message.topic)) == 1


def test_all_queries_work_inside_a_transaction(shop: Shop) -> None:
    def work(joined: Joined) -> None:
        orders = joined.orders
        orders.create("1002", total="30.00", currency="EUR", customer="ann")
        orders.fire("1002", "place")
        orders.set_stock("TEAPOT", 4)
        orders.adjust_stock("TEAPOT", 1, key="delivery")
        assert [order.id for order in orders.find(customer="ann", limit=5)] == ["1002"]
        assert [order.id for order in orders.queue("unfinished")] == ["1001"]
        assert orders.counts()["unfinished"] == 1
        assert orders.totals(customer="ann") == {"EUR": orders.get("1002").total}
        assert orders.stock("TEAPOT") == 5
        assert [entry.trigger for entry in orders.history("1002")] == ["create", "place"]
        orders.erase_customer("ann")
        assert orders.get("1002").customer is None

    shop.transaction(work)
    assert not shop.orders.audit().findings


@on_servers
def test_conflict_with_another_writer_leaves_the_transaction_usable(shop: Shop) -> None:
    def work(joined: Joined) -> None:
        seen = joined.orders.get("1001")
        shop.orders.fire("1001", "place")
        with pytest.raises(VersionConflict):
            joined.orders.save("1001", {"sent"}, version=seen.version)
        joined.orders.fire("1001", "invoice")
        joined.invoice("1")

    shop.transaction(work, "READ COMMITTED")
    assert (shop.invoices(), state(shop)) == (["1"], "sent+invoiced")


@on_servers
def test_order_that_the_shop_changes_is_locked_until_it_commits(shop: Shop) -> None:
    def work(joined: Joined) -> bool:
        with pytest.raises(Refused):
            joined.orders.fire("1001", "dispatch")
        return shop.is_locked("1001")

    assert shop.transaction(work)
    assert not shop.is_locked("1001")


@on_postgresql
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_change_on_an_old_snapshot_loses_the_transaction(shop: Shop, isolation: str) -> None:
    def work(joined: Joined) -> None:
        joined.invoice("1")
        shop.orders.fire("1001", "place")
        joined.orders.fire("1001", "invoice")

    with pytest.raises(TransactionLost, match="40001"):
        shop.transaction(work, isolation)
    assert (shop.invoices(), state(shop)) == ([], "sent")
    shop.transaction(lambda joined: joined.orders.fire("1001", "invoice"), isolation)
    assert state(shop) == "sent+invoiced"


@on_postgresql
def test_call_in_an_aborted_transaction_raises_transaction_lost(shop: Shop) -> None:
    def work(joined: Joined) -> None:
        with pytest.raises(Exception, match="nowhere"):
            joined.execute("SELECT * FROM nowhere")
        with pytest.raises(TransactionLost, match="25P02"):
            joined.orders.fire("1001", "place")
        raise Abandoned

    with pytest.raises(Abandoned):
        shop.transaction(work)
    assert state(shop) == "unfinished"


def test_service_can_join_one_transaction_after_another(shop: Shop) -> None:
    shop.transaction(lambda joined: joined.orders.fire("1001", "place"))
    shop.transaction(lambda joined: joined.orders.fire("1001", "invoice"))
    assert state(shop) == "sent+invoiced"
