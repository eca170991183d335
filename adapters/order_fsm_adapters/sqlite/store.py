"""Orders in SQLite: in a file of the store's own, or in the shop's database beside the shop's tables."""

from __future__ import annotations

import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from sqlite3 import Connection, Cursor

from order_fsm.errors import InvalidInput, OrderFsmError, StoreCorrupt, StoreError, StoreUnavailable
from order_fsm.model import Entry, Message, Order
from order_fsm.store import Change, Keyed, Query, Tally, refusal
from order_fsm_adapters.finding import matches
from order_fsm_adapters.places import START, Place, place
from order_fsm_adapters.sqlite import commits, inspection, outbox, seals, search, stock
from order_fsm_adapters.sqlite.file import OwnFile
from order_fsm_adapters.sqlite.host import HostConnection
from order_fsm_adapters.sqlite.rows import LAST_SEAL, Row, entry_of, order_of

_OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""

_PLACE = "SELECT created_at, id FROM order_fsm_order WHERE id = ?"
ENTRIES = """
    SELECT order_id, version, trigger, state_before, state_after, at, by, comment, visible, notify, key, override,
        facts, seal
    FROM order_fsm_entry WHERE order_id = ? ORDER BY version
"""
_ORDERS_KEPT = 500
"""So many orders are kept with their rows, as they were last read or written: those that came to be kept last."""

_KEYED = "SELECT key, order_id, first, last, content, seal FROM order_fsm_key WHERE key = ?"


class SqliteStore:
    """A store in SQLite, with all guarantees, for several threads and processes.

    With a path it owns the file, with `.lock`, `-wal` and `-shm` beside it. With a connection it is a guest: what it
    writes is part of the shop's transaction, and is durable, undone and seen by others as the shop's own rows are. Then
    the shop commits, as after any statement of its own that changes rows: where no transaction is open, the first
    write begins one. A call that raises leaves what the shop wrote before it; only where the disk fails or is full may
    SQLite roll the whole transaction back, and then the error says so. Threads and forks are the shop's concern too:
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
        self._kept: OrderedDict[str, tuple[Row, Order]] = OrderedDict()
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
        found = self._database.rows(commits.ORDER, (order_id,)) or self._looked_up_again(order_id)
        kept = self._kept.get(order_id)
        if kept is not None and found == [kept[0]]:
            return kept[1]  # The row is the same, so it is not checked and read once more.
        row = commits.sealed_row(order_id, found)
        order = order_of(row)
        self._keep(row, order)
        return order

    def _looked_up_again(self, order_id: str) -> list[Row]:
        """The row of an order that was not found. One that is lost still has entries."""
        with self._database.reading() as cursor:
            found = cursor.execute(commits.ORDER, (order_id,)).fetchall()
            if not found and cursor.execute(ENTRIES, (order_id,)).fetchone():
                raise _lost(order_id)
            return found

    def _keep(self, row: Row, order: Order) -> None:
        self._kept[order.id] = row, order
        if len(self._kept) > _ORDERS_KEPT:
            self._kept.popitem(last=False)

    def recall(self, order_id: str) -> Order | None:
        kept = self._kept.get(order_id)
        return None if kept is None else kept[1]

    def history(self, order_id: str) -> tuple[Entry, ...]:
        with self._database.reading() as cursor:
            orders = cursor.execute(commits.ORDER, (order_id,)).fetchall()
            entries = cursor.execute(ENTRIES, (order_id,)).fetchall()
        if not orders and entries:
            raise _lost(order_id)
        last = commits.sealed_row(order_id, orders)[LAST_SEAL]
        return tuple(map(entry_of, seals.checked_history(order_id, last, entries)))

    def keyed(self, key: str) -> Keyed | None:
        found = self._database.rows(_KEYED, (key,))
        if not found:
            return None
        seals.check(found[0], "key", key)
        return Keyed(*found[0][1:5])

    def commit(self, change: Change) -> None:
        ahead = self._rows_ahead(change)
        try:
            row = self._database.write(partial(commits.write, change, ahead))
        except StoreError:
            self._kept.pop(change.order.id, None)
            raise
        self._keep(row, change.order)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        ahead = [(one, self._rows_ahead(one)) for one in changes]
        written: list[tuple[Row, Order]] = []

        def write(change: Change, rows: commits.Rows | None, cursor: Cursor) -> None:
            written.append((commits.write(change, rows, cursor), change.order))

        errors = self._database.write(lambda cursor: [refusal(partial(write, *one, cursor)) for one in ahead])
        for change, error in zip(changes, errors, strict=True):
            if error is not None:
                self._kept.pop(change.order.id, None)
        for row, order in written:
            self._keep(row, order)
        return errors

    def _rows_ahead(self, change: Change) -> commits.Rows | None:
        """The rows of a change, made before its transaction begins, which others wait for; None where more is to be
        known."""
        if not change.expected:
            return commits.rows(change, None)
        kept = self._kept.get(change.order.id)
        if kept is None:
            return None
        row, order = kept
        # A row of another moment would be compared with what the change was not decided on.
        known = order.version == change.expected if change.recalled is None else order is change.recalled
        return commits.rows(change, row) if known else None

    def find(self, query: Query) -> list[Order]:
        with self._database.reading() as cursor:
            after = START
            if query.after is not None:
                rows = cursor.execute(_PLACE, (query.after,)).fetchall()
                if not rows:
                    raise commits.not_found(query.after)
                after = rows[0]
            found = search.found(cursor, query, after)
            return [_listed(query, at, cursor.execute(commits.ORDER, at[1:]).fetchall()) for at in found]

    def tally(self, customer: str | None) -> list[Tally]:
        with self._database.reading() as cursor:
            try:
                return search.kept_tally(cursor) if customer is None else search.tally(cursor, customer)
            except TypeError as error:
                raise StoreCorrupt(
                    f"what orders are counted by is not as it was written: {error}; restore it from a backup"
                ) from error

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        with self._database.reading() as cursor:
            return stock.on_hand(cursor, skus)

    def set_stock(self, sku: str, on_hand: int) -> None:
        self._database.write(lambda cursor: stock.put(cursor, {sku: on_hand}))

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return self._database.write(lambda cursor: outbox.claim(cursor, now, until, limit))

    def delivered(self, message: Message) -> None:
        self._database.write(lambda cursor: outbox.delivered(cursor, message))

    def postpone(self, message: Message, until: datetime | None) -> None:
        self._database.write(lambda cursor: outbox.postpone(cursor, message, until))

    def dead_letters(self, limit: int) -> list[Message]:
        with self._database.reading() as cursor:
            return outbox.dead_letters(cursor, limit)

    def revive(self, message: Message) -> None:
        self._database.write(lambda cursor: outbox.revive(cursor, message))

    def remove(self, order: Order) -> None:
        self._database.write(lambda cursor: commits.remove(cursor, order))
        self._kept.pop(order.id, None)

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


def _lost(order_id: str) -> StoreCorrupt:
    return StoreCorrupt(f"order {order_id!r} is gone, and its history is there; restore it from a backup")


def _listed(query: Query, at: Place, found: list[Row]) -> Order:
    """The order that an index has at a place."""
    if found:
        order = order_of(commits.sealed_row(at[1], found))
        if matches(query, order) and place(order) == at:
            return order
    raise StoreCorrupt(f"an index does not fit order {at[1]!r}: mend the indexes with SQLite's REINDEX")
