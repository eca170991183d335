"""MariaDbStore on the shop's own connection: one transaction for the shop's rows and the orders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias
from uuid import uuid4

import pymysql
import pytest
from pymysql.connections import Connection

from order_fsm.errors import InvalidInput, KeyReused, StoreUnavailable, TransactionLost, VersionConflict
from order_fsm.model import Line
from order_fsm.orders.service import Orders
from order_fsm.store import Need, Snapshot
from order_fsm.testing.store_contract.changes import START, creation, moment, order_of, step, stock_change, taken
from order_fsm_adapters.mariadb import MariaDbStore

from . import servers
from .backends import until

Host: TypeAlias = "Connection[Any]"


def sql(connection: Host, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


@pytest.fixture
def database(mariadb: servers.MariaDbServer, tmp_path: Path) -> str:
    """The name of a database with a table of the shop."""
    with mariadb.connect(str(tmp_path)) as connection:
        sql(connection, "CREATE TABLE IF NOT EXISTS invoice (number VARCHAR(20) PRIMARY KEY, total INTEGER)")
        sql(connection, "DELETE FROM invoice")
        connection.commit()
    return str(tmp_path)


@pytest.fixture
def own(mariadb: servers.MariaDbServer, database: str) -> Iterator[MariaDbStore]:
    """The store with its own connections to the same database."""
    with mariadb.store(database) as store:
        yield store


@pytest.fixture(params=["autocommit", "no autocommit"])
def host(request: pytest.FixtureRequest, mariadb: servers.MariaDbServer, database: str) -> Iterator[Host]:
    """The shop's connection, in both modes, at the server's isolation level REPEATABLE READ."""
    with closing(mariadb.connect(database, autocommit=request.param == "autocommit")) as connection:
        yield connection


@pytest.fixture
def autocommitting(mariadb: servers.MariaDbServer, database: str) -> Iterator[Host]:
    """The shop's connection in autocommit."""
    with closing(mariadb.connect(database, autocommit=True)) as connection:
        yield connection


@pytest.fixture
def guest(host: Host) -> MariaDbStore:
    """The store on the shop's connection."""
    return MariaDbStore(connection=host)


@pytest.fixture
def seen(mariadb: servers.MariaDbServer, database: str) -> Iterator[Host]:
    """Another connection, which sees only committed rows."""
    with closing(mariadb.connect(database, autocommit=True)) as connection:
        yield connection


def begin(host: Host, number: str = "before") -> None:
    """Begin a transaction of the shop with a row of its own."""
    host.begin()
    sql(host, "INSERT INTO invoice VALUES (%s, 1)", number)


def held(seen: Host) -> tuple[list[str], list[str]]:
    """Return the committed invoices and orders."""
    invoices, orders = "SELECT number FROM invoice ORDER BY number", "SELECT id FROM order_fsm_order ORDER BY id"
    return [number for (number,) in sql(seen, invoices)], [order_id for (order_id,) in sql(seen, orders)]


def wait_for_a_waiter(seen: Host) -> None:
    """Return as soon as a transaction in the same database waits for a lock.

    The table `innodb_trx` is no help: its content stays the same while it is read repeatedly.
    """

    def found() -> bool:
        ((_, _, status),) = sql(seen, "SHOW ENGINE INNODB STATUS")
        parts = [part for part in status.split("---TRANSACTION") if "LOCK WAIT" in part]
        waiting = [re.search(r"thread id (\d+)", part) for part in parts]
        here = sql(seen, "SELECT id FROM information_schema.processlist WHERE db = DATABASE()")
        return any(one is not None and (int(one[1]),) in here for one in waiting)

    until(found)


