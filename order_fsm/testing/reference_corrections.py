"""Amendments, adoptions and resent messages for `reference`.

It shares the values with the engine and no decision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from order_fsm.errors import InvalidInput, KeyReused
from order_fsm.model import UNFINISHED, Entry, Line, Order, Payment, Shipment
from order_fsm.testing.reference_goods import goods_of
from order_fsm.testing.reference_ledger import money_facts, recorded_version

Life = Sequence[tuple[Order, Entry]]


def changed(order: Order, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of an amendment: each changed part, with its new and its old value."""
    facts: dict[str, Any] = {}
    for name, value in wanted.items():
        before = getattr(order, name)
        after: Any = value
        if name == "data":
            before, after = (_text(one or {}) for one in (before, after))
        if after != before:
            facts[name] = after
            facts[f"{name}_before"] = before
    if "credited" in facts and facts["credited"] > wanted.get("total", order.total):
        raise InvalidInput
    return facts


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def with_changes(order: Order, facts: Mapping[str, Any]) -> Order:
    """Return the amended order without the ledger row of its credits."""
    for name in ("total", "lines", "email", "customer"):
        if name in facts:
            order = replace(order, **{name: facts[name]})
    return replace(order, data=json.loads(facts["data"])) if "data" in facts else order


def adopted(
    new: Order,
    state: str,
    known: frozenset[str],
    counted: bool,
    holds: bool,
    payments: list[dict[str, Any]],
    at: datetime,
    placed: datetime,
) -> list[tuple[Order, Entry]]:
    """Return the life of an adopted order, or raise if its payments or boxes are impossible.

    `known` is the set of statuses of the workflow. If it lacks `sent` or `paid`, the payments do not decide that box.
    """
    order = replace(new, state=state, counted=counted)
    life = [(new, Entry(1, "create", UNFINISHED, UNFINISHED, new.created_at))]
    for payment in sorted(payments, key=lambda one: one["at"]):
        given = {name: value for name, value in payment.items() if name not in ("kind", "at")}
        kind, version = payment["kind"], len(life) + 1
        try:
            if recorded_version(order, kind, given) is not None:
                raise InvalidInput
        except KeyReused:
            raise InvalidInput from None
        by_hand = kind == "refunded" and given.get("reference") is None
        money = money_facts(order, kind, given, not by_hand)
        row = Payment(kind, currency=money["currency"], at=payment["at"], version=version, **money["row"])
        if not row.amount or money["several"] or (money["bound"] is not None and row.amount > money["bound"]):
            raise InvalidInput
        if row.credit > order.cost:
            raise InvalidInput
        facts: dict[str, Any] = {"kind": kind, "amount": row.amount, "currency": row.currency}
        facts |= {name: getattr(row, name) for name in ("reference", "transaction_id") if getattr(row, name)}
        facts |= {"credit": row.credit} if kind == "refunded" else {}
        entry = Entry(version, "adopt", UNFINISHED, UNFINISHED, payment["at"], facts=facts)
        order = replace(order, payments=(*order.payments, row), version=version, updated_at=payment["at"])
        life.append((replace(order, state=UNFINISHED, counted=new.counted), entry))
    captured = any(row.kind == "captured" for row in order.payments)
    if captured and "sent" in known - order.statuses:
        raise InvalidInput
    if counted and "paid" in known and ("paid" in order.statuses) != (order.cost <= order.held):
        raise InvalidInput
    last = Entry(len(life) + 1, "adopt", UNFINISHED, state, at, facts={"placed_at": placed.isoformat()})
    order = replace(
        order,
        version=last.version,
        updated_at=at,
        reserved=() if holds and order.lines else None,
        placed_at=placed if "sent" in order.statuses else None,
    )
    if order.lines and "dispatched" in order.statuses:
        pieces = tuple(Line(sku, number) for sku, number in goods_of(order).ordered.items())
        order = replace(order, shipments=(Shipment("shipped", pieces, (), at, order.version),))
    return [*life, (order, last)]


def was_sent(life: Life, topic: str) -> bool:
    """Return whether a message of a topic can be resent."""
    order = life[-1][0]
    if topic == "refund.due":
        return order.refund_due > 0
    return any(
        _sends(before, after, entry, topic)
        for (before, _), (after, entry) in pairwise(life)
        if entry.trigger != "adopt"
    )


def _sends(before: Order, after: Order, entry: Entry, topic: str) -> bool:
    ticked = entry.after - entry.before
    if topic == "order.placed":
        return "sent" in ticked and len(after.payments) == len(before.payments)
    if topic == "order.updated":
        return entry.notify
    if topic == "order.paid":
        return "paid" in ticked and after.held_online > 0
    for row in after.payments[len(before.payments) :]:
        own = row.currency == after.currency
        if topic == "payment.received" and own and row.kind == "captured" and row.amount:
            return after.counted and after.cost > after.held
        if topic == "payment.reversed" and row.kind == "reversed" and row.reference is not None:
            return True
        if topic == "payment.unmatched" and not own:
            return after.unmatched.get(row.currency, Decimal(0)) > before.unmatched.get(row.currency, Decimal(0))
    return False
