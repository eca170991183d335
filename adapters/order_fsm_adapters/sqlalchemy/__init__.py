"""Orders in the shop's database, over the engine, connections and sessions of SQLAlchemy 2."""

from order_fsm_adapters.sqlalchemy.store import SqlAlchemyStore

__all__ = ["SqlAlchemyStore"]
