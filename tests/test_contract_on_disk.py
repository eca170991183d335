"""The two stores on disk keep the contract of stores, with several processes and with killed ones."""

from pathlib import Path

from order_fsm.store import Store
from order_fsm.testing import StoreContract
from order_fsm_adapters.group_commit import GroupCommit
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore


class TestSqliteStore(StoreContract):
    """One SQLite file."""

    kill_rounds = 200

    def make_store(self, place: Path) -> SqliteStore:
        return SqliteStore(place / "orders.db")


class TestGroupCommit(StoreContract):
    """One SQLite file, with the commits of threads in groups."""

    def make_store(self, place: Path) -> Store:
        return GroupCommit(SqliteStore(place / "orders.db"))

    def close_store(self, store: Store) -> None:
        vars(store)["_store"].close()


class TestJsonStore(StoreContract):
    """A folder of JSON files."""

    kill_rounds = 200

    def make_store(self, place: Path) -> JsonStore:
        return JsonStore(place / "orders")
