"""Map MariaDB's errors to the store's errors by number.

The numbers from 2000 to 2999 come from the client library, the others from the server.
"""

from __future__ import annotations

from order_fsm.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable, TransactionLost, VersionConflict
from order_fsm_adapters.sql.dialect import ConnectionBroken, Repeatable

_DUPLICATE = 1062
_REPEATABLE = {1213, 1020}  # a deadlock; a row that changed since the snapshot
_LOCK_WAIT_TIMEOUT = 1205
_NO_SAVEPOINT = 1305  # the savepoint's transaction has ended
_BROKEN = {
    0,  # PyMySQL: the connection is closed
    1047,  # the server lost its Galera cluster
    1053,  # the server is shutting down
    1080,  # the server closes the connection
    1152,
    1158,
    1159,
    1160,
    1161,  # reading or writing packets failed
    1927,  # the connection was killed
    2006,
    2013,
    2014,
    2027,
    2055,  # the connection was lost, or is out of sync
    4031,  # the server closed an idle connection
}
_TIMED_OUT = "timed out"  # PyMySQL quotes the socket's error
_NOT_INSTALLED = {1146, 1054, 1356}  # no such table, no such column, a view of a missing table
_FULL = {1021, 1114}
_CORRUPT = {126, 127, 1034, 1035, 1194, 1195, 1712, 1877, 1932}
_UNFIT = {1048, 1264, 1366, 1406, 1690}  # a value that a column rejects although the engine checked it
_QUOTING = {1062, 1064, 1292, 1366, 1367, 1411, 1525, 1586, 1690}
"""The messages of these errors quote values."""


def store_error(number: int | None, text: str, where: str, *, joined: bool) -> StoreError:
    """Return the store's error for an error of MariaDB.

    Args:
        number: the error's number, or None if the driver reports none.
        text: the error's message.
        where: names the database in the message.
        joined: whether the transaction is the host's.
    """
    about = f"{where}: " + ("" if number in _QUOTING else f"{text} ") + f"(error {number})"
    if number is None or number in _BROKEN:
        if joined:
            return TransactionLost(f"{about}: the connection was lost and nothing was written: restart the transaction")
        if _TIMED_OUT in text:
            # Not ConnectionBroken, after which reads are retried: each retry would wait as long.
            return StoreUnavailable(f"{about}: the server did not answer: the outcome is unknown")
        return ConnectionBroken(f"{about}: if this was a commit, its outcome is unknown")
    if number in _REPEATABLE or (number == _NO_SAVEPOINT and joined):
        if joined:
            return TransactionLost(f"{about}: nothing was written: restart the transaction")
        return Repeatable(f"{about}: nothing was written: retry")
    if number == _LOCK_WAIT_TIMEOUT:
        if joined:
            return TransactionLost(f"{about}: another transaction locked a row for too long: restart the transaction")
        return StoreUnavailable(f"{about}: another transaction locked a row: if it is yours, call within(connection)")
    if number == _DUPLICATE:
        # Another transaction inserted the row first: the retry finds it.
        if joined:
            return VersionConflict(f"{about}: another transaction wrote the same row first: restart the transaction")
        return Repeatable(f"{about}: another transaction wrote the same row first: retry")
    if number in _NOT_INSTALLED:
        return StoreUnavailable(f"{about}: are the tables of order_fsm installed? Call install()")
    if number in _FULL or "error 28" in text.lower() or "errcode: 28" in text.lower():
        return StoreFull(f"{about}: make room, then retry")
    if number in _CORRUPT or number in _UNFIT:
        return StoreCorrupt(f"{about}: a table is damaged or was edited: restore it from a backup")
    return StoreUnavailable(about)
