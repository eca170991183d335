"""Pages through the orders of a store. Nothing changes if an order at the end of a page is removed."""

from __future__ import annotations

from collections.abc import Iterator

from order_fsm.errors import InvalidInput
from order_fsm.model import Order
from order_fsm.store import Cursor, Query, Store


def each_order(store: Store, query: Query) -> Iterator[Order]:
    """Yield all orders that match a query, one page at a time. The caller may change or remove them.

    Args:
        store: the store.
        query: its limit is the size of a page.
    """
    while page := store.find(query):
        # Fixed before the caller works on this page.
        query = query._replace(after=cursor_of(page[-1], dated=query.is_dated))
        yield from page


def cursor_of(order: Order, *, dated: bool = False) -> Cursor:
    """Return the position of an order in the sequence of all orders, or of those that were placed.

    Raises:
        InvalidInput: if the order is not placed, so that it has no position among those.
    """
    at = order.placed_at if dated else order.created_at
    if at is None:
        raise InvalidInput(f"order {order.id!r} is not placed, so no page with since or until comes after it")
    return Cursor(at, order.id)
