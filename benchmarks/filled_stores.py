"""Stores of many orders, filled without waiting for the disk, because durability is not timed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from unittest import mock

from order_fsm import Orders, Receipt
from order_fsm.store import Store
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

KINDS = ("memory", "sqlite", "json")

GROUP = 500
"""The number of orders of which a batch changes each."""


class Shop:
    """A filled store, with orders `o0`, `o1` and so on."""

    def __init__(self, folder: Path, kind: str, number: int) -> None:
        """Fill the store.

        Args:
            folder: the folder of the store.
            kind: one of `KINDS`.
            number: the number of orders.
        """
        self.number = number
        self.path = folder / f"{number}.{kind}"
        self.store = _filled(self.path, kind, number)
        self.orders = Orders(self.store)
        self._begin = count(1, 7919)

    def some(self, number: int) -> list[str]:
        """Return the ids of some complete orders from the whole store, different ones each time if possible."""
        first, step = next(self._begin), self.number // number
        ids = ((first + one * step) % self.number for one in range(number))
        return [f"o{one if one % 50 else one + 1}" for one in ids]

    def read_through(self) -> None:
        """Load the file of SQLite into the system's cache, so that no change waits for a read."""
        if isinstance(self.store, SqliteStore):
            with self.path.open("rb") as file:
                while file.read(1 << 20):
                    pass

    def close(self) -> None:
        self.store.close()


@contextmanager
def unflushed() -> Iterator[None]:
    """Write the JSON log without waiting for the disk."""

    def no_flush(descriptor: int) -> None:  # A `Mock` would record every call, and take longer than the rest.
        del descriptor

    with mock.patch("os.fsync", no_flush):
        yield


def opened(kind: str, folder: Path) -> Store:
    """Open a store of a kind in a folder."""
    if kind == "memory":
        return MemoryStore()
    return SqliteStore(folder / "shop.db") if kind == "sqlite" else JsonStore(folder / "orders")


def _filled(path: Path, kind: str, number: int) -> Store:
    if kind == "memory":
        memory = MemoryStore()
        _fill(Orders(memory), number)
        return memory
    if kind == "json":
        with unflushed(), closing(JsonStore(path)) as store:
            _fill(Orders(store), number)
        return JsonStore(path)
    return filled_sqlite(path, lambda store: _fill(Orders(store), number))


def filled_sqlite(path: Path, fill: Callable[[Store], None]) -> SqliteStore:
    """Fill a new database in one transaction, and open it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        fill(SqliteStore(connection=connection))
        connection.commit()
    return SqliteStore(path)


def _fill(orders: Orders, number: int) -> None:
    """Create orders. Most are complete, and every fiftieth waits for its payment."""
    for numbers in in_groups(number):
        for one in numbers:
            orders.create(f"o{one}", total="49.90", currency="GBP")
        complete_most(orders, numbers)


def complete_most(orders: Orders, numbers: Iterable[int]) -> None:
    """Complete new orders together, except every fiftieth, which is only placed."""
    with orders.batch() as batch:
        for one in numbers:
            if one % 50:
                batch.save(f"o{one}", {"sent", "paid", "dispatched"}, version=1)
            else:
                batch.fire(f"o{one}", "place")
    assert all(isinstance(result, Receipt) for result in batch.results)


def in_groups(number: int) -> Iterator[range]:
    """Yield the numbers below a number in groups that a batch may take."""
    for begin in range(0, number, GROUP):
        yield range(begin, min(begin + GROUP, number))
