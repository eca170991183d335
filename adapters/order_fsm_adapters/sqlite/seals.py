"""Seals: SHA-256 digests kept beside the rows, by which a row that is not as it was written is found when it is read.

The entries of an order form a chain. It begins with the seal of what the order was created with; the seal of an entry
is over the seal before it and the entry. So an entry that was changed, removed, inserted or moved is found, by the
first that does not follow. The order's row keeps the first seal of the chain and the last one, and a seal of its own
over both, over what else it says and over its ledger. Keys, stock and messages have a seal each, over the row alone.

What is sealed is the row as SQLite gives it back, in MessagePack, which has one form for each text and whole number.

No secret is part of a seal. It shows accidents and edits, not the work of somebody who makes all seals anew. Nor does
it show rows that are gone as a whole (an order with all its entries, a key, a message), or what indexes alone say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from sqlite3 import Cursor

import msgspec

from order_fsm.errors import StoreCorrupt
from order_fsm_adapters.sqlite.rows import Row

_encode = msgspec.msgpack.Encoder().encode

CREATED = 8
CURRENT = CREATED + 5
LEDGER = CURRENT + 3
"""Where in a row of an order the parts end: what it was created with, what it is now, and its three seals. Behind them
is a row of its ledger."""

_PAGE = 500


def seal(row: Row, before: bytes = b"") -> bytes:
    """The seal of a row.

    Args:
        row: of text, whole numbers, bytes and None.
        before: the seal that it follows.
    """
    return sha256(before + _encode(row)).digest()


def chained(before: bytes, entries: Sequence[Row]) -> list[Row]:
    """Rows of entries, each with its seal behind it.

    Args:
        before: the seal that the first one follows.
        entries: one or more, in sequence.
    """
    sealed = []
    for entry in entries:
        before = seal(entry, before)
        sealed.append((*entry, before))
    return sealed


def of_order(created: bytes, last: bytes, current: Row, ledger: Sequence[Row]) -> bytes:
    """The seal of an order's row.

    Args:
        created: the seal of what it was created with.
        last: the seal of its last entry.
        current: what it is now.
        ledger: the columns of its payments from `number` on.
    """
    return seal((created, current, ledger), last)


def check_order(rows: Sequence[Row]) -> None:
    """See that an order and its ledger are as they were written.

    Args:
        rows: its columns and its seals, each with one row of the ledger, or with none.

    Raises:
        StoreCorrupt: they are not.
    """
    row = rows[0]
    created, last, sealed = row[CURRENT:LEDGER]
    ledger = [] if row[LEDGER] is None else [one[LEDGER:] for one in rows]
    if created != seal(row[:CREATED]) or sealed != of_order(created, last, row[CREATED:CURRENT], ledger):
        raise _corrupt(f"order {row[0]!r}")


def check_history(order_id: str, rows: Sequence[Row]) -> list[Row]:
    """See that the history of an order is as it was written.

    Args:
        order_id: whose it is.
        rows: the first and the last seal and the version of the order, each with the columns of an entry and its seal,
            or with none.

    Returns:
        The columns of the entries.

    Raises:
        StoreCorrupt: it is not; the message names the first entry that does not follow.
    """
    before, last, version = rows[0][:3]
    entries: list[Row] = []
    for number, row in enumerate(rows, 1):
        entry = row[3:-1]
        if entry[1] != number or seal(entry, before) != row[-1]:
            raise _corrupt(f"entry {number} of order {order_id!r}")
        before = row[-1]
        entries.append(entry)
    if before != last or len(entries) != version:
        raise StoreCorrupt(
            f"order {order_id!r}: its history ends with entry {len(entries)}, which is not the last one that was"
            " written; restore it from a backup"
        )
    return entries


def check(what: str, name: object, row: Row, sealed: bytes) -> None:
    """See that a row is as it was written.

    Args:
        what: kind of row it is, for the message.
        name: its name, for the message.
        row: its columns.
        sealed: the seal that is kept beside it.

    Raises:
        StoreCorrupt: it is not.
    """
    if seal(row) != sealed:
        raise _corrupt(f"{what} {name!r}")


def seal_all(cursor: Cursor) -> None:
    """Seal the rows of a database that has none yet, as they stand."""
    for table, key, columns in _ALONE:
        statement = f"UPDATE {table} SET seal = ? WHERE ({key}) = ({_marks(key)})"  # noqa: S608 - names of this file
        for place, row in _paged(cursor, table, key, columns):
            cursor.execute(statement, (seal(row), *place))
    for place, row in _paged(cursor, "order_fsm_order", "id", _ORDER):
        created = last = seal(row[:CREATED])
        for entry in cursor.execute(_ENTRIES, place).fetchall():
            last = seal(entry, last)
            cursor.execute("UPDATE order_fsm_entry SET seal = ? WHERE order_id = ? AND version = ?", (last, *entry[:2]))
        sealed = of_order(created, last, row[CREATED:], cursor.execute(_LEDGER, place).fetchall())
        cursor.execute(_SEAL_ORDER, (created, last, sealed, *place))


# As they were when seals came; what seals later tables belongs to the step that makes those.
_ALONE = (
    ("order_fsm_key", "key", "key, order_id, first, last, content"),
    ("order_fsm_stock", "sku", "sku, on_hand"),
    ("order_fsm_message", "number", "id, order_id, topic, payload, created_at"),
    ("order_fsm_dead_letter", "order_id, id", "id, order_id, topic, payload, created_at"),
)
_ORDER = """
    id, total, currency, customer, email, lines, data, created_at, state, counted, version, updated_at, refund_is_due
"""
_ENTRIES = """
    SELECT order_id, version, trigger, state_before, state_after, at, by, comment, visible, notify, key, override, facts
    FROM order_fsm_entry WHERE order_id = ? ORDER BY version
"""
_LEDGER = """
    SELECT number, kind, amount, reference, at, version FROM order_fsm_payment WHERE order_id = ? ORDER BY number
"""
_SEAL_ORDER = "UPDATE order_fsm_order SET created_seal = ?, last_seal = ?, seal = ? WHERE id = ?"


def _marks(key: str) -> str:
    return ", ".join("?" for _ in key.split(","))


def _paged(cursor: Cursor, table: str, key: str, columns: str) -> Iterator[tuple[Row, Row]]:
    """The rows of a table, each with its key before it, a page at a time: they are changed meanwhile."""
    width = len(key.split(","))
    rows = f"SELECT {key}, {columns} FROM {table}"  # noqa: S608 - names of this file
    order = f"ORDER BY {key} LIMIT {_PAGE}"
    page = cursor.execute(f"{rows} {order}").fetchall()
    while page:
        yield from ((row[:width], row[width:]) for row in page)
        after = page[-1][:width]
        page = cursor.execute(f"{rows} WHERE ({key}) > ({_marks(key)}) {order}", after).fetchall()


def _corrupt(what: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{what} is not as it was written, or does not follow what was written before it; restore it from a backup"
    )
