"""The stores on disk pass the store contract, with several processes and killed ones."""

from pathlib import Path

from order_fsm.testing import StoreContract
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore


class TestSqliteStore(StoreContract):
    """One SQLite file."""

    def make_store(self, place: Path) -> SqliteStore:
        return SqliteStore(place / "orders.db")


class TestJsonStore(StoreContract):
    """A folder of JSON files."""

    def make_store(self, place: Path) -> JsonStore:
        return JsonStore(place / "orders")
