"""The SQLite store on the shop's connection: the shop's rows and the orders are in one transaction."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from order_fsm.errors import (
    InvalidInput,
    KeyReused,
    OrderNotFound,
    StoreError,
    StoreUnavailable,
    TransactionLost,
    VersionConflict,
)
from order_fsm.model import Message, When
from order_fsm.orders.service import Orders
from order_fsm.store import Cursor, Need, Query, Snapshot
from order_fsm.testing.store_contract.changes import START, creation, moment, order_of, step, stock_change, taken
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand

needs_python_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason="Connection.autocommit came with Python 3.12")

LEGACY = "legacy mode"
AUTOCOMMIT = "isolation_level=None"
ALWAYS = "autocommit=True"
NEVER = "autocommit=False"


def shared(path: Path, mode: str) -> sqlite3.Connection:
    """Open a connection that several threads may use."""
    return connected(path, mode, check_same_thread=False)


def connected(path: Path, mode: str, **options: Any) -> sqlite3.Connection:
    """Open a connection in a mode, with a table of the shop."""
    connection: sqlite3.Connection
    if mode == AUTOCOMMIT:
        connection = sqlite3.connect(path, isolation_level=None, **options)
    elif mode == LEGACY:
        connection = sqlite3.connect(path, **options)
    else:
        new: dict[str, Any] = {"autocommit": mode == ALWAYS, **options}
        connection = sqlite3.connect(path, **new)
    connection.execute("CREATE TABLE IF NOT EXISTS invoice (number TEXT)")
    connection.commit()
    return connection


_NEW = [pytest.param(mode, marks=needs_python_3_12) for mode in (ALWAYS, NEVER)]
all_modes = pytest.mark.parametrize("mode", [LEGACY, AUTOCOMMIT, *_NEW])
autocommit_modes = pytest.mark.parametrize("mode", [AUTOCOMMIT, _NEW[0]])
modes_with_begin = pytest.mark.parametrize("mode", [LEGACY, AUTOCOMMIT, _NEW[0]])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def mode() -> str:
    """Return the mode of `host`. Tests may override it."""
    return LEGACY


@pytest.fixture
def host(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with closing(connected(path, mode)) as connection:
        yield connection


@pytest.fixture
def store(host: sqlite3.Connection) -> SqliteStore:
    store = SqliteStore(connection=host)
    finish(host, "COMMIT")
    return store


def begin(host: sqlite3.Connection, invoice: str = "before") -> None:
    """Begin a transaction, unless one is open, and write a row of the shop."""
    if not host.in_transaction:
        host.execute("BEGIN")
    host.execute("INSERT INTO invoice VALUES (?)", (invoice,))


def finish(host: sqlite3.Connection, how: str) -> None:
    """End the transaction of the shop if one is open."""
    if getattr(host, "autocommit", None) is False:
        (host.commit if how == "COMMIT" else host.rollback)()
    elif host.in_transaction:
        host.execute(how)


def held(path: Path) -> tuple[list[str], list[str]]:
    """Return the invoices and the orders that another connection sees."""
    with closing(sqlite3.connect(path)) as connection:
        invoices = [number for (number,) in connection.execute("SELECT number FROM invoice ORDER BY rowid")]
        tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'order_fsm_order'"
        if connection.execute(tables).fetchone() == (0,):
            return invoices, []
        return invoices, [found for (found,) in connection.execute("SELECT id FROM order_fsm_order ORDER BY id")]


# One transaction


@all_modes
def test_shop_commits_its_rows_and_the_order_together(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    begin(host)
    assert store.joined
    store.commit(creation("1001"))
    host.execute("INSERT INTO invoice VALUES ('after')")
    assert held(path) == ([], [])
    finish(host, "COMMIT")
    assert held(path) == (["before", "after"], ["1001"])


@all_modes
def test_shop_rolls_back_its_rows_and_the_order_together(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    begin(host)
    change = creation("1001", topics=["order.updated"], key="key")
    store.commit(change)
    store.set_stock("TEAPOT", 3)
    assert store.commit_all([creation("1002"), creation("1001")])[0] is None
    finish(host, "ROLLBACK")
    assert held(path) == ([], [])
    assert store.prepare_many([Need("1001", "key", ("TEAPOT",))]) == [Snapshot(None, None, {})]
    store.commit(change)
    finish(host, "COMMIT")
    assert held(path) == ([], ["1001"])


@all_modes
def test_removal_is_rolled_back_with_the_shops_rows(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    change = creation("1001", topics=["order.updated"], key="key")
    store.commit(change)
    finish(host, "COMMIT")
    begin(host)
    store.remove(order_of(change))
    assert held(path) == ([], ["1001"])
    finish(host, "ROLLBACK")
    assert store.load("1001") == change.order
    assert len(list(store.messages())) == 1


@all_modes
def test_refused_change_keeps_earlier_rows_of_the_shop(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    change = creation("1001", key="key")
    begin(host)
    store.commit(change)
    with pytest.raises(KeyReused):
        store.commit(creation("1002", key="key"))
    with pytest.raises(VersionConflict):
        store.commit(step(order_of(step(order_of(change)))))
    with pytest.raises(VersionConflict):
        store.commit(stock_change(taken("TEAPOT", 1)))
    host.execute("INSERT INTO invoice VALUES ('after')")
    finish(host, "COMMIT")
    assert held(path) == (["before", "after"], ["1001"])


def test_shop_can_roll_back_the_orders_to_its_own_savepoint(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    """This holds even if the savepoint has the name of the store's savepoint."""
    begin(host)
    store.commit(creation("1001"))
    host.execute("SAVEPOINT order_fsm")
    store.commit(creation("1002"))
    with pytest.raises(OrderNotFound):
        store.commit(step(order_of(creation("1003"))))
    host.execute("ROLLBACK TO order_fsm")
    host.execute("RELEASE order_fsm")
    host.commit()
    assert held(path) == (["before"], ["1001"])


