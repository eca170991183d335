"""Orders in SQLite: in the store's own file, or in the shop's database."""

from order_fsm_adapters.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
