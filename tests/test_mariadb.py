"""MariaDbStore on its own connections: servers, tables, errors, counters and query plans."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from order_fsm.errors import (
    InvalidInput,
    KeyReused,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TransactionLost,
    VersionConflict,
)
from order_fsm.store import Need, Tally
from order_fsm.testing.store_contract.changes import START, creation, moment, order_of, step, stock_change, taken
from order_fsm_adapters.mariadb import MariaDbStore
from order_fsm_adapters.mariadb.errors import store_error
from order_fsm_adapters.mariadb.schema import check_server
from order_fsm_adapters.sql import search
from order_fsm_adapters.sql.dialect import ConnectionBroken, Repeatable

from . import servers
from .test_mariadb_host import Host, sql, wait_for_a_waiter


@pytest.fixture
def name(tmp_path: Path) -> str:
    """The name of the database."""
    return str(tmp_path)


@pytest.fixture
def store(mariadb: servers.MariaDbServer, name: str) -> Iterator[MariaDbStore]:
    with mariadb.store(name) as store:
        yield store


@pytest.fixture
def other(mariadb: servers.MariaDbServer, name: str) -> Iterator[Host]:
    """Another connection to the database, in autocommit."""
    with closing(mariadb.connect(name, autocommit=True)) as connection:
        yield connection


@pytest.fixture
def bare(mariadb: servers.MariaDbServer) -> Iterator[str]:
    """The URL of a database without tables."""
    database = f"{mariadb.prefix}bare"
    with closing(mariadb.connect(None)) as connection:
        sql(connection, f"CREATE DATABASE {database}")
        yield f"{mariadb.address('').rpartition('/')[0]}/{database}"
        sql(connection, f"DROP DATABASE {database}")


# The server and its address


@pytest.mark.parametrize(
    "version", ["10.6.0-MariaDB", "10.11.6-MariaDB-0+deb12u1", "11.4.2-MariaDB-log", "5.5.5-10.11.6-MariaDB"]
)
def test_mariadb_10_6_and_newer_are_supported(version: str) -> None:
    check_server(version)


@pytest.mark.parametrize("version", ["10.5.23-MariaDB", "5.5.68-MariaDB", "5.5.5-10.4.1-MariaDB", "MariaDB"])
def test_older_mariadb_is_refused(version: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"MariaDB 10\.6 or newer is needed"):
        check_server(version)


@pytest.mark.parametrize("version", ["8.0.36", "8.4.0-log", "5.7.44-percona", "8.0.11-TiDB-v7.5.0"])
def test_mysql_is_refused(version: str) -> None:
    with pytest.raises(StoreUnavailable, match=rf"not MariaDB, but has the version '{version}'"):
        check_server(version)


@pytest.mark.parametrize(
    "url",
    ["", "mysql://u:secret@h/d", "mariadb://u:secret@h", "mariadb://u:secret@h:x/d", "mariadb://u:secret@h/d?ssl=1"],
)
def test_refusal_of_an_invalid_url_does_not_quote_the_password(url: str) -> None:
    with pytest.raises(InvalidInput, match="url must be like 'mariadb://user:password@host/shop'") as raised:
        MariaDbStore(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "10"])
def test_invalid_size_is_refused(size: Any) -> None:
    with pytest.raises(InvalidInput, match="size must be a whole number of 1 or more"):
        MariaDbStore("mariadb://user@host/shop", size=size)


def test_store_without_url_and_connection_is_refused() -> None:
    with pytest.raises(InvalidInput, match="pass either the URL of a database or connection=: neither was given"):
        MariaDbStore()


def test_unreachable_server_raises_store_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"), MariaDbStore("mariadb://root@127.0.0.1:1/x") as it:
        it.load("1001")


def test_call_on_a_closed_store_is_refused(store: MariaDbStore) -> None:
    store.commit(creation())
    store.close()
    with pytest.raises(StoreUnavailable, match="this store is closed"):
        store.load("1001")


def test_calls_beyond_the_size_wait_for_a_connection(mariadb: servers.MariaDbServer, name: str) -> None:
    with MariaDbStore(mariadb.address(name), size=1) as store:
        store.commit(creation())
        threads = [Thread(target=store.load, args=("1001",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with closing(mariadb.connect(None)) as connection:
            listed = "SELECT count(*) FROM information_schema.processlist WHERE db = %s"
            assert sql(connection, listed, mariadb.address(name).rpartition("/")[2]) == [(1,)]


# The tables


def test_error_for_missing_tables_names_install(bare: str) -> None:
    with MariaDbStore(bare) as store:
        with pytest.raises(StoreUnavailable, match=r"call install\(\)"):
            store.load("1001")
        store.install()
        store.commit(creation())


def test_concurrent_installations_create_the_tables_once(bare: str) -> None:
    with MariaDbStore(bare) as store:
        threads = [Thread(target=store.install) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.commit(creation())
        store.install()
        assert store.load("1001") == creation().order


def test_interrupted_installation_is_completed(mariadb: servers.MariaDbServer, bare: str) -> None:
    with MariaDbStore(bare) as store:
        store.install()
        with closing(mariadb.connect(None, database=bare.rpartition("/")[2])) as connection:
            sql(connection, "DROP TABLE order_fsm_schema, order_fsm_tally_step")
            sql(connection, "DROP VIEW order_fsm_customer_tally")
        store.install()
        store.commit(creation(customer="ann"))
        assert store.tally("ann")[0].orders == 1


@pytest.mark.parametrize(
    ("version", "error", "said"),
    [(2, StoreUnavailable, "newer version"), (0, StoreCorrupt, "one version of 1 or more")],
)
def test_tables_of_another_version_are_refused(
    mariadb: servers.MariaDbServer, bare: str, version: int, error: type[StoreError], said: str
) -> None:
    with MariaDbStore(bare) as store:
        store.install()
        with closing(mariadb.connect(None, database=bare.rpartition("/")[2], autocommit=True)) as connection:
            sql(connection, "UPDATE order_fsm_schema SET version = %s", version)
        with pytest.raises(error, match=said):
            store.load("1001")
        with pytest.raises(error, match=said):
            store.install()


def test_state_longer_than_its_column_is_refused(store: MariaDbStore) -> None:
    store.commit(creation("1001", state="s" * 500))
    with pytest.raises(InvalidInput, match="at most 500 characters"):
        store.commit(creation("1002", state="s" * 501))
    too_long, other = store.commit_all([creation("1002", state="s" * 501), creation("1003")])
    assert isinstance(too_long, InvalidInput)
    assert other is None


# Errors


@pytest.mark.parametrize(
    ("number", "own", "joined"),
    [
        (1213, Repeatable, TransactionLost),
        (1020, Repeatable, TransactionLost),
        (1062, Repeatable, VersionConflict),
        (1205, StoreUnavailable, TransactionLost),
        (2006, ConnectionBroken, TransactionLost),
        (2013, ConnectionBroken, TransactionLost),
        (4031, ConnectionBroken, TransactionLost),
        (None, ConnectionBroken, TransactionLost),
        (1305, StoreUnavailable, TransactionLost),
        (1114, StoreFull, StoreFull),
        (1021, StoreFull, StoreFull),
        (1290, StoreUnavailable, StoreUnavailable),
        (1792, StoreUnavailable, StoreUnavailable),
        (1146, StoreUnavailable, StoreUnavailable),
        (1406, StoreCorrupt, StoreCorrupt),
        (1034, StoreCorrupt, StoreCorrupt),
    ],
)
def test_each_error_number_maps_to_its_error(
    number: int | None, own: type[StoreError], joined: type[StoreError]
) -> None:
    assert type(store_error(number, "the text", "MariaDB", joined=False)) is own
    assert type(store_error(number, "the text", "MariaDB", joined=True)) is joined


def test_full_disk_of_the_server_raises_store_full() -> None:
    text = 'Got error 28 "No space left on device" from storage engine InnoDB'
    assert isinstance(store_error(1030, text, "MariaDB", joined=False), StoreFull)


def test_error_for_a_duplicate_key_does_not_quote_it() -> None:
    text = "Duplicate entry 'ann@example.com' for key 'PRIMARY'"
    assert "ann" not in str(store_error(1062, text, "MariaDB", joined=False))


def test_commit_that_is_the_victim_of_a_deadlock_is_retried(
    store: MariaDbStore, other: Host, mariadb: servers.MariaDbServer, name: str
) -> None:
    change = creation()
    store.commit(change)
    store.set_stock("TEAPOT", 3)
    other.begin()
    for number in range(40):  # The transaction that changed fewer rows is the victim.
        sql(other, "INSERT INTO order_fsm_unscrubbed VALUES (%s)", f"{number}")
    sql(other, "SELECT * FROM order_fsm_stock WHERE sku = 'TEAPOT' FOR UPDATE")
    move = stock_change(taken("TEAPOT", 1)).stock
    next_change = step(order_of(change), stock=move)
    waiter = Thread(target=store.commit, args=(next_change,))
    waiter.start()
    with closing(mariadb.connect(name)) as seen:
        wait_for_a_waiter(seen)
    sql(other, "SELECT * FROM order_fsm_order WHERE id = '1001' FOR UPDATE")
    other.rollback()
    waiter.join()
    assert store.load("1001") == next_change.order
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 2}


def test_idle_connection_that_the_server_closed_is_replaced(store: MariaDbStore, other: Host) -> None:
    change = creation()
    store.commit(change)
    kill(other)
    store.commit(step(order_of(change)))
    kill(other)
    assert store.load("1001").version == 2
    kill(other)
    assert store.prepare_many([Need("1001", None)])[0].order == order_of(step(order_of(change)))


def test_repeated_request_that_waits_for_its_first_commit_finds_the_key_used(
    store: MariaDbStore, mariadb: servers.MariaDbServer, name: str
) -> None:
    """The server still runs the commit of a process that died."""
    change = creation()
    store.commit(change)
    following = step(order_of(change), key="key")
    with (
        closing(mariadb.connect(name)) as first,
        closing(mariadb.connect(name)) as seen,
        ThreadPoolExecutor() as threads,
    ):
        store.within(first).commit(following)
        repetition = threads.submit(store.commit, following)
        wait_for_a_waiter(seen)
        first.commit()
        with pytest.raises(KeyReused):
            repetition.result()


def test_commit_whose_connection_is_killed_has_an_unknown_outcome(
    store: MariaDbStore, other: Host, mariadb: servers.MariaDbServer, name: str
) -> None:
    change = creation()
    store.commit(change)
    other.begin()
    sql(other, "SELECT * FROM order_fsm_order FOR UPDATE")
    raised: list[BaseException] = []

    def commit() -> None:
        with pytest.raises(StoreUnavailable, match="its outcome is unknown") as error:
            store.commit(step(order_of(change)))
        raised.append(error.value)

    waiter = Thread(target=commit)
    waiter.start()
    with closing(mariadb.connect(name)) as seen:
        wait_for_a_waiter(seen)
        kill(seen, spared=other)
    waiter.join()
    other.rollback()
    assert len(raised) == 1
    assert store.load("1001").version == 1
    store.commit(step(order_of(change)))


def kill(connection: Host, spared: Host | None = None) -> None:
    """Kill all connections to this run's databases, except the given ones."""
    listed = "SELECT id FROM information_schema.processlist WHERE db LIKE %s AND id NOT IN (CONNECTION_ID(), %s)"
    spared_id = 0 if spared is None else sql(spared, "SELECT CONNECTION_ID()")[0][0]
    pattern = servers.MariaDbServer(servers.MARIADB).prefix.replace("_", r"\_") + "%"
    for (number,) in sql(connection, listed, pattern, spared_id):
        sql(connection, f"KILL {number}")


