"""PostgresStore in a shared database: ordinary rights, other schema versions, rows of the shop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from order_fsm import InvalidInput, Line, Orders, StoreUnavailable, Undelivered
from order_fsm.store import Store
from order_fsm.testing import FrozenClock
from order_fsm.testing.store_contract.changes import creation, step
from order_fsm.testing.store_contract.erasures import erasure
from order_fsm_adapters.postgresql import PostgresStore, schema

from .backends import backends, holding
from .servers import PostgresServer


@pytest.fixture
def url(postgresql: PostgresServer, request: pytest.FixtureRequest) -> str:
    return postgresql.address(request.node.nodeid)


@pytest.fixture
def admin(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


# Encodings


def test_connection_in_another_encoding_is_refused(url: str) -> None:
    with (
        psycopg.connect(url, client_encoding="LATIN1") as connection,
        pytest.raises(InvalidInput, match="must have the encoding UTF8"),
    ):
        Orders(PostgresStore(connection=connection)).find()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_in_another_encoding_is_refused(admin: psycopg.Connection[Any], url: str, encoding: str) -> None:
    name = f"order_fsm_test_{os.getpid()}_encoded"
    made = sql.SQL("CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    admin.execute(made.format(sql.Identifier(name), encoding))
    try:
        with (
            PostgresStore(urlunsplit(urlsplit(url)._replace(path=name, query=""))) as store,
            pytest.raises(InvalidInput, match="must have the encoding UTF8"),
        ):
            store.install()
    finally:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


# Rights


@pytest.fixture
def clerk(url: str, admin: psycopg.Connection[Any]) -> Iterator[str]:
    """The URL of a user with ordinary rights on the tables."""
    role = f"order_fsm_clerk_{os.getpid()}"
    (place,) = admin.execute("SELECT current_schema()").fetchall()[0]
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(place)}
    admin.execute(sql.SQL("CREATE ROLE {role} LOGIN").format(**names))
    try:
        for right in (
            "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC",
            "GRANT USAGE ON SCHEMA {schema} TO {role}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
            "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}",
        ):
            admin.execute(sql.SQL(right).format(**names))
        parts = urlsplit(url)
        yield urlunsplit(parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}"))
    finally:
        admin.execute(sql.SQL("DROP OWNED BY {role}").format(**names))
        admin.execute(sql.SQL("DROP ROLE {role}").format(**names))


def _trade(store: Store) -> None:
    """Make every kind of call that a shop makes."""
    clock = FrozenClock()
    orders = Orders(store, clock=clock)
    orders.set_stock("TEAPOT", 10)
    orders.adjust_stock("TEAPOT", 1, key="delivery")
    for order_id in ("1001", "1002"):
        orders.create(order_id, total="10", currency="GBP", lines=[Line("TEAPOT", 1)], customer="ann", email="a@b.c")
    orders.fire("1001", "pay", amount="10", currency="GBP", reference="ch_1", transaction_id="ch_1", key="evt_1")
    orders.fire("1001", "dispatch")
    orders.fire("1001", "refund", amount="2", currency="GBP", reference="ch_1", transaction_id="re_1")
    orders.save("1002", {"sent"}, version=1, comment="by phone")
    orders.amend("1002", version=2, total="12")
    orders.comment("1002", "delayed by snow", notify=True)
    store.commit_all([step(store.load(order_id)) for order_id in ("1001", "1002")])
    attempts = Counter[str]()

    def handler(message: Any) -> None:
        attempts[message.order_id] += 1
        if message.order_id == "1002":
            raise Undelivered(["customer"], permanent=True)

    orders.deliver(handler)
    assert attempts["1002"] > 0
    for message in orders.dead_letters():
        store.requeue(message)
    assert orders.deliver(lambda _: None) == attempts["1002"]
    assert [order.id for order in orders.find(customer="ann")] == ["1001", "1002"]
    assert sum(orders.counts().values()) > 0
    assert orders.totals(customer="ann") == {"GBP": Decimal(22)}
    assert orders.report(None, None)["GBP"].gross == Decimal(22)
    assert orders.stock_level("TEAPOT") is not None
    assert len(orders.history("1002")) == 5
    orders.erase_customer("ann")
    store.scrub()
    assert orders.audit().findings == ()
    store.remove(store.load("1002"))
    orders.stop_tracking("TEAPOT")
    assert store.faults() == []


def test_user_with_ordinary_rights_can_do_everything_except_install(clerk: str) -> None:
    """The user may read and write rows, use the sequences and call the functions, but not create tables."""
    with PostgresStore(clerk) as store:
        with pytest.raises(StoreUnavailable, match="42501"):
            store.install()
        _trade(store)


def test_user_with_ordinary_rights_can_join_a_transaction_of_the_shop(clerk: str) -> None:
    with PostgresStore(clerk) as store, psycopg.connect(clerk) as host:
        orders = Orders(store).within(host)
        orders.create("1001", total="10", currency="GBP", customer="ann")
        orders.fire("1001", "pay", amount="10", key="pay")
        orders.erase_order("1001")
        host.commit()
        assert store.load("1001").version == 3


# The schema


def test_newer_schema_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later release upgraded the tables. This release refuses to read, write or install."""
    with PostgresStore(url) as store:
        store.commit(creation("1001"))
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE order_fsm_gift (id text)"))
    with PostgresStore(url) as newer:
        with pytest.raises(StoreUnavailable, match=r"needs 2: call install\(\)"):
            newer.load("1001")
        newer.install()
        assert newer.load("1001").version == 1
    monkeypatch.undo()
    with PostgresStore(url) as store, psycopg.connect(url) as host:
        for older in (store, store.within(host)):
            calls = (older.install, lambda: older.load("1001"), lambda: older.commit(creation("1002")))  # noqa: B023
            for call in calls:
                with pytest.raises(StoreUnavailable, match="a newer version of order_fsm made the tables: schema 2"):
                    call()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT id FROM order_fsm_order").fetchall() == [("1001",)]


