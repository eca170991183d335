"""What is asked of an order, and what another buyer does, within the bounds of a proof."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from attrs import evolve

from order_fsm.model import Order, PaymentKind
from order_fsm.verify.worlds import NOTHING, Ask, World

ROWS = {Decimal(2): 3, Decimal(0): 2}
"""The orders that are looked at, by their totals, and how many rows of the ledger each may come to: one that is paid in
part, in full or in excess, and one that is free."""

CONTESTED_ROWS = 1
"""Up to how many rows of the ledger the other buyer comes."""

PART, EXCESS, NO_SUCH_SUM = Decimal(1), Decimal(3), Decimal(99)
REASON = "why"


def asks(world: World) -> Iterator[Ask]:
    """All that is asked of the order of a world, within the bounds.

    Every trigger comes bare, and where it can make a difference with a reason and with an override. One that records
    money comes by hand and with a reference, about all that there is, a part, more than the total, more than there ever
    was, nothing, and in another currency; the last payment online is delivered once more. Facts of other kinds are left
    out.
    """
    workflow = world.workflow
    full = len(world.order.payments) >= (CONTESTED_ROWS if world.taken else ROWS[world.order.total])
    for trigger in workflow.triggers:
        kind = workflow.ledger_of(trigger)
        if kind == "captured":
            yield from _once_more(trigger, world.order)
        if kind is not None and full:
            continue
        yield Ask(trigger)
        guards = [guard for rule in workflow.rules_of(trigger) for guard in rule.guards]
        policy = any(guard.policy for guard in guards)
        if guards:  # Nothing else looks at the comment.
            yield Ask(trigger, NOTHING, REASON)
        if policy:
            yield Ask(trigger, NOTHING, override=True)
            yield Ask(trigger, NOTHING, REASON, override=True)
        if kind is not None:
            yield from _about_money(trigger, kind, world.order, policy)
    if _contested(world) and world.on_hand > 0 and not world.holds:
        for trigger in workflow.triggers:
            yield Ask(trigger, raced=True)


def _about_money(trigger: str, kind: PaymentKind, order: Order, policy: bool) -> Iterator[Ask]:
    reference = f"ch_{len(order.payments) + 1}"
    for amount in (PART, EXCESS if kind == "captured" else NO_SUCH_SUM, Decimal(0)):
        yield Ask(trigger, {"amount": amount}, REASON)
        if policy:
            yield Ask(trigger, {"amount": amount, "reference": reference}, REASON, override=True)
    yield Ask(trigger, {"amount": PART, "currency": "EUR"}, REASON)
    if kind == "captured":
        yield Ask(trigger, {"reference": reference})
        for amount in (PART, EXCESS):
            yield Ask(trigger, {"amount": amount, "reference": reference})


def _once_more(trigger: str, order: Order) -> Iterator[Ask]:
    """The last payment that came with a reference, delivered again."""
    for row in reversed(order.payments):
        if row.kind == "captured" and row.reference is not None:
            yield Ask(trigger, {"amount": row.amount, "reference": row.reference})
            return


def bought_elsewhere(world: World) -> Iterator[World]:
    """What the other buyer does: takes the item, whether it is there or not, or gives it back."""
    if world.taken:
        yield evolve(world, on_hand=world.on_hand + 1, taken=0)
    elif _contested(world):
        yield evolve(world, on_hand=world.on_hand - 1, taken=1)


def _contested(world: World) -> bool:
    return not world.taken and len(world.order.payments) <= CONTESTED_ROWS
