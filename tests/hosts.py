"""Shops with their own table, each with another kind of database connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import IsolationLevel
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from order_fsm import Orders
from order_fsm_adapters.postgresql import PostgresStore
from order_fsm_adapters.sqlalchemy import SqlAlchemyStore

from . import servers

Result = TypeVar("Result")


class Joined(NamedTuple):
    """A transaction of the shop.

    Attributes:
        orders: the service that joined the transaction.
        execute: runs a statement of the shop.
        savepoint: returns a block that rolls back if it raises.
    """

    orders: Orders
    execute: Callable[[str], object]
    savepoint: Callable[[], AbstractContextManager[object]]

    def invoice(self, number: str) -> None:
        """Write a row of the shop."""
        self.execute(f"INSERT INTO invoice VALUES ('{number}')")  # noqa: S608


class Shop:
    """A shop. Its transactions commit unless they raise.

    Attributes:
        orders: the service over a store with its own transactions.
    """

    def __init__(self, orders: Orders, engine: Engine) -> None:
        self.orders = orders
        self._engine = engine

    def transaction(self, work: Callable[[Joined], Result], isolation: str | None = None) -> Result:
        """Do work in a transaction of the shop."""
        raise NotImplementedError

    def invoices(self) -> list[str]:
        """Return the committed rows of the shop."""
        with self._engine.connect() as connection:
            return [number for (number,) in connection.execute(text("SELECT number FROM invoice ORDER BY number"))]

    def is_locked(self, order_id: str) -> bool:
        """Return whether another transaction has locked the row of an order."""
        statement = text("SELECT 1 FROM order_fsm_order WHERE id = :id FOR UPDATE SKIP LOCKED")
        with self._engine.connect() as connection:
            return connection.execute(statement, {"id": order_id}).fetchone() is None


class PsycopgShop(Shop):
    """A psycopg connection and a PostgresStore."""

    url = ""

    def transaction(self, work: Callable[[Joined], Result], isolation: str | None = None) -> Result:
        with psycopg.connect(self.url) as connection:
            if isolation is not None:
                connection.isolation_level = IsolationLevel[isolation.replace(" ", "_")]
            execute: Any = connection.execute
            return work(Joined(self.orders.within(connection), execute, connection.transaction))


class ConnectionShop(Shop):
    """SQLAlchemy connections."""

    def transaction(self, work: Callable[[Joined], Result], isolation: str | None = None) -> Result:
        with _isolated(self._engine, isolation).begin() as connection:
            return work(Joined(self.orders.within(connection), connection.exec_driver_sql, connection.begin_nested))


class SessionShop(Shop):
    """SQLAlchemy sessions."""

    def transaction(self, work: Callable[[Joined], Result], isolation: str | None = None) -> Result:
        with Session(_isolated(self._engine, isolation)) as session, session.begin():
            return work(_in_session(self.orders, session))


class ScopedSessionShop(Shop):
    """A SQLAlchemy session for each thread."""

    def transaction(self, work: Callable[[Joined], Result], isolation: str | None = None) -> Result:
        sessions = scoped_session(sessionmaker(_isolated(self._engine, isolation)))
        try:
            with sessions.begin():
                return work(_in_session(self.orders, sessions))
        finally:
            sessions.remove()


class AsyncShop(Shop):
    """Asynchronous SQLAlchemy sessions. The store has a synchronous engine."""

    async_engine: AsyncEngine

    def transaction(self, work: Callable[[Joined], Result], isolation: str | None = None) -> Result:
        async def run() -> Result:
            engine = self.async_engine
            if isolation is not None:
                engine = engine.execution_options(isolation_level=isolation)
            async with AsyncSession(engine) as session, session.begin():
                return await session.run_sync(lambda joined: work(_in_session(self.orders, joined)))

        return asyncio.run(run())


def _in_session(orders: Orders, session: Session | scoped_session[Session]) -> Joined:
    return Joined(orders.within(session), lambda statement: session.execute(text(statement)), session.begin_nested)


def _isolated(engine: Engine, isolation: str | None) -> Engine:
    return engine if isolation is None else engine.execution_options(isolation_level=isolation)


ON_POSTGRESQL = ("psycopg", "Connection", "Session", "scoped_session", "psycopg2", "asyncpg", "psycopg_async")
ON_MARIADB = ("mariadb Connection", "mariadb Session", "mariadb scoped_session")
ON_SQLITE = ("sqlite Connection", "sqlite Session", "sqlite scoped_session", "aiosqlite")

_KINDS: dict[str, type[Shop]] = {
    "Connection": ConnectionShop,
    "Session": SessionShop,
    "scoped_session": ScopedSessionShop,
    "psycopg2": SessionShop,
}


@contextmanager
def postgresql_shop(kind: str, server: servers.PostgresServer, name: str) -> Iterator[Shop]:
    """Open a shop in a schema on the server."""
    own = server.store(name)
    url = server.address(name)
    engine = create_engine(servers.sqlalchemy_url(url, "psycopg2" if kind == "psycopg2" else "psycopg"))
    shop: Shop
    if kind == "psycopg":
        shop = PsycopgShop(Orders(PostgresStore(url)), engine)
        shop.url = url
    elif kind in _KINDS:
        shop = _KINDS[kind](Orders(SqlAlchemyStore(engine)), engine)
    else:
        shop = AsyncShop(Orders(SqlAlchemyStore(engine)), engine)
        shop.async_engine = servers.async_engine(url, "asyncpg" if kind == "asyncpg" else "psycopg")
    yield from _opened(shop, engine)
    own.close()


@contextmanager
def mariadb_shop(kind: str, server: servers.MariaDbServer, name: str) -> Iterator[Shop]:
    """Open a shop in a database on the server."""
    engine = servers.mariadb_engine(server.address(name), isolation_level="READ COMMITTED")
    shop = _KINDS[kind.removeprefix("mariadb ")](Orders(SqlAlchemyStore(engine)), engine)
    yield from _opened(shop, engine)


@contextmanager
def sqlite_shop(kind: str, path: Path) -> Iterator[Shop]:
    """Open a shop in an SQLite file."""
    engine = servers.sqlite_engine(path, "BEGIN")
    store = SqlAlchemyStore(engine)
    store.install()
    shop: Shop
    if kind == "aiosqlite":
        shop = AsyncShop(Orders(store), engine)
        shop.async_engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
        servers.use_recipe(shop.async_engine.sync_engine, "BEGIN")
    else:
        shop = _KINDS[kind.removeprefix("sqlite ")](Orders(store), engine)
    yield from _opened(shop, engine)


def _opened(shop: Shop, engine: Engine) -> Iterator[Shop]:
    with engine.begin() as connection:
        # MariaDB databases are reused.
        connection.execute(text("DROP TABLE IF EXISTS invoice"))
        connection.execute(text("CREATE TABLE invoice (number VARCHAR(20) PRIMARY KEY)"))
    try:
        yield shop
    finally:
        shop.orders._store.close()
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE invoice"))
        engine.dispose()
