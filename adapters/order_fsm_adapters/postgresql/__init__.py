"""Orders in PostgreSQL, over connections of the store's own or the shop's."""

from order_fsm_adapters.postgresql.store import PostgresStore

__all__ = ["PostgresStore"]
