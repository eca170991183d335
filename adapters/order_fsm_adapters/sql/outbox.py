"""The outbox: statements on order_fsm_message and order_fsm_dead_letter.

Only the oldest message of an order, its head, can be claimed. Messages with remaining recipients are outside this
sequence: each counts as a head. `due` is empty until the first claim. After that it is the end of the lease, or the
time of the next attempt.
"""

from __future__ import annotations

import logging
from datetime import datetime

from msgspec.structs import replace

from order_fsm.erasure import erased_message
from order_fsm.errors import StoreCorrupt
from order_fsm.model import Message
from order_fsm_adapters.sql.codec import time_text
from order_fsm_adapters.sql.database import Row, Transaction
from order_fsm_adapters.sql.rows import MESSAGE_SELECTION, message_of, message_row, remaining_columns

_log = logging.getLogger(__name__)

_INSERT = f"""
    INSERT INTO order_fsm_message ({MESSAGE_SELECTION}, due, head) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', ?)
"""  # noqa: S608
_HAS_HEAD = "SELECT 1 FROM order_fsm_message WHERE order_id = ? AND remaining = '' ORDER BY number DESC LIMIT 1"
_IS_LEASED = "SELECT number FROM order_fsm_message WHERE id = ? AND due = ?"
_MESSAGE = f"SELECT {MESSAGE_SELECTION} FROM order_fsm_message WHERE number = ?"  # noqa: S608
_CLAIMABLE = """
    SELECT number FROM order_fsm_message WHERE head = 1 AND due <= ? ORDER BY due, number LIMIT ? OFFSET ?
"""
_LEASE = "UPDATE order_fsm_message SET due = ? WHERE number = ?"
_RETRY_LATER = "UPDATE order_fsm_message SET due = ?, attempts = attempts + 1 WHERE number = ?"
_DELETE = "DELETE FROM order_fsm_message WHERE number = ?"
_OF_ORDER = "SELECT number FROM order_fsm_message WHERE order_id = ?"
_DEAD_OF_ORDER = "SELECT number FROM order_fsm_dead_letter WHERE order_id = ?"
_EDIT = "UPDATE order_fsm_message SET payload = ?, seal = ? WHERE number = ?"
_EDIT_DEAD = "UPDATE order_fsm_dead_letter SET payload = ?, seal = ? WHERE number = ?"
_NARROW = "UPDATE order_fsm_message SET remaining = ?, seal = ? WHERE number = ?"
_OLDEST = "SELECT number FROM order_fsm_message WHERE order_id = ? AND remaining = '' ORDER BY number LIMIT 1"
_MAKE_HEAD = "UPDATE order_fsm_message SET head = 1 WHERE number = ?"

_INSERT_DEAD = f"""
    INSERT INTO order_fsm_dead_letter ({MESSAGE_SELECTION})
    SELECT id, order_id, topic, payload, created_at, remaining, seal, attempts + 1
    FROM order_fsm_message WHERE number = ?
"""  # noqa: S608
_DEAD = "SELECT number FROM order_fsm_dead_letter ORDER BY created_at, number LIMIT ? OFFSET ?"
_ALL_DEAD = "SELECT number FROM order_fsm_dead_letter"
_DEAD_LETTER = f"SELECT {MESSAGE_SELECTION} FROM order_fsm_dead_letter WHERE number = ?"  # noqa: S608
_DEAD_LETTER_OF = f"SELECT {MESSAGE_SELECTION} FROM order_fsm_dead_letter WHERE id = ?"  # noqa: S608
_DELETE_DEAD = "DELETE FROM order_fsm_dead_letter WHERE id = ?"


def add(transaction: Transaction, message: Message, lock: str) -> None:
    """Append a message.

    Args:
        transaction: has locked the order.
        message: the message.
        lock: the end of the SELECT of earlier messages. Empty for a new order, which has no messages.
    """
    _append(transaction, (*message_row(message), message.attempts), lock)


def claim(transaction: Transaction, now: datetime, until: datetime, limit: int) -> list[Message]:
    """Implement `Store.claim`."""
    found = _readable(transaction, _CLAIMABLE + transaction.skip_locked, (time_text(now),), _MESSAGE, limit)
    end = time_text(until)
    for number, _ in found:
        transaction.run(_LEASE, (end, number))
    return [message for _, message in found]


def delivered(transaction: Transaction, message: Message, until: datetime) -> None:
    """Implement `Store.delivered`."""
    _lock_order(transaction, message.order_id)
    for number in _leased(transaction, message, until):
        _drop(transaction, number, message.order_id)


def retry_later(transaction: Transaction, message: Message, until: datetime, due: datetime | None) -> None:
    """Implement `Store.retry_later`."""
    _lock_order(transaction, message.order_id)
    for number in _leased(transaction, message, until):
        if message.remaining:
            # An erasure may have changed the payload since the claim.
            for row in transaction.rows(_MESSAGE + transaction.latest, (number,)):
                narrowed = replace(message_of(row), remaining=message.remaining)
                transaction.run(_NARROW, (*remaining_columns(narrowed), number))
            _make_head(transaction, message.order_id)
        if due is None:
            transaction.run(_INSERT_DEAD, (number,))
            _drop(transaction, number, message.order_id)
        else:
            transaction.run(_RETRY_LATER, (time_text(due), number))


