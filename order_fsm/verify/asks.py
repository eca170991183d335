"""The requests that a proof makes of an order, and the moves of another buyer, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from order_fsm.model import Line, Order, PaymentKind
from order_fsm.money import ZERO
from order_fsm.rules.rule import AMEND
from order_fsm.verify.worlds import ITEM, NOTHING, Ask, World

TOTALS = (Decimal(2), Decimal(0))
"""The totals of new orders: one that is paid in part, in full or in excess, and a free one."""

ROWS = {Decimal(2): 3, Decimal(1): 2, Decimal(0): 1}
"""By total of an order, the limit of its ledger rows."""

AMENDED = {Decimal(2): Decimal(1), Decimal(1): Decimal(2), Decimal(0): Decimal(1)}
"""By total of an order, the total that an amendment gives it: lower, higher, and no longer free."""

AMENDED_ROWS = {Decimal(2): 2, Decimal(1): 2, Decimal(0): 0}
"""By total of an order, the most ledger rows with which it is amended."""

NEW_TOTAL = Decimal(2)
LINES = ((), (Line(ITEM, 1),), (Line(ITEM, 2),))
"""The lines that an amendment gives an order that costs `NEW_TOTAL` and has no ledger rows: none, one piece, two.
Nothing is paid for other lines than those of a new order."""

CORRECTED_ROWS = 2
"""The limit of ledger rows of an order with amended credits. The amendment records one of them."""

PAYMENTS = 2
"""No payment is tried on an order with this many ledger rows."""

CONTESTED_ROWS = 1
"""The other buyer only takes the item while the order has at most this many ledger rows."""

PART, EXCESS, NO_SUCH_SUM = Decimal(1), Decimal(3), Decimal(99)
REASON = "why"


def asks(world: World) -> Iterator[Ask]:
    """Yield the requests that a proof makes of the order of a world.

    Every trigger comes bare. If a rule of it is open, it also comes with a reason and with an override, if a guard
    reads them. A trigger that records money comes by hand and from a gateway: with all, a part, too much, nothing, and
    another currency. The last online payment is delivered again. An amendment comes with another total, and while the
    ledger is short with other credits. Facts of other kinds are left out.
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
        if not edges:  # Refused, whatever the request says.
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
    """Return the number of ledger rows from which no money is recorded."""
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
    """Yield requests about money that goes back, or that comes back."""
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
    """Yield the last online payment, delivered again."""
    for row in reversed(order.payments):
        if row.kind == "captured" and row.reference is not None:
            yield Ask(trigger, {"amount": row.amount, "currency": row.currency, "reference": row.reference})
            return


def bought_elsewhere(world: World) -> Iterator[World]:
    """Yield the world after the other buyer takes the item, in stock or not, or returns it."""
    if world.taken:
        yield world.sold(-1)
    elif _contested(world):
        yield world.sold(1)


def _contested(world: World) -> bool:
    return not world.taken and len(world.order.payments) <= CONTESTED_ROWS
