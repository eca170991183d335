"""Orders in SQLite: in a file of the store's own, or in the shop's database beside the shop's tables."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from sqlite3 import Connection, Cursor

from order_fsm.errors import (
    InvalidInput,
    KeyReused,
    OrderExists,
    OrderFsmError,
    OrderNotFound,
    StoreError,
    StoreUnavailable,
    VersionConflict,
)
from order_fsm.model import (
    Change,
    Entry,
    Keyed,
    Message,
    Order,
    Query,
    Tally,
)
from order_fsm.store import refusal
from order_fsm_adapters.sqlite import inspection, outbox, search, stock
from order_fsm_adapters.sqlite.file import OwnFile
from order_fsm_adapters.sqlite.host import HostConnection
from order_fsm_adapters.sqlite.rows import (
    Row,
    entry_of,
    entry_row,
    message_of,
    order_of,
    order_row,
    payment_row,
    refund_is_due,
    time_text,
)

_OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""

_ORDER = """
    SELECT id, state, counted, one.version, total, currency, customer, email, lines, data, created_at, updated_at,
        kind, amount, reference, at, paid.version
    FROM order_fsm_order AS one LEFT JOIN order_fsm_payment AS paid ON order_id = id
    WHERE id = ? ORDER BY number
"""
"""The order with each row of its ledger, or once with none."""

_PLACE = "SELECT created_at, id FROM order_fsm_order WHERE id = ?"
_VERSION = "SELECT version FROM order_fsm_order WHERE id = ?"
_ENTRIES = """
    SELECT order_id, version, trigger, state_before, state_after, at, by, comment, visible, notify, key, override, facts
    FROM order_fsm_entry WHERE order_id = ? ORDER BY version
"""
_KEYED = "SELECT order_id, first, last, content FROM order_fsm_key WHERE key = ?"

_INSERT_ORDER = """
    INSERT INTO order_fsm_order (id, state, counted, version, total, currency, customer, email, lines, data,
        created_at, updated_at, refund_is_due)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
# What else an order has never changes after its creation.
_UPDATE_ORDER = """
    UPDATE order_fsm_order SET state = ?, counted = ?, version = ?, updated_at = ?, refund_is_due = ?
    WHERE id = ? AND version = ?
"""
_INSERT_ENTRY = """
    INSERT INTO order_fsm_entry (order_id, version, trigger, state_before, state_after, at, by, comment, visible,
        notify, key, override, facts)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_PAYMENT = """
    INSERT INTO order_fsm_payment (order_id, number, kind, amount, reference, at, version) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_KEY = """
    INSERT INTO order_fsm_key (key, order_id, first, last, content) VALUES (?, ?, ?, ?, ?)
"""

# A key stands in the entries that were committed under it, so it is found without an index of its own.
_REMOVE = (
    """
    DELETE FROM order_fsm_key
    WHERE order_id = :id AND key IN (SELECT key FROM order_fsm_entry WHERE order_id = :id)
    """,
    "DELETE FROM order_fsm_entry WHERE order_id = :id",
    "DELETE FROM order_fsm_payment WHERE order_id = :id",
    "DELETE FROM order_fsm_order WHERE id = :id",
)


