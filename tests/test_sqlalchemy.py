"""SqlAlchemyStore with engines, sessions, MariaDB and the transactions of SQLite."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, QueuePool, create_engine, text
from sqlalchemy.exc import DBAPIError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from order_fsm import InvalidInput, Line, Orders, Refused, StoreFull, StoreUnavailable, TransactionLost
from order_fsm_adapters.sqlalchemy import SqlAlchemyStore
from order_fsm_adapters.sqlalchemy.links import refusal

from . import servers
from .test_mariadb_connections import kill_others
from .test_mariadb_host import wait_for_a_waiter


class Base(DeclarativeBase):
    pass


class Invoice(Base):
    __tablename__ = "invoice"
    number: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = servers.sqlite_engine(tmp_path / "shop.db")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def orders(engine: Engine) -> Orders:
    """A service with an order 1001 that may be placed."""
    return installed(engine)


@pytest.fixture
def on_server(postgresql: servers.PostgresServer, tmp_path: Path) -> Iterator[tuple[Engine, Orders]]:
    """An engine and such a service on PostgreSQL."""
    url = servers.sqlalchemy_url(postgresql.empty(str(tmp_path)))
    engine = create_engine(f"{url}&application_name={tmp_path.name}")
    yield engine, installed(engine)
    engine.dispose()


def installed(engine: Engine) -> Orders:
    store = SqlAlchemyStore(engine)
    store.install()
    orders = Orders(store)
    orders.create("1001", total="20.00", currency="EUR")
    return orders


# Engines


@pytest.mark.parametrize("engine", ["sqlite://", None, Session()])
def test_object_that_is_not_an_engine_is_refused(engine: Any) -> None:
    with pytest.raises(InvalidInput, match="engine must be an Engine"):
        SqlAlchemyStore(engine)


def test_other_databases_and_drivers_are_refused() -> None:
    driver = ModuleType("driver")
    driver.paramstyle = "format"  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="the database must be one of postgresql, sqlite, mariadb, mysql, not"):
        SqlAlchemyStore(create_engine("mssql+pymssql://localhost/shop", module=driver))
    with pytest.raises(InvalidInput, match="the driver must be one of pymysql, not mysqldb"):
        SqlAlchemyStore(create_engine("mariadb+mysqldb://localhost/shop", module=driver))


def test_unreachable_server_raises_store_unavailable() -> None:
    store = SqlAlchemyStore(create_engine("postgresql+psycopg://localhost:9/shop"))
    with pytest.raises(StoreUnavailable, match="PostgreSQL cannot be reached"):
        store.load("1001")


def test_exhausted_pool_raises_store_unavailable(tmp_path: Path) -> None:
    engine = create_engine(
        f"sqlite:///{tmp_path / 'shop.db'}", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0
    )
    orders = installed(engine)
    with engine.connect(), pytest.raises(StoreUnavailable, match="QueuePool limit"):
        orders.get("1001")
    assert orders.get("1001").state == "unfinished"
    engine.dispose()


def test_database_locked_by_another_program_raises_store_unavailable(tmp_path: Path) -> None:
    """The shop's BEGIN IMMEDIATE waits for its lock."""
    engine = servers.sqlite_engine(tmp_path / "shop.db", timeout=0.01)
    orders = installed(engine)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="database is locked"):
            orders.fire("1001", "place")
        other.rollback()
    assert orders.fire("1001", "place").order.version == 2
    engine.dispose()


def test_error_for_missing_tables_names_install(engine: Engine) -> None:
    with pytest.raises(StoreUnavailable, match=r"call install\(\)"):
        SqlAlchemyStore(engine).load("1001")


def test_closed_store_refuses_and_leaves_the_engine_open(engine: Engine, orders: Orders) -> None:
    store = SqlAlchemyStore(engine)
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.load("1001")
    assert orders.get("1001").version == 1


def test_asynchronous_engine_outside_run_sync_is_refused(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}")
    with pytest.raises(InvalidInput, match="run_sync"):
        SqlAlchemyStore(engine).load("1001")


def test_statement_outside_run_sync_is_refused() -> None:
    """The driver cannot be used here: it leaves a coroutine that nobody awaits."""
    error = DBAPIError("BEGIN IMMEDIATE", None, MissingGreenlet("greenlet_spawn has not been called"))
    assert "run_sync" in str(refusal(error, "SQLite"))
    assert isinstance(refusal(error, "SQLite"), InvalidInput)


def test_transaction_that_waits_too_long_to_begin_raises_store_unavailable(engine: Engine, orders: Orders) -> None:
    impatient = servers.sqlite_engine(Path(f"{engine.url.database}"), timeout=0)
    with engine.begin() as busy, impatient.connect() as connection:
        orders.within(busy).fire("1001", "place")
        with pytest.raises(StoreUnavailable, match="locked"):
            orders.within(connection).get("1001")
    impatient.dispose()


