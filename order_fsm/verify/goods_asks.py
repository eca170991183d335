"""The requests of a proof about the goods of an order. See `order_fsm.verify.ledger`."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from order_fsm.model import GoodsKind, Line
from order_fsm.rules.rule import AMEND
from order_fsm.verify.asks import REASON
from order_fsm.verify.worlds import ITEM, NOTHING, Ask, World

PIECES = 2
"""The number of pieces that the shop has and a new order wants."""

GOODS_TOTAL = Decimal(3)
"""The total of that order."""

AMENDED_PIECES = (1, 2, 3)
"""The numbers of pieces that the order wants after an amendment."""

LOST = 1
"""While this many pieces are lost, every return has `restock=True`."""

ONE = {"items": {ITEM: 1}}
TOO_MANY = {"items": {ITEM: 9}}


def goods_asks(world: World) -> Iterator[Ask]:
    """Yield the requests of a proof in a world.

    Every trigger is fired without facts. If one of its rules is open, it is also fired with a reason, and with an
    override if a guard reads one. A trigger that records goods is fired with one piece, with all, and with too many.
    The order is paid once and gets no refund.
    """
    workflow, order = world.workflow, world.order
    for trigger in workflow.triggers:
        if trigger == AMEND:
            policy = any(guard.policy for edge in workflow.edges_from(order.state, AMEND) for guard in edge.guards)
            for pieces in AMENDED_PIECES:
                lines = (Line(ITEM, pieces),)
                if lines != order.lines:
                    yield Ask(AMEND, {"lines": lines})
                    if policy:
                        yield Ask(AMEND, {"lines": lines}, REASON, override=True)
            continue
        kind = workflow.ledger_of(trigger)
        if kind is not None and (kind != "captured" or order.payments):
            continue
        yield Ask(trigger)
        edges = workflow.edges_from(order.state, trigger)
        if not edges:  # Every request is refused.
            continue
        guards = [guard for edge in edges for guard in edge.guards]
        goods = workflow.goods_of(trigger)
        if goods is not None:
            yield from _moved(trigger, goods, world)
        if guards:
            yield Ask(trigger, NOTHING, REASON)
        if any(guard.policy for guard in guards):
            yield Ask(trigger, NOTHING, REASON, override=True)


def _moved(trigger: str, kind: GoodsKind, world: World) -> Iterator[Ask]:
    if kind != "recalled":
        yield Ask(trigger, ONE)
        yield Ask(trigger, TOO_MANY)
    if kind == "returned" and world.stock.lost < LOST:
        yield Ask(trigger, {**ONE, "restock": False})
