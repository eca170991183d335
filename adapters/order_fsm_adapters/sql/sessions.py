"""Run statements and transactions over a driver's connection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from order_fsm.errors import OrderFsmError, StoreError, TransactionLost
from order_fsm_adapters.sql.database import Result, Row, Transaction
from order_fsm_adapters.sql.dialect import Dialect


class Link(Protocol):
    """A driver's connection. The methods raise the driver's exceptions.

    Attributes:
        failures: the exceptions of the driver.
    """

    @property
    def failures(self) -> tuple[type[Exception], ...]: ...

    @property
    def connection(self) -> Any:
        """The driver's connection."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    @property
    def begins_itself(self) -> bool:
        """Whether the driver begins a transaction with the next statement, unless one is open."""
        ...

    def rows(self, statement: str, values: Row, quote: str) -> list[Row]:
        """Run a statement and return all its rows."""
        ...

    def run(self, statement: str, values: Row, quote: str) -> None:
        """Run a statement that returns no rows. It may be sent with a later statement."""
        ...


class Session:
    """A `Transaction` over a link. Raises the store's errors."""

    def __init__(self, link: Link, dialect: Dialect, where: str, *, joined: bool, sees_one_moment: bool) -> None:
        """Use a connection.

        Args:
            link: the connection.
            dialect: the dialect of its database.
            where: names the database in messages.
            joined: whether the transaction is the host's.
            sees_one_moment: as in `Transaction`.
        """
        self.link = link
        self.connection = link.connection
        self.for_update = dialect.for_update
        self.lock_order = dialect.lock_order
        self.skip_locked = dialect.skip_locked
        self.latest = dialect.latest if joined else ""
        self.has_triggers = dialect.has_triggers
        self.sees_one_moment = sees_one_moment
        self._dialect = dialect
        self._where = where
        self.joined = joined
        self._depth = 0

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        dialect = self._dialect
        try:
            return dialect.received(self.link.rows(statement, dialect.sent(values), dialect.quote))
        except self.link.failures as error:
            # The driver's error may quote a whole row, which a traceback would show.
            raise self._failure(error) from None

    def run(self, statement: str, values: Row = ()) -> None:
        dialect = self._dialect
        try:
            self.link.run(statement, dialect.sent(values), dialect.quote)
        except self.link.failures as error:
            raise self._failure(error) from None

    def part(self, work: Callable[[Transaction], Result]) -> Result:
        # By depth: in MariaDB, a savepoint replaces an outer one of the same name.
        savepoint = f"SAVEPOINT order_fsm_{self._depth}"
        self.run(savepoint)
        self._depth += 1
        try:
            result = work(self)
            self.run(f"RELEASE {savepoint}")
        except BaseException:
            # If this fails too, the connection or the whole transaction is lost, and the first error reports that.
            with suppress(OrderFsmError, *self.link.failures):
                self.link.run(f"ROLLBACK TO {savepoint}", (), self._dialect.quote)
                self.link.run(f"RELEASE {savepoint}", (), self._dialect.quote)
            raise
        finally:
            self._depth -= 1
        return result

    def _failure(self, error: Exception) -> StoreError:
        """Return the store's error for a driver's error."""
        found = self._dialect.failure(error, self._where, joined=self.joined)
        if self.joined and not self.link.in_transaction and not isinstance(found, TransactionLost):
            # SQLite rolls back if the disk is full, MariaDB after a deadlock.
            return TransactionLost(f"{found}: the database rolled back: restart the transaction")
        return found
