"""The differences between databases, other than the schema.

`Dialect` writes a change with several statements in one transaction. A dialect for a database with a faster way
overrides `prepare_many`, `commit` and `commit_all`.
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
    """The database aborted the transaction in favour of others. Nothing was written, so a retry is safe."""


class ConnectionBroken(StoreUnavailable):
    """The connection was lost. Its last statement may or may not have run."""


class NotBegun(Repeatable, ConnectionBroken):
    """The connection was lost before the transaction began. Nothing was written."""


class Changes(Protocol):
    """The calls that prepare and commit changes.

    Attributes:
        counts_stock: whether the store's own table counts the available pieces.
    """

    counts_stock: bool

    def prepare_many(self, database: Database, needs: Sequence[Need]) -> list[Snapshot]:
        """Implement `Store.prepare_many`."""
        ...

    def commit(self, database: Database, change: Change) -> None:
        """Implement `Store.commit`."""
        ...

    def commit_all(self, database: Database, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        """Implement `Store.commit_all`."""
        ...

    def levels(self, transaction: Transaction, skus: Iterable[str]) -> dict[str, StockLevel]:
        """Implement `Store.stock_levels`."""
        ...


def commit_each(
    database: Database, changes: Sequence[Change], write: Callable[[Transaction, Change], None]
) -> list[OrderFsmError | None]:
    """Implement `Store.commit_all` in one transaction, with a savepoint around each change.

    Args:
        database: the connections to the database.
        changes: the changes, in sequence.
        write: a function that writes one change.
    """

    def write_all(transaction: Transaction) -> list[OrderFsmError | None]:
        return one_by_one(lambda change: transaction.part(lambda part: write(part, change)), changes)

    return database.write(write_all)


class Dialect:
    """The statements and settings that differ between databases. Each store has its own instance.

    Attributes:
        name: the name of the database, for messages.
        quote: the quote character around names.
        for_update, lock_order, skip_locked, has_triggers: as in `Transaction`.
        latest: as in `Transaction`, for the transactions of a host.
        begin_reading, begin_writing: the statements that begin a transaction. Each takes one round trip.
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
        """Return values in the form that the database stores."""
        return values

    def received(self, rows: list[Row]) -> list[Row]:
        """Return rows with the values that `sent` was given."""
        return rows

    def failure(self, error: Exception, where: str, *, joined: bool) -> StoreError:
        """Return the store's error for a driver's error.

        Args:
            error: the driver's error.
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
        """Implement `Store.history`."""
        return database.read(lambda transaction: orders.history(transaction, order_id, after, limit))

    def prepare_many(self, database: Database, needs: Sequence[Need]) -> list[Snapshot]:
        """Implement `Store.prepare_many`."""
        lock = self.for_update if database.joined else ""
        return database.read(lambda transaction: orders.snapshots(transaction, needs, lock))

    def commit(self, database: Database, change: Change) -> None:
        """Implement `Store.commit`."""
        database.write(lambda transaction: self.write(transaction, change))

    def commit_all(self, database: Database, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        """Implement `Store.commit_all`."""
        return commit_each(database, changes, self.write)

    def levels(self, transaction: Transaction, skus: Iterable[str]) -> dict[str, StockLevel]:
        """Implement `Store.stock_levels`."""
        return stock.levels(transaction, skus)

    def write(self, transaction: Transaction, change: Change) -> None:
        """Write a change. If this raises, the caller must roll back.

        Raises:
            OrderFsmError: as in `commits.write`.
        """
        commits.write(transaction, change)

    def scrub(self, database: Database) -> None:
        """Implement `Store.scrub`. The files are not the store's, so this only checks the connection."""
        database.read_rows("SELECT 1", ())

    def fold(self, transaction: Transaction) -> None:
        """Add steps of the tallies to their counters. Relays call this."""
