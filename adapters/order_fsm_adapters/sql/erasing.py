"""Erase the personal values in an order's past."""

from __future__ import annotations

from order_fsm.erasure import is_lasting
from order_fsm_adapters.sql import orders, outbox
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.entry_rows import history_of
from order_fsm_adapters.sql.order_rows import OrderRow
from order_fsm_adapters.sql.rows import RECORD_SELECTION, record_of, record_row

# The digests of these values stay, because the seals cover them.
_ERASE_ENTRIES = """
    UPDATE order_fsm_entry SET comment = '', personal_facts = '{}', salt = NULL
    WHERE order_id = ? AND salt IS NOT NULL
"""
# Entries store their key, so no index on order_fsm_key.order_id is necessary.
_RECORDS = f"""
    SELECT {RECORD_SELECTION} FROM order_fsm_key
    WHERE order_id = ? AND "key" IN (SELECT "key" FROM order_fsm_entry WHERE order_id = ?)
"""  # noqa: S608
_UPDATE_RECORD = 'UPDATE order_fsm_key SET request_fingerprint = ?, seal = ? WHERE "key" = ?'
_IS_NOTED = "SELECT 1 FROM order_fsm_unscrubbed WHERE order_id = ?"
_NOTE = "INSERT INTO order_fsm_unscrubbed (order_id) VALUES (?)"
UNSCRUBBED = "SELECT order_id FROM order_fsm_unscrubbed LIMIT 1"
SCRUBBED = "DELETE FROM order_fsm_unscrubbed"


def erase(transaction: Transaction, before: OrderRow) -> None:
    """Blank the personal values in an order's entries, messages and keys.

    Args:
        transaction: the transaction that also writes the order without its personal values.
        before: the checked row of the order before the erasure.

    Raises:
        StoreCorrupt: if an entry, a message or a key of the order is damaged.
    """
    rows = transaction.rows(orders.ENTRIES + transaction.latest, (before.id, -orders.LIMIT, orders.LIMIT - 1))
    entries = history_of(before, rows)
    transaction.run(_ERASE_ENTRIES, (before.id,))
    for row in transaction.rows(_RECORDS + transaction.latest, (before.id, before.id)):
        record = record_of(row)
        if not is_lasting(entries[record.first - 1 : record.last]):
            *_, fingerprint, seal = record_row(row[0], record._replace(request_fingerprint=""))
            transaction.run(_UPDATE_RECORD, (fingerprint, seal, row[0]))
    outbox.erase(transaction, before.id)
    if not transaction.rows(_IS_NOTED, (before.id,)):
        transaction.run(_NOTE, (before.id,))
