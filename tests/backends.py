"""What tests do to the server processes of PostgreSQL: wait until they wait, cancel and end them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which a condition that does not come counts as a failure."""

_WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s ORDER BY pid
"""
_OTHERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def until(condition: Callable[[], T]) -> T:
    """Evaluate a condition until it holds, and return its value."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        if found := condition():
            return found
    raise AssertionError(f"the condition does not come within {PATIENCE} s")


class Backends:
    """The server processes of a database, seen from a connection of its own."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def waiting(self, statement: str = "%", number: int = 1) -> list[int]:
        """Wait until so many processes wait for locks in a statement like this one, and return their ids."""

        def found() -> list[int]:
            pids = [pid for (pid,) in self.connection.execute(_WAITING, (statement,))]
            return pids if len(pids) == number else []

        return until(found)

    def cancel(self, pid: int) -> None:
        """Cancel the statement of a process."""
        self.connection.execute("SELECT pg_cancel_backend(%s)", (pid,))

    def terminate(self, pid: int) -> None:
        """End a process, and wait for its end."""
        self.connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        until(lambda: not self.connection.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall())

    def terminate_others(self) -> int:
        """End all other processes of the database. Return their number."""
        pids = [pid for (pid,) in self.connection.execute(_OTHERS)]
        for pid in pids:
            self.terminate(pid)
        return len(pids)


@contextmanager
def backends(url: str) -> Iterator[Backends]:
    """Open the connection for a block."""
    found = Backends(url)
    with found.connection:
        yield found


@contextmanager
def holding(url: str, statement: str, *values: Any) -> Iterator[psycopg.Connection[Any]]:
    """Hold the locks of a statement for a block. At its end the transaction is rolled back, unless it ended before."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode(), values)
        yield connection
        connection.rollback()
