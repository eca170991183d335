"""This library."""

from __future__ import annotations

from pathlib import Path

from order_fsm import Orders
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore
from peers.shop import CURRENCY


class LibraryShop:
    """Orders of the library with the rules of a shop, which are more rules than those of the peers."""

    def __init__(self, store: MemoryStore | SqliteStore) -> None:
        self._store = store
        self._orders = Orders(store)

    def create(self, order_id: str, total: str) -> None:
        self._orders.create(order_id, total=total, currency=CURRENCY)

    def change(self, order_id: str, trigger: str) -> None:
        self._orders.fire(order_id, trigger)

    def state(self, order_id: str) -> str:
        return self._orders.get(order_id).state

    def entries(self, order_id: str) -> int:
        return len(self._orders.history(order_id))

    def close(self) -> None:
        if isinstance(self._store, SqliteStore):
            self._store.close()


def in_memory() -> LibraryShop:
    return LibraryShop(MemoryStore())


def on_sqlite(path: Path) -> LibraryShop:
    return LibraryShop(SqliteStore(path))
