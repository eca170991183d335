"""The messages of one commit, derived from what it changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from order_fsm.model import Fact, Message, Order, Owned
from order_fsm.money import ZERO, minus
from order_fsm.rules.decide import Decision
from order_fsm.store import StockMove


def messages(
    before: Order, after: Order, decisions: Sequence[Decision], moves: Sequence[StockMove]
) -> tuple[Message, ...]:
    """Return the messages of one commit.

    They hold ids and facts, and no personal data. A handler reads the address and the comment from the order, as it is
    at delivery. So a corrected address counts, and an erased one is not kept here.

    Args:
        before: the order that the decisions were taken on.
        after: the order that is committed.
        decisions: one or more, each on the outcome of the one before it.
        moves: the stock moves of the commit. Pieces that are taken without `strict` are short.

    Returns:
        For each decision `order.placed`, `order.paid` or the topic that its rule announces, and what happened to the
        money (`payment.received` for a part, `payment.reversed`, `payment.unmatched`). Then one `order.updated` if the
        caller asked for a mail, `refund.due` if more money is due back or a refund of a live order failed, and
        `stock.short` if the order took pieces that are missing.
    """
    topics: list[tuple[str, dict[str, Any]]] = []
    order = before
    for decision in decisions:
        topics += _of_rule(decision)
        if decision.order.payments is not order.payments:
            topics += _of_money(order, decision.order)
        order = decision.order
    if decisions[-1].entry.notify:
        topics.append(("order.updated", _updated(before, decisions)))
    if after.payments and (after.payments is not before.payments or after.counted != before.counted):
        topics += _due(before, after)
    if moves:
        short = [{"sku": move.sku, "taken": -move.quantity} for move in moves if move.quantity < 0 and not move.strict]
        if short:
            topics.append(("stock.short", {"items": short}))
    if not topics:
        return ()
    # A removed order may be created again with the same id and versions. Its messages need ids of their own.
    token = os.urandom(4).hex()
    return tuple(
        [
            Message(
                f"{after.id}#{after.version}.{place}-{token}",
                after.id,
                topic,
                Owned(payload, state=after.state),
                after.updated_at,
            )
            for place, (topic, payload) in enumerate(topics, start=1)
        ]
    )


def _updated(before: Order, decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return the difference that the whole commit makes."""
    last = decisions[-1].entry
    return {
        "triggers": [decision.entry.trigger for decision in decisions],
        "added": sorted(last.after - before.statuses),
        "dropped": sorted(before.statuses - last.after),
    }


def _of_rule(decision: Decision) -> Iterator[tuple[str, dict[str, Any]]]:
    entry, after = decision.entry, decision.order
    if entry.trigger == "place" and "sent" in entry.after - entry.before:
        yield "order.placed", _json({"total": after.total, "currency": after.currency})
    topic = None if decision.edge is None else decision.edge.rule.announces
    if topic == "order.paid":
        last = next((row.reference for row in reversed(after.payments) if row.reference is not None), None)
        money: dict[str, Fact] = {"amount": after.held, "currency": after.currency, "reference": last}
        yield topic, _json({**money, **entry.facts})
    elif topic is not None:
        yield topic, _json(entry.facts)
    if decision.announces is not None:
        yield decision.announces, _json(entry.facts)


def _of_money(before: Order, after: Order) -> Iterator[tuple[str, dict[str, Any]]]:
    held_before, held = before.unmatched, after.unmatched
    for row in after.payments[len(before.payments) :]:
        money: dict[str, Fact] = {"amount": row.amount, "currency": row.currency, "reference": row.reference}
        if row.currency != after.currency:
            if held.get(row.currency, ZERO) > held_before.get(row.currency, ZERO):
                yield "payment.unmatched", _json(money)
        elif row.kind == "captured" and row.amount and after.counted and after.outstanding:
            yield "payment.received", _json({**money, "outstanding": after.outstanding})
        if row.kind == "reversed" and row.reference is not None:
            yield "payment.reversed", _json({**money, "outstanding": after.outstanding})


def _due(before: Order, after: Order) -> Iterator[tuple[str, dict[str, Any]]]:
    new = after.payments[len(before.payments) :]
    failed = sum(
        (row.amount for row in new if row.kind == "refund_failed" and row.currency == after.currency and after.counted),
        start=ZERO,
    )
    more = max(minus(after.refund_due, before.refund_due), failed)
    if more > 0:
        yield "refund.due", _json({"amount": more, "refund_due": after.refund_due, "currency": after.currency})


def _json(facts: Mapping[str, Fact]) -> dict[str, Any]:
    """Return facts as JSON values, with money as plain text."""
    return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in facts.items()}
