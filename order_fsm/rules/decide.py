"""Decide the result of a trigger on an order, as a value.

This module reads no clock and no store.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from msgspec import Struct

from order_fsm import ledger
from order_fsm.errors import Reason, Refused
from order_fsm.ledger import Balance
from order_fsm.model import Entry, Message, Order, Payment
from order_fsm.money import ZERO
from order_fsm.rules.booking import Booking, book, correction, lapse
from order_fsm.rules.holding import Supply, held_after
from order_fsm.rules.request import Request
from order_fsm.rules.rule import AMEND, REASONED, Edge, Facts, Rule
from order_fsm.rules.shipping import Handling, handle
from order_fsm.rules.workflow import Workflow


class Decision(Struct, frozen=True):
    """The result of a request.

    Attributes:
        order: the order after the request, with the pieces that it then holds.
        entry: the new history entry.
        edge: the edge that the decision took. None for a comment and for a migration.
        announces: the topic of a further message about the entry's facts, in addition to the one of the edge's rule.
        message: a message to queue unchanged.
        balance: the sums over the ledger after the request. None if no rule needed them.
    """

    order: Order
    entry: Entry
    edge: Edge | None
    announces: str | None = None
    message: Message | None = None
    balance: Balance | None = None


class Recorded(Struct, frozen=True):
    """The answer to a call that an earlier entry already did."""

    version: int


Answer = Sequence[Decision] | Refused | Recorded
"""The decisions to commit, the error to raise, or the entry that did the same already. An empty sequence means that
there is nothing to do."""


class Call(Protocol):
    """A request about one order, and the way to decide it."""

    @property
    def order_id(self) -> str:
        """The order."""
        ...

    @property
    def request(self) -> Request:
        """The checked request."""
        ...

    @property
    def request_fingerprint(self) -> str | None:
        """The digest to store under the request's key, if any."""
        ...

    def decide(self, order: Order, supply: Supply) -> Answer:
        """Decide the request on an order. Reads no store.

        Args:
            order: the order now.
            supply: the stock that the order may take from.
        """
        ...


def decide(
    workflow: Workflow,
    order: Order,
    request: Request,
    shortages: Collection[str] = (),
    tracked: Collection[str] = (),
) -> Decision | Refused:
    """Decide a request on an order, without side effects.

    The function reads no clock and no store.

    Args:
        workflow: the rules. They must have the request's trigger, and the trigger must accept its facts.
        order: the order now.
        request: the request.
        shortages: the SKUs with fewer available pieces than the order would take now.
        tracked: the SKUs of tracked items among those that it may take.

    Returns:
        The decision, or the `Refused` to raise. It has every reason of the rule that is closest to being allowed.
    """
    rule = workflow.rules_of(request.trigger)[0]  # All rules of a trigger record the same kinds of rows.
    booking = _booking(rule, order, request)
    payments = order.payments
    if booking is not None:
        payments = (*payments, booking.row(request, order.version + 1))
    balance = ledger.balance(order.total, payments, order.currency)
    facts = _facts(request, booking, balance, shortages)
    handling = None if rule.goods is None else handle(order, rule.goods, request)
    if handling is not None:
        facts["pieces"] = sum(handling.pieces.values())
        facts["beyond"] = handling.beyond
        facts["goods_left"] = bool(handling.left)
    edges = workflow.edges_from(order.state, request.trigger)
    for edge in edges:
        for guard in edge.guards:
            if not guard.holds(order, facts):
                break
        else:
            return _decision(workflow, order, request, edge, booking, payments, balance, handling, tracked)
    if request.override and request.reasoned:
        for edge in edges:
            if all(guard.holds(order, facts) or guard.policy for guard in edge.guards):
                return _decision(
                    workflow, order, request, edge, booking, payments, balance, handling, tracked, overridden=True
                )
    return Refused(order.id, request.trigger, order.state, _reasons(workflow, order, request, facts))


def _booking(rule: Rule, order: Order, request: Request) -> Booking | None:
    if rule.ledger is not None:
        return book(order, rule.ledger, request)
    if rule.trigger == AMEND:
        return correction(order, request.facts)
    return lapse(order) if rule.lapses else None


def _facts(request: Request, booking: Booking | None, balance: Balance, shortages: Collection[str]) -> dict[str, Any]:
    """Return the input of the guards.

    It has the facts of the request, and the money after the new ledger row.
    """
    facts: dict[str, Any] = {
        **request.facts,
        "comment": request.comment,
        "gateway": request.gateway,
        "shortages": shortages,
        "outstanding": balance.missing,
        "online": balance.online > ZERO,
    }
    if booking is not None:
        facts["amount"] = booking.amount
        facts["currency"] = booking.currency
        facts["bound"] = booking.bound
        facts["several"] = booking.several
    return facts


def unknown_state(state: str) -> Reason:
    """Return the reason against every change of an order in a state that the workflow lacks."""
    return Reason("unknown_state", f"the workflow has no state {state!r}: the order was committed under other rules")


def _reasons(workflow: Workflow, order: Order, request: Request, facts: Facts) -> list[Reason]:
    """Return every reason of the rule that is closest to being allowed.

    That rule has the fewest unmet statuses, then the fewest failed guards.
    """
    if not workflow.has_state(order.state):
        return [unknown_state(order.state)]
    tries: list[tuple[int, int, list[Reason]]] = []
    for rule in workflow.rules_of(request.trigger):
        unmet = rule.unmet(order.statuses)
        failed = [guard for guard in workflow.guards_in(rule, order.statuses) if not guard.holds(order, facts)]
        reasons = [guard.reason for guard in failed]
        if request.override and any(guard.policy for guard in failed):
            if request.reasoned:
                reasons = [guard.reason for guard in failed if not guard.policy]
            else:
                reasons.append(REASONED.reason)
        tries.append((len(unmet), len(reasons), unmet + reasons))
    return min(tries, key=lambda one: one[:2])[2]


def _decision(
    workflow: Workflow,
    order: Order,
    request: Request,
    edge: Edge,
    booking: Booking | None,
    payments: tuple[Payment, ...],
    balance: Balance,
    handling: Handling | None,
    tracked: Collection[str],
    *,
    overridden: bool = False,
) -> Decision:
    rule = edge.rule
    recorded = request.facts
    if booking is not None and rule.ledger is not None:
        recorded = {**recorded, "amount": booking.amount, "currency": booking.currency}
        if "reference" in recorded:
            recorded["reference"] = booking.reference
    shipments = order.shipments
    if handling is not None and handling.recorded:
        row = handling.row(order, request)
        shipments = (*shipments, row)
        recorded = {**recorded, "items": row.lines}
    entry = Entry(
        order.version + 1,
        request.trigger,
        order.state,
        edge.target,
        request.at,
        request.by,
        request.comment,
        # An announced entry is visible unless it has a comment: only the caller may show a comment to the customer.
        request.visible or (rule.announces is not None and not request.reasoned),
        request.notify,
        request.key,
        overridden,
        recorded,
        workflow.fingerprint,
    )
    after = order.after(entry, payments, edge.counted, shipments)
    if order.lines:
        held = held_after(workflow, order, edge.target, handling, tracked)
        if held is not order.reserved:
            after = after.holding(held)
    return Decision(after, entry, edge, balance=balance)
