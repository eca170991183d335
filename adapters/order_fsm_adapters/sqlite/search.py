"""Finding orders in the SQLite store: by an index each, so that a page costs the same among many orders."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from sqlite3 import Cursor

from order_fsm.errors import StoreCorrupt
from order_fsm.model import When, statuses_of
from order_fsm.money import EXACT
from order_fsm.store import Query, Tally
from order_fsm_adapters.finding import Counted, tallies
from order_fsm_adapters.places import Place
from order_fsm_adapters.sqlite.rows import Row, money

_STATES = """
    WITH RECURSIVE present (state) AS (
        SELECT min(state) FROM order_fsm_order
        UNION ALL
        SELECT (SELECT min(state) FROM order_fsm_order WHERE state > present.state)
        FROM present WHERE state IS NOT NULL
    )
    SELECT state FROM present WHERE state IS NOT NULL
"""
"""The states in which there are orders, each found by one step into the index."""

_IN_STATE = """
    SELECT created_at, id FROM order_fsm_order
    WHERE state = ? AND (created_at, id) > (?, ?) ORDER BY created_at, id
"""

_OF_CUSTOMER = """
    SELECT created_at, id, state FROM order_fsm_order
    WHERE customer = ? AND (created_at, id) > (?, ?) ORDER BY created_at, id
"""

_REFUND_DUE = """
    SELECT created_at, id, state, customer FROM order_fsm_order
    WHERE refund_is_due = 1 AND (created_at, id) > (?, ?) ORDER BY created_at, id
"""

# Kept by triggers of the schema.
_KEPT = "SELECT state, currency, refund_is_due, unit, orders, units FROM order_fsm_tally WHERE orders != 0"

# Each total is a unit: SQLite counts, and adds nothing up.
_TALLY = """
    SELECT state, currency, refund_is_due, total, count(*), count(*) FROM order_fsm_order
    WHERE state IS NOT NULL GROUP BY 1, 2, 3, 4
"""
_TALLY_OF_CUSTOMER = """
    SELECT state, currency, refund_is_due, total, count(*), count(*) FROM order_fsm_order WHERE customer = ?
    GROUP BY 1, 2, 3, 4
"""


def found(cursor: Cursor, query: Query, after: Place) -> list[Place]:
    """The places of the orders that a query describes, oldest first, as the indexes have them.

    Args:
        cursor: in a transaction.
        query: its `after` is not looked at.
        after: the place after which to go on.

    Raises:
        StoreCorrupt: an index is broken.
    """
    # All closed here, also where a broken database stops one of them, and not when the connection is closed already.
    with ExitStack() as opened:
        try:
            return list(islice(_places(cursor, query, after, opened), query.limit))
        except (TypeError, AttributeError) as error:
            raise StoreCorrupt("an index of the orders holds what is no text: mend it with SQLite's REINDEX") from error


def kept_tally(cursor: Cursor) -> list[Tally]:
    """See `Store.tally`, of all orders: from a few rows, however many orders there are.

    Raises:
        TypeError: they hold what is no text or number in the place of one.
    """
    return _tallies(cursor.execute(_KEPT))


def tally(cursor: Cursor, customer: str | None) -> list[Tally]:
    """See `Store.tally`: by counting the orders, which takes the longer the more there are.

    Raises:
        TypeError: they hold what is no text or number in the place of one.
    """
    if customer is None:
        return _tallies(cursor.execute(_TALLY))
    return _tallies(cursor.execute(_TALLY_OF_CUSTOMER, (customer,)))


_TYPES = (str, str, int, str, int, int)


def _tallies(rows: Iterable[Row]) -> list[Tally]:
    """The rows summed.

    Raises:
        TypeError: one holds what nobody writes there.
    """
    return tallies(map(_counted, rows))


def _counted(row: Row) -> Counted:
    if tuple(map(type, row)) != _TYPES:
        raise TypeError(f"{row!r}")
    state, currency, due, unit, orders, units = row
    return state, currency, bool(due), orders, EXACT.multiply(money(unit), units)


def _places(cursor: Cursor, query: Query, after: Place, opened: ExitStack) -> Iterator[Place]:
    if query.refund_due:
        for at, order_id, state, customer in _stepped(opened, cursor, _REFUND_DUE, after):
            if query.customer in {None, customer} and query.when.matches(statuses_of(state)):
                yield at, order_id
    elif query.customer is not None:
        for at, order_id, state in _stepped(opened, cursor, _OF_CUSTOMER, (query.customer, *after)):
            if query.when.matches(statuses_of(state)):
                yield at, order_id
    else:
        states = _states(cursor, query.when)
        yield from heapq.merge(*(_stepped(opened, cursor, _IN_STATE, (state, *after)) for state in states))


def _states(cursor: Cursor, when: When) -> list[str]:
    return [state for (state,) in cursor.execute(_STATES).fetchall() if when.matches(statuses_of(state))]


def _stepped(opened: ExitStack, cursor: Cursor, statement: str, values: Row) -> Iterator[Row]:
    """Rows as they are asked for: most of what a statement could give is not needed."""
    return opened.enter_context(closing(Cursor(cursor.connection))).execute(statement, values)
