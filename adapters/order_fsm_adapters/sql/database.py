"""The interface between the SQL store and a database: statements and transactions.

Statements use the placeholder `?`. All calls raise the store's errors instead of the driver's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

Row = tuple[Any, ...]

Result = TypeVar("Result")


class Transaction(Protocol):
    """An open transaction.

    Attributes:
        connection: the driver's connection, for the shop's own statements in the same transaction.
        for_update: the clause with which a SELECT locks its rows. Empty if only one transaction can write at a time.
        skip_locked: like `for_update`, but the SELECT skips rows that others have locked.
        latest: the clause with which a SELECT sees the latest commits even if the transaction has an older snapshot. It
            may lock rows and the gaps between them.
        lock_order: the statement with which a relay locks an order. Empty if only one transaction can write at a time.
        has_triggers: whether triggers of the database keep the tallies.
        sees_one_moment: whether all statements read one snapshot.
    """

    @property
    def connection(self) -> Any: ...
    @property
    def for_update(self) -> str: ...
    @property
    def lock_order(self) -> str: ...
    @property
    def skip_locked(self) -> str: ...
    @property
    def latest(self) -> str: ...
    @property
    def has_triggers(self) -> bool: ...
    @property
    def sees_one_moment(self) -> bool: ...

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """Run a statement and return all its rows."""
        ...

    def run(self, statement: str, values: Row) -> None:
        """Run a statement that returns no rows. It may be sent with the next query or the commit."""
        ...

    def part(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work in a savepoint. If the work raises, roll back to the savepoint."""
        ...


class Database(Protocol):
    """Access to a database, over the store's own connections or over the host's."""

    @property
    def joined(self) -> bool:
        """Whether the next call joins an open transaction of the host."""
        ...

    @property
    def is_always_joined(self) -> bool:
        """Whether the host's connection is always in a transaction."""
        ...

    def read_rows(self, statement: str, values: Row) -> list[Row]:
        """Run a single statement that only reads, and return all its rows."""
        ...

    def write_rows(self, statement: str, values: Row) -> list[Row]:
        """Run a single statement that may write, and return all its rows."""
        ...

    def read(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work that only reads, on one snapshot if possible."""
        ...

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work in a transaction, the host's if it is open. If the work raises, roll its writes back."""
        ...

    def write_at_once(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work as `write` does. If no transaction is open, commit the work, in every mode of the connection."""
        ...

    def close(self) -> None:
        """Close the store's own connections."""
        ...
