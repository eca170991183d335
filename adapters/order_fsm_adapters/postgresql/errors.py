"""Map PostgreSQL's errors to the store's errors by SQLSTATE.

Appendix A of the PostgreSQL manual lists the codes.
"""

from __future__ import annotations

from order_fsm.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable, TransactionLost
from order_fsm_adapters.sql.dialect import ConnectionBroken, Repeatable

_LOCKED = "55P03"
_REPEATABLE = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_BROKEN = {"57P01", "57P02", "57P03", "57P05"}  # the server closes the connection
_NOT_INSTALLED = {"42P01", "42883", "3F000", "42703", "42P02"}  # no such table, function, schema, column, parameter
_DISK_FULL = "53100"
_UNIQUE = "23505"
_REFERRED_TO = "23503"
_NOT_PERMITTED = "42501"


def store_error(sqlstate: str | None, text: str, where: str, *, joined: bool) -> StoreError:
    """Return the store's error for an error of PostgreSQL.

    Args:
        sqlstate: the error's SQLSTATE, or None if the driver reports none.
        text: the error's message.
        where: names the database in the message.
        joined: whether the transaction is the host's. Any error aborts it.
    """
    about = f"{where}: {text}" + (f" (SQLSTATE {sqlstate})" if sqlstate else "")
    if sqlstate in _NOT_INSTALLED:
        return StoreUnavailable(f"{about}: are the tables of order_fsm installed? Call install()")
    if sqlstate == _DISK_FULL:
        return StoreFull(f"{about}: make room, then retry")
    if sqlstate == _NOT_PERMITTED:
        return StoreUnavailable(f"{about}: grant the missing right to the user of the connection")
    if sqlstate == _REFERRED_TO:
        return StoreUnavailable(f"{about}: first delete the shop's rows that refer to it")
    if sqlstate is not None and sqlstate != _UNIQUE and sqlstate.startswith(("XX", "22", "23")):
        return StoreCorrupt(f"{about}: a table is damaged or was edited: restore it from a backup")
    if joined:
        return TransactionLost(f"{about}: nothing was written: restart the transaction")
    if sqlstate is None or sqlstate in _BROKEN or sqlstate.startswith("08"):
        return ConnectionBroken(f"{about}: if this was a commit, its outcome is unknown")
    if sqlstate in _REPEATABLE or sqlstate == _UNIQUE:
        # Another transaction inserted the row first: the retry finds it.
        return Repeatable(f"{about}: nothing was written: retry")
    if sqlstate == _LOCKED:
        return StoreUnavailable(f"{about}: another transaction locked a row: if it is yours, call within(connection)")
    return StoreUnavailable(about)
