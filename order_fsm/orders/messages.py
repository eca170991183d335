"""Derive the messages of one commit from its changes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from order_fsm.ledger import Balance
from order_fsm.model import LASTING_FACTS, Fact, Message, Order, Owned, Payment
from order_fsm.money import ZERO, minus, plus
from order_fsm.rules.decide import Decision
from order_fsm.rules.rule import AMEND
from order_fsm.store import StockMove

Topic = tuple[str, Mapping[str, Any]]
"""The topic of a message, and the facts that it reports: facts of an entry, or JSON values."""


def messages(
    before: Order, after: Order, decisions: Sequence[Decision], moves: Sequence[StockMove]
) -> tuple[Message, ...]:
    """Return the messages of one commit.

    They hold ids and facts, and no personal data. A handler reads the address and the comment from the order at
    delivery. So it uses a corrected address, and no message keeps an erased one.

    Args:
        before: the order before the decisions.
        after: the order to commit.
        decisions: one or more decisions, each on the result of the one before it.
        moves: the stock moves of the commit. Pieces that are taken without `strict` are short.

    Returns:
        For each decision `order.placed`, `order.paid` or the topic that its rule announces, and a message about its
        money (`payment.received` for a part, `payment.reversed`, `payment.unmatched`). Then one `order.updated` if the
        caller asked for a mail, `refund.due` if more money is due back or a refund of a live order failed, and
        `stock.short` if the order took pieces that are missing. A message that a decision already has comes first.
    """
    found = [decision.message for decision in decisions if decision.message is not None]
    for place, topic in enumerate(topics_of(before, after, decisions, moves), start=1):
        found.append(message_about(topic, after.id, after.version, place, after.state, after.updated_at))
    return tuple(found)


def message_about(topic: Topic, order_id: str, version: int, place: int, state: str, at: datetime) -> Message:
    """Return a message under a new id.

    Args:
        topic: the topic and the facts.
        order_id: the order.
        version: the version of the order that the message reports.
        place: the number of the message among those of its commit, from 1.
        state: the state of the order in that version.
        at: the time of the message.
    """
    name, facts = topic
    payload = Owned()
    for fact, value in facts.items():
        payload[fact] = value if isinstance(value, str) else _json_value(value)
    payload["state"] = state
    # A removed order may be created again with the same id and versions. Its messages need other ids.
    return Message(f"{order_id}#{version}.{place}-{os.urandom(4).hex()}", order_id, name, payload, at)


def topics_of(before: Order, after: Order, decisions: Sequence[Decision], moves: Sequence[StockMove]) -> list[Topic]:
    """Return the topics of the messages of one commit, with their facts.

    The arguments are as in `messages`.
    """
    topics: list[Topic] = []
    for decision in decisions:
        topics += _of_rule(decision)
    money: list[Topic] = []
    due: list[Topic] = []
    if after.payments and (
        after.payments is not before.payments or after.counted != before.counted or after.total != before.total
    ):
        money, due = _of_money(before, after, decisions[-1].balance or after.balance)
    topics += money
    if decisions[-1].entry.notify:
        topics.append(("order.updated", _updated(before, decisions)))
    topics += due
    if moves:
        short = [
            {"sku": move.sku, "taken": -move.available} for move in moves if move.available < 0 and not move.strict
        ]
        if short:
            topics.append(("stock.short", {"items": short}))
    return topics


def _updated(before: Order, decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return the difference that the whole commit makes."""
    last = decisions[-1].entry
    return {
        "triggers": [decision.entry.trigger for decision in decisions],
        "added": sorted(last.after - before.statuses),
        "dropped": sorted(before.statuses - last.after),
    }


def _of_rule(decision: Decision) -> list[Topic]:
    topics: list[Topic] = []
    entry, after = decision.entry, decision.order
    rule = None if decision.edge is None else decision.edge.rule
    topic = None if rule is None else rule.announces
    # A payment that places an order has messages of its own. No rule of a changed table decided the entry.
    places = entry.trigger == "place" if rule is None else rule.ledger is None
    if places and topic != "order.placed" and "sent" in entry.after - entry.before:
        topics.append(("order.placed", {"total": after.total, "currency": after.currency}))
    if topic is not None:
        facts = entry.facts
        if entry.trigger == AMEND:
            facts = {name: value for name, value in facts.items() if name in LASTING_FACTS}
        elif rule is not None and rule.goods is not None:
            facts.pop("parcel", None)  # A parcel number leads to the customer's address.
        if topic == "order.paid":
            facts.setdefault("currency", after.currency)
            if "amount" not in facts:
                facts["amount"] = after.held
            if "reference" not in facts:
                # Money that this entry recorded has its own reference, or none if it came by hand.
                is_money = rule is not None and rule.ledger is not None
                facts["reference"] = after.payments[-1].reference if is_money else _last_reference(after)
        topics.append((topic, facts))
    if decision.announces is not None:
        topics.append((decision.announces, entry.facts))
    return topics


def _of_money(before: Order, after: Order, now: Balance) -> tuple[list[Topic], list[Topic]]:
    """Return the messages about the money of one commit, the last ones about a refund due.

    Args:
        before: the order before the commit.
        after: the order after the commit.
        now: its balance.
    """
    outstanding = now.owed("cancelled" in after.statuses)
    refund_due = now.due(after.counted)
    happened: list[Topic] = []
    failed = ZERO
    for row in after.payments[len(before.payments) :]:
        if row.currency != after.currency:
            then = before.balance.others.get(row.currency, ZERO)
            if max(now.others[row.currency], ZERO) > max(then, ZERO):
                happened.append(("payment.unmatched", _money(row)))
        elif row.kind == "captured":
            if row.amount and after.counted and outstanding:
                happened.append(("payment.received", _money(row, outstanding=outstanding)))
        elif row.kind == "refund_failed" and after.counted:
            failed = plus(failed, row.amount)
        if row.kind == "reversed" and row.reference is not None:
            happened.append(("payment.reversed", _money(row, outstanding=outstanding)))
    more = failed
    if refund_due:
        more = max(minus(refund_due, before.refund_due), failed)
    if more <= 0:
        return happened, []
    facts: dict[str, Fact] = {"amount": more, "refund_due": refund_due, "currency": after.currency}
    return happened, [("refund.due", facts)]


def _money(row: Payment, **more: Decimal) -> dict[str, Fact]:
    return {"amount": row.amount, "currency": row.currency, "reference": row.reference, **more}


def _last_reference(order: Order) -> str | None:
    for row in reversed(order.payments):
        if row.reference is not None:
            return row.reference
    return None


def _json_value(value: object) -> object:
    """Return a fact as a JSON value, with money as plain text."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return [line.to_dict() for line in value] if isinstance(value, tuple) else value
