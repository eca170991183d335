"""The dialect of SQLite."""

from __future__ import annotations

from order_fsm.errors import StoreError
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.dialect import Dialect
from order_fsm_adapters.sqlite import schema
from order_fsm_adapters.sqlite.errors import FAILURES, joined_error, store_error


class SqliteDialect(Dialect):
    """SQLite: a transaction that writes locks the whole database, and triggers keep the tallies."""

    name = "SQLite"
    has_triggers = True
    begin_writing = ("BEGIN IMMEDIATE",)

    def failure(self, error: Exception, where: str, *, joined: bool) -> StoreError:
        if not isinstance(error, FAILURES):
            raise TypeError(f"not an error of SQLite: {type(error).__name__}") from error
        return joined_error(error, where, is_open=True) if joined else store_error(error, where)

    def check_tables(self, transaction: Transaction) -> None:
        schema.check(transaction)