def lose(host: Host, guest: MariaDbStore, seen: Host, other: Host) -> None:
    """Make the shop's transaction, which the guest has joined, the victim of a deadlock."""
    sql(other, "INSERT INTO invoice VALUES ('shared', 1)")
    guest.set_stock("TEAPOT", 3)
    host.commit()
    begin(host)
    sql(host, "SELECT * FROM invoice WHERE number = 'shared' FOR UPDATE")
    other.begin()
    sql(other, "SELECT * FROM order_fsm_stock WHERE sku = 'TEAPOT' FOR UPDATE")
    for number in range(20):  # The transaction that changed fewer rows is the victim.
        sql(other, "INSERT INTO invoice VALUES (%s, 1)", f"other {number}")
    waiter = Thread(target=sql, args=(other, "UPDATE invoice SET total = 2 WHERE number = 'shared'"))
    waiter.start()
    wait_for_a_waiter(seen)
    try:
        with pytest.raises(TransactionLost, match="Deadlock"):
            guest.commit(stock_change(taken("TEAPOT", 1)))
    finally:
        waiter.join()
        other.rollback()


# One transaction


def test_shop_commits_its_rows_and_the_order_together(host: Host, guest: MariaDbStore, seen: Host) -> None:
    begin(host)
    assert guest.joined
    guest.commit(creation("1001"))
    sql(host, "INSERT INTO invoice VALUES ('later', 1)")
    assert held(seen) == ([], [])
    host.commit()
    assert held(seen) == (["before", "later"], ["1001"])


def test_shop_rolls_back_its_rows_and_the_order_together(host: Host, guest: MariaDbStore, seen: Host) -> None:
    begin(host)
    change = creation("1001", topics=["order.updated"], key="key")
    guest.commit(change)
    guest.set_stock("TEAPOT", 3)
    host.rollback()
    assert held(seen) == ([], [])
    assert list(guest.messages()) == []
    guest.commit(change)
    host.commit()
    assert held(seen) == ([], ["1001"])


def test_refusal_leaves_the_transaction_of_the_shop_usable(host: Host, guest: MariaDbStore, seen: Host) -> None:
    change = creation("1001", key="key")
    begin(host)
    guest.commit(change)
    with pytest.raises(KeyReused):
        guest.commit(creation("1002", key="key"))
    with pytest.raises(VersionConflict):
        guest.commit(step(order_of(step(order_of(change)))))
    with pytest.raises(VersionConflict):
        guest.commit(stock_change(taken("TEAPOT", 1)))
    sql(host, "INSERT INTO invoice VALUES ('later', 1)")
    host.commit()
    assert held(seen) == (["before", "later"], ["1001"])


def test_rollback_to_a_savepoint_of_the_shop_undoes_later_orders(host: Host, guest: MariaDbStore, seen: Host) -> None:
    begin(host)
    guest.commit(creation("1001"))
    sql(host, "SAVEPOINT mine")
    guest.commit(creation("1002"))
    sql(host, "ROLLBACK TO SAVEPOINT mine")
    host.commit()
    assert held(seen) == (["before"], ["1001"])


def test_each_call_in_autocommit_commits_by_itself(autocommitting: Host, seen: Host) -> None:
    guest = MariaDbStore(connection=autocommitting)
    assert not guest.joined
    guest.commit(creation("1001"))
    assert held(seen) == ([], ["1001"])
    with pytest.raises(VersionConflict):
        guest.commit(step(order_of(step(order_of(creation("1001"))))))
    assert not autocommitting.server_status & 1  # type: ignore[attr-defined]


def test_service_joins_a_transaction_by_within(host: Host, own: MariaDbStore, seen: Host) -> None:
    orders = Orders(own)
    begin(host)
    orders.within(host).create("1001", "10.00", "GBP")
    assert held(seen) == ([], [])
    host.commit()
    assert orders.get("1001").version == 1


# Under REPEATABLE READ


def test_change_is_decided_on_the_latest_commit_of_others(host: Host, own: MariaDbStore) -> None:
    """The shop has read before, so its transaction has an old snapshot."""
    orders = Orders(own)
    orders.create("1001", "10.00", "GBP")
    host.begin()
    assert orders.within(host).get("1001").version == 1
    first = orders.fire("1001", "place", key="place")
    again = orders.within(host).fire("1001", "place", key="place")
    assert again.duplicate
    assert again.entries == first.entries
    assert orders.within(host).fire("1001", "pay").order.version == 3
    host.commit()
    assert orders.audit().findings == ()


