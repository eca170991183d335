"""The payments of all orders by time: statements on order_fsm_payment.

The row of an order holds its ledger under a seal. These rows repeat the amounts, so that sums over an interval do not
decode orders. An audit compares both.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Order, Payment
from order_fsm.money import EXACT, ZERO, plus
from order_fsm_adapters.sql.codec import UNREADABLE, in_units, payments_of, text_of, time_text
from order_fsm_adapters.sql.database import Row, Transaction

CREDITED = "credited"
"""The kind of a row that repeats the credit of a refund."""

COLUMNS = ("at", "order_id", "number", "kind", "currency", "unit", "units")
"""The columns of order_fsm_payment."""

_COLUMNS = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO order_fsm_payment ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_DELETE = "DELETE FROM order_fsm_payment WHERE at = ? AND order_id = ?"
# Only credits look up their order, and they are rare.
SUMS = """
    SELECT currency, kind, unit, sum(units) FROM order_fsm_payment WHERE at >= ? AND at < ?
        AND (kind <> 'credited' OR (SELECT counted = 1 FROM order_fsm_order WHERE id = order_fsm_payment.order_id))
    GROUP BY currency, kind, unit
"""
_ROW = f"""
    SELECT {_COLUMNS} FROM order_fsm_payment WHERE at = ? AND order_id = ? AND number = ? AND kind = ?
"""  # noqa: S608
_ROWS = f"""
    SELECT {", ".join(f"paid.{column}" for column in COLUMNS)}, one.payments FROM order_fsm_payment AS paid
    LEFT JOIN order_fsm_order AS one ON one.id = paid.order_id
    WHERE (paid.at, paid.order_id, paid.number, paid.kind) > (?, ?, ?, ?) AND paid.at >= ?
    ORDER BY paid.at, paid.order_id, paid.number, paid.kind LIMIT ?
"""  # noqa: S608
_PAGE = 500


def add(transaction: Transaction, order: Order, expected_version: int) -> None:
    """Insert the rows of an order's payments after a version."""
    for row in rows_of(order.id, order.payments, expected_version):
        transaction.run(_INSERT, row)


def rows_of(order_id: str, payments: tuple[Payment, ...], expected_version: int) -> Iterator[Row]:
    """Yield the rows of the payments after a version. Skip amounts of 0."""
    for number, payment in enumerate(payments):
        if payment.version > expected_version:
            for kind, amount in ((payment.kind, payment.amount), (CREDITED, payment.credit)):
                if amount:
                    yield time_text(payment.at), order_id, number, kind, payment.currency, *in_units(amount)


def new_references(order: Order, expected_version: int) -> list[str]:
    """Return the payment references that are new after a version."""
    known = {row.reference for row in order.payments if row.version <= expected_version}
    return sorted(order.references - known)


def remove(transaction: Transaction, order: Order) -> None:
    """Delete the rows of an order."""
    for at in sorted({row.at for row in order.payments}):
        transaction.run(_DELETE, (time_text(at), order.id))


def sums(transaction: Transaction, since: str, until: str) -> dict[tuple[str, str], Decimal]:
    """Return the sums of an interval, by currency and kind.

    Raises:
        StoreCorrupt: if a row is damaged.
    """
    found: dict[tuple[str, str], Decimal] = {}
    try:
        for currency, kind, unit, units in transaction.rows(SUMS, (since, until)):
            found[text_of(currency), kind] = plus(
                found.get((currency, kind), ZERO), EXACT.multiply(Decimal(unit), units)
            )
    except UNREADABLE as error:
        raise StoreCorrupt(f"a row of order_fsm_payment is damaged ({error}): restore it from a backup") from error
    return found


def lost(transaction: Transaction, order_id: str, payments: str) -> Iterator[str]:
    """Yield a fault for each payment without its exact row.

    Args:
        transaction: an open transaction.
        order_id: the order.
        payments: its ledger as stored.
    """
    for row in _stored(order_id, payments) or ():
        if transaction.rows(_ROW, row[:4]) != [row]:
            yield f"order_fsm_payment lacks row {row[2]} ({row[3]}) of order {order_id!r}"


def strays(transaction: Transaction) -> Iterator[str]:
    """Yield a fault for each row without its exact payment.

    Raises:
        StoreCorrupt: if the table is damaged.
    """
    place: Row = ("", "", -1, "")
    while page := transaction.rows(_ROWS, (*place, place[0], _PAGE)):
        for row in page:
            try:
                follows = row[:4] > place
            except TypeError:
                follows = False
            if not follows:  # A damaged index could make this loop endless.
                raise StoreCorrupt("the table order_fsm_payment is damaged: restore it from a backup")
            place, order_id, payments = row[:4], row[1], row[7]
            stored = () if payments is None else _stored(order_id, payments)
            # The audit reports an unreadable ledger with its order.
            if stored is not None and row[:7] not in stored:
                yield f"order_fsm_payment has row {row[2]!r} ({row[3]}) of order {order_id!r}, not in its ledger"


def _stored(order_id: str, payments: str) -> list[Row] | None:
    """Return the rows of a stored ledger, or None if damaged."""
    try:
        return list(rows_of(order_id, payments_of(payments), 0))
    except UNREADABLE:
        return None
