"""Move orders out of states that a changed table no longer has.

A migration runs no guard.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from order_fsm import validation
from order_fsm.errors import InvalidInput, OrderNotFound, StoreCorrupt
from order_fsm.model import Order, Receipt, When, statuses_of
from order_fsm.orders.calls import Migrate, needs_migration
from order_fsm.orders.executor import Executor
from order_fsm.orders.paging import each_order
from order_fsm.rules.request import Request
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Query, Store

_PAGE = 50
_log = logging.getLogger(__name__)


def migrate(
    workflow: Workflow,
    store: Store,
    executor: Executor,
    mapping: Mapping[str, str | Iterable[str]],
    request: Request,
    limit: int,
) -> list[Receipt]:
    """Move orders to the states of a mapping.

    See `Orders.migrate`. Damaged orders are logged and not moved.

    Args:
        workflow: the workflow with the new states.
        store: the store of the orders.
        executor: runs the calls.
        mapping: by old state, the new state.
        request: the trigger, the time, the actor and the reason of the entries.
        limit: the largest number of orders to move.
    """
    targets = _checked(workflow, mapping)
    moved: list[Receipt] = []
    for order in _in_states(store, targets):
        if len(moved) == limit:
            break
        if needs_migration(workflow, order, targets[order.state]):
            try:
                receipt = executor.execute(Migrate(workflow, order.id, request, targets))
            except (OrderNotFound, StoreCorrupt) as error:
                _log.error("order %r was skipped: %s", order.id, type(error).__name__)
            else:
                moved += [receipt] if receipt.entries else []
    return moved


def _checked(workflow: Workflow, mapping: Mapping[str, str | Iterable[str]]) -> dict[str, str]:
    if not isinstance(mapping, Mapping):
        raise InvalidInput(f"mapping must be a dict of old states to new ones, not {validation.shown(mapping)}")
    targets: dict[str, str] = {}
    for old, new in mapping.items():
        if not isinstance(old, str) or not old:
            raise InvalidInput(f"an old state must be its name, such as 'sent+paid', not {validation.shown(old)}")
        wanted = statuses_of(new) if isinstance(new, str) else validation.names(new, "a new state")
        target = workflow.state_name(wanted)
        if statuses_of(target) != wanted or not workflow.has_state(target):
            raise InvalidInput(f"the workflow has no state {new!r:.200}, so no order can move to it")
        if workflow.has_state(old) and target != old:
            raise InvalidInput(f"the workflow has the state {old!r}: orders leave it by the triggers of the table")
        targets[old] = target
    return targets


def _in_states(store: Store, states: Iterable[str]) -> Iterator[Order]:
    """Yield the orders in these states."""
    present = [tally.state for tally in store.tally(None)]
    known = frozenset().union(*map(statuses_of, present))
    for state in states:
        statuses = statuses_of(state)
        if state in present:
            orders = each_order(store, Query(When(has=statuses, lacks=known - statuses), limit=_PAGE))
            yield from (order for order in orders if order.state == state)
