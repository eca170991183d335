"""Orders in SQLite: in a file of the store's own, or in the shop's database beside the shop's tables."""

from order_fsm_adapters.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
