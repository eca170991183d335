"""Expire unpaid orders, and purge orders that were never placed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from order_fsm.errors import InvalidInput, OrderNotFound, Refused, TransactionLost, VersionConflict
from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.model import UNFINISHED, Entry, Fact, Order, Receipt, When, placing_of
from order_fsm.orders.calls import Fire
from order_fsm.orders.executor import Executor
from order_fsm.orders.paging import each_order
from order_fsm.rules.permissions import Permissions
from order_fsm.rules.request import Request
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Query, Store
from order_fsm.validation import GATEWAY

TRIGGER = "expire"
"""The trigger that the clock fires. Its rules determine which orders expire."""

_PAGE = 50
_log = logging.getLogger(__name__)


def moment_before(now: datetime, age: timedelta) -> datetime:
    """Return the time at an age before now.

    If that cannot be represented, return the earliest datetime.
    """
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
    permissions: Permissions | None,
) -> list[Receipt]:
    """Fire `expire` on orders that were due at `before`. See `Orders.expire`.

    Args:
        workflow: the workflow with the rule.
        store: the store of the orders.
        executor: runs the calls.
        request: the time, the comment and the flags of the entries.
        before: orders that became due later do not expire.
        limit: the largest number of orders to expire.
        permissions: the permissions of the shop. None allows everything.

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
                    # Decide for this version alone: another process may have unplaced and placed the order again.
                    receipt = executor.execute(Fire(workflow, order.id, request, None, {}, permissions, order.version))
                    expired += [receipt] if receipt.entries else []
            except (Refused, OrderNotFound):
                continue  # The order holds money, or is gone, or the clock has no permission.
            except TransactionLost:  # Nothing of the transaction is written, so the host must restart it.
                raise
            except Exception as error:
                _skipped(order, error)
    return expired


def purge(workflow: Workflow, store: Store, before: datetime, limit: int) -> list[str]:
    """Remove unplaced orders without changes since `before`. See `Orders.purge`."""
    purged: list[str] = []
    unticked = When(lacks={status.name for status in workflow.statuses})
    for order in each_order(store, Query(unticked, limit=_PAGE)):
        if len(purged) == limit or order.created_at > before:
            break
        # Removing an order would lose the pieces that it holds. A migration may have reserved some.
        if any(row.amount for row in order.payments) or order.reserved or order.updated_at > before:
            continue
        try:
            history = store.history(order.id)
            if all(entry.state_after == UNFINISHED for entry in history) and not _has_money(workflow, history):
                store.remove(order)
                purged.append(order.id)
        except (OrderNotFound, VersionConflict):
            continue  # Another process changed or removed it.
        except TransactionLost:
            raise
        except Exception as error:
            _skipped(order, error)
    return purged


def _has_waited(workflow: Workflow, order: Order, history: Sequence[Entry], due: When, before: datetime) -> bool:
    """Return whether an order was due then and awaits no money."""
    return len(history) == order.version and _since(history, due) <= before and not _awaits_money(workflow, history)


def _since(history: Sequence[Entry], when: When) -> datetime:
    """Return the time since which an order meets a condition.

    A reinstated order starts again.

    An adopted order began to meet it when it was placed.
    """
    since = history[0].at
    for entry in history:
        if when.matches(entry.after) and not when.matches(entry.before):
            since = placing_of(entry)
    return since


def _awaits_money(workflow: Workflow, history: Sequence[Entry]) -> bool:
    """Return whether a gateway still holds money for an order.

    That is money that the ledger could not take, or an authorisation.

    Such facts are comments, because no trigger records them. A void is final for its payment, even if it arrived first.
    Another attempt under the same reference may follow a failed one, and the failure may arrive after it. If an event
    fires one of the shop's own triggers, the shop's own boxes decide from then on.
    """
    authorised: dict[Fact, Fact] = {}  # By reference, the latest time at the gateway.
    failed: dict[Fact, Fact] = {}
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
        elif kind == "authorised" and "reasons" not in facts:  # Otherwise one of the shop's own rules refused it.
            at = facts.get("occurred_at")
            if not _is_earlier(at, failed.get(reference)) and not _is_earlier(at, authorised.get(reference)):
                authorised[reference] = at
        elif kind == "failed":
            at = facts.get("occurred_at")
            if not _is_earlier(at, authorised.get(reference)):
                authorised.pop(reference, None)
            if not _is_earlier(at, failed.get(reference)):
                failed[reference] = at
        elif kind == "voided":
            voided.add(reference)
    return not authorised.keys() <= voided


def _has_money(workflow: Workflow, history: Sequence[Entry]) -> bool:
    """Return whether a gateway reported money that the ledger could not take, or an authorisation."""
    noted = (entry.facts for entry in history if entry.by == GATEWAY and entry.trigger == "comment")
    moved = any(facts.get("kind") in PAYMENT_KINDS and facts.get("amount") for facts in noted)
    return moved or _awaits_money(workflow, history)


def _is_earlier(one: Fact, other: Fact) -> bool:
    """Return whether both times are known, and one is before the other."""
    return None not in (one, other) and datetime.fromisoformat(str(one)) < datetime.fromisoformat(str(other))


def _skipped(order: Order, error: Exception) -> None:
    """Log an order that cannot be changed, and continue."""
    # Log only the type: the text of a guard's or store's error may hold customer data.
    _log.error("order %r was skipped: %s", order.id, type(error).__name__)
