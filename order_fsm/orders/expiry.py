"""What time alone does to orders: placed ones that nobody pays are cancelled, ones that nobody places are removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from order_fsm.errors import InvalidInput, OrderNotFound, Refused, VersionConflict
from order_fsm.model import UNFINISHED, Entry, Order, Receipt, When
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Query

if TYPE_CHECKING:
    from order_fsm.store import Store

TRIGGER = "expire"
"""The trigger whose rule says which orders expire, and what becomes of them."""

_PAGE = 50


def expire(
    workflow: Workflow, store: Store, fire: Callable[[str, str], Receipt], before: datetime, limit: int
) -> list[Receipt]:
    """Fire `expire` at orders that have stood since `before` as its rule wants them; see `Orders.expire`.

    Args:
        workflow: has the rule.
        store: where the orders are.
        fire: lets a trigger happen to the order of an id.
        before: those that came there later are left alone.
        limit: how many at the most.

    Raises:
        InvalidInput: the workflow has no such rule.
    """
    rules = workflow.rules_of(TRIGGER)
    if not rules:
        raise InvalidInput(f"the workflow has no rule {TRIGGER!r}, so no order of it expires")
    expired: list[Receipt] = []
    waiting = When(has=rules[0].needs, lacks=rules[0].forbids)
    for order in _older(store, waiting, before):
        if len(expired) == limit:
            break
        try:
            if _since(store.history(order.id), waiting) <= before:
                expired.append(fire(order.id, TRIGGER))
        except (Refused, OrderNotFound):
            continue  # It holds money, or somebody else was first: then it is not to expire.
        except Exception as error:
            # A broken file, a shop's own guard that fails: whatever is wrong with one order stops none of the others.
            _left_alone(order, error)
    return expired


def purge(workflow: Workflow, store: Store, before: datetime, limit: int) -> list[str]:
    """Remove orders that were never more than unfinished, and untouched since `before`; see `Orders.purge`."""
    purged: list[str] = []
    unticked = When(lacks={status.name for status in workflow.statuses})
    for order in _older(store, unticked, before):
        if len(purged) == limit:
            break
        if order.payments or order.updated_at > before:
            continue
        try:
            if all(entry.state_after == UNFINISHED for entry in store.history(order.id)):
                store.remove(order)
                purged.append(order.id)
        except (OrderNotFound, VersionConflict):
            continue  # Somebody else was first.
        except Exception as error:
            _left_alone(order, error)
    return purged


def _older(store: Store, when: When, before: datetime) -> Iterator[Order]:
    """The orders that were created by then, page after page. Whoever is given one may remove it."""
    page = store.find(Query(when, limit=_PAGE))
    while page:
        # Found before this page is worked on: an order that is gone is no place to go on from.
        following = _after(page[-1], store, when)
        for order in page:
            if order.created_at > before:
                return
            yield order
        page = following


def _after(last: Order, store: Store, when: When) -> list[Order]:
    try:
        return store.find(Query(when, after=last.id, limit=_PAGE))
    except OrderNotFound:
        return []  # Somebody else removes orders at this moment, and goes on from there.


def _since(history: Sequence[Entry], when: When) -> datetime:
    """When an order came to meet a condition for the last time: one that was reinstated is waited for anew."""
    since = history[0].at
    for entry in history:
        if when.matches(entry.after) and not when.matches(entry.before):
            since = entry.at
    return since


def _left_alone(order: Order, error: Exception) -> None:
    import logging  # Only those who let orders expire need it.

    # Only its type: what a guard or a store raises may hold the customer's data.
    logging.getLogger(__name__).error("order %r was left alone: %s", order.id, type(error).__name__)
