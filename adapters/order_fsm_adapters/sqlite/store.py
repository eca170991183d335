"""Orders in SQLite: in a file of the store's own, or in the shop's database beside the shop's tables."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from sqlite3 import Connection, Cursor

from order_fsm.errors import (
    InvalidInput,
    KeyReused,
    OrderExists,
    OrderNotFound,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    VersionConflict,
)
from order_fsm.model import (
    EXACT,
    ZERO,
    Change,
    Entry,
    Keyed,
    Message,
    Order,
    Query,
    Tally,
    plus,
)
from order_fsm_adapters.sqlite import inspection, outbox, seals, search, stock
from order_fsm_adapters.sqlite.file import OwnFile
from order_fsm_adapters.sqlite.host import HostConnection
from order_fsm_adapters.sqlite.rows import (
    Row,
    created_row,
    current_row,
    entry_of,
    entry_row,
    money,
    order_of,
    payment_row,
)

_OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""

_ORDER = """
    SELECT id, total, currency, customer, email, lines, data, created_at,
        state, counted, one.version, updated_at, refund_is_due,
        created_seal, last_seal, seal,
        number, kind, amount, reference, at, paid.version
    FROM order_fsm_order AS one LEFT JOIN order_fsm_payment AS paid ON order_id = id
    WHERE id = ? ORDER BY number
"""
"""The order with each row of its ledger, or once with none."""

_PLACE = "SELECT created_at, id FROM order_fsm_order WHERE id = ?"
_VERSION = "SELECT version, created_seal, last_seal FROM order_fsm_order WHERE id = ?"
_ENTRIES = """
    SELECT created_seal, last_seal, one.version,
        order_id, entry.version, trigger, state_before, state_after, at, by, comment, visible, notify, key, override,
        facts, entry.seal
    FROM order_fsm_order AS one LEFT JOIN order_fsm_entry AS entry ON order_id = id
    WHERE id = ? ORDER BY entry.version
"""
_HAS_ENTRIES = "SELECT 1 FROM order_fsm_entry WHERE order_id = ? LIMIT 1"
_KEYED = "SELECT key, order_id, first, last, content, seal FROM order_fsm_key WHERE key = ?"

_INSERT_ORDER = """
    INSERT INTO order_fsm_order (id, total, currency, customer, email, lines, data, created_at,
        state, counted, version, updated_at, refund_is_due, created_seal, last_seal, seal)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
# What else an order has never changes after its creation.
_UPDATE_ORDER = """
    UPDATE order_fsm_order
    SET state = ?, counted = ?, version = ?, updated_at = ?, refund_is_due = ?, last_seal = ?, seal = ? WHERE id = ?
"""
_INSERT_ENTRY = """
    INSERT INTO order_fsm_entry (order_id, version, trigger, state_before, state_after, at, by, comment, visible,
        notify, key, override, facts, seal)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_PAYMENT = """
    INSERT INTO order_fsm_payment (order_id, number, kind, amount, reference, at, version) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_KEY = """
    INSERT INTO order_fsm_key (key, order_id, first, last, content, seal) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO NOTHING
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

_TALLY = """
    SELECT state, currency, refund_is_due, total, count(*) FROM order_fsm_order GROUP BY 1, 2, 3, 4
"""
_TALLY_OF_CUSTOMER = """
    SELECT state, currency, refund_is_due, total, count(*) FROM order_fsm_order WHERE customer = ? GROUP BY 1, 2, 3, 4
