"""Time: placed orders that nobody pays expire, and orders that nobody placed are purged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from order_fsm.errors import InvalidInput, OrderNotFound, Refused, VersionConflict
from order_fsm.model import UNFINISHED, Entry, Fact, Order, Receipt, When, placing_of
from order_fsm.orders.calls import Expire
from order_fsm.orders.executor import Executor
from order_fsm.orders.paging import each_order
from order_fsm.rules.permissions import Permissions
from order_fsm.rules.request import Request
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Query, Store
from order_fsm.validation import GATEWAY

TRIGGER = "expire"
"""The trigger that time fires. Its rules say which orders expire."""

_PAGE = 50
_log = logging.getLogger(__name__)


def moment_before(now: datetime, age: timedelta) -> datetime:
    """Return the moment an age before now, the first representable one if that is too long ago."""
    try:
        return now - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def expire(
    workflow: Workflow,
    store: Store,
    executor: Executor,
    request: Request,
    before: datetime,
    limit: int,
    permissions: Permissions | None = None,
) -> list[Receipt]:
    """Fire `expire` at orders that have been due since `before`. See `Orders.expire`.

    Args:
        workflow: has the rule.
        store: has the orders.
        executor: runs the calls.
        request: gives the entries their time, comment and flags.
        before: orders that came to be due later are left alone.
        limit: the largest number of orders to expire.
        permissions: whether the clock may. None allows everything.

    Raises:
        InvalidInput: if the workflow has no such rule.
    """
    rules = workflow.rules_of(TRIGGER)
    if not rules:
        raise InvalidInput(f"the workflow has no rule {TRIGGER!r}, so its orders do not expire")
    expired: list[Receipt] = []
    for rule in rules:
        due = When(has=rule.needs, lacks=rule.forbids, has_any=rule.needs_any)
        for order in each_order(store, Query(due, limit=_PAGE)):
            if len(expired) == limit or order.created_at > before:
                break
            try:
                if _has_waited(workflow, order, store.history(order.id), due, before):
                    # Decided for this version alone: the order may be unplaced and placed again now.
                    receipt = executor.execute(Expire(workflow, order.id, request, order.version, permissions))
                    expired += [receipt] if receipt.entries else []
            except (Refused, OrderNotFound):
                continue  # It holds money, the clock may not, or it is gone.
            except Exception as error:
                _skipped(order, error)
    return expired


def purge(workflow: Workflow, store: Store, before: datetime, limit: int) -> list[str]:
    """Remove orders that were never placed and are unchanged since `before`. See `Orders.purge`."""
    purged: list[str] = []
    unticked = When(lacks={status.name for status in workflow.statuses})
    for order in each_order(store, Query(unticked, limit=_PAGE)):
        if len(purged) == limit or order.created_at > before:
            break
        # The pieces that an order holds would be lost with it. A migration may have made it take some.
        if any(row.amount for row in order.payments) or order.reserved or order.updated_at > before:
            continue
        try:
            if all(entry.state_after == UNFINISHED for entry in store.history(order.id)):
                store.remove(order)
                purged.append(order.id)
        except (OrderNotFound, VersionConflict):
            continue  # Another process changed or removed it.
        except Exception as error:
            _skipped(order, error)
    return purged


def _has_waited(workflow: Workflow, order: Order, history: Sequence[Entry], due: When, before: datetime) -> bool:
    """Return whether an order, as it was found, has been due since a time and waits for no money."""
    return len(history) == order.version and _since(history, due) <= before and not _awaits_money(workflow, history)


def _since(history: Sequence[Entry], when: When) -> datetime:
    """Return the time at which an order last came to meet a condition. A reinstated order starts again.

    An adopted order came to meet it when it was placed.
    """
    since = history[0].at
    for entry in history:
        if when.matches(entry.after) and not when.matches(entry.before):
            since = placing_of(entry)
    return since


def _awaits_money(workflow: Workflow, history: Sequence[Entry]) -> bool:
    """Return whether a gateway reported money that the ledger could not take, or holds an authorisation.

    Such facts are comments, because no trigger takes them. A void is final for its payment, even if it came first. A
    failed attempt may be followed by another one under the same reference. If an event fires a trigger of the shop's
    own, the boxes of the shop tell the rest.
    """
    authorised: set[Fact] = set()
    voided: set[Fact] = set()
    for entry in history:
        if entry.by != GATEWAY:
            continue
        facts = entry.facts
        kind, reference = facts.get("kind"), facts.get("reference")
        if entry.trigger != "comment":
            if not workflow.rules_of(entry.trigger) or workflow.ledger_of(entry.trigger) is None:
                authorised.clear()
        elif kind == "captured" and facts.get("amount"):
            return True
        elif kind == "authorised" and "reasons" not in facts:  # Otherwise a rule of the shop's own refused it.
            authorised.add(reference)
        elif kind == "failed":
            authorised.discard(reference)
        elif kind == "voided":
            voided.add(reference)
    return bool(authorised - voided)


def _skipped(order: Order, error: Exception) -> None:
    """Log an order that cannot be changed. It must not stop the others."""
    # Only the type: the text of a guard's or store's error may hold customer data.
    _log.error("order %r was skipped: %s", order.id, type(error).__name__)