def test_store_runs_its_own_transactions_without_the_recipe(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    orders = installed(engine)
    orders.fire("1001", "place")
    assert orders.get("1001").state == "sent"
    engine.dispose()


def test_missing_sqlalchemy_is_named_with_the_command_that_installs_it() -> None:
    script = """
import sys
sys.modules["sqlalchemy"] = None
from order_fsm import MissingDependency
try:
    import order_fsm_adapters.sqlalchemy
except MissingDependency as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'order-fsm[sqlalchemy]'" in done.stdout


def test_store_over_sqlite_needs_no_other_driver() -> None:
    script = """
import sys
sys.modules |= dict.fromkeys(["psycopg", "psycopg_pool", "pymysql", "asyncpg"])
from sqlalchemy import create_engine
from order_fsm_adapters.sqlalchemy import SqlAlchemyStore
SqlAlchemyStore(create_engine("sqlite://"))
"""
    subprocess.run([sys.executable, "-c", script], check=True)


# Sessions


def test_pending_objects_are_written_when_the_session_flushes(engine: Engine, orders: Orders) -> None:
    with Session(engine) as session, session.begin():
        session.add(Invoice(number="1"))
        orders.within(session).fire("1001", "place")
        assert len(session.new) == 1
    with Session(engine) as session:
        assert session.get(Invoice, "1") is not None


def test_session_serves_one_transaction_after_another(engine: Engine, orders: Orders) -> None:
    with Session(engine) as session:
        joined = orders.within(session)
        joined.fire("1001", "place")
        session.rollback()
        joined.fire("1001", "place")
        session.commit()
        joined.fire("1001", "invoice")
    assert orders.get("1001").state == "sent"


def test_session_with_a_failed_flush_raises_transaction_lost(engine: Engine, orders: Orders) -> None:
    with Session(engine) as session:
        session.add(Invoice(number="1"))
        session.flush()
        session.connection().exec_driver_sql("INSERT INTO invoice VALUES ('2')")
        session.add(Invoice(number="2"))
        with pytest.raises(Exception, match="UNIQUE"):
            session.flush()
        with pytest.raises(TransactionLost, match="roll back"):
            orders.within(session).fire("1001", "place")
        session.rollback()
        assert orders.within(session).get("1001").state == "unfinished"


def test_closed_session_or_connection_raises_store_unavailable(engine: Engine, orders: Orders) -> None:
    session = Session(engine, close_resets_only=False)
    session.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        orders.within(session).get("1001")
    connection = engine.connect()
    connection.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        orders.within(connection).get("1001")


def test_session_bound_to_a_connection_joins_that_connection(engine: Engine, orders: Orders) -> None:
    """Tests of shops do this to roll everything back at the end."""
    with engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session, session.begin():
            orders.within(session).fire("1001", "place")
        outer.rollback()
    assert orders.get("1001").state == "unfinished"


def test_session_with_binds_uses_the_engine_of_the_store(orders: Orders, tmp_path: Path) -> None:
    other = servers.sqlite_engine(tmp_path / "other.db")
    with Session(binds={Invoice: other}) as session, session.begin():
        orders.within(session).fire("1001", "place")
    assert orders.get("1001").state == "sent"
    other.dispose()


def test_connection_in_autocommit_commits_each_call(on_server: tuple[Engine, Orders]) -> None:
    engine, orders = on_server
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        orders.within(connection).fire("1001", "place")
        assert orders.get("1001").state == "sent"
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"


def test_connections_that_the_server_closed_are_replaced(on_server: tuple[Engine, Orders]) -> None:
    engine, orders = on_server
    with engine.connect(), engine.connect(), engine.connect():
        pass
    closed_by_server(engine)
    orders.fire("1001", "place")
    closed_by_server(engine)
    assert orders.get("1001").state == "sent"
    closed_by_server(engine)
    assert orders.deliver(lambda message: None) == 1


def test_connection_that_the_server_closes_loses_the_transaction(on_server: tuple[Engine, Orders]) -> None:
    engine, orders = on_server
    check_that_the_transaction_is_lost(engine, orders, partial(closed_by_server, engine))


def check_that_the_transaction_is_lost(engine: Engine, orders: Orders, close: Callable[[], None]) -> None:
    """Close the connection of a session after its first change."""
    with Session(engine) as session:
        joined = orders.within(session)
        joined.fire("1001", "place")
        close()
        with pytest.raises(TransactionLost):
            joined.fire("1001", "invoice")
        with pytest.raises(TransactionLost):
            joined.get("1001")
        session.rollback()
        assert joined.get("1001").state == "unfinished"


def closed_by_server(engine: Engine) -> None:
    """Make the server close the connections of an engine."""
    statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    with psycopg.connect(servers.POSTGRESQL, autocommit=True) as connection:
        assert connection.execute(statement, [engine.url.query["application_name"]]).fetchall()


def test_invalid_host_is_refused(orders: Orders) -> None:
    with pytest.raises(InvalidInput, match="run_sync"):
        orders.within(AsyncSession())
    with pytest.raises(InvalidInput, match="Connection or Session"):
        orders.within("session")
    session = Session(create_engine("postgresql+psycopg://localhost:9/shop"))
    with pytest.raises(InvalidInput, match="connected to postgresql, the store to sqlite"):
        orders.within(session)


# MariaDB


@pytest.fixture
def in_mariadb(mariadb: servers.MariaDbServer, tmp_path: Path) -> Iterator[tuple[Engine, Orders]]:
    """An engine and such a service on MariaDB, at the server's isolation level REPEATABLE READ."""
    engine = servers.mariadb_engine(mariadb.address(str(tmp_path)))
    yield engine, installed(engine)
    engine.dispose()


def test_mysql_url_works_with_a_mariadb_server(mariadb: servers.MariaDbServer, tmp_path: Path) -> None:
    engine = create_engine(mariadb.address(str(tmp_path)).replace("mariadb://", "mysql+pymysql://"))
    orders = installed(engine)
    with Session(engine) as session, session.begin():
        orders.within(session).fire("1001", "place")
    assert orders.get("1001").state == "sent"
    engine.dispose()


def test_session_under_repeatable_read_decides_on_the_latest_commits(in_mariadb: tuple[Engine, Orders]) -> None:
    engine, orders = in_mariadb
    with Session(engine) as session, session.begin():
        joined = orders.within(session)
        assert joined.get("1001").version == 1
        first = orders.fire("1001", "place", key="place")
        again = joined.fire("1001", "place", key="place")
        assert (again.duplicate, again.entries) == (True, first.entries)
        joined.fire("1001", "invoice")
    assert orders.get("1001").state == "sent+invoiced"
    assert orders.audit().findings == ()


def test_engine_keeps_its_isolation_level_in_mariadb(in_mariadb: tuple[Engine, Orders]) -> None:
    engine, orders = in_mariadb
    orders.fire("1001", "place")
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "REPEATABLE READ"
        assert connection.execute(text("SELECT @@autocommit")).scalar_one() == 0


@pytest.mark.parametrize("how", ["by the engine", "by an option"])
def test_connection_in_autocommit_commits_each_call_in_mariadb(in_mariadb: tuple[Engine, Orders], how: str) -> None:
    engine, orders = in_mariadb
    if how == "by the engine":
        engine = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if how == "by an option":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        joined = orders.within(connection)
        joined.fire("1001", "place")
        assert orders.get("1001").state == "sent"
        with pytest.raises(Refused):
            joined.fire("1001", "place")
        joined.fire("1001", "invoice")
    assert orders.get("1001").state == "sent+invoiced"
    engine.dispose()


def test_deadlock_loses_the_transaction_of_a_session(in_mariadb: tuple[Engine, Orders]) -> None:
    """Further calls raise until the session rolls back: they would commit without the earlier ones."""
    engine, orders = in_mariadb
    orders.set_stock("TEAPOT", 3)
    orders.create("1002", total="20.00", currency="EUR", lines=[Line("TEAPOT", 1)])
    with Session(engine) as session, Session(engine) as other, Session(engine) as seen:
        joined = orders.within(session)
        joined.fire("1001", "place")
        # The transaction that changed fewer rows is the victim.
        other.execute(text("INSERT INTO order_fsm_unscrubbed SELECT seq FROM seq_1_to_40"))
        other.execute(text("SELECT * FROM order_fsm_stock FOR UPDATE"))
        locking = text("SELECT * FROM order_fsm_order WHERE id = '1001' FOR UPDATE")
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(other.execute, locking)
            watcher: Any = seen.connection().connection.driver_connection
            wait_for_a_waiter(watcher)
            with pytest.raises(TransactionLost, match="Deadlock"):
                joined.fire("1002", "place")
            waiting.result()
            other.rollback()
        with pytest.raises(TransactionLost, match="was lost before"):
            joined.fire("1001", "place")
        session.rollback()
        joined.fire("1001", "place")
        session.commit()
    assert [entry.trigger for entry in orders.history("1001")] == ["create", "place"]


def test_connections_that_mariadb_closed_are_replaced(
    in_mariadb: tuple[Engine, Orders], mariadb: servers.MariaDbServer
) -> None:
    engine, orders = in_mariadb
    with engine.connect(), engine.connect():
        pass
    kill_others(mariadb)
    orders.fire("1001", "place")
    kill_others(mariadb)
    assert orders.get("1001").state == "sent"


def test_connection_that_mariadb_closes_loses_the_transaction(
    in_mariadb: tuple[Engine, Orders], mariadb: servers.MariaDbServer
) -> None:
    engine, orders = in_mariadb
    check_that_the_transaction_is_lost(engine, orders, partial(kill_others, mariadb))


def test_mariadb_engine_with_another_charset_is_refused(mariadb: servers.MariaDbServer, tmp_path: Path) -> None:
    engine = servers.mariadb_engine(f"{mariadb.address(str(tmp_path))}?charset=latin1")
    with pytest.raises(InvalidInput, match="charset utf8mb4, not 'latin1'"):
        SqlAlchemyStore(engine).load("1001")
    engine.dispose()


# The transactions of SQLite


def test_session_without_the_recipe_is_refused_with_the_recipe(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    orders = installed(engine)
    with Session(engine) as session, pytest.raises(InvalidInput, match=r"isolation_level = None.*BEGIN IMMEDIATE"):
        orders.within(session).fire("1001", "place")
    assert orders.get("1001").state == "unfinished"
    engine.dispose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Connection.autocommit came with Python 3.12")
def test_connections_with_autocommit_off_serve_own_and_joined_transactions(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", connect_args={"autocommit": False})
    orders = installed(engine)
    with Session(engine) as session:
        orders.within(session).fire("1001", "place")
        session.rollback()
    with Session(engine) as session, session.begin():
        orders.within(session).fire("1001", "place")
    assert [entry.trigger for entry in orders.history("1001")] == ["create", "place"]
    engine.dispose()


def test_own_transactions_leave_the_recipe_in_place(engine: Engine, orders: Orders) -> None:
    for _ in range(3):
        orders.comment("1001", "noted", by="bob")
        with Session(engine) as session:
            orders.within(session).comment("1001", "undone", by="bob")
            session.rollback()
    assert [entry.comment for entry in orders.history("1001")] == ["", "noted", "noted", "noted"]


def test_change_on_an_old_snapshot_loses_the_transaction(tmp_path: Path) -> None:
    engine = servers.sqlite_engine(tmp_path / "shop.db", "BEGIN")
    orders = installed(engine)
    with Session(engine) as session:
        joined = orders.within(session)
        joined.get("1001")
        orders.fire("1001", "place")
        with pytest.raises(TransactionLost, match="restart"):
            joined.fire("1001", "place")
        session.rollback()
        assert joined.get("1001").state == "sent"
    engine.dispose()


def test_rollback_by_sqlite_raises_transaction_lost(engine: Engine, orders: Orders) -> None:
    with Session(engine) as session:
        session.add(Invoice(number="1"))
        session.flush()
        session.execute(
            text("CREATE TRIGGER no BEFORE UPDATE ON order_fsm_order BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
        )
        with pytest.raises(TransactionLost, match="rolled back"):
            orders.within(session).fire("1001", "place")
        session.rollback()
        assert session.get(Invoice, "1") is None
        assert orders.within(session).get("1001").state == "unfinished"


def test_full_disk_leaves_the_transaction_usable(engine: Engine, orders: Orders) -> None:
    with Session(engine) as session, session.begin():
        session.add(Invoice(number="1"))
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
        with pytest.raises(StoreFull):
            orders.within(session).create("1002", total="1.00", currency="EUR", data={"text": "x" * 10_000})
        orders.within(session).fire("1001", "place")
    assert orders.get("1001").state == "sent"


def test_keeper_of_the_shop_is_called_with_the_connection(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE product (sku VARCHAR PRIMARY KEY, pieces INTEGER)"))
        connection.execute(text("INSERT INTO product VALUES ('TEAPOT', 3)"))
    store = SqlAlchemyStore(engine, stock_keeper=Shelf)
    store.install()
    orders = Orders(store)
    orders.create("1001", total="20.00", currency="EUR", lines=[Line("TEAPOT", 2)])
    with Session(engine) as session, session.begin():
        orders.within(session).fire("1001", "place")
        assert session.execute(text("SELECT pieces FROM product")).scalar_one() == 1
    assert orders.stock("TEAPOT") == 1


class Shelf:
    """The stock in the shop's own table."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def available(self, skus: Any) -> dict[str, int]:
        rows = self._connection.execute(text("SELECT sku, pieces FROM product"))
        return {sku: pieces for sku, pieces in rows if sku in skus}

    def move(self, order_id: str, moves: Any) -> None:
        assert order_id == "1001"
        for move in moves:
            assert move.kind == "reserve"
            self._connection.execute(
                text("UPDATE product SET pieces = pieces - :taken WHERE sku = :sku"),
                {"taken": move.quantity, "sku": move.sku},
            )
