"""The index of the orders in a folder: what finding and counting ask, so that they need not read every order.

    index/orders.db       a row for each file of an order, in SQLite
    index/changes         the names of files that were, or were to be, written since; a line each

It is only a cache: who deletes it loses nothing, and the next question makes it anew. It is there from the first
question on. From then on a writer notes the name of a file before writing it, under the lock of the order; a question
first reads those files again, each under the lock of its order, so that it waits for a write that is under way. What
changed without a note (a file restored or edited by hand, the last notes lost with the power) is noticed by the first
question of each process: it compares the size, time and inode of every file with those that were indexed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from sqlite3 import Cursor
from threading import Lock
from typing import TypeVar

from order_fsm.errors import StoreCorrupt, StoreError
from order_fsm.store import Query, Tally
from order_fsm_adapters.finding import refund_is_due
from order_fsm_adapters.json_files.change_notes import ChangeNotes
from order_fsm_adapters.json_files.durable_files import disk_errors
from order_fsm_adapters.json_files.order_file import OrderFile
from order_fsm_adapters.json_files.order_files import ENDING, OrderFiles
from order_fsm_adapters.json_files.order_locks import OrderLocks
from order_fsm_adapters.places import Place, time_text
from order_fsm_adapters.sqlite import search
from order_fsm_adapters.sqlite.file import OwnFile
from order_fsm_adapters.sqlite.rows import Row

T = TypeVar("T")
R = TypeVar("R", bound=Row)

_CHANGES_LIMIT = 1_000_000
"""The size from which on the notes that were read are thrown away, in bytes."""

# With the names of the SQLite store, so that its searches serve here too. A row of a broken file has no id.
_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS order_fsm_order (
        name TEXT NOT NULL PRIMARY KEY,
        stamp TEXT NOT NULL,
        id TEXT,
        state TEXT,
        currency TEXT,
        total TEXT,
        customer TEXT,
        created_at TEXT,
        refund_is_due INTEGER,
        dead_letters INTEGER
    ) STRICT
    """,
    """
    CREATE INDEX IF NOT EXISTS order_fsm_order_by_state
    ON order_fsm_order (state, created_at, id, currency, refund_is_due, total)
    """,
    "CREATE INDEX IF NOT EXISTS order_fsm_order_by_customer ON order_fsm_order (customer, created_at, id)",
    """
    CREATE INDEX IF NOT EXISTS order_fsm_order_refund_due ON order_fsm_order (created_at, id) WHERE refund_is_due = 1
    """,
    "CREATE INDEX IF NOT EXISTS order_fsm_order_dead_letters ON order_fsm_order (name) WHERE dead_letters > 0",
    "CREATE INDEX IF NOT EXISTS order_fsm_order_broken ON order_fsm_order (name) WHERE id IS NULL",
    "CREATE TABLE IF NOT EXISTS order_fsm_index (seen INTEGER NOT NULL) STRICT",
    "INSERT INTO order_fsm_index SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM order_fsm_index)",
)
_SEEN = "SELECT seen, EXISTS (SELECT 1 FROM order_fsm_order WHERE id IS NULL) FROM order_fsm_index"
_STAMPS = "SELECT name, stamp FROM order_fsm_order"
_BROKEN = "SELECT name FROM order_fsm_order WHERE id IS NULL"
_ROW = """
    SELECT id, state, currency, total, customer, created_at, refund_is_due, dead_letters FROM order_fsm_order
    WHERE name = ?
"""
_DEAD_LETTERS = "SELECT name FROM order_fsm_order WHERE dead_letters > 0"
_PUT = "INSERT OR REPLACE INTO order_fsm_order VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_log = logging.getLogger(__name__)