def test_message_after_a_delivery_by_others_can_be_claimed(host: Host, own: MariaDbStore, guest: MariaDbStore) -> None:
    change = creation("1001", topics=["order.updated"])
    own.commit(change)
    host.begin()
    assert len(list(guest.messages())) == 1
    (message,) = own.claim(START, moment(60), 10)
    own.delivered(message, moment(60))
    guest.commit(step(order_of(change), topics=["order.updated"]))
    host.commit()
    assert [found.version for found in own.claim(START, moment(60), 10)] == [2]


def test_erasure_includes_the_latest_commit_of_others(host: Host, own: MariaDbStore) -> None:
    orders = Orders(own)
    orders.create("1001", "10.00", "GBP", customer="ann")
    orders.fire("1001", "place")
    orders.fire("1001", "cancel", comment="a reason")
    host.begin()
    assert orders.within(host).get("1001").version == 3
    orders.comment("1001", "call ann", key="call")
    orders.within(host).erase_order("1001")
    host.commit()
    assert [entry.comment for entry in orders.history("1001")] == [""] * 5
    assert orders.audit().findings == ()


def test_removal_includes_the_latest_commit_of_others(host: Host, own: MariaDbStore, guest: MariaDbStore) -> None:
    change = creation("1001", key="1001")
    own.commit(change)
    host.begin()
    assert guest.load("1001") == change.order
    later = step(order_of(change), key="later", topics=["order.updated"])
    own.commit(later)
    guest.remove(order_of(later))
    host.commit()
    assert own.prepare_many([Need("1001", "later")]) == [Snapshot(None, None, {})]
    assert list(own.messages()) == []
    assert own.faults() == []


def test_row_that_others_inserted_after_the_snapshot_raises_version_conflict(
    host: Host, own: MariaDbStore, guest: MariaDbStore, seen: Host
) -> None:
    host.begin()
    sql(host, "SELECT * FROM order_fsm_order")
    own.commit(creation("1001", key="key"))
    for change in (creation("1001", topics=["order.updated"]), creation("1002", key="key")):
        with pytest.raises(VersionConflict, match="restart the transaction") as raised:
            guest.commit(change)
        assert change.key is None or repr(change.key) not in str(raised.value)  # The database's message quotes it.
    sql(host, "INSERT INTO invoice VALUES ('later', 1)")
    host.commit()
    assert held(seen) == (["later"], ["1001"])
    assert list(own.messages()) == []


def test_prepared_order_cannot_be_changed_by_others_until_the_shop_commits(
    mariadb: servers.MariaDbServer, database: str, host: Host, guest: MariaDbStore
) -> None:
    change = creation("1001")
    guest.commit(change)
    host.commit()
    host.begin()
    assert guest.prepare_many([Need("1001", None)])[0].order == change.order
    with closing(mariadb.connect(database, init_command="SET innodb_lock_wait_timeout = 0")) as impatient:
        late = MariaDbStore(connection=impatient)
        with pytest.raises(TransactionLost, match="1205"):
            late.commit(step(order_of(change)))
    guest.commit(step(order_of(change)))
    host.commit()


def test_new_order_in_an_open_transaction_does_not_block_other_new_orders(
    host: Host, own: MariaDbStore, guest: MariaDbStore
) -> None:
    orders, joined = Orders(own), Orders(guest)
    own.set_stock("TEAPOT", 3)
    # New ids: inserting a row that an earlier test deleted may lock the gap next to it.
    first, second = uuid4().hex, uuid4().hex
    host.begin()
    joined.create(first, "10.00", "GBP", [Line("TEAPOT", 1)], key=first)
    orders.create(second, "10.00", "GBP", [Line("TEAPOT", 1)], key=second)
    assert orders.fire(second, "place", key=f"place {second}").order.state == "sent"
    host.commit()
    assert orders.fire(first, "place").order.state == "sent"


# Lost transactions


