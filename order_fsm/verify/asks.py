"""The requests of a proof, and the moves of another buyer, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from order_fsm.model import Line, Order, PaymentKind
from order_fsm.money import ZERO
from order_fsm.rules.rule import AMEND
from order_fsm.verify.worlds import ITEM, NOTHING, Ask, World

TOTALS = (Decimal(2), Decimal(0))
"""The totals of new orders: one to pay in part, in full or in excess, and one of a free order."""

ROWS = {Decimal(2): 3, Decimal(1): 2, Decimal(0): 1}
"""The largest number of ledger rows, by total of the order."""

AMENDED = {Decimal(2): Decimal(1), Decimal(1): Decimal(2), Decimal(0): Decimal(1)}
"""The total after an amendment, by total before it: lower, higher, and no longer free."""

AMENDED_ROWS = {Decimal(2): 2, Decimal(1): 2, Decimal(0): 0}
"""The largest number of ledger rows of an amended order, by total of the order."""

NEW_TOTAL = Decimal(2)
LINES = ((), (Line(ITEM, 1),), (Line(ITEM, 2),))
"""The lines after an amendment of an order over `NEW_TOTAL` without ledger rows: no line, one piece, two pieces.
The order is paid only with its first lines."""

CORRECTED_ROWS = 2
"""The largest number of ledger rows of an order with amended credits. The amendment records one of them."""

PAYMENTS = 2
"""An order with this many ledger rows gets no further payment."""

CONTESTED_ROWS = 1
"""The other buyer takes the item only while the order has at most this many ledger rows."""

PART, EXCESS, NO_SUCH_SUM = Decimal(1), Decimal(3), Decimal(99)
REASON = "why"


def asks(world: World) -> Iterator[Ask]:
    """Yield the requests of a proof in a world.

    Every trigger is fired without facts. If one of its rules is open, it is also fired with a reason and with an
    override, if a guard reads them. A trigger that records money is fired by hand and by a gateway: with the whole
    amount, a part, too much, nothing, and another currency. The last online payment is delivered again. An amendment
    sets another total, and also other credits while the ledger is short. Other facts are not tried.
    """
    workflow = world.workflow
    full = len(world.order.payments) >= _limit(world)
    contested = _contested(world) and world.on_hand > 0 and not world.holds
    for trigger in workflow.triggers:
        kind = workflow.ledger_of(trigger)
        if workflow.goods_of(trigger) == "returned":  # See `goods_asks`.
            continue
        if trigger == AMEND:
            yield from _amendments(world.order, contested)
            continue
        if kind == "captured":
            yield from _once_more(trigger, world.order)
        if (kind is not None and full) or (kind == "captured" and len(world.order.payments) >= PAYMENTS):
            continue
        yield Ask(trigger)
        edges = workflow.edges_from(world.order.state, trigger)
        if not edges:  # Every request is refused.
            continue
        guards = [guard for edge in edges for guard in edge.guards]
        if guards:  # Nothing else reads the comment.
            yield Ask(trigger, NOTHING, REASON)
        if any(guard.policy for guard in guards):
            yield Ask(trigger, NOTHING, override=True)
            yield Ask(trigger, NOTHING, REASON, override=True)
        if kind == "captured":
            yield from _payments(trigger, world.order)
        elif kind is not None:
            yield from _returns(trigger, kind, world.order)
            if "credit" in workflow.facts_of(trigger):
                yield Ask(trigger, {"credit": True}, REASON)
                yield Ask(trigger, {"credit": False}, REASON)
        if contested:
            yield Ask(trigger, raced=True)


def _limit(world: World) -> int:
    """Return the number of ledger rows at which the proof stops recording money."""
    order = world.order
    if order.lines != LINES[1]:
        return 0
    limit = CONTESTED_ROWS if world.taken else ROWS[order.total]
    corrected = any(row.kind == "refunded" and not row.amount for row in order.payments)
    return min(limit, CORRECTED_ROWS) if corrected else limit


def _amendments(order: Order, contested: bool) -> Iterator[Ask]:
    if not order.payments and order.total == NEW_TOTAL:
        for lines in LINES:
            if lines != order.lines:
                yield Ask(AMEND, {"lines": lines})
        if contested and not order.lines:
            yield Ask(AMEND, {"lines": LINES[1]}, raced=True)
    if order.lines != LINES[1]:
        return
    if len(order.payments) <= AMENDED_ROWS[order.total]:
        yield Ask(AMEND, {"total": AMENDED[order.total]})
    if order.counted and order.total and len(order.payments) <= CONTESTED_ROWS:
        yield Ask(AMEND, {"credited": ZERO if order.credited else PART})


def _payments(trigger: str, order: Order) -> Iterator[Ask]:
    reference = f"ch_{len(order.payments) + 1}"
    for amount in (PART, EXCESS) if order.payments else (PART, EXCESS, ZERO):
        yield Ask(trigger, {"amount": amount}, REASON)
    yield Ask(trigger, {"reference": reference})
    for amount in (PART, EXCESS):
        yield Ask(trigger, {"amount": amount, "reference": reference})
    if len(order.payments) <= CONTESTED_ROWS:
        yield Ask(trigger, {"amount": PART, "currency": "EUR"}, REASON)


def _returns(trigger: str, kind: PaymentKind, order: Order) -> Iterator[Ask]:
    """Yield requests about refunds, reversals and their failures."""
    few = len(order.payments) <= CONTESTED_ROWS
    for amount in (PART, NO_SUCH_SUM, ZERO) if few else (PART,):
        yield Ask(trigger, {"amount": amount}, REASON)
    if few or order.unmatched:
        yield Ask(trigger, {"amount": PART, "currency": "EUR"}, REASON)
    if kind in ("refunded", "reversed"):
        captured = [row for row in order.payments if row.kind == "captured" and row.reference is not None]
        for row in captured[-1:]:
            about = {"reference": row.reference, "transaction_id": f"{kind}_{len(order.payments) + 1}"}
            for amount in dict.fromkeys((PART, row.amount, NO_SUCH_SUM if few else PART)):
                yield Ask(trigger, {**about, "amount": amount}, gateway=True)


def _once_more(trigger: str, order: Order) -> Iterator[Ask]:
    """Yield a redelivery of the last online payment."""
    for row in reversed(order.payments):
        if row.kind == "captured" and row.reference is not None:
            yield Ask(trigger, {"amount": row.amount, "currency": row.currency, "reference": row.reference})
            return


def bought_elsewhere(world: World) -> Iterator[World]:
    """Yield the world after the other buyer takes the item, even out of stock, or returns it."""
    if world.taken:
        yield world.sold(-1)
    elif _contested(world):
        yield world.sold(1)


def _contested(world: World) -> bool:
    return not world.taken and len(world.order.payments) <= CONTESTED_ROWS