class OrderIndex:
    """The index of the files in a folder, shared by all processes."""

    def __init__(self, folder: str, files: OrderFiles, locks: OrderLocks) -> None:
        """Name the parts; nothing is opened or made yet.

        Args:
            folder: of the index.
            files: what is indexed.
            locks: keep writers of the files out.
        """
        self._folder = folder
        self._notes = ChangeNotes(os.path.join(folder, "changes"))
        self.note = self._notes.add
        self._files = files
        self._locks = locks
        self._opening = Lock()
        self._database: OwnFile | None = None
        self._compared = False
        self._broken: list[str] = []

    def found(self, query: Query, after: Place) -> list[Place]:
        """The places of the orders that a query describes, oldest first; its `after` is not looked at.

        Raises:
            StoreError: the index cannot be read or brought up to date; as it is only a cache, read the orders.
        """

        def found(cursor: Cursor) -> list[Place]:
            places = _texts(search.found(cursor, query, after))
            if not all(one < other for one, other in pairwise([after, *places])):
                raise StoreCorrupt("it is not in its sequence")
            return places

        return self._asked(found)

    def tally(self, customer: str | None) -> list[Tally]:
        """See `Store.tally`; raises as `found` does."""

        def tally(cursor: Cursor) -> list[Tally]:
            try:
                return search.tally(cursor, customer)
            except TypeError as error:
                raise StoreCorrupt(_NO_TEXT) from error

        return self._asked(tally)

    def with_dead_letters(self) -> list[str]:
        """The names of the files with dead letters; raises as `found` does."""
        return self._asked(lambda cursor: _names(cursor.execute(_DEAD_LETTERS).fetchall()))

    def faults(self) -> list[str]:
        """What it says otherwise than the files of the orders, for an audit, and what was found broken in it since the
        last one: it is made anew then, but some may have been answered wrongly before."""
        # Where it cannot be kept, nobody is answered from it.
        with suppress(StoreError):
            self._asked(_intact)
            for name in self._files.names():
                self._compare(name)
        broken, self._broken = self._broken, []
        return [f"the index of the orders was broken, and is made anew: {why}" for why in broken]

    def _compare(self, name: str) -> None:
        before = _columns(self._files.read_unless_broken(name))

        def compare(cursor: Cursor) -> None:
            # One that is gone meanwhile has no row, and is read as one that is broken: as nothing.
            said = cursor.execute(_ROW, (name,)).fetchone() or _columns(None)
            # Where others have changed the order meanwhile, nothing is known.
            if said != before == _columns(self._files.read_unless_broken(name)):
                raise StoreCorrupt(f"it is wrong about the file {name}{ENDING}")

        self._asked(compare)

    def close(self) -> None:
        """Close the files; the next question opens them again."""
        with self._opening:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _asked(self, ask: Callable[[Cursor], T]) -> T:
        try:
            database = self._opened()
            if self._is_behind(database):
                database.write(self._catch_up)
                self._compared = True
            with database.reading() as cursor:
                return ask(cursor)
        except StoreCorrupt as error:
            _log.warning("the index of the orders is broken, and will be made anew: %s", error)
            self._broken.append(str(error))
            self._discard()
            raise

    def _opened(self) -> OwnFile:
        with self._opening:
            if self._database is None:
                with disk_errors(self._folder), suppress(FileExistsError):
                    os.mkdir(self._folder)
                self._database = OwnFile(os.path.join(self._folder, "orders.db"), _prepare, durable=False)
            return self._database

    def _discard(self) -> None:
        self.close()
        with disk_errors(self._folder):
            for name in os.listdir(self._folder):
                if name.startswith("orders.db") and not name.endswith(".lock"):
                    with suppress(FileNotFoundError):
                        os.unlink(os.path.join(self._folder, name))
        self._compared = False

    def _is_behind(self, database: OwnFile) -> bool:
        seen, broken = _seen(database.rows(_SEEN, ()))
        return not self._compared or broken or seen != self._notes.size()

    def _catch_up(self, cursor: Cursor) -> None:
        """Read again what was written since, or, where that is not known, what differs."""
        if self._notes.size() < 0:
            self._notes.make()
            with self._locks.all_held():
                pass  # Whoever was writing without a note has written.
            self._compared = False
        seen, _ = _seen(cursor.execute(_SEEN).fetchall())
        names, end = self._notes.since(seen)
        if not self._compared or seen > end:
            names |= self._differing(cursor)
        names.update(_names(cursor.execute(_BROKEN).fetchall()))
        for name in names:
            self._put(cursor, name)
        if end > _CHANGES_LIMIT:
            end = self._begin_anew(cursor, end)
        cursor.execute("UPDATE order_fsm_index SET seen = ?", (end,))

    def _begin_anew(self, cursor: Cursor, seen: int) -> int:
        """Throw the notes away, when nobody is adding one."""
        with self._locks.all_held():
            names, _ = self._notes.since(seen)
            self._notes.clear()
        for name in names:
            self._put(cursor, name)
        return 0

    def _differing(self, cursor: Cursor) -> set[str]:
        """The names of the files that are not as they were indexed."""
        indexed: dict[str, str] = dict(cursor.execute(_STAMPS).fetchall())
        present = self._files.stamps()
        names = indexed.keys() | present.keys()
        return set(_names((name,) for name in names if indexed.get(name) != present.get(name)))

    def _put(self, cursor: Cursor, name: str) -> None:
        """Index a file as it is, once nobody is writing it."""
        with self._locks.held(name):
            document = self._files.read_unless_broken(name)
            stamp = self._files.stamp(name)
        if stamp is None:
            cursor.execute("DELETE FROM order_fsm_order WHERE name = ?", (name,))
        else:
            cursor.execute(_PUT, (name, stamp, *_columns(document)))


def _prepare(cursor: Cursor) -> None:
    for statement in _TABLES:
        cursor.execute(statement)


def _seen(rows: list[Row]) -> tuple[int, bool]:
    """How much of the notes was read, and whether there are broken files."""
    match rows:
        case [(int(seen), broken)] if seen >= 0:
            return seen, bool(broken)
    raise StoreCorrupt("it does not say how much of the changes is in it")


def _names(rows: Iterable[Row]) -> list[str]:
    return [name for (name,) in _texts(rows)]


_NO_TEXT = "it holds what is no text in the place of text"


def _texts(rows: Iterable[R]) -> list[R]:
    """Rows that hold nothing but text.

    Raises:
        StoreCorrupt: they hold something else.
    """
    texts = list(rows)
    if not all(isinstance(text, str) for row in texts for text in row):
        raise StoreCorrupt(_NO_TEXT)
    return texts


def _intact(cursor: Cursor) -> None:
    for (said,) in cursor.execute("PRAGMA integrity_check").fetchall():
        if said != "ok":
            raise StoreCorrupt(f"SQLite says: {said}")


def _columns(document: OrderFile | None) -> Row:
    if document is None:
        return (None,) * 8
    order = document.to_order()
    return (
        order.id,
        order.state,
        order.currency,
        str(order.total),
        order.customer,
        time_text(order.created_at),
        refund_is_due(order),
        len(document.dead_letters),
    )
