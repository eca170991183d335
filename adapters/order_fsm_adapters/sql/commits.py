"""Write a change, or remove an order."""

from __future__ import annotations

from order_fsm.model import Order
from order_fsm.store import Change, key_reused, mismatch, record_of
from order_fsm_adapters.sql import erasing, ledger, orders, outbox, stock, tallies
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.entry_rows import ENTRY_COLUMNS, EntryRow, entry_row
from order_fsm_adapters.sql.order_rows import (
    AMENDED_COLUMNS,
    CHANGING_COLUMNS,
    ORDER_COLUMNS,
    PLACING_COLUMNS,
    OrderRow,
    order_of,
    order_row,
)
from order_fsm_adapters.sql.rows import RECORD_COLUMNS, RECORD_SELECTION, record_row


def _places(number: int) -> str:
    return ", ".join("?" * number)


def _update(*columns: str) -> str:
    changes = ", ".join(f'"{column}" = ?' for column in columns)
    return f"UPDATE order_fsm_order SET {changes} WHERE id = ?"  # noqa: S608


_INSERT_ORDER = f"INSERT INTO order_fsm_order ({ORDER_COLUMNS}) VALUES ({_places(len(OrderRow._fields))})"  # noqa: S608
_CHANGE_ORDER = _update(*CHANGING_COLUMNS)
_PLACE_ORDER = _update(*CHANGING_COLUMNS, *PLACING_COLUMNS)
_AMEND_ORDER = _update(*CHANGING_COLUMNS, *PLACING_COLUMNS, *AMENDED_COLUMNS)
_INSERT_ENTRY = f"INSERT INTO order_fsm_entry ({ENTRY_COLUMNS}) VALUES ({_places(len(EntryRow._fields))})"  # noqa: S608
_HAS_KEY = 'SELECT 1 FROM order_fsm_key WHERE "key" = ?'
_INSERT_KEY = f"""
    INSERT INTO order_fsm_key ({RECORD_SELECTION}) VALUES ({_places(len(RECORD_COLUMNS))})
"""  # noqa: S608

_INSERT_REFERENCE = "INSERT INTO order_fsm_reference (reference, order_id) VALUES (?, ?)"
_DELETE_REFERENCE = "DELETE FROM order_fsm_reference WHERE reference = ? AND order_id = ?"

# Entries store their key, so no index on order_fsm_key.order_id is necessary.
_KEYS = 'SELECT DISTINCT "key" FROM order_fsm_entry WHERE order_id = ? AND "key" IS NOT NULL'
_DELETE_KEY = 'DELETE FROM order_fsm_key WHERE "key" = ? AND order_id = ?'
_DELETE_ENTRIES = "DELETE FROM order_fsm_entry WHERE order_id = ?"
_DELETE_ORDER = "DELETE FROM order_fsm_order WHERE id = ?"


def write(transaction: Transaction, change: Change) -> None:
    """Write a change. If this raises, the caller must roll back.

    Raises:
        OrderExists, OrderNotFound, VersionConflict, KeyReused, StoreCorrupt: as in `Store.commit`.
    """
    key, order = change.key, change.order
    row = None if order is None else orders.row_of(transaction, order.id, transaction.for_update)
    # After the wait for the order: the same change may have been committed while it lasted.
    if key is not None and transaction.rows(_HAS_KEY, (key,)):
        raise key_reused(key)
    before = None if order is None else _at_version(row, order.id, change.expected_version)
    levels = stock.moved(transaction, change) if change.stock else {}
    # Only an erasure checks more rows after this.
    if order is not None:
        if change.erases and before is not None:
            erasing.erase(transaction, before)
        last_seal = b"" if before is None else before.last_seal
        for entry in change.entries:
            new = entry_row(order.id, entry, last_seal)
            last_seal = new.seal
            transaction.run(_INSERT_ENTRY, new)
        after = order_row(order, change.marks, before, last_seal)
        _put_order(transaction, before, after)
        tallies.note(transaction, before, after)
        if change.payments:
            _put_references(transaction, order, change.expected_version)
            ledger.add(transaction, order, change.expected_version)
    if key is not None:
        transaction.run(_INSERT_KEY, record_row(key, record_of(change)))
    for sku, (present, level) in levels.items():
        stock.put(transaction, sku, present, level)
    for message in change.messages:
        outbox.add(transaction, message, "" if before is None else transaction.latest or transaction.for_update)


def remove(transaction: Transaction, order: Order) -> None:
    """Implement `Store.remove`."""
    row = orders.row_of(transaction, order.id, transaction.for_update)
    before = _at_version(row, order.id, order.version)
    if before is None:
        raise orders.not_found(order.id)
    present = order_of(before)
    for reference in present.references:
        transaction.run(_DELETE_REFERENCE, (reference, order.id))
    ledger.remove(transaction, present)
    tallies.note(transaction, before, None)
    for (key,) in transaction.rows(_KEYS + transaction.latest, (order.id,)):
        transaction.run(_DELETE_KEY, (key, order.id))
    transaction.run(_DELETE_ENTRIES, (order.id,))
    transaction.run(_DELETE_ORDER, (order.id,))
    outbox.forget(transaction, order.id)


def _at_version(row: OrderRow | None, order_id: str, version: int) -> OrderRow | None:
    """Return the checked row of an order, or None for version 0.

    Raises:
        OrderExists, OrderNotFound, VersionConflict: if the order is not at `version`.
        StoreCorrupt: if the row is damaged or was edited.
    """
    # A new order does not check the row, so a damaged order exists, too.
    present = 0 if row is None else order_of(row).version if version else 1
    if present != version:
        raise mismatch(order_id, present, version)
    return row


def _put_references(transaction: Transaction, order: Order, expected_version: int) -> None:
    for reference in ledger.new_references(order, expected_version):
        transaction.run(_INSERT_REFERENCE, (reference, order.id))


def _put_order(transaction: Transaction, before: OrderRow | None, row: OrderRow) -> None:
    if before is None:
        transaction.run(_INSERT_ORDER, row)
    elif before.amended != row.amended:
        transaction.run(_AMEND_ORDER, (*row.changing, *row.placing, *row.amended, row.id))
    elif before.placing != row.placing:
        transaction.run(_PLACE_ORDER, (*row.changing, *row.placing, row.id))
    else:
        transaction.run(_CHANGE_ORDER, (*row.changing, row.id))
