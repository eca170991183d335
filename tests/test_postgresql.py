"""PostgresStore beyond the contract: opening, installing, joining, and the cost of a change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from order_fsm import InvalidInput, Line, Orders, Refused, StoreUnavailable, VersionConflict
from order_fsm.store import Need
from order_fsm.testing.store_contract.changes import creation, order_of, step
from order_fsm_adapters.postgresql import PostgresStore
from order_fsm_adapters.postgresql.connections import PsycopgLink
from order_fsm_adapters.postgresql.text import escaped, unescaped

from .servers import PostgresServer


@pytest.fixture
def url(postgresql: PostgresServer, tmp_path: Path) -> str:
    return postgresql.address(str(tmp_path))


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with PostgresStore(url) as store:
        yield store


@pytest.fixture
def orders(store: PostgresStore) -> Orders:
    orders = Orders(store)
    orders.set_stock("TEAPOT", 10)
    orders.create("1001", total="10", currency="GBP", lines=[Line("TEAPOT", 2)], customer="ann")
    return orders


@pytest.fixture
def host(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE parcel (order_id text)")
        connection.commit()
        yield connection


# Opening and installing


def test_exactly_one_of_url_and_connection_is_required(host: psycopg.Connection[Any]) -> None:
    with pytest.raises(InvalidInput, match="either the URL of a database or connection=: neither was given"):
        PostgresStore()
    with pytest.raises(InvalidInput, match="either the URL of a database or connection=: not both"):
        PostgresStore("postgresql://localhost/shop", connection=host)


@pytest.mark.parametrize("wrong", ["postgresql://[", "host='shop", 5, b"postgresql://localhost/shop"])
def test_invalid_url_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="url"):
        PostgresStore(wrong)


def test_refusal_of_an_invalid_url_does_not_quote_the_password() -> None:
    with pytest.raises(InvalidInput) as refused:
        PostgresStore("mysql://user:secret@host/shop")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("wrong", [0, -1, True, "3", 1.5])
def test_invalid_size_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="size must be a whole number of 1 or more"):
        PostgresStore("postgresql://localhost/shop", size=wrong)


def test_connection_of_another_type_is_refused(store: PostgresStore) -> None:
    with pytest.raises(InvalidInput, match=r"psycopg\.Connection"):
        PostgresStore(connection="shop")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"psycopg\.Connection"):
        Orders(store).within("shop")


def test_refused_connection_raises_store_unavailable_with_the_reason() -> None:
    with (
        PostgresStore("postgresql://postgres@127.0.0.1:1/shop") as store,
        pytest.raises(StoreUnavailable, match="refused"),
    ):
        store.load("1001")


def test_database_without_tables_asks_for_install(postgresql: PostgresServer) -> None:
    with PostgresStore(postgresql.url) as store, pytest.raises(StoreUnavailable, match=r"call install\(\)"):
        store.load("1001")


def test_tables_of_a_newer_release_are_refused(url: str, host: psycopg.Connection[Any]) -> None:
    host.execute("UPDATE order_fsm_schema SET version = 99")
    host.commit()
    with PostgresStore(url) as store:
        for call in (store.install, lambda: store.load("1001")):
            with pytest.raises(StoreUnavailable, match="a newer version of order_fsm made the tables: schema 99"):
                call()


def test_install_repairs_a_function_and_keeps_the_orders(
    store: PostgresStore, orders: Orders, host: psycopg.Connection[Any]
) -> None:
    host.execute("DROP FUNCTION order_fsm_commit_1")
    host.commit()
    with pytest.raises(StoreUnavailable, match=r"Call install\(\)"):
        orders.fire("1001", "place")
    store.install()
    assert orders.fire("1001", "place").order.state == "sent"


def test_closed_store_is_unavailable(store: PostgresStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="this store is closed"):
        store.load("1001")


# The cost of a change


@pytest.fixture
def statements(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent. Each one is a round trip."""
    store.stock(())
    sent: list[str] = []
    run = PsycopgLink._run

    def counted(self: PsycopgLink, statement: str, values: Any, quote: str) -> Any:
        sent.append(statement)
        return run(self, statement, values, quote)

    monkeypatch.setattr(PsycopgLink, "_run", counted)
    return sent


def test_keyed_change_takes_two_round_trips(orders: Orders, statements: list[str]) -> None:
    orders.fire("1001", "pay", amount="10", currency="GBP", reference="ch_1", key="evt_1")
    assert len(statements) == 2


def test_repeated_change_takes_two_round_trips_and_its_history(orders: Orders, statements: list[str]) -> None:
    orders.fire("1001", "place", key="evt_1")
    del statements[:]
    assert orders.fire("1001", "place", key="evt_1").duplicate
    assert "INSERT" not in "".join(statements)


def test_batch_of_several_orders_takes_two_round_trips(orders: Orders, statements: list[str]) -> None:
    for number in range(10):
        orders.create(str(number), total="10", currency="GBP")
    del statements[:]
    with orders.batch() as batch:
        for number in range(10):
            batch.fire(str(number), "place")
    assert len(batch.results) == 10
    assert len(statements) == 2


