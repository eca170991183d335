"""Store orders in the shop's database, over the engine, connections and sessions of SQLAlchemy 2."""

from order_fsm_adapters.sqlalchemy.store import SqlAlchemyStore  # isort: skip - first, to report a missing SQLAlchemy

from order_fsm_adapters.sqlalchemy.migrations import metadata, programs

__all__ = ["SqlAlchemyStore", "metadata", "programs"]
