"""The two kinds of access to a database: over the store's own connections, and over the host's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from order_fsm.errors import InvalidInput, StoreError, StoreUnavailable
from order_fsm_adapters.sql.database import Result, Row, Transaction
from order_fsm_adapters.sql.dialect import ConnectionBroken, Dialect, NotBegun, Repeatable
from order_fsm_adapters.sql.sessions import Link, Session

_ATTEMPTS = 20
"""How often a transaction is tried if the database aborts it in favour of others."""

_Errors = tuple[type[StoreError], ...]

_OF_READING: _Errors = (Repeatable, ConnectionBroken)
"""The errors after which a read is retried. A server restart breaks several connections at once."""

_OF_WRITING: _Errors = (Repeatable,)
"""The errors after which a write is retried. After a broken connection, the outcome of a commit is unknown."""


class Pool(Protocol):
    """The store's own connections. Each statement commits by itself unless a transaction was begun.

    Attributes:
        where: names the database in messages.
    """

    where: str

    def lent(self) -> AbstractContextManager[Link]:
        """Lend a connection for a block. If the block raises, discard a connection in an unknown state.

        Raises:
            StoreUnavailable: if the pool has no connection.
        """
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


def check_one_source(own: object, connection: object, what: str) -> None:
    """Check that a store gets either the address of its own database or a connection of the shop.

    Args:
        own: the address, or None.
        connection: the connection, or None.
        what: describes the address in the message.

    Raises:
        InvalidInput: if not exactly one is given.
    """
    if (own is None) == (connection is None):
        given = "neither was given" if connection is None else "not both"
        raise InvalidInput(f"pass either {what} or connection=: {given}")


def not_joined(wanted: str, host: object) -> InvalidInput:
    """Return the error for a host that is not a connection of the driver.

    Args:
        wanted: describes such a connection.
        host: the argument.
    """
    # Django's connection wraps the one of the driver.
    hint = ": in Django, pass connection.connection" if hasattr(host, "ensure_connection") else ""
    kind = type(host)
    # Most classes of connections are named Connection, so the module matters.
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return InvalidInput(f"connection must be {wanted}, not {name}{hint}")


def pool_size(size: object) -> int:
    """Check and return the largest number of connections of a pool.

    Raises:
        InvalidInput: if `size` is not a whole number of 1 or more.
    """
    if type(size) is not int or size < 1:
        raise InvalidInput(f"size must be a whole number of 1 or more, not {size!r:.80}")
    return size


class OwnDatabase:
    """The store's own connections. Each call is a transaction, and retried if the database aborts it."""

    joined = False
    is_always_joined = False

    def __init__(self, pool: Pool, dialect: Dialect) -> None:
        """Use a pool of connections."""
        self._pool = pool
        self._dialect = dialect

    def read_rows(self, statement: str, values: Row) -> list[Row]:
        return self._repeated(lambda session: session.rows(statement, values), _OF_READING)

    def write_rows(self, statement: str, values: Row) -> list[Row]:
        return self._repeated(lambda session: session.rows(statement, values), _OF_WRITING)

    def read(self, work: Callable[[Transaction], Result]) -> Result:
        return self._repeated(lambda session: _alone(session, self._dialect.begin_reading, work), _OF_READING)

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        return self._repeated(lambda session: _alone(session, self._dialect.begin_writing, work), _OF_WRITING)

    def write_at_once(self, work: Callable[[Transaction], Result]) -> Result:
        return self.write(work)

    def install(self, work: Callable[[Transaction], None]) -> None:
        """Do work in a transaction, without a check of the tables."""
        self._repeated(lambda session: _alone(session, self._dialect.begin_writing, work), _OF_WRITING, checked=False)

    def close(self) -> None:
        self._pool.close()

    def _session(self, link: Link) -> Session:
        return Session(link, self._dialect, self._pool.where, joined=False, sees_one_moment=True)

    def _repeated(self, work: Callable[[Session], Result], passing: _Errors, *, checked: bool = True) -> Result:
        """Do work in a session. Retry it on another connection after a passing error."""
        for left in range(_ATTEMPTS - 1, -1, -1):
            try:
                with self._pool.lent() as link:
                    session = self._session(link)
                    if checked:
                        self._dialect.check(session)
                    return work(session)
            except passing:
                if not left:
                    raise
        raise AssertionError("the last attempt returns or raises")


class HostDatabase:
    """The host's connection. The host commits or rolls back the transactions that it began.

    On a connection in autocommit with no open transaction, each call commits by itself.
    """

    def __init__(self, link: Link, dialect: Dialect, where: str) -> None:
        """Use the host's connection.

        Args:
            link: the connection.
            dialect: the dialect of its database.
            where: names the database in messages.
        """
        self._link = link
        self._dialect = dialect
        self._where = where
        self._closed = False

    @property
    def joined(self) -> bool:
        return self._link.in_transaction or self._link.begins_itself

    @property
    def is_always_joined(self) -> bool:
        return self._link.begins_itself

    def read_rows(self, statement: str, values: Row) -> list[Row]:
        return self._checked().rows(statement, values)

    def write_rows(self, statement: str, values: Row) -> list[Row]:
        return self._checked().rows(statement, values)

    def read(self, work: Callable[[Transaction], Result]) -> Result:
        session = self._checked()
        return work(session) if session.joined else _alone(session, self._dialect.begin_reading, work)

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        session = self._checked()
        return session.part(work) if session.joined else _alone(session, self._dialect.begin_writing, work)

    def write_at_once(self, work: Callable[[Transaction], Result]) -> Result:
        return self.write(work)

    def install(self, work: Callable[[Transaction], None]) -> None:
        """Do work in the host's transaction or in a new one, without a check of the tables."""
        session = self._session()
        if session.joined:
            session.part(work)
        else:
            _alone(session, self._dialect.begin_writing, work)

    def close(self) -> None:
        """Refuse further calls. The host's connection stays open."""
        self._closed = True

    def _checked(self) -> Session:
        session = self._session()
        self._dialect.check(session)
        return session

    def _session(self) -> Session:
        if self._closed:
            raise StoreUnavailable(f"{self._where}: this store is closed: make a new one")
        joined = self.joined
        return Session(self._link, self._dialect, self._where, joined=joined, sees_one_moment=not joined)


def _alone(session: Session, begin: tuple[str, ...], work: Callable[[Transaction], Result]) -> Result:
    """Do work in a new transaction."""
    try:
        _begin(session, begin)
        result = work(session)
        session.run("COMMIT")
    except BaseException:
        # If this fails too, the connection is broken, and the first error reports that.
        with suppress(StoreError):
            session.run("ROLLBACK")
        raise
    return result


def _begin(session: Session, begin: tuple[str, ...]) -> None:
    """Begin a transaction. If the connection was lost, a retry on another one is safe."""
    try:
        for statement in begin:
            session.run(statement)
    except ConnectionBroken as error:
        raise NotBegun(str(error)) from error
