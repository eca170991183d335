"""Sums of the orders and payments of an interval.

Both read one range of a covering index.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Sales
from order_fsm.money import EXACT, ZERO, plus
from order_fsm.store import sales_of
from order_fsm_adapters.sql import ledger
from order_fsm_adapters.sql.codec import UNREADABLE, text_of, time_text
from order_fsm_adapters.sql.database import Transaction

_AFTER_ALL = "~"
"""Sorts after the text of every time."""


def _placed(condition: str) -> str:
    return f"""
        SELECT currency, unit, count(*), sum(units) FROM order_fsm_order
        WHERE {condition} AND placed_at >= ? AND placed_at < ? AND counted = 1 GROUP BY currency, unit
    """  # noqa: S608


PLACED = _placed("placed_at IS NOT NULL")
PLACED_BY_CUSTOMER = _placed("customer = ?")


def bounds(since: datetime | None, until: datetime | None) -> tuple[str, str]:
    """Return the bounds of an interval as text. None means no bound."""
    return "" if since is None else time_text(since), _AFTER_ALL if until is None else time_text(until)


def totals(
    transaction: Transaction, since: datetime | None, until: datetime | None, customer: str | None
) -> dict[str, Decimal]:
    """Implement `Store.totals`.

    Raises:
        StoreCorrupt: if an order is damaged.
    """
    return {currency: total for currency, (_, total) in _sums(transaction, bounds(since, until), customer).items()}


def report(transaction: Transaction, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
    """Implement `Store.report`.

    Raises:
        StoreCorrupt: if an order or a row of the ledger is damaged.
    """
    interval = bounds(since, until)
    placed, recorded = _sums(transaction, interval, None), ledger.sums(transaction, *interval)
    return sales_of(placed, recorded)


def _sums(transaction: Transaction, interval: tuple[str, str], customer: str | None) -> dict[str, tuple[int, Decimal]]:
    """Sum the counted orders placed in an interval, by currency.

    Returns:
        Their number and total.
    """
    if customer is None:
        rows = transaction.rows(PLACED, interval)
    else:
        rows = transaction.rows(PLACED_BY_CUSTOMER, (customer, *interval))
    sums: dict[str, tuple[int, Decimal]] = {}
    try:
        for currency, unit, number, units in rows:
            orders, total = sums.get(currency, (0, ZERO))
            sums[text_of(currency)] = orders + number, plus(total, EXACT.multiply(Decimal(unit), units))
    except UNREADABLE as error:
        raise StoreCorrupt(f"the total of an order is damaged ({error}): restore it from a backup") from error
    return sums
