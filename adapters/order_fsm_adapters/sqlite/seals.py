"""Seals: BLAKE2 digests kept beside the rows, by which a row that is not as it was written is found when it is read.

The entries of an order form a chain: the seal of an entry is over the seal before it and the entry. So an entry that
was changed, removed, inserted or moved is found, by the first that does not follow. The order's row keeps the last seal
of the chain, and one of its own over all that it says. Keys, stock and messages have a seal each.

What is sealed is the row as SQLite gives it back, in MessagePack, which has one form for each text and whole number.

A seal is a bytearray: sqlite3 looks for adapters of bytes before it binds them, which takes five times as long.

No secret is part of a seal. It shows accidents and edits, not the work of somebody who makes all seals anew. Nor does
it show rows that are gone as a whole (an order with all its entries, a key, a message), or what indexes alone say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from order_fsm.errors import StoreCorrupt
from order_fsm_adapters.sqlite.rows import Row

_SIZE = 32
"""Of a seal, in bytes. BLAKE2b is as strong as SHA-256, and quicker for so little."""

_encode = msgspec.msgpack.Encoder().encode


def seal(row: Row, before: bytes | bytearray = b"") -> bytearray:
    """The seal of a row.

    Args:
        row: of text, whole numbers, bytes and None.
        before: the seal that it follows.
    """
    return bytearray(blake2b(before + _encode(row), digest_size=_SIZE).digest())


def sealed(row: Row) -> Row:
    """A row with its seal behind it."""
    return (*row, seal(row))


def chained(before: bytes | bytearray, entries: Iterable[Row]) -> list[Row]:
    """Rows of entries, each with its seal behind it.

    Args:
        before: the seal that the first one follows; none for the first of an order.
        entries: in sequence.
    """
    rows = []
    for entry in entries:
        before = seal(entry, before)
        rows.append((*entry, before))
    return rows


def check(row: Row, what: str, name: object) -> None:
    """See that a row fits its seal, which is its last column.

    Args:
        row: as it was read.
        what: kind of row it is, for the message.
        name: its name, for the message.

    Raises:
        StoreCorrupt: it is not as it was written.
    """
    if seal(row[:-1]) != row[-1]:
        raise _corrupt(f"{what} {name!r}")


def checked_history(order_id: str, last: bytes, rows: Sequence[Row]) -> list[Row]:
    """The entries of an order without their seals.

    Args:
        order_id: whose they are.
        last: the seal that the chain must end with.
        rows: as they were read, by version.

    Raises:
        StoreCorrupt: they are not as they were written; the message names the first entry that does not follow.
    """
    before: bytes | bytearray = b""
    for number, row in enumerate(rows, 1):
        if row[1] != number or seal(row[:-1], before) != row[-1]:
            raise _corrupt(f"entry {number} of order {order_id!r}")
        before = row[-1]
    if before != last:
        raise StoreCorrupt(
            f"order {order_id!r}: its history ends with entry {len(rows)}, which is not the last one that was written;"
            " restore it from a backup"
        )
    return [row[:-1] for row in rows]


def _corrupt(what: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{what} is not as it was written, or does not follow what was written before it; restore it from a backup"
    )