# Counters


def tallied(store: MariaDbStore, customer: str | None) -> list[Tally]:
    return sorted(store.tally(customer), key=str)


def steps(connection: Host) -> int:
    ((number,),) = sql(connection, "SELECT count(*) FROM order_fsm_tally_step")
    return int(number)


def test_fold_does_not_change_the_tallies(store: MariaDbStore, other: Host) -> None:
    for number in range(40):
        change = creation(f"{number}", customer=f"customer {number % 3}")
        store.commit(change)
        store.commit(step(order_of(change), state="sent"))
    before = [tallied(store, customer) for customer in (None, "customer 1", "customer 2")]
    assert steps(other) == 120
    store.scrub()
    assert steps(other) == 0
    assert [tallied(store, customer) for customer in (None, "customer 1", "customer 2")] == before
    store.commit(creation("more", customer="customer 1"))
    store.scrub()
    assert sum(tally.orders for tally in store.tally(None)) == 41
    assert store.faults() == []


def test_relay_folds_many_steps(store: MariaDbStore, other: Host) -> None:
    store.commit_all([creation(f"{number}", customer="ann") for number in range(199)])
    store.claim(START, moment(1), 1)
    assert steps(other) == 199
    store.commit(creation("last", customer="ann"))
    store.claim(START, moment(1), 1)
    assert steps(other) == 0
    assert [tally.orders for tally in store.tally("ann")] == [200]