"""


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
        return _order(self._database.rows(_ORDER, (order_id,)) or self._looked_up_again(_ORDER, order_id))

    def history(self, order_id: str) -> tuple[Entry, ...]:
        rows = self._database.rows(_ENTRIES, (order_id,)) or self._looked_up_again(_ENTRIES, order_id)
        return tuple(map(entry_of, seals.check_history(order_id, rows)))

    def _looked_up_again(self, statement: str, order_id: str) -> list[Row]:
        """What there is of an order that was not found; an order that is lost still has entries."""
        with self._database.reading() as cursor:
            rows = cursor.execute(statement, (order_id,)).fetchall()
            if not rows:
                if cursor.execute(_HAS_ENTRIES, (order_id,)).fetchall():
                    raise StoreCorrupt(
                        f"order {order_id!r} is gone, and its history is there; restore it from a backup"
                    )
                raise _not_found(order_id)
            return rows

    def keyed(self, key: str) -> Keyed | None:
        rows = self._database.rows(_KEYED, (key,))
        if not rows:
            return None
        *row, sealed = rows[0]
        seals.check("key", key, tuple(row), sealed)
        return Keyed(*row[1:])

    def commit(self, change: Change) -> None:
        order = change.order
        entries = [entry_row(order.id, entry) for entry in change.entries]
        payments = [payment_row(order.id, number, payment) for number, payment in enumerate(order.payments, 1)]
        paid = payments[len(payments) - len(change.payments) :]
        current = current_row(order)
        fixed = () if change.expected else created_row(order)
        with self._database.writing() as cursor:
            if change.key is not None:
                keyed = (change.key, order.id, change.expected + 1, order.version, change.content or "")
                if not cursor.execute(_INSERT_KEY, (*keyed, seals.seal(keyed))).rowcount:
                    raise KeyReused(f"the key {change.key!r} was committed before")
            if change.expected:
                created, before = _seals_at(cursor, order.id, change.expected)
            else:
                created = before = seals.seal(fixed)
            entries = seals.chained(before, entries)
            last = entries[-1][-1]
            seal = seals.of_order(created, last, current, [payment[1:] for payment in payments])
            if change.expected:
                cursor.execute(_UPDATE_ORDER, (*current, last, seal, order.id))
            elif not cursor.execute(_INSERT_ORDER, (*fixed, *current, created, last, seal)).rowcount:
                raise OrderExists(f"there is an order {order.id!r} already")
            cursor.executemany(_INSERT_ENTRY, entries)
            if paid:
                cursor.executemany(_INSERT_PAYMENT, paid)
            if change.stock:
                stock.move(cursor, order.id, change.stock)
            if change.messages:
                outbox.put(cursor, change.messages)

    def find(self, query: Query) -> list[Order]:
        with self._database.reading() as cursor:
            after = search.START
            if query.after is not None:
                rows = cursor.execute(_PLACE, (query.after,)).fetchall()
                if not rows:
                    raise _not_found(query.after)
                after = rows[0]
            found = search.found(cursor, query, after)
            return [_listed(query, place, cursor.execute(_ORDER, place[1:]).fetchall()) for place in found]

    def tally(self, customer: str | None) -> list[Tally]:
        if customer is None:
            rows = self._database.rows(_TALLY, ())
        else:
            rows = self._database.rows(_TALLY_OF_CUSTOMER, (customer,))
        # Summed here, as SQLite would sum in floating point.
        groups: dict[tuple[str, str, bool], tuple[int, Decimal]] = {}
        for state, currency, due, total, number in rows:
            group = (state, currency, bool(due))
            orders, sum_of_totals = groups.get(group, (0, ZERO))
            groups[group] = (orders + number, plus(sum_of_totals, EXACT.multiply(money(total), number)))
        return [Tally(*group, *sums) for group, sums in groups.items()]

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
            _seals_at(cursor, order.id, order.version)
            for statement in _REMOVE:
                cursor.execute(statement, {"id": order.id})
            outbox.forget(cursor, order.id)

    # What an audit asks for

    def order_ids(self) -> Iterator[str]:
        return inspection.order_ids(self._database.rows)

    def messages(self) -> Iterator[Message]:
        return map(outbox.sealed_message, inspection.messages(self._database.rows))

    def faults(self) -> list[str]:
        with self._database.reading() as cursor:
            return inspection.faults(cursor)


def _file(path: object) -> str:
    """The one name of a file, wherever the program goes and by whatever link it is called."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(name, str) or name in {"", ":memory:"} or "\0" in name:
        raise InvalidInput(f"path must be that of a file, such as 'shop.db', not {path!r:.80}")
    return os.path.realpath(name)


def _order(rows: list[Row]) -> Order:
    seals.check_order(rows)
    return order_of(rows)


def _listed(query: Query, place: search.Place, rows: list[Row]) -> Order:
    """The order that an index has at a place."""
    if rows:
        order = _order(rows)
        fits = query.when.matches(order.statuses) and (query.customer is None or order.customer == query.customer)
        if fits and rows[0][seals.CREATED - 1] == place[0]:
            return order
    raise StoreCorrupt(f"an index does not fit order {place[1]!r}: mend the indexes with SQLite's REINDEX")


def _seals_at(cursor: Cursor, order_id: str, version: int) -> tuple[bytes, bytes]:
    """The first and the last seal of an order's history, if the order is at this version."""
    rows = cursor.execute(_VERSION, (order_id,)).fetchall()
    if not rows:
        raise _not_found(order_id)
    present, created, last = rows[0]
    if present != version:
        raise VersionConflict(f"order {order_id!r} is at version {present}, not {version}: load it again")
    return created, last


def _not_found(order_id: str) -> StoreError:
    return OrderNotFound(f"there is no order {order_id!r}")