class SqliteStore:
    """A store in SQLite, with all guarantees, for several threads and processes.

    With a path it owns the file, with `.lock`, `-wal` and `-shm` beside it. With a connection it is a guest: what it
    writes is part of the shop's transaction, and is durable, undone and seen by others as the shop's own rows are. Then
    the shop commits, as after any statement of its own that changes rows: where no transaction is open, the first
    write begins one. A call that raises leaves what the shop wrote before it, but where the disk fails or is full:
    then SQLite rolls the whole transaction back, and the error says so. Threads and forks are the shop's concern too:
    the store is used where its connection may be.

    All tables are named `order_fsm_…`.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, connection: Connection | None = None) -> None:
        """Open a file, or join a connection; make the tables, or bring those of an older version up to date.

        Args:
            path: of the database file; it is made where it is not there.
            connection: the shop's. Where a transaction is open on it, new tables are part of it.

        Raises:
            InvalidInput: not exactly one of the two was given, or it is none.
            StoreUnavailable: the file cannot be opened, was written by a newer version of order_fsm, or this SQLite
                is too old.
            StoreCorrupt: the file is no SQLite database.
        """
        if (path is None) == (connection is None):
            raise InvalidInput("give either the path of a database file or connection=, and not both")
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            wanted = ".".join(map(str, _OLDEST_SQLITE))
            raise StoreUnavailable(f"SQLite must be {wanted} or newer, this one is {sqlite3.sqlite_version}: update it")
        self._database: OwnFile | HostConnection
        if connection is None:
            self._database = OwnFile(_file(path))
        elif isinstance(connection, Connection) and connection.text_factory is str:
            self._database = HostConnection(connection)
        else:
            raise InvalidInput("connection must be a sqlite3.Connection with the text_factory str")

    def close(self) -> None:
        """Close the files; the store cannot be used afterwards. A connection of the shop's stays open."""
        self._database.close()

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the database to a new file, while others go on working with it. No writer waits for it.

        The copy is of one moment: all that was committed before the call is in it, and nothing by half. It copies
        damage too, so audit it. To restore it, close all stores on the old file, and put the copy in its place, with no
        `-wal` and `-shm` of the old one beside it.

        Args:
            path: of the copy; the folder must be there, and the file not. It appears when it is whole.

        Raises:
            InvalidInput: no path, there is something at it, or the database is the shop's own (connection=).
            StoreUnavailable, StoreFull, StoreCorrupt: the copy cannot be made.
        """
        self._database.backup(_file(path))

    def load(self, order_id: str) -> Order:
        return _order(order_id, self._database.rows(_ORDER, (order_id,)))

    def history(self, order_id: str) -> tuple[Entry, ...]:
        rows = self._database.rows(_ENTRIES, (order_id,))
        if not rows:
            raise _not_found(order_id)
        return tuple(map(entry_of, rows))

    def keyed(self, key: str) -> Keyed | None:
        rows = self._database.rows(_KEYED, (key,))
        return Keyed(*rows[0]) if rows else None

    def commit(self, change: Change) -> None:
        entries, payments = _rows(change)
        with self._database.writing() as cursor:
            _write(cursor, change, entries, payments)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        prepared = [(change, *_rows(change)) for change in changes]
        with self._database.writing() as cursor:
            return [refusal(partial(_write, cursor, *one)) for one in prepared]

    def find(self, query: Query) -> list[Order]:
        with self._database.reading() as cursor:
            after = search.START
            if query.after is not None:
                rows = cursor.execute(_PLACE, (query.after,)).fetchall()
                if not rows:
                    raise _not_found(query.after)
                after = rows[0]
            found = search.found(cursor, query, after)
            return [_order(one, cursor.execute(_ORDER, (one,)).fetchall()) for _, one in found]

    def tally(self, customer: str | None) -> list[Tally]:
        with self._database.reading() as cursor:
            return search.tally(cursor, customer)

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        with self._database.reading() as cursor:
            return stock.on_hand(cursor, skus)

    def set_stock(self, sku: str, on_hand: int) -> None:
        with self._database.writing() as cursor:
            stock.put(cursor, sku, on_hand)

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        with self._database.writing() as cursor:
            return outbox.claim(cursor, now, until, limit)

    def delivered(self, message: Message) -> None:
        with self._database.writing() as cursor:
            outbox.delivered(cursor, message)

    def postpone(self, message: Message, until: datetime | None) -> None:
        with self._database.writing() as cursor:
            outbox.postpone(cursor, message, until)

    def dead_letters(self, limit: int) -> list[Message]:
        with self._database.reading() as cursor:
            return outbox.dead_letters(cursor, limit)

    def revive(self, message: Message) -> None:
        with self._database.writing() as cursor:
            outbox.revive(cursor, message)

    def remove(self, order: Order) -> None:
        with self._database.writing() as cursor:
            _expect(cursor, order.id, order.version)
            for statement in _REMOVE:
                cursor.execute(statement, {"id": order.id})
            outbox.forget(cursor, order.id)

    # What an audit asks for

    def order_ids(self) -> Iterator[str]:
        return inspection.order_ids(self._database.rows)

    def messages(self) -> Iterator[Message]:
        return map(message_of, inspection.messages(self._database.rows))

    def faults(self) -> list[str]:
        with self._database.reading() as cursor:
            return inspection.faults(cursor)


def _file(path: object) -> str:
    """The one name of a file, wherever the program goes and by whatever link it is called."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(name, str) or name in {"", ":memory:"} or "\0" in name:
        raise InvalidInput(f"path must be that of a file, such as 'shop.db', not {path!r:.80}")
    return os.path.realpath(name)


def _order(order_id: str, rows: list[Row]) -> Order:
    if not rows:
        raise _not_found(order_id)
    return order_of(rows)


def _rows(change: Change) -> tuple[list[Row], list[Row]]:
    """The rows of a change's entries and payments, made before its transaction begins, which others wait for."""
    order = change.order
    entries = [entry_row(order.id, entry) for entry in change.entries]
    if not order.payments:
        return entries, []
    paid = change.payments
    before = len(order.payments) - len(paid)
    return entries, [payment_row(order.id, number, payment) for number, payment in enumerate(paid, before + 1)]


def _write(cursor: Cursor, change: Change, entries: list[Row], payments: list[Row]) -> None:
    """Write a change in an open transaction; where it is refused, nothing of it is written."""
    order = change.order
    if change.key is not None and cursor.execute(_KEYED, (change.key,)).fetchall():
        raise KeyReused(f"the key {change.key!r} was committed before")
    on_hand = stock.moved(cursor, order.id, change.stock) if change.stock else {}
    if change.expected:
        _update(cursor, order, change.expected)
    elif not cursor.execute(_INSERT_ORDER, order_row(order)).rowcount:
        raise OrderExists(f"there is an order {order.id!r} already")
    # From here on nothing is refused.
    if change.key is not None:
        keyed = (change.key, order.id, change.expected + 1, order.version, change.content or "")
        cursor.execute(_INSERT_KEY, keyed)
    cursor.executemany(_INSERT_ENTRY, entries)
    if payments:
        cursor.executemany(_INSERT_PAYMENT, payments)
    if on_hand:
        stock.put_all(cursor, on_hand)
    if change.messages:
        outbox.put(cursor, change.messages)


def _update(cursor: Cursor, order: Order, expected: int) -> None:
    due = refund_is_due(order)
    values: Row = (order.state, order.counted, order.version, time_text(order.updated_at), due, order.id, expected)
    if not cursor.execute(_UPDATE_ORDER, values).rowcount:
        _expect(cursor, order.id, expected)


def _expect(cursor: Cursor, order_id: str, version: int) -> None:
    rows = cursor.execute(_VERSION, (order_id,)).fetchall()
    if not rows:
        raise _not_found(order_id)
    if rows[0][0] != version:
        raise VersionConflict(f"order {order_id!r} is at version {rows[0][0]}, not {version}: load it again")


def _not_found(order_id: str) -> StoreError:
    return OrderNotFound(f"there is no order {order_id!r}")
