"""The differences between databases, other than the schema.

`Dialect` is for a database in which a change is several statements of one transaction. Another database overrides
`prepare_many`, `commit` and `commit_all`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from order_fsm.errors import OrderFsmError, StoreError, StoreUnavailable
from order_fsm.model import Entry
from order_fsm.store import Change, Need, Snapshot, StockLevel, one_by_one
from order_fsm_adapters.sql import commits, orders, stock
from order_fsm_adapters.sql.database import Database, Row, Transaction


class Repeatable(StoreUnavailable):
    """The database ended the transaction for the sake of others. Nothing is written, and it may be repeated."""


class ConnectionBroken(StoreUnavailable):
    """The connection is lost. It is unknown whether its last statement was done."""


class NotBegun(Repeatable, ConnectionBroken):
    """The connection is lost, and was before the transaction began. Nothing is written."""


class Changes(Protocol):
    """How changes are prepared and committed.

    Attributes:
        counts_stock: whether the store's own table has the available pieces.
    """

    counts_stock: bool

    def prepare_many(self, database: Database, needs: Sequence[Need]) -> list[Snapshot]:
        """Answer `Store.prepare_many`."""
        ...

    def commit(self, database: Database, change: Change) -> None:
        """Answer `Store.commit`."""
        ...

    def commit_all(self, database: Database, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        """Answer `Store.commit_all`."""
        ...

    def levels(self, transaction: Transaction, skus: Iterable[str]) -> dict[str, StockLevel]:
        """Answer `Store.stock_levels`."""
        ...


def commit_each(
    database: Database, changes: Sequence[Change], write: Callable[[Transaction, Change], None]
) -> list[OrderFsmError | None]:
    """Answer `Store.commit_all` in one transaction, with a savepoint around each change.

    Args:
        database: the access to it.
        changes: to write in sequence.
        write: writes one change.
    """

    def write_all(transaction: Transaction) -> list[OrderFsmError | None]:
        return one_by_one(lambda change: transaction.part(lambda part: write(part, change)), changes)

    return database.write(write_all)


class Dialect:
    """The differences between one database and another. Each store has an instance of its own.

    Attributes:
        name: of the database, for messages.
        quote: goes around names.
        for_update, lock_order, skip_locked, has_triggers: as in `Transaction`.
        latest: as in `Transaction`, for the transactions of a host.
        begin_reading, begin_writing: the statements that begin a transaction, in one round trip each.
    """

    name = ""
    quote = '"'
    for_update = ""
    lock_order = ""
    skip_locked = ""
    latest = ""
    has_triggers = False
    counts_stock = True
    begin_reading: tuple[str, ...] = ("BEGIN",)
    begin_writing: tuple[str, ...] = ("BEGIN",)

    def __init__(self) -> None:
        self._is_checked = False

    def sent(self, values: Row) -> Row:
        """Return values as the database can store them."""
        return values

    def received(self, rows: list[Row]) -> list[Row]:
        """Return rows with the values as they were before `sent`."""
        return rows

    def failure(self, error: Exception, where: str, *, joined: bool) -> StoreError:
        """Return the store's error for one of a driver.

        Args:
            error: as the driver raised it.
            where: names the database in the message.
            joined: whether the transaction is the host's.
        """
        raise NotImplementedError

    def check(self, transaction: Transaction) -> None:
        """Check that the database has the tables of this version, until they were there once.

        Raises:
            StoreUnavailable: as `check_tables` does.
        """
        if not self._is_checked:
            self.check_tables(transaction)
            self._is_checked = True

    def check_tables(self, transaction: Transaction) -> None:
        """Check that the database has the tables of this version.

        Raises:
            StoreUnavailable: if the database has no tables, or tables of another version.
        """
        raise NotImplementedError

    def history(self, database: Database, order_id: str, after: int, limit: int | None) -> tuple[Entry, ...]:
        """Answer `Store.history`."""
        return database.read(lambda transaction: orders.history(transaction, order_id, after, limit))

    def prepare_many(self, database: Database, needs: Sequence[Need]) -> list[Snapshot]:
        """Answer `Store.prepare_many`."""
        lock = self.for_update if database.joined else ""
        return database.read(lambda transaction: orders.snapshots(transaction, needs, lock))

    def commit(self, database: Database, change: Change) -> None:
        """Answer `Store.commit`."""
        database.write(lambda transaction: self.write(transaction, change))

    def commit_all(self, database: Database, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        """Answer `Store.commit_all`."""
        return commit_each(database, changes, self.write)

    def levels(self, transaction: Transaction, skus: Iterable[str]) -> dict[str, StockLevel]:
        """Answer `Store.stock_levels`."""
        return stock.levels(transaction, skus)

    def write(self, transaction: Transaction, change: Change) -> None:
        """Write a change. If it is refused, nothing of it is written.

        Raises:
            OrderFsmError: as `commits.write` does.
        """
        commits.write(transaction, change)

    def scrub(self, database: Database) -> None:
        """Answer `Store.scrub`. The files are those of the host or of the server."""
        database.read_rows("SELECT 1", ())

    def fold(self, transaction: Transaction) -> None:
        """Add many steps of the tallies to their counters. Called by relays."""
