"""Find and count orders by index.

The cost of a page does not depend on the number of orders.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from functools import cache
from itertools import islice

from order_fsm.errors import StoreCorrupt
from order_fsm.model import Order, When, statuses_of
from order_fsm.money import EXACT, ZERO, plus
from order_fsm.store import Marks, Query, Tally
from order_fsm_adapters.sql import orders
from order_fsm_adapters.sql.codec import UNREADABLE, flag_of, time_text
from order_fsm_adapters.sql.database import Row, Transaction
from order_fsm_adapters.sql.order_rows import ORDER_COLUMNS, OrderRow, order_of
from order_fsm_adapters.sql.reports import bounds

_log = logging.getLogger(__name__)

Place = tuple[str, str]
"""The position of an order in the sequence of a query: its created_at or placed_at, and its id."""

_START: Place = ("", "")
_ANY = When()

_DAMAGED_INDEX = "an index of the orders is damaged: rebuild it (SQLite: REINDEX)"

_BATCH = 64
"""The largest number of orders that one statement reads."""


def _states(condition: str) -> str:
    """Return a statement that finds distinct states by one index lookup each."""
    return f"""
        WITH RECURSIVE present (state) AS (
            SELECT min(state) FROM order_fsm_order WHERE {condition}
            UNION ALL
            SELECT (SELECT min(state) FROM order_fsm_order WHERE {condition} AND state > present.state)
            FROM present WHERE state IS NOT NULL
        )
        SELECT state FROM present WHERE state IS NOT NULL
    """  # noqa: S608


def _page(condition: str, time: str = "created_at") -> str:
    """Return a statement for a page of places.

    MariaDB cannot start an index scan at a pair, so the first column has a bound, too.
    """
    return f"""
        SELECT {time}, id FROM order_fsm_order
        WHERE {condition} AND ({time}, id) > (?, ?) AND {time} >= ? ORDER BY {time}, id LIMIT ?
    """  # noqa: S608


def _dated_page(condition: str) -> str:
    return _page(f"{condition} AND placed_at < ?", "placed_at")


_ALL_STATES = _states("state IS NOT NULL")
_STATES_OF_CUSTOMER = _states("customer = ?")
_IN_STATE = _page("state = ?")
_IN_STATE_OF_CUSTOMER = _page("customer = ? AND state = ?")
_REFUND_DUE = _page("refund_is_due = 1")
_REFUND_DUE_OF_CUSTOMER = _page("customer = ? AND refund_is_due = 1")
_UNMATCHED = _page("is_unmatched = 1")
_PART_DISPATCHED = _page("is_part_dispatched = 1")


def _of_reference(condition: str, time: str = "created_at") -> str:
    return f"""
        SELECT one.{time}, one.id FROM order_fsm_reference AS of_payment
        JOIN order_fsm_order AS one ON one.id = of_payment.order_id
        WHERE {condition} AND (one.{time}, one.id) > (?, ?) AND one.{time} >= ?
        ORDER BY one.{time}, one.id LIMIT ?
    """  # noqa: S608


# A payment belongs to few orders.
_OF_REFERENCE = _of_reference("of_payment.reference = ?")
_DATED_OF_REFERENCE = _of_reference("of_payment.reference = ? AND one.placed_at < ?", "placed_at")

# SQLite keeps these tables by triggers. On servers they are views.
_TALLY = """
    SELECT state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit, "orders", units FROM order_fsm_tally
    WHERE "orders" <> 0
"""
_TALLY_OF_CUSTOMER = """
    SELECT state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit, "orders", units
    FROM order_fsm_customer_tally WHERE customer = ? AND "orders" <> 0
