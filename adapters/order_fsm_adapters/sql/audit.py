"""Reads for an audit: ids and messages by page, and faults outside of orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Message
from order_fsm_adapters.sql import ledger, outbox
from order_fsm_adapters.sql.codec import UNREADABLE, payments_of
from order_fsm_adapters.sql.database import Row, Transaction
from order_fsm_adapters.sql.rows import MESSAGE_SELECTION, STOCK_SELECTION, level_of, message_of
from order_fsm_adapters.sql.tallies import GROUP

_PAGE = 500

_IDS = "SELECT id FROM order_fsm_order WHERE id > ? ORDER BY id LIMIT ?"
_MESSAGES = f"""
    SELECT number, {MESSAGE_SELECTION} FROM order_fsm_message WHERE number > ? ORDER BY number LIMIT ?
"""  # noqa: S608

_STRAY_KEYS = """
    SELECT "key", order_id FROM order_fsm_key AS one WHERE order_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM order_fsm_entry AS entry
        WHERE entry.order_id = one.order_id AND entry.version = one."last" AND entry."key" = one."key"
    )
"""
_STRAY_ENTRIES = """
    SELECT DISTINCT order_id FROM order_fsm_entry AS entry
    WHERE NOT EXISTS (SELECT 1 FROM order_fsm_order AS one WHERE one.id = entry.order_id)
"""
# After an erasure of the order, its row has no digest.
_BLANKED = "SELECT id FROM order_fsm_order WHERE salt IS NULL AND personal IS NOT NULL"
_PAID = "SELECT id, payments FROM order_fsm_order WHERE id > ? AND payments <> '[]' ORDER BY id LIMIT ?"
_HAS_REFERENCE = "SELECT 1 FROM order_fsm_reference WHERE reference = ? AND order_id = ?"
_REFERENCES = """
    SELECT of_payment.reference, of_payment.order_id, one.payments FROM order_fsm_reference AS of_payment
    LEFT JOIN order_fsm_order AS one ON one.id = of_payment.order_id
    WHERE (of_payment.reference, of_payment.order_id) > (?, ?) AND of_payment.reference >= ?
    ORDER BY of_payment.reference, of_payment.order_id LIMIT ?
"""
_ITEMS = "SELECT sku FROM order_fsm_stock WHERE sku > ? ORDER BY sku LIMIT ?"
_STOCK = f"SELECT {STOCK_SELECTION} FROM order_fsm_stock"  # noqa: S608
_HEADLESS = """
    SELECT DISTINCT order_id FROM order_fsm_message AS one
    WHERE head <> CASE WHEN remaining = '' AND EXISTS (
        SELECT 1 FROM order_fsm_message AS other
        WHERE other.order_id = one.order_id AND other.remaining = '' AND other.number < one.number
    ) THEN 0 ELSE 1 END
"""


def _miscounted(tally: str, group: str, orders: str) -> str:
    """Return a statement that finds differences between a tally and the orders."""
    kept = f'SELECT {group}, "orders", units FROM {tally} WHERE "orders" <> 0'  # noqa: S608
    counted = f"SELECT {group}, count(*), sum(units) FROM {orders} GROUP BY {group}"  # noqa: S608
    return f"""
        SELECT * FROM (SELECT * FROM ({kept}) AS a EXCEPT SELECT * FROM ({counted}) AS b) AS c
        UNION SELECT * FROM (SELECT * FROM ({counted}) AS d EXCEPT SELECT * FROM ({kept}) AS e) AS f
    """  # noqa: S608


# The engine's audit compares the tally of all orders.
_MISCOUNTED = _miscounted(
    "order_fsm_customer_tally",
    f"customer, {GROUP}",
    "(SELECT * FROM order_fsm_order WHERE customer IS NOT NULL) AS own",
)

ReadRows = Callable[[str, Row], list[Row]]


def order_ids(read: ReadRows) -> Iterator[str]:
    """Implement `Store.order_ids`."""
    return (order_id for (order_id,) in _paged(read, _IDS, ""))


def stock_items(read: ReadRows) -> Iterator[str]:
    """Implement `Store.stock_items`."""
    return (sku for (sku,) in _paged(read, _ITEMS, ""))


def messages(read: ReadRows) -> Iterator[Message]:
    """Implement `Store.messages`."""
    return (message_of(row[1:]) for row in _paged(read, _MESSAGES, -(2**63)))


def _paged(read: ReadRows, statement: str, after: Any) -> Iterator[Row]:
    """Yield rows by their first column. No transaction stays open between pages."""
    while page := read(statement, (after, _PAGE)):
        for row in page:
            # A damaged index could make this loop endless.
            if not isinstance(row[0], type(after)) or row[0] <= after:
                raise StoreCorrupt("an index of the database is damaged: rebuild it (SQLite: REINDEX)")
            yield row
            after = row[0]


def faults(transaction: Transaction) -> list[str]:
    """Implement `Store.faults`, except the database's own integrity check."""
    found = [
        f"key {key!r} belongs to order {order_id!r}, which has no entry with it"
        for key, order_id in transaction.rows(_STRAY_KEYS)
    ]
    for row in transaction.rows(_STOCK):
        try:
            level_of(row)
        except StoreCorrupt as error:
            found.append(str(error))
    for (order_id,) in transaction.rows(_STRAY_ENTRIES):
        found.append(f"order {order_id!r} is missing, and its entries are not")
    for (order_id,) in transaction.rows(_HEADLESS):
        found.append(f"relays cannot claim the oldest message of order {order_id!r}, or can claim a later one")
    for (order_id,) in transaction.rows(_BLANKED):
        found.append(f"the personal values of order {order_id!r} are missing without an erasure")
    found += _references(transaction)
    found += ledger.strays(transaction)
    found += outbox.damaged_dead_letters(transaction)
    # A damaged row may have a name that is not text.
    for customer in sorted({repr(row[0]) for row in transaction.rows(_MISCOUNTED)}):
        found.append(f"the tally of customer {customer} differs from the orders")
    return found


def _references(transaction: Transaction) -> Iterator[str]:
    """Yield the faults of payment references and of missing ledger rows."""
    for order_id, payments in _paged(transaction.rows, _PAID, ""):
        for reference in _references_in(payments):
            if not transaction.rows(_HAS_REFERENCE, (reference, order_id)):
                yield f"order_fsm_reference lacks {reference!r} of order {order_id!r}"
        yield from ledger.lost(transaction, order_id, payments)
    place = "", ""
    while page := transaction.rows(_REFERENCES, (*place, place[0], _PAGE)):
        for reference, order_id, payments in page:
            # A damaged index could make this loop endless.
            if not isinstance(reference, str) or not isinstance(order_id, str) or (reference, order_id) <= place:
                raise StoreCorrupt("an index of the database is damaged: rebuild it (SQLite: REINDEX)")
            place = reference, order_id
            if payments is None or reference not in _references_in(payments, reference):
                yield f"order_fsm_reference has {reference!r} of order {order_id!r}, which has no such payment"


def _references_in(payments: str, *unreadable: str) -> set[str]:
    """Return the references of a ledger, or `unreadable` if it is damaged: the audit reports that with the order."""
    try:
        return {row.reference for row in payments_of(payments) if row.reference is not None}
    except UNREADABLE:
        return set(unreadable)
