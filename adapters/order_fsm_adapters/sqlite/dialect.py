"""The dialect of SQLite."""

from __future__ import annotations

import sqlite3

from order_fsm.errors import StoreError, TransactionLost
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.dialect import Dialect
from order_fsm_adapters.sqlite import schema
from order_fsm_adapters.sqlite.errors import FAILURES, error_name, store_error


class SqliteDialect(Dialect):
    """SQLite: a transaction that writes locks the whole database, and triggers keep the tallies."""

    name = "SQLite"
    has_triggers = True
    begin_writing = ("BEGIN IMMEDIATE",)

    def failure(self, error: Exception, where: str, *, joined: bool) -> StoreError:
        if not isinstance(error, FAILURES):
            raise TypeError(f"not an error of SQLite: {type(error).__name__}") from error
        if joined and isinstance(error, sqlite3.Error) and error_name(error) == "SQLITE_BUSY_SNAPSHOT":
            return TransactionLost(f"{where}: {error} ({error_name(error)}): restart the transaction")
        return store_error(error, where)

    def check_tables(self, transaction: Transaction) -> None:
        schema.check(transaction)
