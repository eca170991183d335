"""The outbox: statements on order_fsm_message and order_fsm_dead_letter.

Of each order only the oldest message, its head, can be claimed. Messages with remaining recipients are outside this
sequence: each is a head of its own. `due` is empty until a message is claimed. Then it is the end of its lease, or the
time to which it is postponed.
"""

from __future__ import annotations

import logging
from datetime import datetime

from attrs import evolve

from order_fsm.erasure import erased_message
from order_fsm.errors import StoreCorrupt
from order_fsm.model import Message
from order_fsm_adapters.sql.codec import time_text
from order_fsm_adapters.sql.database import Row, Transaction
from order_fsm_adapters.sql.rows import MESSAGE_COLUMNS, message_of, message_row, remaining_columns

_log = logging.getLogger(__name__)

_COLUMNS = ", ".join(MESSAGE_COLUMNS)
_INSERT = f"""
    INSERT INTO order_fsm_message ({_COLUMNS}, due, head) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', ?)
"""  # noqa: S608
_HAS_HEAD = "SELECT 1 FROM order_fsm_message WHERE order_id = ? AND remaining = '' ORDER BY number DESC LIMIT 1"
_IS_LEASED = "SELECT number FROM order_fsm_message WHERE id = ? AND due = ?"
_MESSAGE = f"SELECT {_COLUMNS} FROM order_fsm_message WHERE number = ?"  # noqa: S608
_CLAIMABLE = """
    SELECT number FROM order_fsm_message WHERE head = 1 AND due <= ? ORDER BY due, number LIMIT ? OFFSET ?
"""
_LEASE = "UPDATE order_fsm_message SET due = ? WHERE number = ?"
_POSTPONE = "UPDATE order_fsm_message SET due = ?, attempts = attempts + 1 WHERE number = ?"
_DELETE = "DELETE FROM order_fsm_message WHERE number = ?"
_OF_ORDER = "SELECT number FROM order_fsm_message WHERE order_id = ?"
_DEAD_OF_ORDER = "SELECT number FROM order_fsm_dead_letter WHERE order_id = ?"
_EDIT = "UPDATE order_fsm_message SET payload = ?, seal = ? WHERE number = ?"
_EDIT_DEAD = "UPDATE order_fsm_dead_letter SET payload = ?, seal = ? WHERE number = ?"
_NARROW = "UPDATE order_fsm_message SET remaining = ?, seal = ? WHERE number = ?"
_OLDEST = "SELECT number FROM order_fsm_message WHERE order_id = ? AND remaining = '' ORDER BY number LIMIT 1"
_MAKE_HEAD = "UPDATE order_fsm_message SET head = 1 WHERE number = ?"

_BURY = f"""
    INSERT INTO order_fsm_dead_letter ({_COLUMNS})
    SELECT id, order_id, topic, payload, created_at, remaining, seal, attempts + 1
    FROM order_fsm_message WHERE number = ?
"""  # noqa: S608
_DEAD = "SELECT number FROM order_fsm_dead_letter ORDER BY created_at, number LIMIT ? OFFSET ?"
_ALL_DEAD = "SELECT number FROM order_fsm_dead_letter"
_DEAD_LETTER = f"SELECT {_COLUMNS} FROM order_fsm_dead_letter WHERE number = ?"  # noqa: S608
_DEAD_LETTER_OF = f"SELECT {_COLUMNS} FROM order_fsm_dead_letter WHERE id = ?"  # noqa: S608
_DIG_UP = "DELETE FROM order_fsm_dead_letter WHERE id = ?"


def add(transaction: Transaction, message: Message, lock: str) -> None:
    """Append a message, behind all others.

    Args:
        transaction: has locked the order.
        message: of the order.
        lock: ends the statement that reads the messages before it. A new order has no messages.
    """
    _append(transaction, (*message_row(message), message.attempts), lock)


def claim(transaction: Transaction, now: datetime, until: datetime, limit: int) -> list[Message]:
    """Answer `Store.claim`."""
    found = _readable(transaction, _CLAIMABLE + transaction.skip_locked, (time_text(now),), _MESSAGE, limit)
    end = time_text(until)
    for number, _ in found:
        transaction.run(_LEASE, (end, number))
    return [message for _, message in found]


