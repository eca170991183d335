"""The SQLite store on a shop's own connection: the shop's rows and the orders are one transaction, the shop's."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from order_fsm import (
    InvalidInput,
    Line,
    OrderNotFound,
    Orders,
    Refused,
    StoreFull,
    StoreUnavailable,
    VersionConflict,
    When,
)
from order_fsm.store import Query
from order_fsm.testing.store_contract.changes import creation, step
from order_fsm_adapters.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture(params=["the default isolation level", "no isolation level", "rows by name"])
def host(path: Path, request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    """The connection of a shop with a table of its own."""
    if request.param == "no isolation level":
        connection = sqlite3.connect(path, isolation_level=None)
    else:
        connection = sqlite3.connect(path)
    if request.param == "rows by name":
        connection.row_factory = sqlite3.Row
    connection.execute("CREATE TABLE invoice (number TEXT)")
    yield connection
    connection.close()


@pytest.fixture
def store(host: sqlite3.Connection) -> SqliteStore:
    return SqliteStore(connection=host)


def begin(host: sqlite3.Connection, invoice: str = "before") -> None:
    """The shop opens a transaction and writes a row of its own."""
    host.execute("BEGIN")
    host.execute("INSERT INTO invoice VALUES (?)", (invoice,))


def held(path: Path) -> tuple[list[str], list[str]]:
    """The invoices and the orders that another connection sees."""
    connection = sqlite3.connect(path)
    store = SqliteStore(connection=connection)
    invoices = [number for (number,) in connection.execute("SELECT number FROM invoice ORDER BY rowid")]
    orders = [order.id for order in store.find(Query(When()))]
    connection.close()
    return invoices, orders


# One transaction


def test_the_shop_commits_its_rows_and_the_order_together(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    begin(host)
    store.commit(creation("1001"))
    host.execute("INSERT INTO invoice VALUES ('after')")
    assert held(path) == ([], [])
    host.commit()
    assert held(path) == (["before", "after"], ["1001"])


def test_the_shop_rolls_back_its_rows_and_the_order_together(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    begin(host)
    change = creation("1001", topics=["order.updated"], key="key")
    store.commit(change)
    store.set_stock("TEAPOT", 3)
    host.rollback()
    assert held(path) == ([], [])
    assert store.keyed("key") is None
    assert store.stock(["TEAPOT"]) == {}
    store.commit(change)
    host.commit()
    assert held(path) == ([], ["1001"])


def test_a_removal_and_a_dead_letter_are_undone_with_the_shop_s_rows(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    change = creation("1001", topics=["order.updated"], key="key")
    store.commit(change)
    host.commit()
    begin(host)
    (message,) = store.claim(change.order.created_at, change.order.created_at, 10)
    store.postpone(message, None)
    store.remove(change.order)
    assert held(path) == ([], ["1001"])
    host.rollback()
    assert store.load("1001") == change.order
    assert store.keyed("key") is not None
    assert store.dead_letters(10) == []
    assert store.claim(change.order.created_at, change.order.created_at, 10) == [message]
    host.rollback()


def test_an_order_that_is_refused_leaves_what_the_shop_wrote_before(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    orders = Orders(store)
    orders.create("1001", total="10.00", currency="GBP", lines=[Line("TEAPOT", 1)])
    host.commit()
    begin(host)
    with pytest.raises(Refused):
        orders.fire("1001", "dispatch")
    with pytest.raises(VersionConflict):
        store.commit(step(step(orders.get("1001")).order, key="key"))
    host.execute("INSERT INTO invoice VALUES ('after')")
    host.commit()
    assert held(path) == (["before", "after"], ["1001"])
    assert orders.get("1001").version == 1
    assert store.keyed("key") is None


def test_of_several_orders_in_a_transaction_the_shop_can_undo_those_after_its_own_savepoint(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    begin(host)
    store.commit(creation("1001"))
    host.execute("SAVEPOINT order_fsm")
    store.commit(creation("1002"))
    host.execute("ROLLBACK TO order_fsm")
    host.execute("RELEASE order_fsm")
    host.commit()
    assert held(path) == (["before"], ["1001"])


def test_a_row_of_the_shop_that_fails_takes_the_order_with_it(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    def sell() -> None:
        with host:
            begin(host)
            store.commit(creation("1001"))
            host.execute("INSERT INTO missing VALUES (1)")

    with pytest.raises(sqlite3.OperationalError):
        sell()
    assert held(path) == ([], [])


def test_without_an_open_transaction_the_first_write_begins_one(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    store.commit(creation("1001"))
    assert host.in_transaction
    store.commit(creation("1002"))
    assert held(path) == ([], [])
    host.commit()
    assert held(path) == ([], ["1001", "1002"])


def test_a_first_write_that_raises_leaves_no_transaction_open(host: sqlite3.Connection, store: SqliteStore) -> None:
    with pytest.raises(OrderNotFound):
        store.commit(step(creation("1001").order))
    assert not host.in_transaction


def test_reading_neither_begins_nor_ends_a_transaction(host: sqlite3.Connection, store: SqliteStore) -> None:
    def read() -> None:
        with pytest.raises(OrderNotFound):
            store.load("1001")
        with pytest.raises(OrderNotFound):
            store.find(Query(When(), after="1001"))
        assert (store.find(Query(When())), store.tally(None), store.stock(["TEAPOT"])) == ([], [], {})

    read()
    assert not host.in_transaction
    begin(host)
    read()
    assert host.in_transaction
    host.rollback()
    assert host.execute("SELECT count(*) FROM invoice").fetchone()[0] == 0


def test_a_transaction_in_which_the_database_has_moved_on_is_to_be_begun_again(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    host.execute("PRAGMA journal_mode = WAL")
    store.commit(creation("1001"))
    host.commit()
    host.execute("BEGIN")
    order = store.load("1001")
    other = SqliteStore(path)
    other.set_stock("TEAPOT", 1)
    other.close()
    with pytest.raises(StoreUnavailable, match="SQLITE_BUSY_SNAPSHOT"):
        store.commit(step(order))
    host.rollback()
    store.commit(step(order))
    host.commit()
    assert store.load("1001").version == 2


# The tables


def test_without_an_open_transaction_the_tables_are_made_at_once(path: Path, host: sqlite3.Connection) -> None:
    SqliteStore(connection=host)
    assert not host.in_transaction
    assert b"order_fsm_order" in path.read_bytes()


def test_tables_made_in_a_transaction_that_is_rolled_back_are_made_again(path: Path, host: sqlite3.Connection) -> None:
    begin(host)
    store = SqliteStore(connection=host)
    store.commit(creation("1001"))
    host.rollback()
    with pytest.raises(OrderNotFound):
        store.load("1001")
    begin(host)
    store.commit(creation("1002"))
    host.rollback()
    begin(host, "kept")
    store.commit(creation("1003"))
    host.commit()
    assert held(path) == (["kept"], ["1003"])


def test_tables_made_in_a_transaction_are_committed_with_it(path: Path, host: sqlite3.Connection) -> None:
    begin(host)
    SqliteStore(connection=host)
    assert b"order_fsm_order" not in path.read_bytes()
    host.commit()
    assert held(path) == (["before"], [])


# The connection


def test_closing_the_store_leaves_the_connection_open(host: sqlite3.Connection, store: SqliteStore) -> None:
    store.close()
    assert host.execute("SELECT 1").fetchone()[0] == 1


def test_what_the_shop_has_set_on_its_connection_stays(path: Path, host: sqlite3.Connection) -> None:
    def settings() -> list[object]:
        pragmas = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys", "user_version")
        return [
            host.row_factory,
            host.isolation_level,
            *(host.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas),
        ]

    before = settings()
    SqliteStore(connection=host).commit(creation("1001"))
    host.commit()
    assert settings() == before
    assert [one.name for one in path.parent.iterdir()] == ["shop.db"]


def test_a_connection_that_gives_bytes_for_text_is_refused(host: sqlite3.Connection) -> None:
    host.text_factory = bytes
    with pytest.raises(InvalidInput, match="text_factory"):
        SqliteStore(connection=host)


def test_something_else_than_a_connection_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"sqlite3\.Connection"):
        SqliteStore(connection="shop.db")  # type: ignore[arg-type]


def test_a_closed_connection_is_unavailable(host: sqlite3.Connection, store: SqliteStore) -> None:
    host.close()
    with pytest.raises(StoreUnavailable, match="closed database"):
        store.load("1001")
    with pytest.raises(StoreUnavailable, match="closed database"):
        store.commit(creation("1001"))
    with pytest.raises(StoreUnavailable, match="closed database"):
        SqliteStore(connection=host)


def test_the_connection_of_another_thread_is_unavailable(host: sqlite3.Connection, store: SqliteStore) -> None:
    raised: list[Exception] = []

    def use() -> None:
        try:
            store.commit(creation("1001"))
        except StoreUnavailable as error:
            raised.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "thread" in str(raised)
    assert not host.in_transaction


def test_a_full_database_is_full_and_can_be_written_to_once_there_is_room(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    """What the shop wrote before in its transaction is there."""
    change = creation("1001", data={"note": "x" * 100_000})
    (pages,) = host.execute("PRAGMA page_count").fetchone()
    host.execute(f"PRAGMA max_page_count = {pages}")
    begin(host)
    with pytest.raises(StoreFull, match="make room"):
        store.commit(change)
    assert held(path) == ([], [])
    host.execute(f"PRAGMA max_page_count = {pages + 100}")
    store.commit(change)
    host.commit()
    assert store.load("1001") == change.order
    assert held(path) == (["before"], ["1001"])


def test_it_says_so_where_sqlite_has_rolled_the_whole_transaction_back(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    (pages,) = host.execute("PRAGMA page_count").fetchone()
    host.execute(f"PRAGMA max_page_count = {pages}")
    begin(host)
    with pytest.raises(StoreFull, match=r"whose whole transaction SQLite has rolled back.*make room"):
        store.set_stock("x" * 100_000, 1)
    assert not host.in_transaction
    assert held(path) == ([], [])
