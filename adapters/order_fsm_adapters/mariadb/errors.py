"""Errors of MariaDB as errors of the store, by their numbers.

Numbers below 2000 and from 3000 on come from the server, the others from the client library.
"""

from __future__ import annotations

from order_fsm.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable, TransactionLost, VersionConflict
from order_fsm_adapters.sql.dialect import ConnectionBroken, Repeatable

_DUPLICATE = 1062
_REPEATABLE = {1213, 1020}  # a deadlock; a row that changed since the snapshot
_LOCK_WAIT_TIMEOUT = 1205
_NO_SAVEPOINT = 1305  # the transaction in which it was set has ended
_BROKEN = {
    0,  # PyMySQL: the connection is closed
    1047,  # the server lost its Galera cluster
    1053,  # the server shuts down
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
    2055,  # the connection is lost, or out of step
    4031,  # the server closed an idle connection
}
_TIMED_OUT = "timed out"  # PyMySQL quotes the error of the socket
_NOT_INSTALLED = {1146, 1054, 1356}  # no such table, column; a view of one that is gone
_FULL = {1021, 1114}
_CORRUPT = {126, 127, 1034, 1035, 1194, 1195, 1712, 1877, 1932}
_UNFIT = {1048, 1264, 1366, 1406, 1690}  # a value that a column cannot take, though the engine checked it
_QUOTING = {1062, 1064, 1292, 1366, 1367, 1411, 1525, 1586, 1690}
"""The messages of these errors quote values."""


def store_error(number: int | None, text: str, where: str, *, joined: bool) -> StoreError:
    """Return the store's error.

    Args:
        number: of the error, None if the driver gives none.
        text: the error's message.
        where: names the database.
        joined: whether the transaction is the host's.
    """
    about = f"{where}: " + ("" if number in _QUOTING else f"{text} ") + f"(error {number})"
    if number is None or number in _BROKEN:
        if joined:
            return TransactionLost(f"{about}: the connection is lost, nothing is written: restart the transaction")
        if _TIMED_OUT in text:
            # Not repeated: each repetition would wait as long.
            return StoreUnavailable(f"{about}: the server did not answer: it is unknown whether it is written")
        return ConnectionBroken(f"{about}: if it was a commit, it is unknown whether it is written")
    if number in _REPEATABLE or (number == _NO_SAVEPOINT and joined):
        if joined:
            return TransactionLost(f"{about}: nothing is written: restart the transaction")
        return Repeatable(f"{about}: nothing is written: repeat it")
    if number == _LOCK_WAIT_TIMEOUT:
        if joined:
            return TransactionLost(f"{about}: another transaction holds a row too long: restart the transaction")
        return StoreUnavailable(f"{about}: another transaction holds a row: if it is your own, call within(it)")
    if number == _DUPLICATE:
        # Another transaction inserted the row first: the repetition finds it.
        if joined:
            return VersionConflict(f"{about}: another transaction wrote the same first: restart the transaction")
        return Repeatable(f"{about}: another transaction wrote the same first: repeat it")
    if number in _NOT_INSTALLED:
        return StoreUnavailable(f"{about}: are the tables of order_fsm installed? Call install()")
    if number in _FULL or "error 28" in text.lower() or "errcode: 28" in text.lower():
        return StoreFull(f"{about}: make room, then retry")
    if number in _CORRUPT or number in _UNFIT:
        return StoreCorrupt(f"{about}: a table is damaged or was edited: restore it from a backup")
    return StoreUnavailable(about)
