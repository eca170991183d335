"""Values of the library as rows of SQLite, and back.

Money is text, as no number of SQLite holds a Decimal; times are text of one width in UTC, so that they sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Entry, Line, Message, Order, Payment, PaymentKind
from order_fsm_adapters.facts import WireFact, from_wire, to_wire

Row = tuple[Any, ...]

_encoder = msgspec.json.Encoder()
_lines = msgspec.json.Decoder(tuple[Line, ...])
_object = msgspec.json.Decoder(dict[str, Any])
_facts = msgspec.json.Decoder(dict[str, WireFact])

_UNREADABLE = (ValueError, ArithmeticError, TypeError, msgspec.MsgspecError)
"""What reading text raises that is not what was written."""


@lru_cache(maxsize=256)  # A commit writes its time into two rows and more.
def time_text(at: datetime) -> str:
    """A time as text; later times sort after earlier ones, from the year 1 on."""
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(timespec="microseconds")


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
    """The columns of order_fsm_order."""
    return (
        order.id,
        order.state,
        order.counted,
        order.version,
        str(order.total),
        order.currency,
        order.customer,
        order.email,
        _json(order.lines),
        _json(order.data),
        time_text(order.created_at),
        time_text(order.updated_at),
        refund_is_due(order),
    )


def refund_is_due(order: Order) -> bool:
    """Whether money of the order is due back."""
    return bool(order.payments) and order.refund_due > 0


def order_of(rows: Sequence[Row]) -> Order:
    """The order of rows that hold its columns up to updated_at, each with one row of its ledger, or with none.

    Raises:
        StoreCorrupt: they are not as they were written.
    """
    order_id, state, counted, version, total, currency, customer, email, lines, data, created, updated, *_ = rows[0]
    try:
        return Order(
            order_id,
            state,
            bool(counted),
            version,
            money(total),
            currency,
            _lines.decode(lines),
            customer,
            email,
            () if rows[0][12] is None else tuple([_payment(*row[12:]) for row in rows]),
            _time(created),
            _time(updated),
            _object.decode(data),
        )
    except _UNREADABLE as error:
        raise _corrupt("order", order_id, error) from error


def payment_row(order_id: str, number: int, payment: Payment) -> Row:
    """The columns of order_fsm_payment."""
    at = time_text(payment.at)
    return (order_id, number, payment.kind, str(payment.amount), payment.reference, at, payment.version)


def _payment(kind: PaymentKind, amount: str, reference: str | None, at: str, version: int) -> Payment:
    if kind not in {"captured", "refunded", "reversed"}:
        raise ValueError(f"no kind of payment: {kind!r}")
    return Payment(kind, money(amount), reference, _time(at), version)


def entry_row(order_id: str, entry: Entry) -> Row:
    """The columns of order_fsm_entry."""
    return (
        order_id,
        entry.version,
        entry.trigger,
        entry.state_before,
        entry.state_after,
        time_text(entry.at),
        entry.by,
        entry.comment,
        entry.visible,
        entry.notify,
        entry.key,
        entry.override,
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
    """The columns of order_fsm_message from id to attempts."""
    created_at = time_text(message.created_at)
    return (message.id, message.order_id, message.topic, _json(message.payload), created_at, message.attempts)


def message_of(row: Row) -> Message:
    """The message of a row, its columns from id to attempts.

    Raises:
        StoreCorrupt: it is not as it was written.
    """
    message_id, order_id, topic, payload, created_at, attempts = row
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
