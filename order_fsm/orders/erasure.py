"""Erase personal values from orders and from the store's files."""

from __future__ import annotations

import logging

from order_fsm.erasure import has_personal
from order_fsm.errors import OrderNotFound, StoreCorrupt, StoreError, StoreUnavailable
from order_fsm.model import When
from order_fsm.orders.calls import Erase
from order_fsm.orders.executor import Executor
from order_fsm.orders.paging import each_order
from order_fsm.rules.permissions import Permissions
from order_fsm.rules.request import Request
from order_fsm.store import Query, Store

_PAGE = 50
_log = logging.getLogger(__name__)


def erase_order(
    store: Store, executor: Executor, order_id: str, request: Request, permissions: Permissions | None
) -> list[str]:
    """Erase one order. See `Orders.erase_order`.

    Args:
        store: the store of the order.
        executor: runs the call.
        order_id: the order.
        request: the trigger, the time and the actor of the entry.
        permissions: the permissions of the shop. None allows everyone.
    """
    erased = []
    if has_personal(store.load(order_id), store.history(order_id)):
        executor.execute(Erase(order_id, request, None, permissions))
        erased.append(order_id)
    _scrub(store, erased)
    return erased


def erase_customer(
    store: Store,
    executor: Executor,
    customer: str,
    request: Request,
    limit: int | None,
    permissions: Permissions | None,
) -> list[str]:
    """Erase the orders of a customer.

    See `Orders.erase_customer`. Damaged orders are logged and not changed.

    Args:
        store: the store of the orders.
        executor: runs the calls.
        customer: the customer.
        request: the trigger, the time and the actor of the entries.
        limit: the largest number of orders to erase, None for all.
        permissions: the permissions of the shop. None allows everyone.

    Raises:
        Refused: if an order may not be erased. The orders before it are erased.
    """
    erased: list[str] = []
    try:
        for order in each_order(store, Query(When(), customer, limit=_PAGE)):
            if len(erased) == limit:
                break
            try:
                receipt = executor.execute(Erase(order.id, request, customer, permissions))
            except (OrderNotFound, StoreCorrupt) as error:
                _log.error("order %r was not erased: %s", order.id, type(error).__name__)
            else:
                erased += [order.id] if receipt.entries else []
    except BaseException as error:
        # Report the ids: a search for the customer no longer finds these orders.
        if erased:
            done = "in the transaction of the shop" if store.joined else "committed"
            error.add_note(f"the erasure of {erased} is {done}")
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            _scrub(store, erased)  # A repetition may fail at the same order, before it removes the bytes.
        raise
    _scrub(store, erased)
    return erased


def _scrub(store: Store, erased: list[str]) -> None:
    """Remove the erased bytes from the files.

    This also runs if nothing was erased, because an earlier call may have been killed before this step.

    Raises:
        StoreUnavailable: if the bytes cannot be removed. The message has the ids of the orders.
    """
    try:
        store.scrub()
    except StoreError as error:
        raise StoreUnavailable(
            f"the erasure of {erased} is committed. Erased bytes may be left in the files: call again ({error})"
        ) from error
