"""The link between the SQL store and a database: statements, and transactions around them.

Statements have `?` as placeholders. Errors of the database arrive as the store's errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

Row = tuple[Any, ...]

Result = TypeVar("Result")


class Transaction(Protocol):
    """An open transaction."""

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """Run a statement and return all its rows."""
        ...

    def run(self, statement: str, values: Row) -> int:
        """Run a statement and return the number of rows that it changed."""
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

    def rows(self, statement: str, values: Row) -> list[Row]:
        """Run one reading statement by itself and return all its rows."""
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
