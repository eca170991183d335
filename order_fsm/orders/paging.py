"""Read the orders of a store in pages.

Paging still works if the last order of a page is removed.
"""

from __future__ import annotations

from collections.abc import Iterator

from order_fsm.errors import InvalidInput
from order_fsm.model import Order
from order_fsm.store import Cursor, Query, Store


def each_order(store: Store, query: Query) -> Iterator[Order]:
    """Yield all orders that match a query, page by page.

    The caller may change or remove them.

    Args:
        store: the store.
        query: the query. Its limit is the page size.
    """
    while page := store.find(query):
        # Take the position now: the caller may remove the last order of this page.
        query = query._replace(after=cursor_of(page[-1], dated=query.is_dated))
        yield from page


def cursor_of(order: Order, *, dated: bool) -> Cursor:
    """Return the position of an order in the sequence of a query.

    The sequence has all orders, or the placed ones if `dated`.

    Raises:
        InvalidInput: if `dated` and the order is not placed, because it then has no position.
    """
    at = order.placed_at if dated else order.created_at
    if at is None:
        raise InvalidInput(f"order {order.id!r} is not placed, so it cannot be `after` with since or until")
    return Cursor(at, order.id)
