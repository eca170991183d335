"""The outbox of the SQLite store: statements on order_fsm_message and order_fsm_dead_letter."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from sqlite3 import Cursor

from order_fsm.model import Message
from order_fsm_adapters.places import time_text
from order_fsm_adapters.sqlite.rows import Row, message_of, message_row
from order_fsm_adapters.sqlite.seals import check, sealed

_INSERT = """
    INSERT INTO order_fsm_message (id, order_id, topic, payload, created_at, seal, attempts)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""

_CLAIM = """
    UPDATE order_fsm_message SET not_before = :until WHERE number IN (
        SELECT number FROM order_fsm_message AS one
        WHERE ifnull(not_before, '') <= :now AND NOT EXISTS (
            SELECT 1 FROM order_fsm_message AS earlier
            WHERE earlier.order_id = one.order_id AND earlier.number < one.number AND earlier.not_before > :now
        )
        ORDER BY number LIMIT :limit
    )
    RETURNING number, id, order_id, topic, payload, created_at, seal, attempts
"""

_DELIVERED = "DELETE FROM order_fsm_message WHERE id = ?"

_GIVE_BACK = "UPDATE order_fsm_message SET not_before = NULL WHERE order_id = ?"

_POSTPONE = "UPDATE order_fsm_message SET attempts = attempts + 1, not_before = ? WHERE id = ?"

_GIVE_UP = """
    INSERT INTO order_fsm_dead_letter (order_id, id, topic, payload, created_at, seal, attempts)
    SELECT order_id, id, topic, payload, created_at, seal, attempts + 1 FROM order_fsm_message WHERE id = ?
"""

_DEAD_LETTERS = """
    SELECT id, order_id, topic, payload, created_at, seal, attempts
    FROM order_fsm_dead_letter ORDER BY created_at, order_id, id LIMIT ?
"""

# With a number of its own it is behind the others of its order.
_REVIVE = """
    INSERT INTO order_fsm_message (id, order_id, topic, payload, created_at, seal, attempts)
    SELECT id, order_id, topic, payload, created_at, seal, 0 FROM order_fsm_dead_letter WHERE order_id = ? AND id = ?
"""

_REVIVED = "DELETE FROM order_fsm_dead_letter WHERE order_id = ? AND id = ?"

_FORGET = (
    "DELETE FROM order_fsm_message WHERE order_id = ?",
    "DELETE FROM order_fsm_dead_letter WHERE order_id = ?",
)


def put(cursor: Cursor, messages: Iterable[Message]) -> None:
    """Add messages, after all that are there."""
    cursor.executemany(_INSERT, ((*sealed(message_row(message)), message.attempts) for message in messages))


def sealed_message(row: Row) -> Message:
    """The message of a row with the columns of `message_row`, its seal and its attempts.

    Raises:
        StoreCorrupt: it is not as it was written.
    """
    check(row[:-1], "message", row[0])
    return message_of(row[:-2], row[-1])


def claim(cursor: Cursor, now: datetime, until: datetime, limit: int) -> list[Message]:
    """See `Store.claim`."""
    values = {"now": time_text(now), "until": time_text(until), "limit": limit}
    # The rows of an update come in no order.
    return [sealed_message(row[1:]) for row in sorted(cursor.execute(_CLAIM, values).fetchall())]


def delivered(cursor: Cursor, message: Message) -> None:
    """See `Store.delivered`."""
    cursor.execute(_DELIVERED, (message.id,))


def postpone(cursor: Cursor, message: Message, until: datetime | None) -> None:
    """See `Store.postpone`."""
    cursor.execute(_GIVE_BACK, (message.order_id,))
    if until is None:
        cursor.execute(_GIVE_UP, (message.id,))
        cursor.execute(_DELIVERED, (message.id,))
    else:
        cursor.execute(_POSTPONE, (time_text(until), message.id))


def dead_letters(cursor: Cursor, limit: int) -> list[Message]:
    """See `Store.dead_letters`."""
    return [sealed_message(row) for row in cursor.execute(_DEAD_LETTERS, (limit,)).fetchall()]


def revive(cursor: Cursor, message: Message) -> None:
    """See `Store.revive`."""
    for statement in (_REVIVE, _REVIVED):
        cursor.execute(statement, (message.order_id, message.id))


def forget(cursor: Cursor, order_id: str) -> None:
    """Remove all messages of an order."""
    for statement in _FORGET:
        cursor.execute(statement, (order_id,))
