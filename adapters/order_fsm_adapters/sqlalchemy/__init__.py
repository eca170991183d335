"""Orders in the shop's database, over the engine, connections and sessions of SQLAlchemy 2."""

from order_fsm_adapters.sqlalchemy.store import SqlAlchemyStore  # isort: skip - it names SQLAlchemy if that is missing

from order_fsm_adapters.sqlalchemy.migrations import metadata, programs

__all__ = ["SqlAlchemyStore", "metadata", "programs"]
