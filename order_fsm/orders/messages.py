"""What one commit has to tell the world, derived from what it really changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from order_fsm.model import Fact, Message, Order, Owned
from order_fsm.money import ZERO, minus, plus
from order_fsm.rules.decide import Decision
from order_fsm.store import StockMove


def messages(before: Order, decisions: Sequence[Decision], moves: Sequence[StockMove]) -> tuple[Message, ...]:
    """The messages of one commit, numbered by the order, its version and their place.

    Args:
        before: the order that the decisions were taken on.
        decisions: one or more, each on the outcome of the one before it.
        moves: the stock moves of the commit; what is taken and not strict leaves less than nothing.

    Returns:
        `order.paid` for an online payment that ticked paid, one `order.updated` where a mail was asked for,
        `refund.due` where the money to give back changed (but by giving it back), `stock.short` where an order took
        what is not there.
    """
    after = decisions[-1].order
    about: list[tuple[str, dict[str, Any]]] = []
    for decision in decisions:
        edge = decision.edge
        if edge is not None and edge.rule.announces is not None:
            about.append((edge.rule.announces, _json(decision.entry.facts)))
    if decisions[-1].entry.notify:
        about.append(("order.updated", _updated(before, decisions)))
    if after.payments and (after.payments is not before.payments or after.counted != before.counted):
        about += _refund(before, after)
    if moves:
        short = [{"sku": move.sku, "taken": -move.quantity} for move in moves if move.quantity < 0 and not move.strict]
        if short:
            about.append(("stock.short", {"items": short}))
    if not about:
        return ()
    return tuple(
        [
            Message(
                f"{after.id}#{after.version}.{place}",
                after.id,
                topic,
                Owned(payload, state=after.state, customer=after.customer, email=after.email),
                after.updated_at,
            )
            for place, (topic, payload) in enumerate(about, start=1)
        ]
    )


def _updated(before: Order, decisions: Sequence[Decision]) -> dict[str, Any]:
    """The difference of the whole commit, and the comment where the customer may read it."""
    last = decisions[-1].entry
    return {
        "triggers": [decision.entry.trigger for decision in decisions],
        "added": sorted(last.after - before.statuses),
        "dropped": sorted(before.statuses - last.after),
        "comment": last.comment if last.visible else "",
    }


def _refund(before: Order, after: Order) -> list[tuple[str, dict[str, Any]]]:
    due = after.refund_due
    was_due = before.refund_due
    if due == was_due:
        return []
    more = minus(due, was_due)
    if more < 0 and plus(more, minus(after.refunded, before.refunded)) >= 0:
        return []
    return [("refund.due", _json({"amount": max(more, ZERO), "refund_due": due, "currency": after.currency}))]


def _json(facts: Mapping[str, Fact]) -> dict[str, Any]:
    """Facts as JSON has them: money as a plain string."""
    return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in facts.items()}
