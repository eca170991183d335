"""Deciding: what a trigger would do to an order, as a value. Reads no clock and no store."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any, NamedTuple

from order_fsm.errors import Reason, Refused
from order_fsm.model import Entry, Order, Payment, PaymentKind
from order_fsm.rules.request import Request
from order_fsm.rules.rule import REASONED, Edge, Facts
from order_fsm.rules.workflow import Workflow


class Decision(NamedTuple):
    """What a request does.

    Attributes:
        order: after it.
        entry: of its history.
        edge: what was taken of the table; None for what is no trigger.
    """

    order: Order
    entry: Entry
    edge: Edge | None


def decide(workflow: Workflow, order: Order, request: Request, short: Collection[str] = ()) -> Decision | Refused:
    """What a request would do to an order. Reads no clock and no store, changes nothing.

    Args:
        workflow: the rules; it has the trigger, and the trigger knows the facts.
        order: as it stands.
        request: what is asked.
        short: the SKUs of which there would not be enough on hand if the order took its stock now.

    Returns:
        The decision, or the `Refused` to raise, with every reason of the rule that comes nearest.
    """
    facts: dict[str, Any] = {**request.facts, "comment": request.comment, "short": short}
    kind = workflow.ledger_of(request.trigger)
    if kind is not None:
        _say_how_much(facts, kind, order)
    # The edge that the machine would take, without its events and callbacks.
    edges = workflow.edges_from(order.state, request.trigger)
    for edge in edges:
        for guard in edge.guards:
            if not guard.test(order, facts):
                break
        else:
            return _decision(order, request, edge, facts, overridden=False)
    if request.override and request.reasoned:
        for edge in edges:
            if all(guard.test(order, facts) or guard.policy for guard in edge.guards):
                return _decision(order, request, edge, facts, overridden=True)
    return Refused(order.id, request.trigger, order.state, _reasons(workflow, order, request, facts))


def _say_how_much(facts: dict[str, Any], kind: PaymentKind, order: Order) -> None:
    """A ledger row without an amount is about all that there is, in the order's currency."""
    facts.setdefault("currency", order.currency)
    if facts.get("amount") is None:
        facts["amount"] = (
            order.outstanding if kind == "captured" else order.received if kind == "reversed" else order.held
        )


def _reasons(workflow: Workflow, order: Order, request: Request, facts: Facts) -> list[Reason]:
    """Every reason of the rule that comes nearest: the fewest statuses in its way, then the fewest guards."""
    if not workflow.has_state(order.state):
        what = f"the workflow has no state {order.state!r}; it was committed under other rules"
        return [Reason("unknown_state", what)]
    tries: list[tuple[int, int, list[Reason]]] = []
    for rule in workflow.rules_of(request.trigger):
        unmet = rule.unmet(order.statuses)
        failed = [guard for guard in workflow.guards_in(rule, order.statuses) if not guard.test(order, facts)]
        reasons = [guard.reason for guard in failed]
        if request.override and any(guard.policy for guard in failed):
            if request.reasoned:
                reasons = [guard.reason for guard in failed if not guard.policy]
            else:
                reasons.append(REASONED.reason)
        tries.append((len(unmet), len(reasons), unmet + reasons))
    return min(tries, key=lambda one: one[:2])[2]


def _decision(order: Order, request: Request, edge: Edge, facts: Facts, overridden: bool) -> Decision:
    rule = edge.rule
    version = order.version + 1
    payments = order.payments
    recorded = request.facts
    if rule.ledger is not None:
        amount: Decimal = facts["amount"]
        reference: str | None = facts.get("reference")
        payments = (*payments, Payment(rule.ledger, amount, reference, request.at, version))
        recorded = {**recorded, "amount": amount, "currency": facts["currency"]}
    entry = Entry(
        version,
        request.trigger,
        order.state,
        edge.target,
        request.at,
        request.by,
        request.comment,
        # A comment reaches the customer only on purpose: an announcement is not that purpose.
        request.visible or (rule.announces is not None and not request.reasoned),
        request.notify,
        request.key,
        overridden,
        recorded,
    )
    return Decision(order.after(entry, payments, edge.counted), entry, edge)
