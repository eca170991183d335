"""The tallies of the SQLite store: how many orders stand in each state, and what they come to.

Triggers of the schema keep them, so counts and totals are read from a few rows, however many orders there are. What the
totals come to is a whole number of units: see `rows.in_units`.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from sqlite3 import Cursor

from order_fsm.model import EXACT, ZERO, Tally, plus
from order_fsm_adapters.sqlite.rows import money

_ALL = "SELECT state, currency, refund_is_due, unit, orders, units FROM order_fsm_tally WHERE orders != 0"


def kept(cursor: Cursor) -> list[Tally]:
    """The tallies of all orders."""
    return summed(cursor.execute(_ALL).fetchall())


def summed(rows: Iterable[tuple[str, str, int, str, int, int]]) -> list[Tally]:
    """Tallies of groups of orders.

    Args:
        rows: of each group the state, the currency, whether a refund is due, the unit, the number of orders, and of
            units that their totals come to.

    Raises:
        StoreCorrupt: a unit is no amount of money.
    """
    groups: dict[tuple[str, str, bool], tuple[int, Decimal]] = {}
    for state, currency, due, unit, number, units in rows:
        group = (state, currency, bool(due))
        orders, total = groups.get(group, (0, ZERO))
        groups[group] = (orders + number, plus(total, EXACT.multiply(money(unit), units)))
    return [Tally(*group, *sums) for group, sums in groups.items()]