_INSTALL = "import sys; from order_fsm_adapters.postgresql import PostgresStore; PostgresStore(sys.argv[1]).install()"


def test_two_processes_install_at_once(url: str, admin: psycopg.Connection[Any]) -> None:
    """One process creates the tables. The other waits, and then finds them."""
    with psycopg.connect(url) as connection:
        (place,) = connection.execute("SELECT current_schema()").fetchall()[0]
    admin.execute(sql.SQL("DROP SCHEMA {0} CASCADE; CREATE SCHEMA {0}").format(sql.Identifier(place)))
    with backends(url) as server:
        with holding(url, schema._ALONE):
            processes = [subprocess.Popen([sys.executable, "-c", _INSTALL, url]) for _ in range(2)]
            server.waiting("%pg_advisory_xact_lock%", number=2)
        assert [process.wait() for process in processes] == [0, 0]
    with PostgresStore(url) as store:
        store.commit(creation("1001"))
        assert store.faults() == []


def test_installation_that_is_the_victim_of_a_deadlock_is_retried(
    url: str, postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """An upgrade has changed one table and waits for the next one, whose reader waits for the first."""
    second = "".join(
        f"ALTER TABLE order_fsm_{table} ADD COLUMN gift smallint;" for table in ("order", "entry", "message")
    )
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, second))
    name = request.node.nodeid
    with (
        PostgresStore(postgresql.address(name, deadlock_timeout="10ms")) as store,
        ThreadPoolExecutor() as threads,
        backends(url) as server,
        holding(url, "SELECT FROM order_fsm_entry") as gate,
        holding(postgresql.address(name, deadlock_timeout="1h"), "SELECT FROM order_fsm_message") as reader,
    ):
        upgrade = threads.submit(store.install)
        server.waiting("%ADD COLUMN%")
        crossing = threads.submit(reader.execute, "SELECT FROM order_fsm_order")
        server.waiting(number=2)
        gate.rollback()
        crossing.result()
        reader.rollback()
        upgrade.result()
        store.commit(creation("1001", customer="ann"))
        assert store.load("1001").customer == "ann"


# Concurrent transactions


def test_scrub_waits_for_a_fold_that_does_not_see_the_erasure(url: str, admin: psycopg.Connection[Any]) -> None:
    """An order is erased while a relay folds the tally. After the scrub, no table contains the name."""
    with (
        PostgresStore(url) as store,
        ThreadPoolExecutor() as threads,
        backends(url) as server,
        holding(url, "SELECT 1") as relay,
    ):
        store.commit(creation("1001", customer="ann"))
        relay.execute("SELECT order_fsm_fold_1(1)")
        store.commit(erasure(store.load("1001")))
        scrub = threads.submit(store.scrub)
        server.waiting("%order_fsm_fold%")
        relay.commit()
        scrub.result()
        for table in ("order_fsm_tally_step", "order_fsm_tally_base"):
            statement = f"SELECT FROM {table} WHERE customer = 'ann'"
            assert admin.execute(statement.encode()).fetchall() == []


def test_foreign_keys_of_the_shop_do_not_block_changes_of_the_order(url: str) -> None:
    """Two transactions of the shop insert rows that refer to the order. Then both change the order."""
    with (
        PostgresStore(url) as store,
        ThreadPoolExecutor() as threads,
        backends(url) as server,
        psycopg.connect(url) as first,
        psycopg.connect(url) as second,
    ):
        orders = Orders(store)
        orders.create("1001", total="10", currency="GBP")
        server.connection.execute("CREATE TABLE parcel (order_id text REFERENCES order_fsm_order)")
        for host in (first, second):
            host.execute("INSERT INTO parcel VALUES ('1001')")
        orders.within(first).fire("1001", "pay", amount="10")
        late = threads.submit(orders.within(second).comment, "1001", "delayed by snow")
        server.waiting("%order_fsm_prepare%")
        first.commit()
        late.result()
        second.commit()
        assert [entry.trigger for entry in store.history("1001")] == ["create", "pay", "comment"]
        with pytest.raises(StoreUnavailable, match="parcel"):
            store.remove(store.load("1001"))
