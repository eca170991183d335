"""Join transactions on the shop's SQLAlchemy connections and sessions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError, UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from order_fsm.errors import InvalidInput
from order_fsm_adapters.sql import sessions
from order_fsm_adapters.sql.databases import HostDatabase
from order_fsm_adapters.sqlalchemy.links import SqlAlchemyLink, refusal

_RECIPE = (
    "SQLite has no open transaction, because its driver delays BEGIN: use SQLAlchemy's recipe, in which the event"
    ' "connect" sets isolation_level = None and the event "begin" runs BEGIN IMMEDIATE (docs/how-to/sqlalchemy.md), or'
    ' with Python 3.12 connect_args={"autocommit": False}'
)
_IN_ASYNC = "use run_sync: await session.run_sync(lambda session: orders.within(session).fire(...))"


class SqliteHost(HostDatabase):
    """The host's connection to SQLite, whose driver may delay the BEGIN of SQLAlchemy's transaction."""

    def _session(self) -> sessions.Session:
        connection = self._link.connection
        if not connection.in_transaction():
            # The first statement would begin it too.
            try:
                connection.begin()
            except SQLAlchemyError as error:
                # The shop's BEGIN IMMEDIATE may wait for a lock until the connection's timeout.
                raise refusal(error, self._where) from None
        if self._link.begins_itself and not self._link.in_transaction:
            # Without a transaction, SAVEPOINT would begin one and RELEASE would commit it.
            raise InvalidInput(f"{self._where}: {_RECIPE}")
        return super()._session()


def link_of(host: object, engine: Engine, where: str) -> SqlAlchemyLink:
    """Return a link over a connection or session of the shop.

    Args:
        host: the connection or session.
        engine: the store's engine. A session without a default bind uses it.
        where: names the database in messages.

    Raises:
        InvalidInput: if `host` has another type, or is connected to another kind of database.
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
        raise InvalidInput(f"{type(host).__name__} cannot be joined directly: {_IN_ASYNC}")
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
