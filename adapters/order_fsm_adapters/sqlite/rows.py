"""Values of the library as rows of SQLite, and back.

Money is text, as no number of SQLite holds a Decimal; times are text of one width in UTC, so that they sort.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any

import msgspec

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Entry, Line, Message, Order, Payment
from order_fsm.money import EXACT
from order_fsm_adapters.facts import WireFact, from_wire, to_wire
from order_fsm_adapters.finding import refund_is_due
from order_fsm_adapters.places import time_text

Row = tuple[Any, ...]

_encoder = msgspec.json.Encoder()
_lines = msgspec.json.Decoder(tuple[Line, ...])
_payments = msgspec.json.Decoder(tuple[Payment, ...])
_object = msgspec.json.Decoder(dict[str, Any])
_facts = msgspec.json.Decoder(dict[str, WireFact])

_UNREADABLE = (ValueError, ArithmeticError, TypeError, msgspec.MsgspecError)
"""What reading text raises that is not what was written."""


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is not UTC:
        raise ValueError(f"not in UTC: {text!r}")
    return at


def _json(value: object) -> str:
    return _encoder.encode(value).decode()


def money(text: str) -> Decimal:
    """The Decimal that was written.

    Raises:
        StoreCorrupt: it is none.
    """
    try:
        amount = Decimal(text)
    except _UNREADABLE as error:
        raise _corrupt("an amount", text, error) from error
    if not amount.is_finite():
        raise _corrupt("an amount", text, "it is no finite number")
    return amount


def order_row(order: Order) -> Row:
    """The columns of order_fsm_order, up to its seals."""
    return (
        order.id,
        order.state,
        1 if order.counted else 0,
        order.version,
        str(order.total),
        order.currency,
        order.customer,
        order.email,
        _json(order.lines) if order.lines else "[]",
        _json(order.data),
        *in_units(order.total),
        _json(order.payments) if order.payments else "[]",
        time_text(order.created_at),
        time_text(order.updated_at),
        1 if refund_is_due(order) else 0,
    )


STATE, COUNTED, VERSION, TOTAL = 1, 2, 3, 4
PAYMENTS, CREATED_AT, UPDATED_AT, REFUND_IS_DUE, LAST_SEAL, SEAL = range(12, 18)
"""Where in the row of an order some of its columns are."""

changing = itemgetter(STATE, COUNTED, VERSION, PAYMENTS, UPDATED_AT, REFUND_IS_DUE, LAST_SEAL, SEAL)
"""Of the row of an order with its seals, what a change writes."""


def order_row_after(before: Row, order: Order, paid: bool) -> Row:
    """The same for an order that was changed, by its row before: most of it never changes.

    Args:
        before: its row, with or without its seals.
        order: as it is now.
        paid: whether there is more in its ledger than before.
    """
    return (
        order.id,
        order.state,
        1 if order.counted else 0,
        order.version,
        *before[TOTAL:PAYMENTS],
        _json(order.payments) if paid else before[PAYMENTS],
        before[CREATED_AT],
        time_text(order.updated_at),
        1 if refund_is_due(order) else 0,
    )


_UNITS_LIMIT = 10**12
"""Millions of orders of such a total stay below 2**63 units."""


def in_units(total: Decimal) -> tuple[str, int]:
    """A total as a unit and a whole number of it, which SQLite adds exactly: 4990 of `0.01` for 49.90.

    An absurd total, a few of which would come to more than SQLite's whole numbers hold, is a unit of its own.
    """
    exponent = int(total.as_tuple().exponent)
    units = int(total.scaleb(-exponent, EXACT))
    if units >= _UNITS_LIMIT:
        return str(total), 1
    return str(Decimal((0, (1,), exponent))), units


def order_of(row: Row) -> Order:
    """The order of a row, with or without its seals.

    Raises:
        StoreCorrupt: they are not as they were written.
    """
    order_id, state, counted, version, total, currency, customer, email, lines, data = row[:10]
    payments, created, updated = row[PAYMENTS : CREATED_AT + 2]
    try:
        return Order(
            order_id,
            state,
            bool(counted),
            version,
            Decimal(total),
            currency,
            () if lines == "[]" else _lines.decode(lines),
            customer,
            email,
            () if payments == "[]" else _payments.decode(payments),
            _time(created),
            _time(updated),
            {} if data == "{}" else _object.decode(data),
        )
    except _UNREADABLE as error:
        raise _corrupt("order", order_id, error) from error


def entry_row(order_id: str, entry: Entry) -> Row:
    """The columns of order_fsm_entry, up to the seal."""
    return (
        order_id,
        entry.version,
        entry.trigger,
        entry.state_before,
        entry.state_after,
        time_text(entry.at),
        entry.by,
        entry.comment,
        1 if entry.visible else 0,
        1 if entry.notify else 0,
        entry.key,
        1 if entry.override else 0,
        _json(to_wire(facts)) if (facts := entry.facts) else "{}",
    )


def entry_of(row: Row) -> Entry:
    """The entry of a row.

    Raises:
        StoreCorrupt: it is not as it was written.
    """
    order_id, version, trigger, before, after, at, by, comment, visible, notify, key, override, facts = row
    try:
        return Entry(
            version=version,
            trigger=trigger,
            state_before=before,
            state_after=after,
            at=_time(at),
            by=by,
            comment=comment,
            visible=bool(visible),
            notify=bool(notify),
            key=key,
            override=bool(override),
            facts=from_wire(_facts.decode(facts)),
        )
    except _UNREADABLE as error:
        raise _corrupt(f"entry {version} of order", order_id, error) from error


def message_row(message: Message) -> Row:
    """The columns of order_fsm_message from id to created_at, which never change."""
    return (message.id, message.order_id, message.topic, _json(message.payload), time_text(message.created_at))


def message_of(row: Row, attempts: object) -> Message:
    """The message of a row with the columns of `message_row`.

    Raises:
        StoreCorrupt: it is not as it was written.
    """
    message_id, order_id, topic, payload, created_at = row
    try:
        if not isinstance(attempts, int):
            raise ValueError(f"no number of attempts: {attempts!r}")
        return Message(
            id=message_id,
            order_id=order_id,
            topic=topic,
            payload=_object.decode(payload),
            created_at=_time(created_at),
            attempts=attempts,
        )
    except _UNREADABLE as error:
        raise _corrupt("message", message_id, error) from error


def _corrupt(what: str, name: str, error: object) -> StoreCorrupt:
    return StoreCorrupt(f"{what} {name!r} is not as it was written: {error}; restore it from a backup")