"""


def find(transaction: Transaction, query: Query) -> list[Order]:
    """Implement `Store.find`.

    Raises:
        StoreCorrupt: if an index is damaged.
    """
    after = _START if query.after is None else (time_text(query.after.at), query.after.order_id)
    return list(islice(_readable(transaction, query, _places(transaction, query, after)), query.limit))


def _places(transaction: Transaction, query: Query, after: Place) -> Iterator[Place]:
    """Yield the places of possible matches of a query, oldest first."""
    if query.is_dated:
        return _dated_places(transaction, query, after)
    if query.reference is not None:
        return _paged(transaction, _OF_REFERENCE, (query.reference,), after, query.limit)
    if query.unmatched:  # Few orders are unmatched, so there is no index by customer.
        return _paged(transaction, _UNMATCHED, (), after, query.limit)
    if query.part_dispatched:
        return _paged(transaction, _PART_DISPATCHED, (), after, query.limit)
    of_customer = () if query.customer is None else (query.customer,)
    if query.refund_due:
        statement = _REFUND_DUE_OF_CUSTOMER if of_customer else _REFUND_DUE
        return _paged(transaction, statement, of_customer, after, query.limit)
    states = _matching_states(transaction, query)
    statement = _IN_STATE_OF_CUSTOMER if of_customer else _IN_STATE
    # A page rarely needs more than its share of one state.
    size = min(query.limit, query.limit // max(len(states), 1) + 5)
    return heapq.merge(*[_paged(transaction, statement, (*of_customer, state), after, size) for state in states])


def _matching_states(transaction: Transaction, query: Query) -> list[str]:
    """Return the states of existing orders that meet the condition of a query."""
    of_customer = () if query.customer is None else (query.customer,)
    found = transaction.rows(_STATES_OF_CUSTOMER if of_customer else _ALL_STATES, of_customer * 2)
    if not all(isinstance(state, str) for (state,) in found):
        raise StoreCorrupt(_DAMAGED_INDEX)
    return [state for (state,) in found if query.when.matches(statuses_of(state))]


def _dated_places(transaction: Transaction, query: Query, after: Place) -> Iterator[Place]:
    """Yield places of possible matches of a dated query, oldest placing first.

    The statement compares statuses within the interval: an index by state and placing time would slow every change.
    """
    since, until = bounds(query.since, query.until)
    after = max(after, (since, ""))
    if query.reference is not None:
        return _paged(transaction, _DATED_OF_REFERENCE, (query.reference, until), after, query.limit)
    conditions: list[str] = []
    values: list[str] = []
    if query.customer is not None:
        conditions.append("customer = ?")
        values.append(query.customer)
    conditions += ["refund_is_due = 1"] * query.refund_due + ["is_unmatched = 1"] * query.unmatched
    conditions += ["is_part_dispatched = 1"] * query.part_dispatched
    if query.when != _ANY:
        states = _matching_states(transaction, query)
        if not states:
            return iter(())
        # With an expression, no planner scans the index by state and sorts the result.
        conditions.append(f"coalesce(state, '') IN ({', '.join('?' * len(states))})")
        values += states
    statement = _dated_page(" AND ".join(conditions) or "placed_at IS NOT NULL")
    return _paged(transaction, statement, (*values, until), after, query.limit)


def _paged(transaction: Transaction, statement: str, values: Row, after: Place, size: int) -> Iterator[Place]:
    while page := transaction.rows(statement, (*values, *after, after[0], size)):
        for row in page:
            # A damaged index could make this loop endless.
            if not isinstance(row[0], str) or not isinstance(row[1], str) or row <= after:
                raise StoreCorrupt(_DAMAGED_INDEX)
            yield row
            after = row
        if len(page) < size:
            return


def _readable(transaction: Transaction, query: Query, places: Iterator[Place]) -> Iterator[Order]:
    """Yield the orders at some places. Log and leave out damaged ones."""
    for place, order in _read(transaction, places, min(query.limit, _BATCH)):
        at = None if order is None else order.placed_at if query.is_dated else order.created_at
        if order is None or at is None or (time_text(at), order.id) != place:
            _log.error("order %r is damaged and left out: run an audit", place[1])
        elif query.matches(order):
            yield order
        elif transaction.sees_one_moment and not (any(query.marks) or query.reference):
            _log.error("an index does not match order %r, which is left out: run an audit", place[1])


def _read(transaction: Transaction, places: Iterator[Place], number: int) -> Iterator[tuple[Place, Order | None]]:
    """Yield each place with its order, or None if unreadable. One statement reads `number` orders."""
    while batch := list(islice(places, number)):
        rows: dict[str, Row] = {}
        ids = [order_id for _, order_id in batch]
        # Powers of two, so that only a few statements are prepared.
        length = 1 << (len(ids) - 1).bit_length()
        with suppress(StoreCorrupt):  # One row with invalid text fails the whole statement.
            found = transaction.rows(_orders(length), (*ids, *ids[-1:] * (length - len(ids))))
            rows = {row[0]: row for row in found}
        for place in batch:
            order = None
            with suppress(StoreCorrupt):
                row = rows.get(place[1])
                for one in transaction.rows(orders.ORDER, (place[1],)) if row is None else [row]:
                    order = order_of(OrderRow._make(one))
            yield place, order


@cache
def _orders(number: int) -> str:
    return f"SELECT {ORDER_COLUMNS} FROM order_fsm_order WHERE id IN ({', '.join('?' * number)})"  # noqa: S608


def tally(transaction: Transaction, customer: str | None) -> list[Tally]:
    """Implement `Store.tally`.

    Raises:
        StoreCorrupt: if a row of the tally is damaged.
    """
    rows = transaction.rows(_TALLY) if customer is None else transaction.rows(_TALLY_OF_CUSTOMER, (customer,))
    groups: dict[tuple[str, str, Marks], tuple[int, Decimal]] = {}
    try:
        for state, currency, *flags, unit, number, units in rows:
            group = state, currency, Marks._make(map(flag_of, flags))
            orders_, total = groups.get(group, (0, ZERO))
            groups[group] = orders_ + number, plus(total, EXACT.multiply(Decimal(unit), units))
    except UNREADABLE as error:
        raise StoreCorrupt(f"a row of the tally is damaged ({error}): restore it from a backup") from error
    return [
        Tally(state, currency, marks.refund_due, number, total, marks.unmatched, marks.part_dispatched)
        for (state, currency, marks), (number, total) in groups.items()
    ]
