"""The link between the SQL store and a database: statements, and transactions around them.

Statements have `?` as placeholders. Errors of the database arrive as the store's errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

Row = tuple[Any, ...]

Result = TypeVar("Result")


class Transaction(Protocol):
    """An open transaction.

    Attributes:
        connection: of the driver, for the shop's own statements in the same transaction.
        for_update: ends a SELECT to lock its rows. Empty if a transaction that writes is alone anyway.
        skip_locked: the same, and the rows that others have locked are left out.
        latest: ends a SELECT that a change depends on, so that it sees the latest commits if the transaction has an
            older snapshot. It may lock rows and the gaps between them.
        lock_order: the statement by which a relay locks an order. Empty if a transaction that writes is alone anyway.
        has_triggers: whether triggers of the database keep the tallies.
        sees_one_moment: whether all its statements see the database as it was at one moment.
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
        """Run a statement that returns no rows. It may be sent with the next one that does, or with the commit."""
        ...

    def part(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work that can be undone alone: if it raises, nothing of it is written."""
        ...


class Database(Protocol):
    """The connections to a database: the store's own, or one of the host."""

    @property
    def joined(self) -> bool:
        """Whether the next call becomes part of a transaction that the host has open."""
        ...

    @property
    def is_always_joined(self) -> bool:
        """Whether the host's connection always has a transaction open."""
        ...

    def read_rows(self, statement: str, values: Row) -> list[Row]:
        """Run one statement by itself that only reads, and return all its rows."""
        ...

    def write_rows(self, statement: str, values: Row) -> list[Row]:
        """Run one statement by itself that may write, and return all its rows."""
        ...

    def read(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work that only reads, on one snapshot of the database."""
        ...

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work in a transaction: the host's if one is open. If the work raises, nothing of it is written."""
        ...

    def write_at_once(self, work: Callable[[Transaction], Result]) -> Result:
        """Do the same. If no transaction is open, the work is committed at its end, whatever the host's mode."""
        ...

    def close(self) -> None:
        """Close the store's own connections."""
        ...
