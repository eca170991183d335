"""The shop's connections and sessions of SQLAlchemy, and the transactions that they have open."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from order_fsm.errors import InvalidInput
from order_fsm_adapters.sql import sessions
from order_fsm_adapters.sql.databases import HostDatabase
from order_fsm_adapters.sqlalchemy.links import SqlAlchemyLink

_RECIPE = (
    "no transaction is open in SQLite, as its driver begins one late: use SQLAlchemy's recipe, in which the event"
    ' "connect" sets isolation_level = None and the event "begin" runs BEGIN IMMEDIATE (docs/how-to/sqlalchemy.md), or'
    ' with Python 3.12 connect_args={"autocommit": False}'
)
_IN_ASYNC = "call it in run_sync: await session.run_sync(lambda session: orders.within(session).fire(...))"


class SqliteHost(HostDatabase):
    """The same for SQLite, whose driver may leave SQLAlchemy's transaction without one in the database."""

    def _session(self) -> sessions.Session:
        connection = self._link.connection
        if not connection.in_transaction():
            # As the first statement would.
            connection.begin()
        if self._link.begins_itself and not self._link.in_transaction:
            # A savepoint would be a transaction, and its end would commit it.
            raise InvalidInput(f"{self._where}: {_RECIPE}")
        return super()._session()


def link_of(host: object, engine: Engine, where: str) -> SqlAlchemyLink:
    """Return the link of a connection or session of the shop.

    Args:
        host: the connection or session.
        engine: of the store. A session that is bound to several engines has its connection to this one.
        where: names the database in messages.

    Raises:
        InvalidInput: if it has another type, or is connected to another kind of database.
    """
    if isinstance(host, Connection):
        dialect = host.dialect

        def connect() -> Connection:
            return host

    elif isinstance(host, Session | scoped_session):
        dialect = _bind_of(host, engine).dialect

        def connect() -> Connection:
            return host.connection(bind_arguments={"bind": _bind_of(host, engine)})

    elif type(host).__module__.startswith("sqlalchemy.ext.asyncio"):
        raise InvalidInput(f"{type(host).__name__} cannot be joined itself: {_IN_ASYNC}")
    else:
        raise InvalidInput(f"within takes a Connection or Session of SQLAlchemy, not {type(host).__name__}")
    if dialect.name != engine.dialect.name:
        raise InvalidInput(f"the session is connected to {dialect.name}, the store to {engine.dialect.name}")
    return SqlAlchemyLink(connect, dialect.loaded_dbapi, where)


def _bind_of(session: Session | scoped_session[Any], engine: Engine) -> Engine | Connection:
    try:
        return session.get_bind()
    except UnboundExecutionError:
        return engine