def test_deadlock_loses_the_transaction_of_the_shop(
    host: Host, guest: MariaDbStore, seen: Host, mariadb: servers.MariaDbServer, database: str
) -> None:
    """Further calls raise until the shop rolls back: they would commit without the earlier ones."""
    with closing(mariadb.connect(database, autocommit=True)) as other:
        lose(host, guest, seen, other)
    for _ in range(2):
        with pytest.raises(TransactionLost, match="was lost before"):
            guest.commit(creation("1001"))
    with pytest.raises(TransactionLost, match="was lost before"):
        MariaDbStore(connection=host).load("1001")
    host.rollback()
    guest.commit(creation("1002"))
    host.commit()
    assert held(seen) == (["shared"], ["1002"])
    assert guest.stock(["TEAPOT"]) == {"TEAPOT": 3}


def test_deadlock_that_the_shop_ignored_in_autocommit_is_detected(
    autocommitting: Host, seen: Host, mariadb: servers.MariaDbServer, database: str
) -> None:
    """For the driver the transaction is still open, but each statement would commit by itself."""
    host, guest = autocommitting, MariaDbStore(connection=autocommitting)
    sql(seen, "INSERT INTO invoice VALUES ('shared', 1), ('mine', 1)")
    with closing(mariadb.connect(database, autocommit=True)) as other:
        begin(host)
        sql(host, "SELECT * FROM invoice WHERE number = 'shared' FOR UPDATE")
        other.begin()
        for number in range(20):
            sql(other, "INSERT INTO invoice VALUES (%s, 1)", f"other {number}")
        sql(other, "UPDATE invoice SET total = 2 WHERE number = 'mine'")
        waiter = Thread(target=sql, args=(other, "UPDATE invoice SET total = 2 WHERE number = 'shared'"))
        waiter.start()
        wait_for_a_waiter(seen)
        with pytest.raises(pymysql.err.OperationalError, match="Deadlock"):
            sql(host, "UPDATE invoice SET total = 3 WHERE number = 'mine'")
        waiter.join()
        other.rollback()
    with pytest.raises(TransactionLost, match="the transaction is no longer open"):
        guest.commit(creation("1001"))
    with pytest.raises(TransactionLost, match="was lost before"):
        guest.commit(creation("1001"))
    host.commit()
    assert held(seen) == (["mine", "shared"], [])


def test_killed_connection_of_the_shop_loses_its_transaction(host: Host, guest: MariaDbStore, seen: Host) -> None:
    begin(host)
    guest.commit(creation("1001"))
    ((connection_id,),) = sql(host, "SELECT CONNECTION_ID()")
    sql(seen, f"KILL {connection_id}")
    with pytest.raises(TransactionLost):
        guest.commit(creation("1002"))
    assert held(seen) == ([], [])


# Refused calls


def test_installation_within_a_transaction_is_refused(host: Host, guest: MariaDbStore, seen: Host) -> None:
    """The installation would commit the shop's rows."""
    guest.install()
    begin(host)
    with pytest.raises(InvalidInput, match="no transaction open"):
        guest.install()
    host.rollback()
    assert held(seen) == ([], [])


def test_claim_in_a_transaction_of_the_shop_is_refused(host: Host, guest: MariaDbStore) -> None:
    begin(host)
    with pytest.raises(InvalidInput, match="messages cannot be delivered inside a transaction"):
        guest.claim(START, moment(60), 1)


def test_connection_of_another_type_or_charset_is_refused(mariadb: servers.MariaDbServer, own: MariaDbStore) -> None:
    given: Any = "connection"
    with pytest.raises(InvalidInput, match=r"must be a pymysql\.Connection, not str"):
        own.within(given)
    with (
        closing(mariadb.connect(None, charset="latin1")) as connection,
        pytest.raises(InvalidInput, match="charset utf8mb4, not 'latin1'"),
    ):
        MariaDbStore(connection=connection)


def test_closed_guest_leaves_the_connection_open(host: Host, guest: MariaDbStore) -> None:
    guest.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        guest.load("1001")
    assert sql(host, "SELECT 1") == [(1,)]
