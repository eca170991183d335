"""Orders in SQLite: in one file of the store's own, or in the shop's database."""

from order_fsm_adapters.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