def test_seal_function_is_inlined_into_its_caller(host: psycopg.Connection[Any]) -> None:
    """Otherwise each statement would plan the function again: a quarter of the time of a commit with stock."""
    explain = """
        EXPLAIN (VERBOSE) SELECT order_fsm_stock_seal_1(sku, available, held, shipped, lost, backorder)
        FROM order_fsm_stock
    """
    plan = "".join(line for (line,) in host.execute(explain))
    assert "sha256(" in plan
    assert "order_fsm_stock_seal_1" not in plan


# The shop's transaction


def test_status_and_the_shops_rows_commit_together(orders: Orders, host: psycopg.Connection[Any]) -> None:
    host.execute("INSERT INTO parcel VALUES ('1001')")
    orders.within(host).fire("1001", "place")
    assert orders.get("1001").state == "unfinished"
    host.commit()
    assert orders.get("1001").state == "sent"
    assert orders.stock("TEAPOT") == 8


def test_status_and_the_shops_rows_roll_back_together(orders: Orders, host: psycopg.Connection[Any]) -> None:
    host.execute("INSERT INTO parcel VALUES ('1001')")
    orders.within(host).fire("1001", "place", key="once")
    host.rollback()
    assert orders.get("1001").state == "unfinished"
    assert orders.stock("TEAPOT") == 10
    assert not orders.fire("1001", "place", key="once").duplicate


def test_refusal_leaves_the_shops_transaction_usable(orders: Orders, host: psycopg.Connection[Any]) -> None:
    host.execute("INSERT INTO parcel VALUES ('1001')")
    with pytest.raises(Refused):
        orders.within(host).fire("1001", "reinstate")
    with pytest.raises(VersionConflict):
        orders.within(host).save("1001", {"sent"}, version=7)
    host.commit()
    assert host.execute("SELECT count(*) FROM parcel").fetchone() == (1,)


def test_rollback_to_a_savepoint_undoes_the_status(orders: Orders, host: psycopg.Connection[Any]) -> None:
    joined = orders.within(host)
    joined.comment("1001", "kept")
    with host.transaction(force_rollback=True):
        joined.fire("1001", "place")
        assert joined.get("1001").state == "sent"
    host.commit()
    assert [entry.trigger for entry in orders.history("1001")] == ["create", "comment"]


def test_joined_change_waits_for_another_transaction_and_sees_its_commit(
    orders: Orders, url: str, host: psycopg.Connection[Any]
) -> None:
    """A joined read locks the order, so the decision holds until the shop's commit."""
    store = orders._store
    with psycopg.connect(url) as other:
        orders.within(other).fire("1001", "place")
        host.execute("SET lock_timeout = '50ms'")
        (snapshot,) = store.prepare_many([Need("1001")])
        assert snapshot.order is not None
        assert snapshot.order.state == "unfinished"
        other.commit()
    joined = orders.within(host)
    assert joined.fire("1001", "invoice").order.state == "sent+invoiced"


def test_messages_are_not_delivered_inside_the_shops_transaction(orders: Orders, host: psycopg.Connection[Any]) -> None:
    with pytest.raises(InvalidInput, match="messages cannot be delivered inside a transaction"):
        orders.within(host).deliver(print)


def test_connection_in_autocommit_commits_each_call(orders: Orders, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as host:
        orders.within(host).fire("1001", "place")
        assert orders.get("1001").state == "sent"
        assert orders.within(host).deliver(lambda message: None) == 1
        orders.erase_customer("ann")
        assert orders.within(host).audit().ok


# Values and counts


def test_escaped_text_contains_no_nul_sorts_alike_and_is_restored() -> None:
    texts = ["", "\0", "\0\0", "\0\1", "\1", "\1\0", "\1\1", "\1\2", "\2", "a\0b", "a\1b", "a", "\0\2"]
    assert [unescaped(escaped(text)) for text in texts] == texts
    assert not any("\0" in escaped(text) for text in texts)
    assert sorted(texts, key=escaped) == sorted(texts)


def test_counts_do_not_change_when_steps_are_folded(store: PostgresStore, host: psycopg.Connection[Any]) -> None:
    change = creation("1", customer="ann")
    store.commit(change)
    store.commit(step(order_of(change), state="sent"))
    before = store.tally(None), store.tally("ann")
    assert host.execute("SELECT count(*) FROM order_fsm_tally_step").fetchone() == (3,)
    host.rollback()
    store.scrub()
    assert host.execute("SELECT count(*) FROM order_fsm_tally_step").fetchone() == (0,)
    assert (store.tally(None), store.tally("ann")) == before


def test_no_row_contains_a_customer_after_an_erasure(orders: Orders, host: psycopg.Connection[Any]) -> None:
    orders.comment("1001", "Ann called")
    orders.erase_customer("ann")
    tables = host.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
    assert len(tables) > 10
    for (table,) in tables:
        rows = str(host.execute(f"SELECT * FROM {table}".encode()).fetchall())  # noqa: S608
        assert "ann" not in rows.lower(), table