def test_step_of_a_transaction_that_is_open_is_folded_later(
    store: MariaDbStore, mariadb: servers.MariaDbServer, name: str, other: Host
) -> None:
    """The open step has a lower number than the folded ones. The fold and the transaction do not block each other."""
    with closing(mariadb.connect(name)) as shop:
        # New ids: inserting a row that an earlier test deleted may lock the gap next to it.
        store.within(shop).commit(creation(uuid4().hex))
        store.commit(creation(uuid4().hex))
        store.scrub()
        assert steps(other) == 0
        shop.commit()
    assert steps(other) == 1
    assert sum(tally.orders for tally in store.tally(None)) == 2


def test_no_counter_contains_an_erased_customer_after_a_scrub(store: MariaDbStore, other: Host) -> None:
    change = creation(customer="ann")
    store.commit(change)
    store.scrub()
    store.remove(order_of(change))
    store.scrub()
    assert sql(other, "SELECT * FROM order_fsm_tally_base") == []
    assert steps(other) == 0


# Plans


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (search._IN_STATE, ("sent",)),
        (search._IN_STATE_OF_CUSTOMER, ("customer 1", "sent")),
        (search._REFUND_DUE, ()),
        (search._UNMATCHED, ()),
    ],
)
def test_page_starts_at_its_position_in_an_index(
    store: MariaDbStore, other: Host, statement: str, values: tuple[str, ...]
) -> None:
    changes = [
        creation(f"{number:04}", state="sent", customer=f"customer {number % 3}", at=moment(number))
        for number in range(600)
    ]
    store.commit_all(changes)
    sql(other, "ANALYZE TABLE order_fsm_order")
    at = "2024-02-29T12:40:09.123456+00:00"  # A time near the end.
    explained = statement.replace("?", "%s").replace('"', "`")
    ((_, _, _, kind, _, index, _, _, number, _),) = sql(other, f"EXPLAIN {explained}", *values, at, "0594", at, 3)
    assert kind == "range"
    assert index.startswith("order_fsm_order_")
    assert int(number) < 20