def delivered(transaction: Transaction, message: Message, until: datetime) -> None:
    """Answer `Store.delivered`."""
    _lock_order(transaction, message.order_id)
    for number in _leased(transaction, message, until):
        _drop(transaction, number, message.order_id)


def retry_later(transaction: Transaction, message: Message, until: datetime, due: datetime | None) -> None:
    """Answer `Store.retry_later`."""
    _lock_order(transaction, message.order_id)
    for number in _leased(transaction, message, until):
        if message.remaining:
            # An erasure may have changed the payload since the claim.
            for row in transaction.rows(_MESSAGE + transaction.latest, (number,)):
                narrowed = evolve(message_of(row), remaining=message.remaining)
                transaction.run(_NARROW, (*remaining_columns(narrowed), number))
            _make_head(transaction, message.order_id)
        if due is None:
            transaction.run(_BURY, (number,))
            _drop(transaction, number, message.order_id)
        else:
            transaction.run(_POSTPONE, (time_text(due), number))


def dead_letters(transaction: Transaction, limit: int) -> list[Message]:
    """Answer `Store.dead_letters`."""
    return [message for _, message in _readable(transaction, _DEAD, (), _DEAD_LETTER, limit)]


def damaged_dead_letters(transaction: Transaction) -> list[str]:
    """Return a sentence for each dead letter that cannot be read."""
    found = []
    for (number,) in transaction.rows(_ALL_DEAD):
        try:
            for row in transaction.rows(_DEAD_LETTER, (number,)):
                message_of(row)
        except StoreCorrupt as error:
            found.append(f"dead letter {number}: {error}")
    return found


def requeue(transaction: Transaction, message: Message) -> None:
    """Answer `Store.requeue`."""
    _lock_order(transaction, message.order_id)
    for row in transaction.rows(_DEAD_LETTER_OF + transaction.latest, (message.id,)):
        transaction.run(_DIG_UP, (message.id,))
        _append(transaction, (*row[:-1], 0), transaction.latest or transaction.for_update)


def forget(transaction: Transaction, order_id: str) -> None:
    """Delete all messages and dead letters of an order."""
    transaction.run("DELETE FROM order_fsm_message WHERE order_id = ?", (order_id,))
    transaction.run("DELETE FROM order_fsm_dead_letter WHERE order_id = ?", (order_id,))


def erase(transaction: Transaction, order_id: str) -> None:
    """Blank the personal values in the messages and dead letters of an order.

    Raises:
        StoreCorrupt: if one of them is damaged.
    """
    for numbers, select, update in ((_OF_ORDER, _MESSAGE, _EDIT), (_DEAD_OF_ORDER, _DEAD_LETTER, _EDIT_DEAD)):
        for (number,) in transaction.rows(numbers + transaction.latest, (order_id,)):
            for row in transaction.rows(select + transaction.latest, (number,)):
                edited = message_row(erased_message(message_of(row)))
                transaction.run(update, (edited[3], edited[6], number))


def _lock_order(transaction: Transaction, order_id: str) -> None:
    """Keep commits away from an order, so that no message comes while another one becomes its head."""
    if transaction.lock_order:
        transaction.run(transaction.lock_order, (order_id,))


def _leased(transaction: Transaction, message: Message, until: datetime) -> list[int]:
    """Return the number of a message if a lease is its last one. Another relay cannot claim it then."""
    statement = _IS_LEASED + transaction.for_update
    return [number for (number,) in transaction.rows(statement, (message.id, time_text(until)))]


def _append(transaction: Transaction, columns: Row, lock: str) -> None:
    """Insert a message, behind all others.

    Args:
        transaction: has locked the order.
        columns: of the message.
        lock: ends the statement that looks for earlier messages: a transaction that sees an older moment must not wait
            for a head that a relay has deleted since.
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
    """Return messages with their numbers. Damaged ones are logged and left out, and others take their places.

    Args:
        transaction: an open one.
        numbers: the statement that finds the numbers of messages, a page at a time.
        values: for it, without those of the page.
        statement: reads the message with a number.
        limit: the largest number of messages to return.
    """
    found: list[tuple[int, Message]] = []
    seen: set[int] = set()
    while True:
        wanted = limit - len(found)
        page = transaction.rows(numbers, (*values, wanted, len(seen)))
        # Rows that others released since the page before move the rows behind them into this one.
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
