"""Moving orders out of states that a changed table no longer knows. No guard is asked: it is the owner's decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import Entry, Order, Receipt, When, statuses_of
from order_fsm.orders.executor import Call, Commits
from order_fsm.rules.decide import Decision
from order_fsm.rules.request import Request
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Query

if TYPE_CHECKING:
    from order_fsm.store import Store

_PAGE = 50


def migrate(
    workflow: Workflow,
    store: Store,
    commits: Commits,
    mapping: Mapping[str, str | Iterable[str]],
    request: Request,
    limit: int,
) -> list[Receipt]:
    """See `Orders.migrate`.

    Args:
        workflow: knows the new states.
        store: where the orders are.
        commits: of the two.
        mapping: from old states to new ones.
        request: its trigger is that of the entries; who, when, why.
        limit: how many to move at the most.
    """
    targets = _checked(workflow, mapping)
    moved: list[Receipt] = []

    def decided(order: Order, _: frozenset[str]) -> Sequence[Decision]:
        return [_moved(workflow, order, targets[order.state], request)] if _to_move(workflow, order, targets) else []

    for order in _standing_in(store, targets):
        if len(moved) == limit:
            break
        if _to_move(workflow, order, targets):
            receipt = commits.change(Call(order.id, request, None, decided))
            moved += [receipt] if receipt.entries else []
    return moved


def _checked(workflow: Workflow, mapping: Mapping[str, str | Iterable[str]]) -> dict[str, str]:
    if not isinstance(mapping, Mapping):
        raise InvalidInput(f"mapping must be a dict of old states to new ones, not {validation.shown(mapping)}")
    targets: dict[str, str] = {}
    for old, new in mapping.items():
        if not isinstance(old, str) or not old:
            raise InvalidInput(f"an old state must be its name, such as 'sent+paid', not {validation.shown(old)}")
        target = workflow.state_name(statuses_of(new) if isinstance(new, str) else validation.names(new, "a new state"))
        wanted = statuses_of(new) if isinstance(new, str) else frozenset(new)
        if statuses_of(target) != wanted or not workflow.has_state(target):
            raise InvalidInput(f"the workflow has no state {new!r:.200}, so no order can be moved there")
        if workflow.has_state(old) and target != old:
            raise InvalidInput(f"the workflow knows the state {old!r}: orders leave it by the triggers of the table")
        targets[old] = target
    return targets


def _standing_in(store: Store, states: Iterable[str]) -> Iterator[Order]:
    """The orders in some states, page after page."""
    present = [tally.state for tally in store.tally(None)]
    known = frozenset().union(*map(statuses_of, present))
    for state in states:
        statuses = statuses_of(state)
        if state in present:
            when = When(has=statuses, lacks=known - statuses)
            page = store.find(Query(when, limit=_PAGE))
            while page:
                yield from (order for order in page if order.state == state)
                page = store.find(Query(when, after=page[-1].id, limit=_PAGE))


def _to_move(workflow: Workflow, order: Order, targets: Mapping[str, str]) -> bool:
    target = targets.get(order.state)
    return target is not None and (target, workflow.counts_in(target)) != (order.state, order.counted)


def _moved(workflow: Workflow, order: Order, target: str, request: Request) -> Decision:
    entry = Entry(
        version=order.version + 1,
        trigger=request.trigger,
        state_before=order.state,
        state_after=target,
        at=request.at,
        by=request.by,
        comment=request.comment,
    )
    return Decision(order.after(entry, order.payments, workflow.counts_in(target)), entry, None)
