"""Deciding: what a trigger would do to an order, as a value. The only file that imports `transitions`.

A workflow is one flat `transitions.Machine` that all orders and threads share. It moves a throwaway `Draft`, never an
order. A decision takes the edge that the machine would take, from the table that the machine is built from, which is
quicker; a test holds the two equal over every state, trigger and outcome of guards.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from order_fsm.errors import Refused
from order_fsm.model import Entry, Order, Payment, PaymentKind, Reason
from order_fsm.request import Request
from order_fsm.rules import REASONED, Edge, Facts, Guard
from order_fsm.workflow import Workflow

if TYPE_CHECKING:
    from transitions import EventData, Machine


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


class Draft:
    """What the machine moves in place of the order."""

    __slots__ = ("edge", "facts", "order", "override", "state")

    def __init__(self, order: Order, facts: Facts, override: bool) -> None:
        self.state = order.state
        self.order = order
        self.facts = facts
        self.override = override
        self.edge: Edge | None = None


class _Condition:
    """A guard as the machine calls it: strictly True or False, and policy waived by an override."""

    __slots__ = ("__name__", "guard")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.__name__ = guard.code

    def __call__(self, event: EventData) -> bool:
        draft = cast(Draft, event.model)
        guard = self.guard
        return bool(guard.test(draft.order, draft.facts)) or (guard.policy and draft.override)


class _Mark:
    """Notes on the draft which edge was taken."""

    __slots__ = ("__name__", "edge")

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.__name__ = "mark"

    def __call__(self, event: EventData) -> None:
        draft = cast(Draft, event.model)
        draft.edge = self.edge


def flat_machine(workflow: Workflow) -> Machine:
    """The `transitions.Machine` of a workflow: a state for each set of statuses, a transition for each edge."""
    # Imported by those who want the machine itself: deciding needs the table alone.
    from transitions import Machine

    machine = Machine(
        model=None,
        states=list(workflow.states),
        initial=workflow.states[0],
        auto_transitions=False,
        send_event=True,
        ignore_invalid_triggers=True,
    )
    for edge in workflow.edges:
        machine.add_transition(
            edge.rule.trigger,
            edge.source,
            edge.target,
            conditions=[_Condition(guard) for guard in edge.guards],
            before=[_Mark(edge)],
        )
    return machine


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
