"""Add the steps of the tallies to their counters."""

from __future__ import annotations

from order_fsm_adapters.sql.codec import json_text
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.tallies import GROUP

_ENOUGH = 200
"""A relay folds once there are this many steps, so a read adds up only a few hundred."""
_PAGE = 1000
"""How many steps one pass folds at most."""

# One call folds at a time. The row of the schema is the lock.
_WAIT = "SELECT version FROM order_fsm_schema FOR UPDATE"
_TRY = "SELECT version FROM order_fsm_schema FOR UPDATE SKIP LOCKED"
_IS_ENOUGH = "SELECT number FROM order_fsm_tally_step ORDER BY number LIMIT 1 OFFSET ?"
# A step with a lower number may be committed later, so the fold lists the numbers instead of taking all up to the
# highest. It skips uncommitted steps, which are locked.
_STEPS = "SELECT number FROM order_fsm_tally_step ORDER BY number LIMIT ? FOR UPDATE SKIP LOCKED"
_NUMBERS = "JSON_TABLE(?, '$[*]' COLUMNS (number BIGINT PATH '$')) AS folded"


def _add(customer: str, group: str, condition: str) -> str:
    return f"""
        INSERT INTO order_fsm_tally_base (customer, {GROUP}, "orders", units)
        SELECT {customer} AS of_customer, {GROUP}, sum("orders") AS orders_more, sum(units) AS units_more
        FROM {_NUMBERS} JOIN order_fsm_tally_step AS step ON step.number = folded.number
        WHERE {condition} GROUP BY {group} HAVING orders_more <> 0 OR units_more <> 0
        ON DUPLICATE KEY UPDATE "orders" = order_fsm_tally_base."orders" + VALUES("orders"),
            units = order_fsm_tally_base.units + VALUES(units)
    """  # noqa: S608


_ADD_TO_ALL = _add("''", GROUP, "TRUE")
_ADD_TO_CUSTOMERS = _add("customer", f"customer, {GROUP}", "customer IS NOT NULL")
_DELETE = f"""
    DELETE step FROM {_NUMBERS} STRAIGHT_JOIN order_fsm_tally_step AS step ON step.number = folded.number
"""
# An empty counter would keep the customer's name.
_DELETE_EMPTY = 'DELETE FROM order_fsm_tally_base WHERE "orders" = 0'


def fold(transaction: Transaction) -> None:
    """Add steps to the counters, unless there are few or another call is adding them."""
    if transaction.rows(_IS_ENOUGH, (_ENOUGH - 1,)) and transaction.rows(_TRY):
        _fold(transaction)


def fold_all(transaction: Transaction) -> None:
    """Add all steps to the counters."""
    transaction.rows(_WAIT)
    while _fold(transaction):
        pass


def _fold(transaction: Transaction) -> bool:
    """Add one page of steps to the counters. Return whether it had any."""
    numbers = [number for (number,) in transaction.rows(_STEPS, (_PAGE,))]
    if numbers:
        folded = (json_text(numbers),)
        transaction.run(_ADD_TO_ALL, folded)
        transaction.run(_ADD_TO_CUSTOMERS, folded)
        transaction.run(_DELETE, folded)
        transaction.run(_DELETE_EMPTY, ())
    return bool(numbers)
