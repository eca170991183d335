"""Store orders in PostgreSQL, over the store's own connections or the shop's."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from order_fsm_adapters.postgresql.store import PostgresStore

__all__ = ["PostgresStore"]


def __getattr__(name: str) -> Any:
    # Import on demand: SqlAlchemyStore uses this package without psycopg.
    if name == "PostgresStore":
        from order_fsm_adapters.postgresql.store import PostgresStore

        return PostgresStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
