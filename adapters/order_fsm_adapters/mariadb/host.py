"""Join transactions on the shop's own connection to MariaDB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from pymysql.connections import Connection

from order_fsm.errors import InvalidInput, OrderFsmError, TransactionLost
from order_fsm.model import Entry
from order_fsm.store import Need, Snapshot
from order_fsm_adapters.sql import orders
from order_fsm_adapters.sql.database import Result, Row, Transaction
from order_fsm_adapters.sql.databases import HostDatabase
from order_fsm_adapters.sql.dialect import Dialect
from order_fsm_adapters.sql.sessions import Link, Session

_ENDS = """
    SHOW SESSION STATUS WHERE Variable_name IN ('Com_begin', 'Com_commit', 'Com_rollback')
"""
_IS_OPEN = "SELECT @@in_transaction"

_lost: WeakKeyDictionary[Connection[Any], list[Row]] = WeakKeyDictionary()
"""For each connection with a lost transaction: the server's counts of BEGIN, COMMIT and ROLLBACK at the loss."""


class HostLink(Link, Protocol):
    """A connection of PyMySQL, or of a library over it."""

    @property
    def driver_connection(self) -> Connection[Any]:
        """The PyMySQL connection."""
        ...


class _JoinedSession(Session):
    """The host's transaction, for the reads and writes of a change."""

    def __init__(self, link: HostLink, dialect: Dialect, where: str) -> None:
        super().__init__(link, dialect, where, joined=True, sees_one_moment=False)
        self._driver_connection = link.driver_connection

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        try:
            return super().rows(statement, values)
        except TransactionLost:
            self.remember()
            raise

    def run(self, statement: str, values: Row = ()) -> None:
        try:
            super().run(statement, values)
        except TransactionLost:
            self.remember()
            raise

    def remember(self) -> None:
        """Remember the loss of the transaction: its changes are undone, but the host could still commit later ones."""
        with suppress(OrderFsmError, *self.link.failures):  # The connection may be lost too.
            _lost[self._driver_connection] = self.link.rows(_ENDS, (), "`")


class MariaDbHost(HostDatabase):
    """The host's connection. After a deadlock, calls raise until the host ends its transaction."""

    def __init__(self, link: HostLink, dialect: Dialect, where: str) -> None:
        """Use the host's connection, as `HostDatabase` does."""
        super().__init__(link, dialect, where)
        self._host_link = link
        self._prepared: set[str | None] = set()

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        if not self.joined:
            return super().write(work)
        session = self._joined_session()

        def in_transaction(transaction: Transaction) -> Result:
            # The result of SAVEPOINT updates the driver's flag for an open transaction. Errors do not.
            if not self.joined:
                session.remember()
                raise TransactionLost(f"{self._where}: the transaction is no longer open: restart it")
            return work(transaction)

        return session.part(in_transaction)

    def prepare(self, needs: Sequence[Need]) -> list[Snapshot]:
        """Implement `Store.prepare_many` in the host's transaction: read the latest commits and lock the orders."""
        session = self._joined_session()
        self._prepared = {need.order_id for need in needs}
        return orders.snapshots(session, needs, session.for_update)

    def history(self, order_id: str, after: int, limit: int | None) -> tuple[Entry, ...]:
        """Implement `Store.history`. For a prepared order, read the latest commits: a repeated call needs them."""
        if self.joined and order_id in self._prepared:
            session = self._joined_session()
            return orders.history(session, order_id, after, limit, session.latest)
        return self.read(lambda transaction: orders.history(transaction, order_id, after, limit))

    def install(self, work: Callable[[Transaction], None]) -> None:
        """Do work that commits by itself.

        Raises:
            InvalidInput: if a transaction is open.
        """
        session = self._session()
        if session.rows(_IS_OPEN) != [(0,)]:
            raise InvalidInput("install() commits: call it with no transaction open")
        work(session)

    def _joined_session(self) -> _JoinedSession:
        self._checked()
        return _JoinedSession(self._host_link, self._dialect, self._where)

    def _checked(self) -> Session:
        session = self._session()
        connection = self._host_link.driver_connection
        before = _lost.get(connection)
        if before is not None:
            if session.rows(_ENDS) == before:
                raise TransactionLost(f"{self._where}: the transaction was lost before: roll it back and restart it")
            del _lost[connection]
        self._dialect.check(session)
        return session
