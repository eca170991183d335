"""The tallies of orders on servers, in total and by customer.

All commits would wait for each other at a counter row. So a commit inserts a step for each group that an order leaves
or enters. Relays add the steps to the counters later. Readers use views that add up both.
"""

from __future__ import annotations

from order_fsm_adapters.sql.database import Row, Transaction
from order_fsm_adapters.sql.order_rows import OrderRow

GROUP = "state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit"
"""The columns by which a tally groups orders."""

_COLUMNS = f'customer, {GROUP}, "orders", units'
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT = f"INSERT INTO order_fsm_tally_step ({_COLUMNS}) VALUES {_ROW}"  # noqa: S608
_INSERT_BOTH = f"{_INSERT}, {_ROW}"


def note(transaction: Transaction, before: OrderRow | None, after: OrderRow | None) -> None:
    """Insert the steps of a change, unless triggers count.

    Args:
        transaction: the transaction of the change.
        before: the row of the order before the change, or None for a new order.
        after: the row after the change, or None for a removed order.
    """
    if transaction.has_triggers:
        return
    left = None if before is None else (_group(before), before.units)
    entered = None if after is None else (_group(after), after.units)
    if left != entered:
        steps: Row = ()
        if left is not None:
            steps += (*left[0], -1, -left[1])
        if entered is not None:
            steps += (*entered[0], 1, entered[1])
        transaction.run(_INSERT_BOTH if left and entered else _INSERT, steps)


def _group(row: OrderRow) -> Row:
    return (
        row.customer,
        row.state,
        row.currency,
        row.refund_is_due,
        row.is_unmatched,
        row.is_part_dispatched,
        row.unit,
    )