def dead_letters(transaction: Transaction, limit: int) -> list[Message]:
    """Implement `Store.dead_letters`."""
    return [message for _, message in _readable(transaction, _DEAD, (), _DEAD_LETTER, limit)]


def damaged_dead_letters(transaction: Transaction) -> list[str]:
    """Return a fault for each dead letter that cannot be read."""
    found = []
    for (number,) in transaction.rows(_ALL_DEAD):
        try:
            for row in transaction.rows(_DEAD_LETTER, (number,)):
                message_of(row)
        except StoreCorrupt as error:
            found.append(f"dead letter {number}: {error}")
    return found


def requeue(transaction: Transaction, message: Message) -> None:
    """Implement `Store.requeue`."""
    _lock_order(transaction, message.order_id)
    for row in transaction.rows(_DEAD_LETTER_OF + transaction.latest, (message.id,)):
        transaction.run(_DELETE_DEAD, (message.id,))
        _append(transaction, (*row[:-1], 0), transaction.latest or transaction.for_update)


def forget(transaction: Transaction, order_id: str) -> None:
    """Delete all messages and dead letters of an order."""
    transaction.run("DELETE FROM order_fsm_message WHERE order_id = ?", (order_id,))
    transaction.run("DELETE FROM order_fsm_dead_letter WHERE order_id = ?", (order_id,))


def erase(transaction: Transaction, order_id: str) -> None:
    """Blank the personal values in an order's messages and dead letters.

    Raises:
        StoreCorrupt: if a message or dead letter is damaged.
    """
    for numbers, select, update in ((_OF_ORDER, _MESSAGE, _EDIT), (_DEAD_OF_ORDER, _DEAD_LETTER, _EDIT_DEAD)):
        for (number,) in transaction.rows(numbers + transaction.latest, (order_id,)):
            for row in transaction.rows(select + transaction.latest, (number,)):
                edited = message_row(erased_message(message_of(row)))
                transaction.run(update, (edited[3], edited[6], number))


def _lock_order(transaction: Transaction, order_id: str) -> None:
    """Lock an order, so that no commit adds a message concurrently."""
    if transaction.lock_order:
        transaction.run(transaction.lock_order, (order_id,))


def _leased(transaction: Transaction, message: Message, until: datetime) -> list[int]:
    """Return a message's number if its lease ends at `until`. Lock its row."""
    statement = _IS_LEASED + transaction.for_update
    return [number for (number,) in transaction.rows(statement, (message.id, time_text(until)))]


def _append(transaction: Transaction, columns: Row, lock: str) -> None:
    """Insert a message after all others.

    Args:
        transaction: has locked the order.
        columns: the columns of the message.
        lock: the end of the SELECT of earlier messages. A plain SELECT on an older snapshot could find a head that a
            relay has deleted since, and the message would never become the head.
    """
    order_id, remaining = columns[1], columns[5]
    is_head = bool(remaining) or not transaction.rows(_HAS_HEAD + lock, (order_id,))
    transaction.run(_INSERT, (*columns, 1 if is_head else 0))


def _drop(transaction: Transaction, number: int, order_id: str) -> None:
    """Delete the head of an order. The next message of the order becomes the head."""
    transaction.run(_DELETE, (number,))
    _make_head(transaction, order_id)


def _make_head(transaction: Transaction, order_id: str) -> None:
    for oldest in transaction.rows(_OLDEST + transaction.latest, (order_id,)):
        transaction.run(_MAKE_HEAD, oldest)


def _readable(
    transaction: Transaction, numbers: str, values: Row, statement: str, limit: int
) -> list[tuple[int, Message]]:
    """Return messages with their numbers. Log damaged ones, and read more in their place.

    Args:
        transaction: an open transaction.
        numbers: the statement that finds a page of message numbers.
        values: the values of that statement, except the page's limit and offset.
        statement: the statement that reads the message with a number.
        limit: the largest number of messages to return.
    """
    found: list[tuple[int, Message]] = []
    seen: set[int] = set()
    while True:
        wanted = limit - len(found)
        page = transaction.rows(numbers, (*values, wanted, len(seen)))
        # If other relays released rows since the previous page, some of its rows come again.
        new = [number for (number,) in page if number not in seen]
        seen.update(new)
        for number in new:
            message = _message(transaction, statement, number)
            if message is not None:
                found.append((number, message))
        if len(found) == limit or len(page) < wanted or not new:
            return found


def _message(transaction: Transaction, statement: str, number: int) -> Message | None:
    message_id = None
    try:
        for row in transaction.rows(statement, (number,)):
            message_id = row[0]
            return message_of(row)
    except StoreCorrupt:
        pass
    _log.error("message %r (number %r) is damaged and left out: run an audit", message_id, number)
    return None
