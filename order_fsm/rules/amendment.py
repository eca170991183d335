"""Amend an order, and rebuild the order as it was earlier.

`Orders.amend` records its changes as facts.

An `amend` entry stores the facts `X` and `X_before` for every part X that it changed. So the order as it was after any
entry can be rebuilt from the present order and its history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from order_fsm.model import Entry, Fact, Order, invoiced_by_payment, placed_at
from order_fsm.rules.rule import AMEND
from order_fsm.rules.workflow import Workflow

PARTS = ("lines", "total", "credited", "email", "customer", "data")
"""The parts of an order that can be amended."""


def part_of(order: Order, name: str) -> Fact:
    """Return a part of an order as a fact.

    `data` is JSON text.
    """
    return data_text(order.data) if name == "data" else getattr(order, name)


def data_text(data: Mapping[str, object]) -> str:
    """Return the shop's own data as JSON text, equal for equal data."""
    from json import dumps  # Imported on demand: only an amendment needs it.

    return dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def difference(order: Order, wanted: Mapping[str, Fact]) -> dict[str, Fact]:
    """Return the new and the old value of every part that changes.

    Args:
        order: the order before the amendment.
        wanted: the new values, by the name of the part.
    """
    facts: dict[str, Fact] = {}
    for name, value in wanted.items():
        before = part_of(order, name)
        if value != before:
            facts |= {name: value, f"{name}_before": before}
    return facts


def amended(order: Order, facts: Mapping[str, Fact]) -> Order:
    """Return an order with the new values of an amendment.

    Its ledger, which has the credits, does not change.
    """
    return _with_parts(order, {name: facts[name] for name in PARTS if name in facts})


def order_as_of(workflow: Workflow, order: Order, history: Sequence[Entry], version: int) -> Order:
    """Rebuild an order as it was after an entry of its history.

    Its stock is the present stock.

    Args:
        workflow: determines whether the order counted in totals.
        order: the order as it is now.
        history: all entries of the order.
        version: the version of that entry.
    """
    if version == order.version:
        return order
    entry = history[version - 1]
    payments = tuple(payment for payment in order.payments if payment.version <= version)
    before: dict[str, Fact] = {}
    for later in history[version:]:
        if later.trigger == AMEND:
            facts = later.facts
            for name in PARTS:
                if name not in before and f"{name}_before" in facts:
                    before[name] = facts[f"{name}_before"]
    shipments = tuple(shipment for shipment in order.shipments if shipment.version <= version)
    then = order.after(entry, payments, workflow.counts_in(entry.state_after), shipments)
    return replace(
        _with_parts(then, before),
        invoiced_by_payment=invoiced_by_payment(history[:version]),
        placed_at=placed_at(history[:version]),
    )


def unlike_history(order: Order, history: Sequence[Entry]) -> Iterator[tuple[str, int]]:
    """Yield the parts that differ from their last amendment.

    Each result is the name of the part and the version of the amendment.

    Credits are skipped, because they follow from the ledger.
    """
    now: dict[str, Fact] = {}
    for entry in reversed(history):
        facts = entry.facts if entry.trigger == AMEND else {}
        for name in PARTS:
            if name in facts and name != "credited":
                if now.get(name, part_of(order, name)) != facts[name]:
                    yield name, entry.version
                now[name] = facts.get(f"{name}_before")


def _with_parts(order: Order, parts: Mapping[str, Fact]) -> Order:
    changes: dict[str, Any] = {name: value for name, value in parts.items() if name != "credited"}
    if "data" in changes:
        from json import loads

        changes["data"] = loads(changes["data"])
    return replace(order, **changes) if changes else order