def test_failing_row_of_the_shop_rolls_back_the_order(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    def sell() -> None:
        with host:
            begin(host)
            store.commit(creation("1001"))
            host.execute("INSERT INTO missing VALUES (1)")

    with pytest.raises(sqlite3.OperationalError):
        sell()
    assert held(path) == ([], [])


# No open transaction


@autocommit_modes
def test_each_call_in_autocommit_commits_by_itself(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    """An open transaction would include the shop's later rows."""
    change = creation("1001", topics=["order.paid"])
    calls: list[Callable[[], object]] = [
        lambda: store.set_stock("TEAPOT", 3),
        lambda: store.commit(change),
        lambda: store.commit_all([step(order_of(change)), creation("1002")]),
        lambda: store.load("1001"),
        lambda: store.find(Query(When())),
        lambda: store.remove(store.load("1002")),
    ]
    for call in calls:
        assert not store.joined
        call()
        assert not host.in_transaction
    host.execute("INSERT INTO invoice VALUES ('later')")
    assert held(path) == (["later"], ["1001"])
    with SqliteStore(path) as other:
        assert other.load("1001").version == 2
        assert other.stock(["TEAPOT"]) == {"TEAPOT": 3}


def test_first_write_in_legacy_mode_begins_the_transaction_that_the_shop_commits(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    assert not store.joined
    store.commit(creation("1001"))
    assert host.in_transaction
    assert store.joined
    store.commit(creation("1002"))
    assert held(path) == ([], [])
    host.commit()
    assert held(path) == ([], ["1001", "1002"])


@modes_with_begin
def test_failed_first_write_leaves_no_transaction_open(host: sqlite3.Connection, store: SqliteStore) -> None:
    with pytest.raises(OrderNotFound):
        store.commit(step(order_of(creation("1001"))))
    assert not host.in_transaction


@all_modes
def test_read_does_not_begin_or_end_a_transaction(host: sqlite3.Connection, store: SqliteStore) -> None:
    def read() -> None:
        with pytest.raises(OrderNotFound):
            store.load("1001")
        assert store.find(Query(When(), after=Cursor(START, "1001"))) == []
        assert (store.tally(None), store.stock(["TEAPOT"]), list(store.order_ids())) == ([], {}, [])

    before = host.in_transaction
    read()
    assert host.in_transaction is before
    begin(host)
    read()
    assert host.in_transaction
    finish(host, "ROLLBACK")
    assert host.execute("SELECT count(*) FROM invoice").fetchone()[0] == 0


@needs_python_3_12
@pytest.mark.parametrize("mode", [NEVER])
def test_store_is_always_joined_without_autocommit(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    assert store.joined
    store.commit(creation("1001"))
    assert held(path) == ([], [])
    host.commit()
    assert store.joined
    assert held(path) == ([], ["1001"])


# Relays


@modes_with_begin
def test_delivery_commits_by_itself_and_holds_no_lock(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    """Other programs can write while a handler sends mail."""

    def claimed(seconds: int) -> None:
        (message,) = store.claim(moment(seconds), moment(seconds + 1), 10)
        assert not host.in_transaction
        by_hand(path, "INSERT INTO invoice VALUES ('other')")
        settle = {
            0: partial(store.retry_later, message, moment(1), moment(2)),
            2: partial(store.retry_later, message, moment(3), None),
            4: partial(store.delivered, message, moment(5)),
        }
        settle[seconds]()
        assert not host.in_transaction

    store.commit(creation("1001", topics=["order.paid"]))
    finish(host, "COMMIT")
    claimed(0)
    claimed(2)
    store.requeue(store.dead_letters(1)[0])
    assert not host.in_transaction
    claimed(4)
    assert list(store.messages()) == []


@all_modes
def test_claim_in_an_open_transaction_is_refused(host: sqlite3.Connection, store: SqliteStore) -> None:
    store.commit(creation("1001", topics=["order.paid"]))
    finish(host, "COMMIT")
    begin(host)
    with pytest.raises(InvalidInput, match="messages cannot be delivered inside a transaction"):
        store.claim(moment(0), moment(1), 1)
    finish(host, "COMMIT")


# Lost transactions


def test_transaction_on_an_old_snapshot_is_lost(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    host.execute("PRAGMA journal_mode = WAL")
    store.commit(creation("1001"))
    host.commit()
    host.execute("BEGIN")
    order = store.load("1001")
    with SqliteStore(path) as other:
        other.set_stock("TEAPOT", 1)
    with pytest.raises(TransactionLost, match="SQLITE_BUSY_SNAPSHOT"):
        store.commit(step(order))
    host.rollback()
    store.commit(step(order))
    host.commit()
    assert store.load("1001").version == 2


def _limit(host: sqlite3.Connection, more: int) -> None:
    (pages,) = host.execute("PRAGMA page_count").fetchone()
    host.execute(f"PRAGMA max_page_count = {pages + more}")


def test_full_disk_keeps_the_shops_rows_or_loses_the_transaction(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    """SQLite decides which, and the error shows it. The transaction is never partial."""
    _limit(host, 0)
    begin(host)
    with pytest.raises(StoreError) as raised:
        store.set_stock("x" * 100_000, 1)
    assert isinstance(raised.value, TransactionLost) is not host.in_transaction
    assert held(path) == ([], [])
    finish(host, "ROLLBACK")
    _limit(host, 100)
    begin(host)
    store.commit(creation("1001", data={"note": "x" * 100_000}))
    host.commit()
    assert held(path) == (["before"], ["1001"])


def test_transaction_that_sqlite_rolled_back_is_lost(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    """In this test a trigger of the shop rolls back."""
    host.execute("CREATE TRIGGER stop BEFORE INSERT ON order_fsm_entry BEGIN SELECT RAISE(ROLLBACK, 'stopped'); END")
    begin(host)
    with pytest.raises(TransactionLost, match=r"stopped.*restart the transaction"):
        store.commit(creation("1001"))
    assert not host.in_transaction
    begin(host, "again")
    with pytest.raises(TransactionLost):
        store.commit_all([creation("1001"), creation("1002")])
    assert held(path) == ([], [])


def test_lock_of_another_program_does_not_end_the_transaction_of_the_shop(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    host.execute("PRAGMA journal_mode = WAL")
    host.execute("PRAGMA busy_timeout = 0")
    host.execute("BEGIN")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            store.set_stock("TEAPOT", 1)
        assert host.in_transaction
        other.execute("ROLLBACK")
    store.set_stock("TEAPOT", 2)
    host.commit()
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 2}


def test_lock_of_another_program_ends_no_transaction_of_a_shop_without_one(
    path: Path, host: sqlite3.Connection, store: SqliteStore
) -> None:
    host.isolation_level = None
    host.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            store.set_stock("TEAPOT", 1)
        other.execute("ROLLBACK")
    store.set_stock("TEAPOT", 2)
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 2}


# The tables


@modes_with_begin
def test_tables_are_created_at_once_without_an_open_transaction(path: Path, host: sqlite3.Connection) -> None:
    SqliteStore(connection=host)
    assert not host.in_transaction
    assert b"order_fsm_order" in path.read_bytes()


@all_modes
def test_tables_created_in_a_transaction_that_is_rolled_back_are_created_again(
    path: Path, host: sqlite3.Connection
) -> None:
    begin(host)
    store = SqliteStore(connection=host)
    store.commit(creation("1001"))
    finish(host, "ROLLBACK")
    with pytest.raises(OrderNotFound):
        store.load("1001")
    begin(host)
    store.commit(creation("1002"))
    finish(host, "ROLLBACK")
    begin(host, "kept")
    store.commit(creation("1003"))
    finish(host, "COMMIT")
    assert held(path) == (["kept"], ["1003"])


@all_modes
def test_tables_created_in_a_transaction_are_committed_with_it(path: Path, host: sqlite3.Connection) -> None:
    begin(host)
    SqliteStore(connection=host)
    assert b"order_fsm_order" not in path.read_bytes()
    finish(host, "COMMIT")
    assert held(path) == (["before"], [])


# The connection


def test_closed_store_leaves_the_connection_open(host: sqlite3.Connection, store: SqliteStore) -> None:
    store.close()
    assert host.execute("SELECT 1").fetchone()[0] == 1
    for call in (partial(store.load, "1001"), partial(store.commit, creation()), partial(store.set_stock, "CUP", 1)):
        with pytest.raises(StoreUnavailable, match="this store is closed"):
            call()


@pytest.mark.parametrize("row_factory", [None, sqlite3.Row])
def test_settings_of_the_connection_do_not_change(
    path: Path, host: sqlite3.Connection, row_factory: type | None
) -> None:
    def settings() -> list[object]:
        pragmas = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys", "user_version")
        return [
            host.row_factory,
            host.isolation_level,
            *(host.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas),
        ]

    host.row_factory = row_factory
    before = settings()
    store = SqliteStore(connection=host)
    change = creation("1001", customer="ann")
    store.commit(change)
    host.commit()
    assert store.load("1001") == change.order
    assert settings() == before
    assert [one.name for one in path.parent.iterdir()] == ["shop.db"]


def test_connection_that_returns_bytes_for_text_is_refused(host: sqlite3.Connection) -> None:
    host.text_factory = bytes
    with pytest.raises(InvalidInput, match="text_factory"):
        SqliteStore(connection=host)


def test_connection_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"must be a sqlite3\.Connection, not str$"):
        SqliteStore(connection="shop.db")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"must be a sqlite3\.Connection, not pathlib[\w.]+$"):
        SqliteStore(connection=Path("shop.db"))  # type: ignore[arg-type]


def test_wrapped_connection_of_django_is_refused_with_the_remedy() -> None:
    class DatabaseWrapper:
        def ensure_connection(self) -> None: ...

    with pytest.raises(InvalidInput, match=r"DatabaseWrapper: in Django, pass connection\.connection"):
        SqliteStore(connection=DatabaseWrapper())  # type: ignore[arg-type]


def test_closed_connection_is_unavailable(host: sqlite3.Connection, store: SqliteStore) -> None:
    host.close()
    for call in (partial(store.load, "1001"), partial(store.commit, creation("1001")), lambda: store.joined):
        with pytest.raises(StoreUnavailable, match="closed database"):
            call()
    with pytest.raises(StoreUnavailable, match="closed database"):
        SqliteStore(connection=host)


def test_connection_of_another_thread_is_unavailable(host: sqlite3.Connection, store: SqliteStore) -> None:
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


@autocommit_modes
def test_threads_on_one_connection_do_not_share_a_transaction(path: Path, mode: str) -> None:
    """The threads may share a store or have separate stores."""
    with closing(shared(path, mode)) as host:
        shop = SqliteStore(connection=host)
        orders = Orders(shop)
        for number in range(6):
            orders.create(str(number), total="10", currency="GBP")
        faults: list[BaseException] = []

        def work(number: int) -> None:
            try:
                orders = Orders(SqliteStore(connection=host) if number % 2 else shop)
                for _ in range(15):
                    orders.comment(str(number), "on its way")
                    orders.find(limit=10)
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert [len(orders.history(str(number))) for number in range(6)] == [16] * 6
        assert orders.audit().ok


@autocommit_modes
def test_stores_created_on_a_busy_connection_wait(path: Path, mode: str) -> None:
    with closing(shared(path, mode)) as host:
        faults: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(200):
                    SqliteStore(connection=host)
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []


def test_handler_that_leaves_a_transaction_open_stops_the_delivery(path: Path) -> None:
    """Otherwise other programs could not write during the next mails, and a rollback would send them again."""
    with closing(connected(path, LEGACY)) as host:
        orders = Orders(SqliteStore(connection=host))
        for number in range(3):
            orders.create(str(number), total="10", currency="GBP")
            orders.fire(str(number), "place")
        host.commit()
        mailed: list[str] = []

        def mail(message: Message) -> None:
            mailed.append(message.order_id)
            orders.comment(message.order_id, "mailed")

        with pytest.raises(InvalidInput, match="it must commit before it returns"):
            orders.deliver(mail)
        assert mailed == ["0"]


@needs_python_3_12
def test_delivery_without_autocommit_names_the_remedy(path: Path) -> None:
    with closing(connected(path, NEVER)) as host:
        orders = Orders(SqliteStore(connection=host))
        host.commit()
        with pytest.raises(InvalidInput, match="use another store"):
            orders.deliver(print)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_database_in_another_encoding_is_refused(path: Path, encoding: str) -> None:
    with closing(sqlite3.connect(path)) as host:
        host.execute(f"PRAGMA encoding = '{encoding}'")
        host.execute("CREATE TABLE invoice (number TEXT)")
        with pytest.raises(InvalidInput, match=f"encoding UTF-8, not {encoding}"):
            SqliteStore(connection=host)


def test_failed_handler_that_leaves_a_transaction_open_stops_the_delivery(path: Path) -> None:
    with closing(connected(path, LEGACY)) as host:
        orders = Orders(SqliteStore(connection=host))
        orders.create("1", total="10", currency="GBP")
        orders.fire("1", "place")
        host.commit()

        def mail(_: Message) -> None:
            host.execute("INSERT INTO invoice VALUES ('1')")
            raise OSError

        with pytest.raises(InvalidInput, match="it must commit before it returns"):
            orders.deliver(mail)
        host.rollback()
        assert [message.attempts for message in SqliteStore(connection=host).messages()] == [0]


@needs_python_3_12
def test_delivery_in_a_thread_that_may_not_use_the_connection_is_refused(path: Path) -> None:
    with closing(connected(path, NEVER)) as host:
        orders = Orders(SqliteStore(connection=host))
        answers: list[object] = []

        def work() -> None:
            try:
                orders.deliver(print)
            except StoreError as error:
                answers.append(type(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert answers == [StoreUnavailable]


# Erasures


@all_modes
def test_erasure_commits_and_rolls_back_with_the_shop(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    orders = Orders(store)
    orders.create("1001", total="10", currency="GBP", customer="ann")
    orders.comment("1001", "for ann")
    finish(host, "COMMIT")
    begin(host)
    assert orders.erase_customer("ann") == ["1001"]
    finish(host, "ROLLBACK")
    assert orders.get("1001").customer == "ann"
    assert orders.history("1001")[-1].comment == "for ann"
    finish(host, "COMMIT")
    begin(host)
    assert orders.erase_customer("ann") == ["1001"]
    finish(host, "COMMIT")
    assert held(path) == (["before"], ["1001"])
    assert (orders.get("1001").customer, orders.history("1001")[1].comment) == (None, "")
    assert orders.audit().ok
    finish(host, "COMMIT")


def test_erasure_does_not_vacuum_the_file_of_the_shop(path: Path, host: sqlite3.Connection, store: SqliteStore) -> None:
    """VACUUM would remove the bytes, and rewrite the rows of the shop."""
    orders = Orders(store)
    orders.create("1001", total="10", currency="GBP", customer="Ann Example")
    orders.comment("1001", "for Ann Example " * 3000)
    host.commit()
    orders.erase_customer("Ann Example")
    host.commit()
    assert by_hand(path, "SELECT order_id FROM order_fsm_unscrubbed") == [("1001",)]
    with SqliteStore(path) as own:
        own.scrub()
    assert not any(b"Ann Example" in file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize("act", ["expire", "purge"])
def test_lost_transaction_ends_a_job(path: Path, host: sqlite3.Connection, store: SqliteStore, act: str) -> None:
    """The host must restart its transaction, because nothing of it is written."""
    host.execute("PRAGMA journal_mode = WAL")
    orders = Orders(store)
    orders.create("1001", total="10", currency="GBP")
    orders.create("1002", total="10", currency="GBP")
    orders.fire("1002", "place")
    host.commit()
    host.execute("BEGIN")
    orders.find()
    with SqliteStore(path) as other:
        other.set_stock("TEAPOT", 1)
    with pytest.raises(TransactionLost):
        getattr(orders, act)(timedelta(0))
